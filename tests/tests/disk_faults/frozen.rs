//! A disk that hangs: a file system that was frozen, as for a snapshot, or as a
//! network disk that has gone away. Needs the right to make a file system.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use t4_testkit::{Program, Rpc, Scratch, free_port};
use tonic::Code;

use crate::writers::{acknowledged, assert_kept, put, put_at_last};
use crate::{DEADLINE, READY, assert_no_backtrace, run};

/// A file system in a file, which can be frozen.
struct Disk {
    device: String,
    // Last: the directory goes away after what is mounted there.
    scratch: Scratch,
}

fn tool(name: &str, args: &[&str]) -> Result<Output, String> {
    let output = Command::new(name).args(args).output().map_err(|e| format!("{name}: {e}"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(output) } else { Err(format!("{name}: {told}")) }
}

impl Disk {
    fn make() -> Result<Disk, String> {
        let scratch = Scratch::new("frozen").map_err(|error| error.to_string())?;
        let image = scratch.join("image").display().to_string();
        let mount = scratch.join("mount");
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        tool("truncate", &["--size=128M", &image])?;
        tool("mkfs.ext4", &["-q", "-F", &image])?;
        let attached = tool("losetup", &["--find", "--show", &image])?;
        let device = String::from_utf8_lossy(&attached.stdout).trim().to_owned();
        let disk = Disk { device, scratch };
        tool("mount", &[&disk.device, &disk.mount()])?;
        Ok(disk)
    }

    fn mount(&self) -> String {
        self.scratch.join("mount").display().to_string()
    }

    fn freeze(&self) -> Result<Output, String> {
        tool("fsfreeze", &["--freeze", &self.mount()])
    }

    fn thaw(&self) -> Result<Output, String> {
        tool("fsfreeze", &["--unfreeze", &self.mount()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A server that waits for the disk cannot end before.
        let _ = self.thaw();
        let _ = tool("umount", &["--lazy", &self.mount()]);
        let _ = tool("losetup", &["--detach", &self.device]);
    }
}

#[test]
fn a_disk_that_hangs_hangs_no_reader_and_loses_nothing() {
    let disk = match Disk::make() {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED: needs the right to make and freeze a file system: {why}");
            return;
        }
    };
    let [endpoint, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let data = disk.scratch.join("mount/data");
    let log = disk.scratch.join("t4.log");
    let start = || {
        let program = Program::start("t4", run(&data, &endpoint, &metrics), &log).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        program
    };
    let mut program = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let writes = acknowledged(&endpoint, "kept", 50, 1000).await;
        let mut rpc = Rpc::connect(&endpoint).await.expect("connect");
        if let Err(why) = disk.freeze() {
            eprintln!("SKIPPED: needs the right to freeze a file system: {why}");
            return;
        }
        // The first put is the entry that hangs; the second waits behind it, and
        // has a deadline of its own all the same.
        let mut took = [Duration::ZERO; 2];
        for took in &mut took {
            let begun = Instant::now();
            let waiting = tokio::time::timeout(DEADLINE, rpc.kv.put(put(b"hangs", 100))).await;
            let status =
                waiting.expect("an answer, be it that nothing is known").expect_err("hangs");
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert_eq!(status.message(), "etcdserver: request timed out");
            *took = begun.elapsed();
        }
        assert!(took[1] < 2 * took[0], "the first waited {:?}, the second {:?}", took[0], took[1]);
        let reading = assert_kept(&endpoint, &writes, "while the disk hangs");
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("reads are served");

        disk.thaw().expect("thaw");
        put_at_last(&endpoint, "after", DEADLINE).await.expect("writes are taken again");
        program.kill().expect("kill");
        assert_no_backtrace(&program.log(), "a frozen disk");
        program = start();
        assert_kept(&endpoint, &writes, "after the disk hung").await;
    });
}
