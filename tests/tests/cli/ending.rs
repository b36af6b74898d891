//! How a server ends: by a signal, by a second one, by an error that it cannot survive.

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use t4_testkit::{Program, Rpc, Scratch, T4, T4Options, free_port, t4_binary};

use crate::{DEADLINE, READY, put, runtime, stderr, stdout, t4, without_own_variables};

// A watch stream that stays open until it is dropped.
struct OpenWatch {
    _requests: tokio::sync::mpsc::Sender<WatchRequest>,
    responses: tonic::Streaming<WatchResponse>,
}

async fn open_watch(rpc: &mut Rpc) -> OpenWatch {
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let create = WatchCreateRequest { key: b"/".to_vec().into(), ..Default::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.send(create).await.expect("send");
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut responses = rpc.watch.watch(stream).await.expect("watch").into_inner();
    let created = responses.message().await.expect("created").expect("a message");
    assert!(created.created);
    OpenWatch { _requests: requests, responses }
}

#[test]
fn sigterm_does_not_wait_for_watchers() {
    let runtime = runtime();
    let mut server = T4::start(T4Options::default()).expect("start");
    // The promise is 2 s. The best of three, because the machine that runs
    // the suites may be busy with others.
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut watches = runtime.block_on(async {
            let mut watches = Vec::new();
            for _ in 0..10 {
                let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
                for _ in 0..10 {
                    watches.push(open_watch(&mut rpc).await);
                }
            }
            watches
        });
        let begun = Instant::now();
        server.stop().expect("a clean end");
        best = best.min(begun.elapsed());
        for watch in &mut watches {
            // Ended by the server, in whichever way.
            let ended = runtime.block_on(watch.responses.message());
            assert!(!matches!(ended, Ok(Some(ref event)) if !event.canceled), "{ended:?}");
        }
        server.start_again().expect("start");
    }
    assert!(best < Duration::from_secs(2), "{best:?}");
}

#[test]
fn a_second_signal_ends_a_drain() {
    let mut server = T4::start(T4Options::default()).expect("start");
    // A call that never ends: half a request.
    let mut half = std::net::TcpStream::connect(server.endpoint()).expect("connect");
    half.write_all(b"POST /v3/kv/put HTTP/1.1\r\nHost: t4\r\nContent-Length: 100\r\n\r\n{")
        .expect("write");
    // It is answered before its end, so an answer shows that it is under way.
    half.read_exact(&mut [0]).expect("an answer");
    let program = server.program();
    program.terminate().expect("signal");
    program.wait_for_line("draining", DEADLINE).expect("told");
    program.interrupt().expect("signal");
    let code = program.wait(DEADLINE).expect("end").code();
    assert_eq!(code, Some(130), "{}", program.log_tail());
    assert!(program.log_tail().contains("ending at once"));
    let mut rest = Vec::new();
    // Reset or closed.
    let _ = half.read_to_end(&mut rest);
    server.start_again().expect("nothing is broken");
}

/// What `timeout` does: it signals the process, and then the process's group. The
/// best of five, because a busy machine may take more than the moment within
/// which they are one.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let mut server = T4::start(T4Options::default()).expect("start");
    for _ in 0..5 {
        // A call that never ends, so that the drain takes its time.
        let mut half = std::net::TcpStream::connect(server.endpoint()).expect("connect");
        half.write_all(b"POST /v3/kv/put HTTP/1.1\r\nHost: t4\r\nContent-Length: 100\r\n\r\n{")
            .expect("write");
        half.read_exact(&mut [0]).expect("an answer");
        let program = server.program();
        program.terminate().expect("signal");
        // The first was taken: they cannot become one on their way.
        program.wait_for_line("draining", DEADLINE).expect("told");
        program.terminate().expect("signal");
        match program.wait(DEADLINE).expect("end").code() {
            Some(0) => return,
            code => assert_eq!(code, Some(143), "{}", program.log_tail()),
        }
        server.start_again().expect("start");
    }
    panic!("a second signal has ended every drain");
}

#[test]
fn a_fatal_error_ends_the_process_with_a_line_in_the_log() {
    let scratch = Scratch::new("cli").expect("scratch");
    let endpoint = format!("127.0.0.1:{}", free_port());
    // Files of more than 6 MiB are refused: the second segment of the log
    // cannot be made, for a reason that waiting does not cure.
    let script = "trap '' XFSZ; ulimit -f 12288; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(t4_binary().expect("a t4 to test"));
    without_own_variables(&mut command);
    command
        .args(["run", "--metrics-addr=", "--segment-max-size-mb=64", "--listen", &endpoint])
        .arg("--data-dir")
        .arg(scratch.join("data"));
    let mut program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
    program.wait_for_line(READY, DEADLINE).expect("ready");
    let value = "v".repeat(1 << 20);
    let acknowledged = runtime().block_on(async {
        let mut rpc = Rpc::connect(&endpoint).await.expect("connect");
        let mut acknowledged = 0;
        while rpc.kv.put(put(&format!("{acknowledged}"), &value)).await.is_ok() {
            acknowledged += 1;
            assert!(acknowledged < 1000, "no write has failed");
        }
        acknowledged
    });
    assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(1), "{}", program.log_tail());
    let log = program.log_tail();
    assert!(log.contains("ERROR") && log.contains("the node cannot go on"), "{log}");
    let dir = format!("--data-dir={}", scratch.join("data").display());
    let count = t4(&["inspect", "count", &dir]);
    assert_eq!(stdout(&count).trim(), acknowledged.to_string(), "{}", stderr(&count));
}
