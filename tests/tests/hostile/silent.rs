//! Peers that are gone without a word.
//!
//! Those that never begin to speak wait for longer than a test may: that they
//! are cut off is tested in `t4-server` (`opening`), with time of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::frames::{GOAWAY, PING, hello, kinds};
use crate::raw::RawConnection;
use crate::{DEADLINE, assert_log_is_calm, assert_served, connect, t4};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_no_probe_is_dropped() {
    let flags = ["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"];
    let mut t4 = t4(&flags);
    let mut rpc = connect(t4.endpoint()).await;
    // It is idle as the other, but answers.
    let alive = RawConnection::open(t4.endpoint()).await;

    let endpoint = t4.endpoint().to_owned();
    let silent = tokio::task::spawn_blocking(move || {
        let mut silent = TcpStream::connect(endpoint).expect("connect");
        silent.set_read_timeout(Some(DEADLINE)).expect("a socket");
        silent.write_all(&hello()).expect("say hello");
        let mut heard = Vec::new();
        match silent.read_to_end(&mut heard) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("not dropped: {error}"),
        }
        heard
    });
    let heard = kinds(&silent.await.expect("the silent peer"));
    assert!(heard.contains(&PING), "it was asked before: {heard:?}");
    println!("dropped after frames {heard:?}, GOAWAY {}", heard.contains(&GOAWAY));

    let path = "/etcdserverpb.KV/Range";
    let answer = alive.call(path, &[], crate::raw::framed(&crate::get("k"))).await;
    assert!(answer.expect("who answers stays").status.is_some());
    assert_served(&mut rpc, "after").await;
    assert_log_is_calm(&mut t4, 0);
}
