//! Answers of gigabytes.

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use tonic::Code;

use crate::{MIB, assert_served, connect, count, get_prefix, put_op, t4};

/// 36 values of 1 MiB, and each of up to 128 ranges of a transaction over all
/// of them: 4.5 GiB.
const VALUES: usize = 36;

fn list() -> pb::RequestOp {
    pb::RequestOp { request: Some(Request::RequestRange(get_prefix("big/"))) }
}

fn nested(success: Vec<pb::RequestOp>) -> pb::RequestOp {
    let txn = pb::TxnRequest { success, ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestTxn(txn)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_gigabytes_is_refused_and_nothing_is_done() {
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let value = Bytes::from(vec![7; MIB as usize]);
    for number in 0..VALUES {
        let key = format!("big/{number:02}");
        let put = pb::PutRequest { key: key.into(), value: value.clone(), ..Default::default() };
        rpc.kv.put(put).await.expect("a put");
    }
    let memory = t4.memory();
    let before = memory.begin_peak();
    let put = || put_op("new".to_owned(), Bytes::new(), 0);
    let delete = || {
        let list = get_prefix("big/");
        let delete =
            pb::DeleteRangeRequest { key: list.key, range_end: list.range_end, prev_kv: true };
        pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    };
    for (name, success) in [
        ("reads", vec![list(); 128]),
        ("reads and a put", [vec![put()], vec![list(); 127]].concat()),
        ("nested reads and a put", vec![put(), nested(vec![list(); 40]), nested(vec![list(); 40])]),
        (
            "reads and a delete that shows what it deletes",
            [vec![list(); 56], vec![delete()]].concat(),
        ),
    ] {
        let txn = pb::TxnRequest { success, ..Default::default() };
        let refused = rpc.kv.txn(txn).await.expect_err(name);
        assert_eq!(refused.code(), Code::ResourceExhausted, "{name}: {refused}");
        assert!(refused.message().starts_with("t4: the answer would be larger"), "{refused}");
        assert_eq!(count(&mut rpc, "big/").await, VALUES as i64, "{name}");
        assert_eq!(count(&mut rpc, "new").await, 0, "{name}");
    }
    assert_served(&mut rpc).await;
    let grown = memory.peak().saturating_sub(before);
    // What was gathered of a transaction before it was refused shares its memory
    // with the store, or its cache.
    assert!(grown < 512 * MIB, "{} MiB for what was refused", grown / MIB);
    t4.stop().expect("a clean stop");
}
