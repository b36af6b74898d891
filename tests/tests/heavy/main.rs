//! Clients that ask for much, as they may: a real server does it in bounded
//! memory and without keeping the others waiting, or refuses it before it has
//! done anything.
//!
//! * `answers`: answers of gigabytes.
//! * `names`: users, roles and permissions of megabytes.
//! * `keys`: deletes of many keys, leases with many keys, many leases.
//!
//! With `T4_LONG=1` at full size: a million keys, 50,000 leases.

mod answers;
mod keys;
mod names;

use std::fs;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use t4_testkit::{Rpc, T4, T4Options};
use tokio::task::JoinSet;

const MIB: u64 = 1 << 20;

fn t4(flags: &[&str]) -> T4 {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    T4::start(T4Options { flags, ..T4Options::default() }).expect("start t4")
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

/// The keys that start with `prefix`.
fn all(prefix: &str) -> pb::RangeRequest {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    pb::RangeRequest { key: prefix.to_owned().into(), range_end: end.into(), ..Default::default() }
}

async fn count(rpc: &mut Rpc, prefix: &str) -> i64 {
    let request = pb::RangeRequest { count_only: true, ..all(prefix) };
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
    let put = pb::PutRequest { key: "bystander".into(), value: "v".into(), ..Default::default() };
    rpc.kv.put(put).await.expect("a put of somebody else");
    let get = pb::RangeRequest { key: "bystander".into(), ..Default::default() };
    let found = rpc.kv.range(get).await.expect("a get of somebody else").into_inner();
    assert_eq!(found.kvs[0].value, "v");
}

/// The memory of a process.
struct Memory {
    pid: u32,
}

impl Memory {
    fn of(t4: &mut T4) -> Memory {
        Memory { pid: t4.program().pid() }
    }

    /// Forgets the peak that was. What it has in RAM now, in bytes.
    fn begin_peak(&self) -> u64 {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").expect("reset the peak");
        self.field("VmRSS:")
    }

    /// The most that it has had in RAM since, in bytes.
    fn peak(&self) -> u64 {
        self.field("VmHWM:")
    }

    fn field(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }
}
