//! What all calls have in common: paths, frames, metadata, deadlines, counters.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::Message;
use t4_etcd_api::{Method, ResponseBody};
use t4_proto::etcdserverpb as pb;
use t4_proto::v3lockpb::LockRequest;
use tonic::Code;

use crate::support::{Server, assert_error, get, put, watch, within_hang};

/// A POST as gRPC has it.
fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/grpc")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A message as it stands in a body.
fn framed(message: &impl Message) -> Vec<u8> {
    let payload = message.encode_to_vec();
    let length = u32::try_from(payload.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &payload].concat()
}

/// Code and text, from the headers or the trailers.
async fn status_of(response: Response<ResponseBody>) -> (i32, String) {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let status = |headers: &HeaderMap| {
        let status = tonic::Status::from_header_map(headers)?;
        Some((status.code() as i32, status.message().to_owned()))
    };
    status(&parts.headers).or_else(|| status(collected.trailers()?)).unwrap()
}

#[tokio::test]
async fn what_is_not_grpc_is_refused_as_http() {
    let server = Server::start().await;
    let mut request = post("/etcdserverpb.KV/Range", "");
    *request.method_mut() = http::Method::GET;
    let response = server.services.serve(request).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);

    for (content_type, good) in [
        ("application/json", false),
        ("application/grpc-web", false),
        ("application/grpc+proto", true),
        ("application/grpc;charset=utf-8", true),
    ] {
        let mut request = post("/etcdserverpb.KV/Range", framed(&get("k")));
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let response = server.services.serve(request).await;
        assert_eq!(response.status() == StatusCode::OK, good, "{content_type}");
    }
}

