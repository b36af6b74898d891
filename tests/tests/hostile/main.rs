//! Clients that mean harm, or whose network or author does: a real server
//! withstands them, in bounded memory, and nobody else notices.
//!
//! * `attacks`: floods, and what is begun and not ended, as any server can be made
//!   to endure; with `endure`, `bystander` and `server`, which measure it.
//! * `floods`: each of them against a T4 that has a GiB of memory: what others notice.
//! * `comparison`: each of them against T4 and a real etcd, as a table.
//! * `crowd`: ten thousand connections that do nothing.
//! * `deaf`: clients that ask and do not read.
//! * `files`: connections until no file can be opened.
//! * `silent`: peers that are gone without a word.
//! * `handshakes`: TLS that fails, in every way.
//! * `noise`: what is not HTTP/2, and what is a flood of it.
//! * `calls`: HTTP/2 that is not gRPC, or not quite.
//! * `history`: watches that catch up and are not read.
//! * `innocent`: much at once from clients that do nothing wrong.
//! * `open_calls`: calls that are open, and watchers, beyond any number.
//! * `unread`: what many clients do not read, or do not end.
//! * `values`: good gRPC that asks for what cannot be.
//!
//! Memory is measured as the kernel counts it for the server's process.

/// Makes two tests of each function of a transport: in plain text and over TLS.
macro_rules! over_both_transports {
    ($($test:ident,)+) => {
        mod plain {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::server::Transport::Plain).await;
            })+
        }

        mod tls {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::server::Transport::Tls).await;
            })+
        }
    };
}

mod attacks;
mod bystander;
mod calls;
mod comparison;
mod crowd;
mod deaf;
mod endure;
mod files;
mod floods;
mod frames;
mod handshakes;
mod history;
mod innocent;
mod noise;
mod open_calls;
mod raw;
mod server;
mod silent;
mod unread;
mod values;

use std::time::Duration;

use t4_testkit::requests::{get, get_prefix, put};
use t4_testkit::{Rpc, T4, T4Options, requests};

use crate::server::{Target, Transport};

const DEADLINE: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

fn t4(flags: &[&str]) -> T4 {
    T4::start(T4Options::flags(flags)).expect("start t4")
}

/// One that is spoken to so.
fn t4_over(transport: Transport, flags: &[&str]) -> (T4, Target) {
    println!("over {transport:?}");
    transport.t4(T4Options::flags(flags))
}

async fn connect(endpoint: &str) -> Rpc {
    Rpc::connect(endpoint).await.expect("connect")
}

/// Everybody else: writes and reads back what was written.
async fn assert_served(rpc: &mut Rpc, value: &str) {
    requests::write_and_read(rpc, value).await.expect("others are served");
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
