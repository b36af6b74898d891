//! The client's own HTTP/2 against a hand-written server: measurements must
//! reflect exactly what the server sent.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use prost::Message;
use t4_bench::certificates::Certificates;
use t4_bench::client::Client;
use t4_bench::transport::{Connection, Endpoint};
use t4_bench::wire;
use t4_proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, ResponseHeader,
};
use t4_proto::mvccpb::KeyValue;
use t4_testkit::Scratch;
use t4_tls_config::{ClientTls, KeyType, ServerOptions, ServerTls};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// Key-values of the long list; 20 MB, more than the window of a stream.
const LONG: usize = 20_000;

/// Serves one connection on its own port.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(answer(request, respond));
        }
    });
    address
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    match path.as_str() {
        "/etcdserverpb.KV/Put" => {
            let put: PutRequest = read(&mut body).await.expect("a message");
            // The key selects the answer.
            if put.key == "refused" {
                let head = Response::builder().header("content-type", "application/grpc");
                let head = head.header("grpc-status", "8").header("grpc-message", "too%20many");
                respond.send_response(head.body(()).expect("a head"), true).expect("sent");
                return;
            }
            let header = Some(ResponseHeader { revision: put.lease, ..Default::default() });
            let mut stream = open(&mut respond);
            send(&mut stream, &PutResponse { header, prev_kv: None }).await;
            end(&mut stream);
        }
        "/etcdserverpb.KV/Range" => {
            let value = Bytes::from(vec![7; 1_000]);
            let kv = KeyValue { key: "k".into(), value, ..KeyValue::default() };
            let mut stream = open(&mut respond);
            let count = LONG as i64;
            let kvs = vec![kv; LONG];
            send(&mut stream, &RangeResponse { kvs, count, ..Default::default() }).await;
            end(&mut stream);
        }
        "/etcdserverpb.Lease/LeaseKeepAlive" => {
            let mut stream = open(&mut respond);
            while let Some(LeaseKeepAliveRequest { id }) = read(&mut body).await {
                send(&mut stream, &LeaseKeepAliveResponse { id, ttl: 5, header: None }).await;
            }
            end(&mut stream);
        }
        other => panic!("{other}"),
    }
}

fn open(respond: &mut SendResponse<Bytes>) -> SendStream<Bytes> {
    let head = Response::builder().header("content-type", "application/grpc").body(());
    respond.send_response(head.expect("a head"), false).expect("sent")
}

/// Sends one message, no faster than the client reads it.
async fn send(stream: &mut SendStream<Bytes>, message: &impl Message) {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.encoded_len() as u32);
    message.encode(&mut framed).expect("room");
    let mut framed = framed.freeze();
    while !framed.is_empty() {
        stream.reserve_capacity(framed.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.expect("the stream is open").expect("room").min(framed.len());
        stream.send_data(framed.split_to(room), false).expect("sent");
    }
}

fn end(stream: &mut SendStream<Bytes>) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    stream.send_trailers(trailers).expect("sent");
}

/// The next message of a body whose frames hold whole messages.
async fn read<M: Message + Default>(body: &mut RecvStream) -> Option<M> {
    loop {
        let frame = body.data().await?.expect("a frame");
        body.flow_control().release_capacity(frame.len()).expect("released");
        if frame.len() >= 5 {
            return Some(M::decode(&frame[5..]).expect("a message"));
        }
    }
}

async fn client() -> Client {
    Client::new(Connection::open(serve().await).await.expect("connected"))
}

#[tokio::test]
async fn many_calls_share_a_connection_and_get_their_own_answers() {
    let client = client().await;
    let calls = (0..200).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let request = PutRequest { key: "k".into(), lease: number, ..PutRequest::default() };
            let answer = client.kv.put(request).await.expect("an answer").into_inner();
            assert_eq!(answer.header.expect("a header").revision, number);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("the call's own answer");
    }
}

#[tokio::test]
async fn a_refusal_is_an_error_with_its_code_and_text() {
    let mut client = client().await;
    let request = PutRequest { key: "refused".into(), ..PutRequest::default() };
    let refused = client.kv.put(request).await.expect_err("refused");
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "too many"));
    let request = PutRequest { key: "k".into(), ..PutRequest::default() };
    client.kv.put(request).await.expect("the connection goes on");
}

#[tokio::test]
async fn a_list_longer_than_the_window_arrives_whole() {
    let mut client = client().await;
    // Twice: the window capacity that the first one used is returned.
    for _ in 0..2 {
        let message = client.range_raw(RangeRequest::default()).await.expect("an answer");
        let seen = wire::range_response(&message).expect("decodes");
        assert_eq!(seen, wire::Seen { kvs: LONG as u64, count: LONG as u64 });
    }
}

#[tokio::test]
async fn a_stream_goes_both_ways_until_the_client_ends_it() {
    let mut client = client().await;
    let (requests, queue) = tokio::sync::mpsc::channel(1);
    let call = client.lease.lease_keep_alive(ReceiverStream::new(queue));
    let mut answers = call.await.expect("a stream").into_inner();
    for id in 1..=3 {
        requests.send(LeaseKeepAliveRequest { id }).await.expect("sent");
        let answer = answers.message().await.expect("no error").expect("an answer");
        assert_eq!((answer.id, answer.ttl), (id, 5));
    }
    drop(requests);
    assert!(answers.message().await.expect("no error").is_none(), "the stream has ended");
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    assert!(Connection::open(address).await.is_err());
}

/// Serves connections over TLS, and reports the kind of each handshake.
async fn serve_tls(certificates: &Certificates) -> (SocketAddr, Receiver<String>) {
    let pair = certificates.server.source();
    let tls = ServerTls::load(ServerOptions::new(pair)).expect("loads");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (secure, _) = tls.accept(socket, None).await.expect("a handshake");
            let kind = format!("{:?}", secure.get_ref().1.handshake_kind());
            tell.send(kind).await.expect("somebody listens");
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(secure).await.expect("HTTP/2");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn an_unknown_client_shakes_hands_in_full_over_tls() {
    let scratch = Scratch::new("bench-tls").expect("scratch");
    let certificates =
        Certificates::make(&scratch.join("tls"), KeyType::EcdsaP256).expect("certificates");
    let (address, mut told) = serve_tls(&certificates).await;
    let put = async |tls: ClientTls| {
        let endpoint = Endpoint { address, tls: Some(tls) };
        let mut client = Client::new(Connection::open(endpoint).await.expect("connected"));
        let request = PutRequest { key: "k".into(), lease: 7, ..PutRequest::default() };
        let answer = client.kv.put(request).await.expect("an answer").into_inner();
        assert_eq!(answer.header.expect("a header").revision, 7);
    };
    let mut kinds = Vec::new();
    for _ in 0..3 {
        put(certificates.client().expect("a client")).await;
        kinds.push(told.recv().await.expect("told"));
    }
    // With etcd, a returning client would resume and so not be measured in full.
    assert_eq!(kinds, ["Some(Full)"; 3]);
}
