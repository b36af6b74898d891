//! A small file system for tests that fill it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use crate::Scratch;

/// A small file system, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(Scratch);

impl SmallDisk {
    /// Mounts a file system of `megabytes` MiB. Without the right to mount one,
    /// prints a line that says so and returns `None`.
    #[must_use]
    pub fn mount(megabytes: u32) -> Option<SmallDisk> {
        SmallDisk::try_mount(megabytes)
            .inspect_err(|why| eprintln!("SKIPPED: needs the right to mount a tmpfs: {why}"))
            .ok()
    }

    fn try_mount(megabytes: u32) -> anyhow::Result<SmallDisk> {
        let scratch = Scratch::new("disk")?;
        let options = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(scratch.path())
            .output()?;
        ensure!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
        Ok(SmallDisk(scratch))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path on it.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Writes a file until nothing more fits, and returns its path.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn fill(&self) -> anyhow::Result<PathBuf> {
        let ballast = self.join("ballast");
        let mut file = File::create(&ballast)?;
        for piece in [1 << 20, 4096] {
            while file.write_all(&vec![b'b'; piece]).is_ok() {}
        }
        Ok(ballast)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a server under test may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
