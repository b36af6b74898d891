//! Clients that ask for much, as they may: a real server does it in bounded
//! memory and without keeping the others waiting, or refuses it before it has
//! done anything.
//!
//! * `answers`: answers of gigabytes.
//! * `names`: users, roles and permissions of megabytes.
//! * `keys`: deletes of many keys, leases with many keys.
//! * `leases`: 50,000 leases that expire within a second.
//!
//! With `T4_LONG=1` at full size: a million keys.

mod answers;
mod keys;
mod leases;
mod names;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use t4_testkit::requests::get_prefix;
use t4_testkit::{Rpc, T4, T4Options, requests};
use tokio::task::JoinSet;

const MIB: u64 = 1 << 20;

fn t4(flags: &[&str]) -> T4 {
    T4::start(T4Options::flags(flags)).expect("start t4")
}

async fn connect(endpoint: &str) -> Rpc {
    Rpc::connect(endpoint).await.expect("connect")
}

/// `long` in a run that may take its time.
fn sized(short: usize, long: usize) -> usize {
    if std::env::var_os("T4_LONG").is_some() { long } else { short }
}

fn put_op(key: String, value: Bytes, lease: i64) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.into(), value, lease, ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

async fn count(rpc: &mut Rpc, prefix: &str) -> i64 {
    let request = pb::RangeRequest { count_only: true, ..get_prefix(prefix) };
    rpc.kv.range(request).await.expect("a count").into_inner().count
}

/// Does all transactions, several at a time.
async fn write_all(rpc: &Rpc, txns: impl Iterator<Item = Vec<pb::RequestOp>>) {
    let mut tasks = JoinSet::new();
    for success in txns {
        if tasks.len() >= 32 {
            tasks.join_next().await.expect("a task").expect("a write");
        }
        let mut kv = rpc.kv.clone();
        tasks.spawn(async move {
            kv.txn(pb::TxnRequest { success, ..Default::default() }).await.expect("a txn");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a write");
    }
}

/// Everybody else.
async fn assert_served(rpc: &mut Rpc) {
    requests::write_and_read(rpc, "v").await.expect("others are served");
}
