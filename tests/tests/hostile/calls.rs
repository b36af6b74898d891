//! HTTP/2 that is not gRPC, or not quite.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::StatusCode;
use prost::Message;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse};
use tonic::Code;

use crate::raw::{RawConnection, framed, next_chunk};
use crate::{MIB, assert_log_is_calm, assert_served, connect, get, put, t4};

const RANGE: &str = "/etcdserverpb.KV/Range";

/// A name, headers beside the usual, a body.
type Case = (&'static str, Vec<(&'static str, &'static str)>, Vec<u8>, Refusal);
/// gRPC's answer to a call: how its text begins.
type Refusal = (Code, &'static str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_call_gets_its_status() {
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let raw = RawConnection::open(t4.endpoint()).await;
    for (name, headers, body, (code, text)) in malformed() {
        let answer = raw.call(RANGE, &headers, body).await.expect(name);
        assert_eq!(answer.http, StatusCode::OK, "{name}");
        let (found_code, found_text) = answer.status.expect(name);
        assert_eq!(found_code, code, "{name}: {found_text}");
        assert!(found_text.starts_with(text), "{name}: {found_text}");
        assert_served(&mut rpc, name).await;
    }

    // Not even gRPC.
    let json = [("content-type", "application/grpc-web+json")];
    let answer = raw.call(RANGE, &json, b"{}".to_vec()).await.expect("an answer");
    assert_eq!(answer.http, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let unknown = raw.call("/etcdserverpb.KV/Steal", &[], vec![]).await.expect("an answer");
    assert_eq!(unknown.status.expect("a status").0, Code::Unimplemented);

    // The same connection still does what it should.
    let good = raw.call(RANGE, &[], framed(&get("bystander"))).await.expect("an answer");
    assert_eq!(good.status.expect("a status").0, Code::Ok);
    assert_log_is_calm(&mut t4, 0);
}

fn malformed() -> Vec<Case> {
    let good = framed(&get("k"));
    let with = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        bytes
    };
    let length = good.len() as u8 - 5;
    let none = Vec::new;
    vec![
        ("no message", none(), vec![], (Code::Internal, "cardinality violation")),
        ("half a prefix", none(), good[..3].to_vec(), (Code::Internal, "unexpected EOF")),
        ("less than announced", none(), with(4, length + 1), (Code::Internal, "unexpected EOF")),
        ("more than announced", none(), with(4, length - 1), (Code::Internal, "")),
        (
            "two messages",
            none(),
            [&good[..], &good].concat(),
            (Code::Internal, "cardinality violation"),
        ),
        (
            "4 GiB announced",
            none(),
            vec![0, 0xff, 0xff, 0xff, 0xff],
            (Code::ResourceExhausted, "grpc: received message larger than max (4294967295 vs."),
        ),
        (
            "flag without encoding",
            none(),
            with(0, 1),
            (Code::Internal, "grpc: compressed flag set with identity or empty encoding"),
        ),
        (
            "unknown encoding",
            vec![("grpc-encoding", "snappy")],
            with(0, 1),
            (Code::Unimplemented, "grpc: Decompressor is not installed"),
        ),
        ("unknown flag", none(), with(0, 9), (Code::Internal, "grpc: received unexpected payload")),
        (
            "no protobuf",
            none(),
            vec![0, 0, 0, 0, 2, 0xff, 0xff],
            (Code::Internal, "grpc: error unmarshalling request"),
        ),
        (
            "no time at all",
            vec![("grpc-timeout", "soon")],
            good.clone(),
            (Code::Internal, "malformed grpc-timeout"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_has_a_limit() {
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let raw = RawConnection::open(t4.endpoint()).await;
    // Some hundred KiB, in one field or in many.
    let (large, tenth) = ("y".repeat(200 * 1024), "y".repeat(20 * 1024));
    let names: Vec<String> = (0..10).map(|number| format!("x{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), tenth.as_str())).collect();
    for headers in [&[("x", large.as_str())][..], &many] {
        let answer = raw.call(RANGE, headers, framed(&get("k"))).await.expect("an answer");
        assert_eq!(answer.status.expect("a status").0, Code::Ok);
    }
    // More costs the call, and not the connection.
    let larger = "y".repeat(600 * 1024);
    let answer = raw.call(RANGE, &[("x", &larger)], framed(&get("k"))).await.expect("an answer");
    let (code, text) = answer.status.expect("a status");
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    let way_larger = "y".repeat(900 * 1024);
    let answer = raw.call(RANGE, &[("x", &way_larger)], vec![]).await.expect("an answer");
    assert_eq!(answer.status.expect("a status").0, Code::ResourceExhausted);
    let again = raw.call(RANGE, &[], framed(&get("k"))).await.expect("the connection goes on");
    assert_eq!(again.status.expect("a status").0, Code::Ok);
    // Many times that is an attack, and ends the connection.
    let huge = "y".repeat(8 << 20);
    let refused = raw.call(RANGE, &[("x", &huge)], framed(&get("k"))).await;
    assert!(!matches!(&refused, Ok(answer) if answer.http == StatusCode::OK), "{refused:?}");
    assert_served(&mut rpc, "after").await;
    assert_log_is_calm(&mut t4, 1);
}

/// gzip, which etcd takes: the answer is compressed as the request may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_is_taken_and_given() {
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    rpc.kv.put(put("zipped", vec![b'v'; 300_000])).await.expect("put");
    let raw = RawConnection::open(t4.endpoint()).await;
    let gzip = [("grpc-encoding", "gzip")];
    // Plain messages are right as well.
    for body in [framed(&get("zipped")), zipped(&get("zipped").encode_to_vec())] {
        let answer = raw.call(RANGE, &gzip, body).await.expect("an answer");
        assert_eq!(answer.status, Some((Code::Ok, String::new())));
        assert_eq!(answer.headers["grpc-encoding"], "gzip");
        assert!(answer.body[0] == 1 && answer.body.len() < 10_000, "{} B", answer.body.len());
        let mut plain = Vec::new();
        GzDecoder::new(&answer.body[5..]).read_to_end(&mut plain).expect("gzip");
        let found = RangeResponse::decode(&plain[..]).expect("a response");
        assert_eq!(found.kvs[0].value.len(), 300_000);
    }
    // What was not said to be compressed is not, nor is the answer.
    let plain = raw.call(RANGE, &[], framed(&get("zipped"))).await.expect("an answer");
    assert!(plain.body[0] == 0 && plain.body.len() > 300_000);
    // Streams too.
    let (list, stream) = (zipped(&get("zipped").encode_to_vec()), "/etcdserverpb.KV/RangeStream");
    let answer = raw.call(stream, &gzip, list).await.expect("an answer");
    assert_eq!(answer.status, Some((Code::Ok, String::new())));
    assert!(answer.headers["grpc-encoding"] == "gzip" && answer.body.len() < 10_000);

    // And watches, of whose events the large ones are shared between streams.
    let create = WatchCreateRequest {
        key: "zipped".into(),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (response, mut request) = raw.begin("/etcdserverpb.Watch/Watch", &gzip).await;
    request.send_data(zipped(&create.encode_to_vec()).into(), false).expect("send");
    let mut body = response.await.expect("an answer").into_body();
    let mut come = Vec::new();
    let event = loop {
        let chunk = next_chunk(&mut body).await.expect("the stream is open");
        come.extend_from_slice(&chunk.expect("more is to come"));
        if let Some(event) =
            unzipped(&come).into_iter().find_map(|found| found.events.into_iter().next())
        {
            break event;
        }
    };
    assert_eq!(event.kv.expect("a pair").value.len(), 300_000);

    // A small message that would be a large one is refused before it is.
    let memory = t4.memory();
    let before = memory.begin_peak();
    for _ in 0..20 {
        let bomb = zipped(&vec![0; 64 << 20]);
        let answer = raw.call(RANGE, &gzip, bomb).await.expect("an answer");
        let (code, text) = answer.status.expect("a status");
        assert_eq!(code, Code::ResourceExhausted, "{text}");
        assert!(text.starts_with("grpc: received message after decompression larger than max"));
    }
    assert!(memory.peak() <= before + 32 * MIB, "{before} B, then {}", memory.peak());

    // What is not known is refused with what is.
    let other = [("grpc-encoding", "snappy")];
    let answer = raw.call(RANGE, &other, framed(&get("k"))).await.expect("an answer");
    assert_eq!(answer.status.expect("a status").0, Code::Unimplemented);
    assert_eq!(answer.headers["grpc-accept-encoding"], "gzip");
    assert_log_is_calm(&mut t4, 0);
}

/// The messages of a stream that are there as a whole.
fn unzipped(mut come: &[u8]) -> Vec<WatchResponse> {
    let mut found = Vec::new();
    while let Some((head, rest)) = come.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        assert_eq!(head[0], 1, "each is compressed");
        let mut plain = Vec::new();
        GzDecoder::new(message).read_to_end(&mut plain).expect("gzip");
        found.push(WatchResponse::decode(&plain[..]).expect("a response"));
        come = rest;
    }
    found
}

fn zipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).expect("memory");
    let bytes = encoder.finish().expect("memory");
    let length = u32::try_from(bytes.len()).expect("a message");
    [&[1][..], &length.to_be_bytes(), &bytes].concat()
}
