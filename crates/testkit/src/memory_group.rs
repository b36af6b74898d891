//! A control group that limits the memory of the programs started in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::poll_until;

/// The time limit for the kernel to remove a killed program from the group.
const EMPTY_DEADLINE: Duration = Duration::from_secs(10);

/// A separate control group, removed when dropped. The kernel kills programs in
/// it that need more memory than it allows.
#[derive(Debug)]
pub struct MemoryGroup {
    dir: PathBuf,
}

impl MemoryGroup {
    /// Creates a group that allows `bytes` of memory, in either version of
    /// control groups. The kernel counts the page cache too, and reclaims it
    /// first.
    ///
    /// # Errors
    /// When this process may not create a group, as in most containers and for
    /// users other than root.
    pub fn create(bytes: u64) -> anyhow::Result<MemoryGroup> {
        let name = format!("t4-test-{}-{}", std::process::id(), crate::free_port());
        let mut reasons = Vec::new();
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            match Self::create_in(&Path::new(root).join(&name), limit, bytes) {
                Ok(group) => return Ok(group),
                Err(reason) => reasons.push(format!("{reason:#}")),
            }
        }
        bail!("no control group for memory can be made: {}", reasons.join("; "))
    }

    fn create_in(dir: &Path, limit: &str, bytes: u64) -> anyhow::Result<MemoryGroup> {
        fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        let group = MemoryGroup { dir: dir.to_path_buf() };
        let limit = dir.join(limit);
        // Without the memory controller the folder exists, but not the file.
        ensure!(limit.is_file(), "{} is not there", limit.display());
        fs::write(&limit, bytes.to_string()).with_context(|| limit.display().to_string())?;
        Ok(group)
    }

    /// A command that moves itself into the group and then executes `program`.
    /// The caller adds arguments and environment.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"");
        command.arg(self.dir.join("cgroup.procs")).arg(program);
        command
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let removed =
            poll_until("the group is empty", EMPTY_DEADLINE, || Ok(fs::remove_dir(&self.dir)?));
        if let Err(error) = removed {
            eprintln!("{}: {error:#}", self.dir.display());
        }
    }
}
