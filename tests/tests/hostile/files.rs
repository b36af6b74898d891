//! Clients that open connections until no file can be opened any more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use t4_testkit::{Metrics, Program, Rpc, Scratch, free_port, poll_until, t4_binary};

use crate::frames::hello;
use crate::{DEADLINE, get, put};

const READY: &str = "ready to serve client requests";
/// Values of this size make a segment of 2 MiB every four of them.
const LARGE: usize = 512 << 10;
const WRITES: usize = 90;

/// `t4 run` with so many open files.
struct Limited {
    program: Program,
    endpoint: String,
    metrics: String,
    _scratch: Scratch,
}

impl Limited {
    fn start(files: u64, flags: &[&str]) -> Limited {
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
        let program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        Limited { program, endpoint, metrics, _scratch: scratch }
    }

    fn metric(&self, name: &str) -> u64 {
        Metrics::read(&self.metrics).expect("metrics").sample(name).expect(name)
    }
}

/// Connects until nobody answers any more. The last ones wait to be accepted: they
/// are accepted in order, so that none behind one that is not will be.
fn crowd(endpoint: &str, most: usize) -> (Vec<TcpStream>, usize) {
    let mut crowd = Vec::new();
    let mut served = 0;
    let mut patience = Duration::from_secs(10);
    for _ in 0..most {
        let mut stream = TcpStream::connect(endpoint).expect("the kernel takes it");
        stream.write_all(&hello()).expect("say hello");
        stream.set_read_timeout(Some(patience)).expect("a socket");
        let greeted = stream.read_exact(&mut [0; 9]).is_ok();
        served += usize::from(greeted);
        if !greeted {
            patience = Duration::from_millis(50);
        }
        crowd.push(stream);
        if !greeted && crowd.len() >= served + 20 {
            break;
        }
    }
    (crowd, served)
}

#[tokio::test]
async fn connections_up_to_the_limit_of_open_files_stop_no_write() {
    // Small segments are many files: too many for 64.
    let small: &[&str] = &["--segment-max-size-mb=2"];
    for (files, flags) in [(64, &[] as &[&str]), (256, small), (1024, small)] {
        let mut t4 = Limited::start(files, flags);
        let mut rpc = Rpc::connect(&t4.endpoint).await.expect("connect");
        let max = t4.metric("t4_connections_max");
        let (crowd, served) = crowd(&t4.endpoint, files as usize + 100);
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
        let mut late = Rpc::connect(&t4.endpoint).await.expect("connect when there is room");
        late.kv.put(put("late", vec![])).await.expect("a write of a new client");
        let room = poll_until("there is room again", DEADLINE, || {
            TcpStream::connect(&t4.endpoint)?;
            ensure!(told(&t4, "there is room for connections again") == 1, "not told");
            Ok(())
        });
        room.expect("told");
        t4.program.terminate().expect("signal");
        assert!(t4.program.wait(DEADLINE).expect("end").success());
    }
}
