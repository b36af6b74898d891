//! Starts on a disk that fails: a first one, and one on data that is there.

use std::fs;
use std::process::Command;

use t4_testkit::{Program, Rpc, Scratch, Seed, SmallDisk, free_port};

use crate::cases::one_of;
use crate::injection::{Fault, Injection, injected, is_possible};
use crate::writers::{Outcome, Writes, acknowledged, assert_kept, put};
use crate::{COMMAND, DEADLINE, READY, Server, assert_no_backtrace, run};

/// Starts a server on `data` whose `calls` to `path` fail, which it must not
/// survive; its last words name the file. Returns them.
fn assert_refuses(
    scratch: &Scratch,
    calls: &'static str,
    error: &'static str,
    path: &str,
) -> String {
    let what = format!("{calls} of {path}: {error}");
    println!("start: {what}");
    let data = scratch.join("data");
    let [listen, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let command: Command = run(&data, &listen, &metrics);
    let file = data.join(path).display().to_string();
    let fault = Fault { calls, error, when: "1+".to_owned(), paths: vec![file] };
    let trace = scratch.join("trace");
    let mut program = Injection::start(&command, &fault, &trace).expect("start");
    let status = program.wait(DEADLINE).expect(&what);
    assert!(injected(&trace) > 0, "{what}: no call has failed: {}", program.log_tail());
    assert_eq!(status.code(), Some(1), "{what}: {}", program.log_tail());
    // Without the ending of a temporary file.
    let name = path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or(path);
    let last = program.wait_for_line("t4: ", DEADLINE).expect(&what);
    assert!(last.contains(name), "{what}: {last}");
    let log = program.log();
    assert!(!log.iter().any(|line| line.contains(READY)), "{what}: {log:#?}");
    assert_no_backtrace(&log, &what);
    last
}

#[test]
fn a_first_start_that_fails_says_where_and_can_be_repeated() {
    if !is_possible() {
        return;
    }
    let seed = Seed::announce("first starts", COMMAND);
    let mut rng = seed.rng();
    let lacking = ["EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EDQUOT", "EIO", "EROFS"];
    let scratch = Scratch::new("disk_faults").expect("scratch");
    for (calls, path) in [
        // In the order in which they are made: what a failed start has made is
        // not made again.
        ("openat", "LOCK"),
        ("/^mkdir", "log"),
        ("openat", "log/next.tmp"),
        ("fallocate", "log/next.tmp"),
        ("/^rename", "log/next.tmp"),
        ("openat", "IDENTITY.new"),
        ("write", "IDENTITY.new"),
        ("openat", "state/MANIFEST.tmp"),
        ("/^rename", "state/MANIFEST.tmp"),
    ] {
        assert_refuses(&scratch, calls, one_of(&mut rng, &lacking), path);
    }
    for (calls, path) in [
        ("fsync", "IDENTITY.new"),
        ("fsync", "state/MANIFEST.tmp"),
        ("fsync", "state"),
        ("fdatasync", "log/next.tmp"),
    ] {
        let scratch = Scratch::new("disk_faults").expect("scratch");
        assert_refuses(&scratch, calls, one_of(&mut rng, &["EIO", "ENOSPC"]), path);
    }
    // What the failed starts have left behind is no obstacle.
    let [listen, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let command = run(&scratch.join("data"), &listen, &metrics);
    let program = Program::start("t4", command, &scratch.join("t4.log"));
    program.expect("start").wait_for_line(READY, DEADLINE).expect("ready");
}

#[test]
fn a_start_on_data_that_fails_loses_nothing() {
    if !is_possible() {
        return;
    }
    let seed = Seed::announce("later starts", COMMAND);
    let mut rng = seed.rng();
    let mut server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let writes = runtime.block_on(acknowledged(&server.endpoint, "kept", 200, 1000));
    server.program.kill().expect("kill");
    let segment = server.newest_segment();
    let segment = format!("log/{}", segment.rsplit('/').next().unwrap_or_default());
    let lacking = ["EMFILE", "ENOMEM", "EIO", "EACCES"];
    for path in ["LOCK", "IDENTITY", "state/MANIFEST", &segment] {
        assert_refuses(&server.scratch, "openat", one_of(&mut rng, &lacking), path);
    }
    for (calls, path) in [("read", "IDENTITY"), ("read", "state/MANIFEST"), ("pread64", &segment)] {
        assert_refuses(&server.scratch, calls, "EIO", path);
    }
    // A log that cannot be listed is not a log that is lost.
    for (calls, error) in [("openat", "EACCES"), ("openat", "EIO"), ("getdents64", "EIO")] {
        let last = assert_refuses(&server.scratch, calls, error, "log");
        assert!(!last.contains("missing") && !last.contains("is lost"), "{last}");
        assert!(last.contains("cannot read the directory"), "{last}");
    }
    // It writes the frames again that a sync may not have reached.
    assert_refuses(&server.scratch, "pwrite64", one_of(&mut rng, &["EIO", "ENOSPC"]), &segment);
    assert_refuses(&server.scratch, "fdatasync", one_of(&mut rng, &["EIO", "ENOSPC"]), &segment);
    server.start_again();
    runtime.block_on(assert_kept(&server.endpoint, &writes, "after failed starts"));
}

/// A start on a full disk, without injection: its last words name the file and
/// what was tried, and say how much room is needed; with that room it goes on.
#[test]
fn a_start_on_a_full_disk_says_how_much_room_it_needs() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let logs = Scratch::new("disk_faults").expect("scratch");
    let [listen, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let data = disk.join("data");
    let log = logs.join("t4.log");
    let start = || Program::start("t4", run(&data, &listen, &metrics), &log).expect("start");
    let refused = |of: &str| {
        let mut program = start();
        let status = program.wait(DEADLINE).expect(of);
        assert_eq!(status.code(), Some(1), "{of}: {}", program.log_tail());
        let last = program.log().last().cloned().unwrap_or_default();
        let told = [
            "t4: ",
            data.to_str().expect("UTF-8"),
            "No space left on device",
            "Free at least 2 MiB",
        ];
        assert!(told.iter().all(|part| last.contains(part)), "{of}: {last}");
        assert_no_backtrace(&program.log(), of);
        last
    };
    // A first start.
    let ballast = disk.fill().expect("fill");
    refused("a first start");
    fs::remove_file(&ballast).expect("free");

    // One whose segment of the log has no room for the first entry, nor the disk
    // for another segment.
    let mut program = start();
    program.wait_for_line(READY, DEADLINE).expect("ready");
    disk.fill().expect("fill");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let kept = runtime.block_on(fill_the_log(&listen));
    program.kill().expect("kill");
    let last = refused("a later start");
    assert!(last.contains("/log/next.tmp: create failed"), "{last}");

    fs::remove_file(&ballast).expect("free");
    let mut program = start();
    program.wait_for_line(READY, DEADLINE).expect("ready");
    runtime.block_on(assert_kept(&listen, &kept, "after a full disk"));
    program.terminate().expect("signal");
    assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(0));
}

/// Writes until not even the smallest value is taken.
async fn fill_the_log(endpoint: &str) -> Writes {
    let mut rpc = Rpc::connect(endpoint).await.expect("connect");
    let mut kept = Writes::new();
    for bytes in [100 << 10, 1 << 10, 64, 1, 0] {
        for number in 0.. {
            let key = format!("{bytes}/{number}").into_bytes();
            if rpc.kv.put(put(&key, bytes)).await.is_err() {
                break;
            }
            kept.insert(key, Outcome::Acknowledged);
            assert!(number < 1000, "the disk does not get full");
        }
    }
    kept
}