#[tokio::test]
async fn unknown_paths_are_unimplemented() {
    let server = Server::start().await;
    for (path, text) in [
        ("/etcdserverpb.KV/Get", "unknown method Get for service etcdserverpb.KV"),
        (
            "/grpc.reflection.v1.ServerReflection/List",
            "unknown service grpc.reflection.v1.ServerReflection",
        ),
        ("/", "malformed method name: \"/\""),
        ("/nonsense", "malformed method name: \"/nonsense\""),
    ] {
        let status = status_of(server.services.serve(post(path, "")).await).await;
        assert_eq!(status, (12, text.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn every_method_is_served() {
    let server = Server::start().await;
    for &method in Method::ALL {
        let path = format!("/{}/{}", method.service(), method.name());
        let watches = matches!(method, Method::Watch | Method::HealthWatch | Method::Observe);
        // The empty message: most are refused, but by their own checks.
        let mut request = post(&path, framed(&()));
        let waits = watches || matches!(method, Method::Lock | Method::Campaign);
        if waits {
            request.headers_mut().insert("grpc-timeout", "10m".parse().unwrap());
        }
        let (code, text) =
            within_hang(async { status_of(server.services.serve(request).await).await }).await;
        assert!(!text.starts_with("unknown "), "{path}: {code} {text}");
        if watches {
            assert_eq!((code, text.as_str()), (4, "context deadline exceeded"), "{path}");
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    let server = Server::start().await;
    let path = "/etcdserverpb.KV/Range";
    let status =
        async |body: Vec<u8>| status_of(server.services.serve(post(path, body)).await).await;
    let good = framed(&get("k"));
    assert_eq!(status(good.clone()).await.0, 0);
    let (code, text) = status(vec![]).await;
    assert!(code == 13 && text.contains("received no request message"), "{text}");
    let (code, text) = status([&good[..], &good].concat()).await;
    assert!(code == 13 && text.contains("multiple request messages"), "{text}");
    assert_eq!(status(good[..good.len() - 1].to_vec()).await, (13, "unexpected EOF".to_owned()));
    let (code, text) = status(vec![0, 0, 0, 0, 2, 0xff, 0xff]).await;
    assert!(code == 13 && text.starts_with("grpc: error unmarshalling request"), "{text}");
    let too_large = vec![0, 0, 0x20, 0, 1];
    let text = "grpc: received message larger than max (2097153 vs. 2097152)";
    assert_eq!(status(too_large).await, (8, text.to_owned()));
    let text = "grpc: compressed flag set with identity or empty encoding";
    assert_eq!(status(vec![1, 0, 0, 0, 0]).await, (13, text.to_owned()));

    let mut snappy = post(path, good);
    snappy.headers_mut().insert("grpc-encoding", "snappy".parse().unwrap());
    let response = server.services.serve(snappy).await;
    assert_eq!(response.headers()["grpc-accept-encoding"], "gzip");
    let (code, text) = status_of(response).await;
    assert_eq!(code, 12);
    assert_eq!(text, "grpc: Decompressor is not installed for grpc-encoding \"snappy\"");
}

/// Whatever the bytes, there is an answer and no panic.
#[tokio::test]
async fn noise_is_answered() {
    let seed = std::env::var("T4_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("T4_SEED={seed}");
    let mut state: u64 = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 7
    };
    let server = Server::start().await;
    for round in 0..3000 {
        let method = Method::ALL[next() as usize % Method::ALL.len()];
        let path = format!("/{}/{}", method.service(), method.name());
        let length = (next() % 40) as usize;
        let payload: Vec<u8> = (0..length)
            .map(|_| match next() % 3 {
                // Tags of low fields, small lengths, anything.
                0 => (next() % 0x60) as u8,
                1 => (next() % 8) as u8,
                _ => next() as u8,
            })
            .collect();
        let mut body = vec![0];
        body.extend((length as u32).to_be_bytes());
        body.extend(payload);
        if next() % 8 == 0 {
            body.truncate(next() as usize % body.len());
        }
        let mut request = post(&path, body);
        request.headers_mut().insert("grpc-timeout", "2m".parse().unwrap());
        let (code, _) =
            within_hang(async { status_of(server.services.serve(request).await).await }).await;
        assert!((0..=16).contains(&code), "round {round} {path}");
    }
}

#[tokio::test]
async fn metadata_is_heeded() {
    let server = Server::start().await;
    let request = |name: &'static str, value: &[u8]| {
        let mut request = post("/etcdserverpb.KV/Range", framed(&get("k")));
        let value = http::HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().insert(name, value);
        request
    };
    let status = async |request| status_of(server.services.serve(request).await).await;
    assert_eq!(status(request("hasleader", b"true")).await.0, 0);
    assert_eq!(status(request("client-api-version", b"3.5.1")).await.0, 0);
    let text = "etcdserver: invalid client api version";
    assert_eq!(status(request("client-api-version", b"\xff")).await, (3, text.to_owned()));
    assert_eq!(status(request("grpc-timeout", b"later")).await.0, 13);
    for nothing in [b"0S", b"1n"] {
        let (code, text) = status(request("grpc-timeout", nothing)).await;
        assert_eq!((code, text.as_str()), (4, "context deadline exceeded"));
    }
    let with_query = post("/etcdserverpb.KV/Range?x=1", framed(&get("k")));
    let unknown = "unknown method Range?x=1 for service etcdserverpb.KV";
    assert_eq!(status(with_query).await, (12, unknown.to_owned()));

    let versions = server.services.stats().client_versions.counts();
    assert_eq!(versions, [("unknown".to_owned(), 1, 0), ("3.5.1".to_owned(), 1, 0)]);
}

#[tokio::test]
async fn deadlines_end_the_wait_and_clean_up() {
    let server = Server::start().await;
    for lease in [1, 2] {
        let grant = pb::LeaseGrantRequest { ttl: 100, id: lease };
        server.lease().lease_grant(grant).await.unwrap();
    }
    let lock = |lease| LockRequest { name: "l".into(), lease };
    server.lock().lock(lock(1)).await.unwrap();
    let mut stream = server.watch().await;
    stream.created(watch("l/2")).await;

    let mut request = tonic::Request::new(lock(2));
    request.set_timeout(Duration::from_millis(50));
    let waited = within_hang(server.lock().lock(request)).await;
    assert_error(waited, Code::DeadlineExceeded, "context deadline exceeded");
    // Its place came and goes.
    assert_eq!(stream.next().await.events[0].r#type, 0);
    assert_eq!(stream.next().await.events[0].r#type, 1);

    let mut request = tonic::Request::new(tokio_stream::pending());
    request.set_timeout(Duration::from_millis(50));
    let mut client = pb::watch_client::WatchClient::new(server.services.clone());
    let mut responses = client.watch(request).await.unwrap().into_inner();
    let ended = within_hang(responses.message()).await;
    assert_error(ended, Code::DeadlineExceeded, "context deadline exceeded");
}

/// A write whose client has gone is made whole or not at all, and the ones
/// after it are made.
#[tokio::test]
async fn a_client_that_goes_away_leaves_no_half_write() {
    let server = Server::start().await;
    let pair = |n: i64| {
        let put = |key: &'static str| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
                key: key.into(),
                value: n.to_string().into(),
                ..Default::default()
            })),
        };
        pb::TxnRequest { success: vec![put("a"), put("b")], ..Default::default() }
    };
    for n in 0..50 {
        let request = post("/etcdserverpb.KV/Txn", framed(&pair(n)));
        let mut call = Box::pin(server.services.serve(request));
        // Polled once: the write has been submitted, its answer is not there.
        std::future::poll_fn(|cx| {
            let _ = call.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        drop(call);
    }
    server.put("last", "").await;
    let a = server.kv().range(get("a")).await.unwrap().into_inner().kvs.remove(0);
    let b = server.kv().range(get("b")).await.unwrap().into_inner().kvs.remove(0);
    assert_eq!((&a.value, a.mod_revision, a.version), (&b.value, b.mod_revision, b.version));
    assert_eq!((a.value, a.version), (Bytes::from("49"), 50));
}

#[tokio::test]
async fn calls_are_counted() {
    let server = Server::start().await;
    server.put("k", "v").await;
    server.kv().put(put("", "v")).await.unwrap_err();
    let mut stream = server.watch().await;
    stream.created(watch("k")).await;
    stream.created(watch("l")).await;

    let stats = server.services.stats();
    let puts = stats.of(Method::Put);
    assert_eq!(puts.started.load(Relaxed), 2);
    assert_eq!(puts.received.load(Relaxed), 2);
    assert_eq!(puts.sent.load(Relaxed), 1);
    assert_eq!(puts.handled[Code::Ok as usize].load(Relaxed), 1);
    assert_eq!(puts.handled[Code::InvalidArgument as usize].load(Relaxed), 1);
    for latency in [&puts.succeeded, &puts.failed] {
        assert_eq!(latency.snapshot(t4_etcd_api::HANDLING_BOUNDS).count, 1);
    }

    let watches = stats.of(Method::Watch);
    assert_eq!((watches.received.load(Relaxed), watches.sent.load(Relaxed)), (2, 2));
    assert_eq!(watches.handled.iter().map(|code| code.load(Relaxed)).sum::<u64>(), 0);
    drop(stream);
    assert_eq!(watches.handled[Code::Cancelled as usize].load(Relaxed), 1);
    assert!(stats.received_bytes.load(Relaxed) > 0 && stats.sent_bytes.load(Relaxed) > 0);
}

/// One runtime per core, one set of counters.
#[tokio::test]
async fn services_work_on_other_runtimes() {
    let server = Server::start().await;
    let services = server.services.clone();
    let revision = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut kv = pb::kv_client::KvClient::new(services.on_this_runtime());
            kv.put(put("k", "v")).await.unwrap().into_inner().header.unwrap().revision
        })
    })
    .await
    .unwrap();
    assert_eq!(revision, 2);
    assert_eq!(server.get("k").await.unwrap(), "v");
    assert_eq!(server.services.stats().of(Method::Put).started.load(Relaxed), 1);
}
