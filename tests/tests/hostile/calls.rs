//! HTTP/2 that is not gRPC, or not quite.

use http::StatusCode;
use tonic::Code;

use crate::raw::{RawConnection, framed};
use crate::{assert_log_is_calm, assert_served, connect, get, t4};

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
    let fits = "y".repeat(8 * 1024);
    let answer = raw.call(RANGE, &[("x", &fits)], framed(&get("k"))).await.expect("an answer");
    assert_eq!(answer.status.expect("a status").0, Code::Ok);
    // 16 KiB in all; many times that is an attack, and ends the connection.
    let large = "y".repeat(20 * 1024);
    let answer = raw.call(RANGE, &[("x", &large)], framed(&get("k"))).await.expect("an answer");
    assert_eq!(answer.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let again = raw.call(RANGE, &[], framed(&get("k"))).await.expect("the connection goes on");
    assert_eq!(again.status.expect("a status").0, Code::Ok);
    let huge = "y".repeat(4 << 20);
    let refused = raw.call(RANGE, &[("x", &huge)], framed(&get("k"))).await;
    assert!(!matches!(&refused, Ok(answer) if answer.http == StatusCode::OK), "{refused:?}");
    assert_served(&mut rpc, "after").await;
    assert_log_is_calm(&mut t4, 0);
}
