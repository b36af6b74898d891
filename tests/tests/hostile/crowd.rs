//! Ten thousand connections that do nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use t4_testkit::{T4, poll_until_async};

use crate::frames::hello;
use crate::{DEADLINE, MIB, assert_log_is_calm, assert_served, connect, t4};

const WANTED: u64 = 10_000;
const FEWEST: u64 = 1_000;
/// Files that this process and the server need beside the connections.
const SPARE_FILES: u64 = 500;
/// So many at a time, as the kernel completes and holds only thousands that
/// the server has not accepted.
const AT_A_TIME: usize = 250;

/// Memory of the server for a connection that is idle. Measured: see the
/// output; this has room for another allocator and other versions of HTTP/2.
const BYTES_PER_CONNECTION_MAX: u64 = 48 * 1024;

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_leave_nothing() {
    let count = connections_allowed(WANTED);
    let mut t4 = t4(&[]);
    let memory = t4.memory();
    let mut rpc = connect(t4.endpoint()).await;
    assert_served(&mut rpc, "before").await;
    let files_before = open_files(&mut t4);
    let before = memory.resident();

    let crowd = gather(t4.endpoint(), count);
    assert_served(&mut rpc, "among many").await;
    assert_served(&mut connect(t4.endpoint()).await, "one more").await;
    let first = memory.resident().saturating_sub(before);
    println!("{count} connections: {} B of memory each", first / count);
    assert!(first / count <= BYTES_PER_CONNECTION_MAX, "{} B each", first / count);

    disperse(crowd, files_before, &mut t4).await;

    // If memory stayed for each that has gone, the third crowd would cost
    // three times as much as the first.
    for round in ["the second time", "the third time"] {
        let crowd = gather(t4.endpoint(), count);
        assert_served(&mut rpc, round).await;
        let again = memory.resident().saturating_sub(before);
        println!("{round}: {} B each", again / count);
        assert!(again <= first + first / 3 + 8 * MIB, "{first} B, {round} {again} B");
        disperse(crowd, files_before, &mut t4).await;
    }
    assert_served(&mut rpc, "after").await;
    assert_log_is_calm(&mut t4, 0);
}

/// As many as are wanted, or as the limit of open files allows.
pub(crate) fn connections_allowed(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("raise the limit of open files to its maximum");
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = wanted.min(files.saturating_sub(SPARE_FILES));
    if count < wanted {
        println!("{files} open files are allowed: {count} connections instead of {wanted}");
    }
    assert!(count >= FEWEST, "{files} open files are too few for this test");
    count
}

/// Connections that have said hello and been greeted.
fn gather(endpoint: &str, count: u64) -> Vec<TcpStream> {
    let mut crowd: Vec<TcpStream> = Vec::new();
    while (crowd.len() as u64) < count {
        let met = crowd.len();
        for _ in 0..AT_A_TIME.min(count as usize - met) {
            let mut stream = TcpStream::connect(endpoint).expect("connect");
            stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
            stream.write_all(&hello()).expect("say hello");
            crowd.push(stream);
        }
        for stream in &mut crowd[met..] {
            // The header of its settings: it is being served.
            stream.read_exact(&mut [0; 9]).expect("a greeting");
        }
    }
    crowd
}

/// All of them go, and the server has noticed.
async fn disperse(crowd: Vec<TcpStream>, files_before: usize, t4: &mut T4) {
    drop(crowd);
    let noticed = poll_until_async("the connections are closed", DEADLINE, || {
        let files = open_files(t4);
        async move {
            ensure!(files <= files_before + 10, "{files} files, {files_before} before");
            anyhow::Ok(())
        }
    });
    noticed.await.expect("closed");
}

fn open_files(t4: &mut T4) -> usize {
    let pid = t4.program().pid();
    fs::read_dir(format!("/proc/{pid}/fd")).expect("files of the server").count()
}
