//! A disk that gets full under a server, and one that cannot be written to.
//! Both need the right to mount a tmpfs; without it they say that they are skipped.

use std::fs;
use std::process::Command;

use t4_testkit::{Program, Rpc, Scratch, SmallDisk, free_port, poll_until_async};
use tonic::Code;

use crate::{
    DEADLINE, READY, binary, get, put, refused_start, runtime, stderr, stdout, stopped_server, t4,
};

#[test]
fn a_read_only_disk_can_be_inspected_and_is_told_by_a_start() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let server = stopped_server();
    let copy = disk.join("data");
    let copied = Command::new("cp").arg("-a").arg(server.data_dir()).arg(&copy).status();
    assert!(copied.expect("cp").success());
    let remounted =
        Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().expect("mount");
    assert!(remounted.success());

    let count = t4(&["inspect", "count", &format!("--data-dir={}", copy.display())]);
    assert_eq!(stdout(&count), "1\n", "{}", stderr(&count));
    let told = refused_start(&copy);
    assert!(told.contains("Read-only file system") && told.contains("--data-dir"), "{told}");
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let logs = Scratch::new("cli").expect("scratch");
    let endpoint = format!("127.0.0.1:{}", free_port());
    let start = || {
        let mut command = binary();
        command
            .args(["run", "--metrics-addr=", "--segment-max-size-mb=2", "--listen", &endpoint])
            .arg("--data-dir")
            .arg(disk.join("data"));
        let program = Program::start("t4", command, &logs.join("t4.log")).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        program
    };
    let mut program = start();
    let ballast = disk.fill().expect("fill");
    let runtime = runtime();
    let value = "v".repeat(100 << 10);
    let mut acknowledged = Vec::new();
    runtime.block_on(async {
        let mut rpc = Rpc::connect(&endpoint).await.expect("connect");
        let refused = loop {
            let key = format!("/{}", acknowledged.len());
            match rpc.kv.put(put(&key, &value)).await {
                Ok(_) => acknowledged.push(key),
                Err(status) => break status,
            }
            assert!(acknowledged.len() < 1000, "the disk does not get full");
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        // Not the quota's text: that one has another remedy.
        assert!(refused.message().starts_with("t4: the disk of the data directory is full"));
        // It still reads, and one write that is refused leaves no trace.
        let found = rpc.kv.range(get("/0")).await.expect("read").into_inner();
        assert_eq!(found.count, 1);
        assert!(rpc.kv.put(put("/refused", &value)).await.is_err());
        for _ in 0..50 {
            rpc.kv.put(put("/refused", &value)).await.expect_err("the disk is full");
        }
    });
    // Not a line for each of them, to a disk that has no room for lines. How slow
    // something was is the machine's doing.
    program.wait_for_line("the disk of the data directory is full", DEADLINE).expect("told");
    let slow = ["took too long", "request stats", "slow fdatasync"];
    let mut log = program.log();
    log.retain(|line| !slow.iter().any(|words| line.contains(words)));
    let lines = |level: &str| log.iter().filter(|line| line.contains(level)).count();
    assert_eq!((lines(" WARN "), lines(" ERROR ")), (0, 1), "{}", program.log_tail());
    fs::remove_file(&ballast).expect("free space");
    runtime.block_on(async {
        let rpc = Rpc::connect(&endpoint).await.expect("connect");
        let after = poll_until_async("a write after space was freed", DEADLINE, || {
            let mut kv = rpc.kv.clone();
            let request = put("/after", &value);
            async move { Ok(kv.put(request).await?) }
        });
        after.await.expect("writes are taken again");
    });
    program.kill().expect("kill");
    let mut program = start();
    runtime.block_on(async {
        let mut rpc = Rpc::connect(&endpoint).await.expect("connect");
        for key in acknowledged.iter().map(String::as_str).chain(["/after"]) {
            let found = rpc.kv.range(get(key)).await.expect("read").into_inner();
            assert_eq!(found.count, 1, "{key} was acknowledged");
        }
        let found = rpc.kv.range(get("/refused")).await.expect("read").into_inner();
        assert_eq!(found.count, 0, "a refused write came back");
    });
    program.terminate().expect("signal");
    assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(0));
}
