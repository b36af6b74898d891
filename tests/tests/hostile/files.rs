//! Clients that open connections until no file can be opened any more.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use t4_testkit::{Metrics, PairFiles, Program, Scratch, free_port, poll_until, t4_binary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::frames::hello;
use crate::server::{Target, Transport};
use crate::{DEADLINE, get, put};

const READY: &str = "ready to serve client requests";
/// Values of this size make a segment of 2 MiB every four of them.
const LARGE: usize = 512 << 10;
const WRITES: usize = 90;
/// A connection that is not served within this waits for others to go. They are
/// accepted in order: none behind the first that waits is served either.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_BEHIND: Duration = Duration::from_millis(50);
/// So many of them wait in the end.
const WAITING: usize = 20;

/// `t4 run` with so many open files.
struct Limited {
    program: Program,
    target: Target,
    metrics: String,
    _scratch: Scratch,
}

impl Limited {
    fn start(transport: Transport, files: u64, flags: &[&str]) -> Limited {
        let scratch = Scratch::new("files").expect("scratch");
        let [endpoint, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\""));
        command.arg(t4_binary().expect("a t4 to test"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("T4_") {
                command.env_remove(name);
            }
        }
        command.args(["run", "--listen", &endpoint]).args(flags);
        command.args(["--metrics-addr", &metrics, "--data-dir"]).arg(scratch.join("data"));
        let (shown, target) = transport.target(&endpoint);
        if let Some(PairFiles { cert, key }) = shown {
            command.arg("--client-tls-cert").arg(cert).arg("--client-tls-key").arg(key);
        }
        let program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        Limited { program, target, metrics, _scratch: scratch }
    }

    fn metric(&self, name: &str) -> u64 {
        Metrics::read(&self.metrics).expect("metrics").sample(name).expect(name)
    }
}

/// Connects until nobody answers any more. The last ones wait to be accepted. They
/// end when what is returned is dropped.
async fn crowd(target: &Target, most: usize) -> (JoinSet<()>, usize) {
    let (mut crowd, mut served) = (JoinSet::new(), 0);
    let mut patience = PATIENCE;
    for _ in 0..most {
        let (greeted, served_now) = oneshot::channel();
        let target = target.clone();
        crowd.spawn(async move {
            // The kernel takes it in any case.
            let mut stream = target.stream().await.expect("connect");
            stream.write_all(&hello()).await.expect("say hello");
            stream.read_exact(&mut [0; 9]).await.expect("a greeting");
            let _ = greeted.send(());
            std::future::pending().await
        });
        let served_now = tokio::time::timeout(patience, served_now).await.is_ok();
        served += usize::from(served_now);
        if !served_now {
            patience = PATIENCE_BEHIND;
        }
        if !served_now && crowd.len() >= served + WAITING {
            break;
        }
    }
    (crowd, served)
}

over_both_transports! {
    connections_up_to_the_limit_of_open_files_stop_no_write,
}

async fn connections_up_to_the_limit_of_open_files_stop_no_write(transport: Transport) {
    // Small segments are many files: too many for 64.
    let small: &[&str] = &["--segment-max-size-mb=2"];
    for (files, flags) in [(64, &[] as &[&str]), (256, small), (1024, small)] {
        let mut t4 = Limited::start(transport, files, flags);
        let mut rpc = t4.target.rpc().await;
        let max = t4.metric("t4_connections_max");
        let (crowd, served) = crowd(&t4.target, files as usize + 100).await;
        println!("{files} open files: {served} connections served, {max} allowed");
        assert!(served as u64 + 4 >= max && served as u64 <= max, "{served} of {max}");
        assert!(files < 1024 || max > files - 280, "{max} of {files}: the reserve is too large");

        // The log goes through many segments, and the key space is sealed.
        for number in 0..WRITES {
            let request = put(&format!("{number}"), vec![b'v'; LARGE]);
            rpc.kv.put(request).await.expect("a write among so many connections");
        }
        let found = rpc.kv.range(get("0")).await.expect("a read").into_inner();
        assert_eq!(found.count, 1);
        // Metrics and health are still to be had, and say what is the matter.
        assert_eq!(t4.metric("t4_connections_held_back_total"), 1);
        assert_eq!(t4.metric("t4_resources_exhausted"), 0);
        assert!(t4.metric("process_open_fds") < files);
        let told = |t4: &Limited, text| {
            let log = t4.program.log();
            log.iter().filter(|line| line.contains(text)).count()
        };
        t4.program.wait_for_line("new connections wait", DEADLINE).expect("told");
        assert_eq!(told(&t4, "new connections wait"), 1);
        assert_eq!(told(&t4, " ERROR "), 0, "{}", t4.program.log_tail());

        // Those that have waited are served when the others go.
        drop(crowd);
        let mut late = t4.target.rpc().await;
        late.kv.put(put("late", vec![])).await.expect("a write of a new client");
        let room = poll_until("there is room again", DEADLINE, || {
            std::net::TcpStream::connect(t4.target.endpoint())?;
            // Those that waited may fill all places once more before they go: another
            // episode, with two lines of its own.
            let [full, room] = ["new connections wait", "there is room for connections again"];
            let (full, room) = (told(&t4, full), told(&t4, room));
            ensure!(room == full && room <= 2, "{full} times full, {room} times room");
            Ok(())
        });
        room.expect("told");
        t4.program.terminate().expect("signal");
        assert!(t4.program.wait(DEADLINE).expect("end").success());
    }
}
