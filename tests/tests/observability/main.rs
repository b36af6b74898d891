//! What a server tells of itself, to Prometheus, to collectors of logs and to
//! those who read them: names, types and forms are etcd's, and hold.

mod http;
mod ids;
mod logs;
mod metrics;
mod page;
mod slow;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, HashKvRequest, HashRequest,
    LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest,
};
use t4_testkit::{Program, Rpc, Scratch, free_port, t4_binary};
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_secs(60);
const READY: &str = "ready to serve client requests";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A running `t4 etcd`, with a directory of its own.
struct EtcdCommand {
    program: Program,
    endpoint: String,
    _scratch: Scratch,
}

impl EtcdCommand {
    /// Started with more flags than those of its addresses.
    fn start(flags: &[&str]) -> EtcdCommand {
        let scratch = Scratch::new("etcd-command").expect("scratch");
        let endpoint = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{endpoint}");
        let mut command = Command::new(t4_binary().expect("a t4 to test"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("ETCD_") || name.starts_with("T4_") {
                command.env_remove(name);
            }
        }
        command
            .args(["etcd", "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .arg("--data-dir")
            .arg(scratch.join("data"))
            .args(flags);
        let log = scratch.join("log");
        let program = Program::start("t4 etcd", command, &log).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        EtcdCommand { program, endpoint, _scratch: scratch }
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.as_bytes().to_vec().into(), ..Default::default() }
}

/// A call of each kind that has a metric of its own: so that those are there
/// which are not before they have something to tell.
async fn use_everything(endpoint: &str) {
    let mut rpc = Rpc::connect(endpoint).await.expect("connect");
    rpc.kv.put(put("a", "b")).await.expect("put");
    rpc.kv.range(get("a")).await.expect("range");
    let delete = DeleteRangeRequest { key: b"a".to_vec().into(), ..Default::default() };
    rpc.kv.delete_range(delete).await.expect("delete");
    let success = vec![RequestOp { request: Some(Request::RequestPut(put("a", "c"))) }];
    rpc.kv.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
    let read = vec![RequestOp { request: Some(Request::RequestRange(get("a"))) }];
    rpc.kv.txn(TxnRequest { success: read, ..Default::default() }).await.expect("read-only txn");
    rpc.kv.compact(CompactionRequest { revision: 3, physical: true }).await.expect("compact");
    rpc.lease.lease_grant(LeaseGrantRequest { ttl: 100, id: 7 }).await.expect("grant");
    rpc.maintenance.hash(HashRequest {}).await.expect("hash");
    rpc.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("hash");
    rpc.maintenance.defragment(DefragmentRequest {}).await.expect("defragment");
    rpc.maintenance.status(StatusRequest {}).await.expect("status");
}

/// The answer to a GET, with its head: by HTTP/1.0, which has no chunks.
fn http_get(endpoint: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(endpoint).expect("connect");
    let request = format!("GET {path} HTTP/1.0\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("write");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("read");
    answer
}
