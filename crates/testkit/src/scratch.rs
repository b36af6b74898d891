//! A directory that a test owns, removed with its owner.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::target_dir;

/// A fresh directory under the target directory, removed when dropped. It
/// stays, and its path is printed, when `T4_KEEP_SCRATCH` is set or when the
/// test is failing: the data of a failed run is evidence.
#[derive(Debug)]
pub struct Scratch {
    // `None` only while it is being dropped.
    dir: Option<tempfile::TempDir>,
}

impl Scratch {
    /// A directory whose name begins with `name`.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn new(name: &str) -> anyhow::Result<Scratch> {
        let parent = target_dir().join("scratch");
        std::fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&parent)?;
        Ok(Scratch { dir: Some(dir) })
    }

    /// The path of the directory.
    ///
    /// # Panics
    /// Never: only `drop` takes the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("a scratch directory lives until it is dropped").path()
    }

    /// A path inside the directory.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let keep = std::thread::panicking() || std::env::var_os("T4_KEEP_SCRATCH").is_some();
        if let (true, Some(dir)) = (keep, self.dir.take()) {
            eprintln!("kept: {}", dir.keep().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn a_scratch_directory_goes_away_with_its_owner() {
        let scratch = Scratch::new("testkit").expect("scratch");
        let path = scratch.path().to_path_buf();
        std::fs::write(scratch.join("file"), b"x").expect("write");
        assert!(path.join("file").exists());
        drop(scratch);
        assert_eq!(path.exists(), std::env::var_os("T4_KEEP_SCRATCH").is_some());
    }
}
