//! The services on a real HTTP/2 connection, as the server runs them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use t4_etcd_api::{Method, Services};
use t4_proto::etcdserverpb as pb;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::body::Body;

use crate::support::{Server, assert_error, get, put, watch, within_hang};

/// A connection as a transport of generated clients.
#[derive(Clone)]
struct Connection(SendRequest<Body>);

impl tower_service::Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().unwrap().as_str();
        *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
        Box::pin(self.0.send_request(request))
    }
}

/// Serves one connection and connects to it.
async fn connect(services: &Services) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let services = services.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(move |request| {
            let response = services.serve(request);
            async move { Ok::<_, Infallible>(response.await) }
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    Connection(sender)
}

#[tokio::test]
async fn calls_pass_a_connection() {
    let server = Server::start().await;
    let mut kv = pb::kv_client::KvClient::new(connect(&server.services).await);
    // Larger than a frame.
    let value = vec![7; 100_000];
    let request = pb::PutRequest { value: value.clone().into(), ..put("k", "") };
    kv.put(request).await.unwrap();
    let found = kv.range(get("k")).await.unwrap().into_inner();
    assert_eq!(found.kvs[0].value, value);
    let text = "etcdserver: key is not provided";
    assert_error(kv.range(get("")).await, Code::InvalidArgument, text);
    let large = pb::PutRequest { value: vec![7; 2_097_152].into(), ..put("k", "") };
    let text = "grpc: received message larger than max (2097160 vs. 2097152)";
    assert_error(kv.put(large).await, Code::ResourceExhausted, text);
    kv.range(get("k")).await.unwrap();
}

#[tokio::test]
async fn watches_pass_a_connection_and_end_with_it() {
    let server = Server::start().await;
    let connection = connect(&server.services).await;
    let mut stream = server.watch_through(connection.clone()).await;
    stream.created(watch("k")).await;
    for n in 0..100 {
        server.put("k", "v").await;
        assert_eq!(stream.next().await.header.unwrap().revision, 2 + n);
    }
    drop(stream);
    let ended = &server.services.stats().of(Method::Watch).handled[Code::Cancelled as usize];
    within_hang(async {
        while ended.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.node.watch_stats().watchers, 0);
}

/// A client that does not read does not stop the others.
#[tokio::test]
async fn a_stuck_client_loses_nothing() {
    let server = Server::start().await;
    let connection = connect(&server.services).await;
    let mut stuck = server.watch_through(connection.clone()).await;
    stuck.created(watch("k")).await;
    let mut kv = pb::kv_client::KvClient::new(connection);
    for _ in 0..200 {
        let request = pb::PutRequest { value: vec![7; 10_000].into(), ..put("k", "") };
        kv.put(request).await.unwrap();
    }
    let mut next = 2;
    while next < 202 {
        for event in stuck.next().await.events {
            let kv = event.kv.unwrap();
            assert_eq!((kv.mod_revision, kv.value.len()), (next, 10_000));
            next += 1;
        }
    }
}
