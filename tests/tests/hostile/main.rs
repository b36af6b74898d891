//! Clients that mean harm, or whose network or author does: a real server
//! withstands them, in bounded memory, and nobody else notices.
//!
//! * `crowd`: ten thousand connections that do nothing.
//! * `deaf`: clients that ask and do not read.
//! * `files`: connections until no file can be opened.
//! * `silent`: peers that are gone without a word.
//! * `handshakes`: TLS that fails, in every way.
//! * `noise`: what is not HTTP/2, and what is a flood of it.
//! * `calls`: HTTP/2 that is not gRPC, or not quite.
//! * `floods`: floods that last, and what others notice of them.
//! * `history`: watches that catch up and are not read.
//! * `innocent`: much at once from clients that do nothing wrong.
//! * `open_calls`: calls that are open, and watchers, beyond any number.
//! * `unread`: what many clients do not read, or do not end.
//! * `watchers`: a hundred thousand of them.
//! * `values`: good gRPC that asks for what cannot be.
//!
//! Memory is measured as the kernel counts it for the server's process.

mod bystander;
mod calls;
mod crowd;
mod deaf;
mod files;
mod floods;
mod frames;
mod handshakes;
mod history;
mod innocent;
mod noise;
mod open_calls;
mod raw;
mod silent;
mod unread;
mod values;
mod watchers;

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use t4_proto::etcdserverpb::{PutRequest, RangeRequest};
use t4_testkit::{Rpc, T4, T4Options};

const DEADLINE: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

fn t4(flags: &[&str]) -> T4 {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    T4::start(T4Options { flags, ..T4Options::default() }).expect("start t4")
}

async fn connect(endpoint: &str) -> Rpc {
    Rpc::connect(endpoint).await.expect("connect")
}

fn put(key: &str, value: Vec<u8>) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        ..PutRequest::default()
    }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..RangeRequest::default() }
}

/// Everybody else: writes and reads back what was written.
async fn assert_served(rpc: &mut Rpc, value: &str) {
    rpc.kv.put(put("bystander", value.into())).await.expect("a put of somebody else");
    let found = rpc.kv.range(get("bystander")).await.expect("a get of somebody else").into_inner();
    assert_eq!(found.kvs[0].value, value.as_bytes());
}

/// The memory of a process.
struct Memory {
    pid: u32,
}

impl Memory {
    fn of(t4: &mut T4) -> Memory {
        Memory { pid: t4.program().pid() }
    }

    /// What it has in RAM now, in bytes.
    fn resident(&self) -> u64 {
        self.field("VmRSS:")
    }

    /// Forgets the peak that was.
    fn begin_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").expect("reset the peak");
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

/// That a client does harm is no reason to call a person, and at most one line
/// each for so many attacks. How slow something was is the machine's doing.
fn assert_log_is_calm(t4: &mut T4, attacks: usize) {
    let slow = ["apply request took too long", "request stats", "slow fdatasync"];
    let mut log = t4.program().log();
    log.retain(|line| !slow.iter().any(|words| line.contains(words)));
    let count = |level| log.iter().filter(|line| line.contains(level)).count();
    let (warnings, errors) = (count(" WARN "), count(" ERROR "));
    assert!(errors == 0 && warnings <= attacks, "{}", t4.program().log_tail());
}
