//! How a server ends: by a signal, by a second one, by an error that it cannot survive.

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, RangeRequest, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use t4_proto::grpc_health_v1::HealthCheckRequest;
use t4_proto::grpc_health_v1::health_client::HealthClient;
use t4_proto::v3electionpb::{CampaignRequest, LeaderRequest};
use t4_proto::v3lockpb::LockRequest;
use t4_testkit::{Program, Rpc, Scratch, T4, T4Options, free_port, t4_binary};

use tonic::Status;

use crate::{DEADLINE, READY, get, put, runtime, stderr, stdout, t4, without_own_variables};

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

/// What a stream that was open, or a call that was waiting, has ended with.
async fn end_of<T>(what: &str, next: impl Future<Output = Result<T, Status>>) {
    let next = tokio::time::timeout(DEADLINE, next).await;
    let next = next.unwrap_or_else(|_| panic!("{what} does not end"));
    let ended = next.err().unwrap_or_else(|| panic!("{what} has ended well"));
    // What a drain leaves over when its time is up is cut off, without a word.
    assert_eq!(ended.message(), "etcdserver: server stopped", "{what}: {ended:?}");
}

/// Streams that say nothing for minutes, and calls that wait for others, are ended by
/// the server: a stop that waits for them takes the whole time that a drain may take.
#[test]
fn sigterm_ends_whatever_waits() {
    let mut server = T4::start(T4Options::default()).expect("start");
    let runtime = runtime();
    let ends = runtime.block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        let mut leases = Vec::new();
        for _ in 0..2 {
            let request = LeaseGrantRequest { ttl: 1000, id: 0 };
            leases.push(rpc.lease.lease_grant(request).await.expect("grant").into_inner().id);
        }
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        requests.send(LeaseKeepAliveRequest { id: leases[0] }).await.expect("send");
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let kept = rpc.lease.lease_keep_alive(stream).await.expect("keep alive");
        let mut kept = kept.into_inner();
        kept.message().await.expect("renewed").expect("renewed");

        let mut health = HealthClient::new(rpc.channel.clone());
        let mut healths = Vec::new();
        for service in ["", "other"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut stream = health.watch(request).await.expect("health").into_inner();
            stream.message().await.expect("a state").expect("a state");
            healths.push(stream);
        }
        let campaign = |lease| {
            let (name, value) = ("election".into(), "v".into());
            CampaignRequest { name, lease, value }
        };
        rpc.election.campaign(campaign(leases[0])).await.expect("elected");
        let leader = LeaderRequest { name: "election".into() };
        let mut observed = rpc.election.observe(leader).await.expect("observe").into_inner();
        observed.message().await.expect("a leader").expect("a leader");
        let lock = |lease| LockRequest { name: "lock".into(), lease };
        rpc.lock.lock(lock(leases[0])).await.expect("locked");

        let mut ends = tokio::task::JoinSet::new();
        ends.spawn(async move { end_of("a keep-alive", kept.message()).await });
        for mut stream in healths {
            ends.spawn(async move { end_of("a watch of health", stream.message()).await });
        }
        ends.spawn(async move { end_of("an observer", observed.message()).await });
        let (mut locking, mut campaigning) = (rpc.lock.clone(), rpc.election.clone());
        let request = lock(leases[1]);
        ends.spawn(async move { end_of("a lock", locking.lock(request)).await });
        let request = campaign(leases[1]);
        ends.spawn(async move { end_of("a campaign", campaigning.campaign(request)).await });
        // Both wait in their lines.
        for prefix in ["lock/", "election/"] {
            let in_line = t4_testkit::poll_until_async("a place in line", DEADLINE, || {
                let mut kv = rpc.kv.clone();
                let range_end = format!("{}0", prefix.trim_end_matches('/')).into_bytes().into();
                let request = RangeRequest { range_end, count_only: true, ..get(prefix) };
                async move {
                    let count = kv.range(request).await?.into_inner().count;
                    anyhow::ensure!(count == 2, "{count}");
                    Ok(())
                }
            });
            in_line.await.expect("a place in line");
        }
        // The client's side of the keep-alive stays open.
        (ends, requests)
    });
    server.stop().expect("a clean end");
    let (mut ends, _requests) = ends;
    runtime.block_on(async {
        while let Some(end) = ends.join_next().await {
            end.expect("as a stop ends it");
        }
    });
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
