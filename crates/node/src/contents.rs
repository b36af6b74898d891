//! What a directory holds before it is taken for a data directory: a start must
//! not put an empty store beside somebody else's files, whose keys its clients
//! would then miss without a word.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::data_dir::{parse_identity, read_file};
use crate::error::OpenError;

/// What a data directory is found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing of a node yet, and nothing of anybody else: a node may start
    /// empty there. The directory may be missing.
    Fresh,
    /// A node has run there.
    InUse,
}

/// What makes a directory somebody's whose node is not ours.
#[derive(Debug, PartialEq, Eq)]
enum Foreign<'a> {
    /// etcd's `member` directory.
    OfEtcd,
    /// Files that nobody here made; one of them.
    Unknown(&'a OsStr),
}

impl Contents {
    /// Looks at a directory, and changes nothing.
    ///
    /// # Errors
    /// What a node would refuse to start with: it is no directory, it cannot be
    /// read, it holds the data of an etcd, or files that are not T4's.
    pub fn of(dir: &Path) -> Result<Contents, OpenError> {
        let failed = |source| OpenError::DataDir { path: dir.to_owned(), op: "read", source };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                return match error.kind() {
                    // Also where a part of the path is a file: making it fails,
                    // and says which.
                    ErrorKind::NotFound => Ok(Contents::Fresh),
                    ErrorKind::NotADirectory if dir.symlink_metadata().is_err() => {
                        Ok(Contents::Fresh)
                    }
                    ErrorKind::NotADirectory => {
                        Err(OpenError::NotADirectory { path: dir.to_owned() })
                    }
                    _ => Err(failed(error)),
                };
            }
        };
        let entries: io::Result<Vec<_>> = entries.collect();
        let entries = entries.map_err(failed)?;
        let names: Vec<_> = entries.iter().map(|entry| (entry.file_name(), kind(entry))).collect();
        if names.iter().any(|(name, _)| name == "IDENTITY") {
            return Ok(Contents::InUse);
        }
        match foreign(names.iter().map(|(name, kind)| (name.as_os_str(), *kind))) {
            None => Ok(Contents::Fresh),
            Some(Foreign::OfEtcd) => Err(OpenError::OfEtcd { path: dir.to_owned() }),
            Some(Foreign::Unknown(name)) => {
                Err(OpenError::Foreign { path: dir.to_owned(), file: PathBuf::from(name) })
            }
        }
    }
}

impl Contents {
    /// The same, and whether a node could write there, now or once it has made
    /// the directory; and whether its identity is sound. The data itself is not
    /// looked at, nor whether a node runs there.
    ///
    /// # Errors
    /// What a node would refuse to start with.
    pub fn usable(dir: &Path) -> Result<Contents, OpenError> {
        let contents = Contents::of(dir)?;
        if contents == Contents::InUse {
            let path = dir.join("IDENTITY");
            let bytes = read_file(&path).map_err(|source| OpenError::DataDir {
                path: path.clone(),
                op: "read",
                source,
            })?;
            parse_identity(&bytes).map_err(|what| OpenError::Identity { path, what })?;
        }
        // What is missing is made below the first that is there.
        let there = dir.ancestors().find(|above| above.symlink_metadata().is_ok());
        let there = there.unwrap_or_else(|| Path::new("."));
        let failed = |op| {
            let path = there.to_owned();
            move |source: io::Error| OpenError::DataDir { path, op, source }
        };
        if !there.is_dir() {
            return Err(failed("create a directory in")(ErrorKind::NotADirectory.into()));
        }
        access(there, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|errno| failed("write to")(errno.into()))?;
        Ok(contents)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    /// A file, or what cannot be told.
    File,
    /// What a server listens on.
    Socket,
}

fn kind(entry: &fs::DirEntry) -> Kind {
    use std::os::unix::fs::FileTypeExt;
    match entry.file_type() {
        Ok(kind) if kind.is_dir() => Kind::Directory,
        Ok(kind) if kind.is_socket() => Kind::Socket,
        _ => Kind::File,
    }
}

/// What of the entries of a directory without an identity is not ours; of
/// several, the first by name, so that the same directory is told the same.
fn foreign<'a>(entries: impl Iterator<Item = (&'a OsStr, Kind)>) -> Option<Foreign<'a>> {
    let mut unknown: Option<&OsStr> = None;
    for (name, kind) in entries {
        if name == "member" && kind == Kind::Directory {
            return Some(Foreign::OfEtcd);
        }
        if !is_expected(name, kind) && unknown.is_none_or(|known| name < known) {
            unknown = Some(name);
        }
    }
    unknown.map(Foreign::Unknown)
}

/// What may be in a directory before the first start is done: what a start that
/// was cut short has made, and what file systems and administrators keep at the
/// root of a volume.
fn is_expected(name: &OsStr, kind: Kind) -> bool {
    const OURS: [&str; 6] = ["LOCK", "IDENTITY.new", "log", "state", "fixtures", "lost+found"];
    kind == Kind::Socket
        || name.as_encoded_bytes().starts_with(b".")
        || OURS.iter().any(|ours| name == *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dir: &Path) -> Result<Contents, String> {
        Contents::of(dir).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fresh_directory_may_hold_what_a_volume_or_a_first_start_leaves() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(of(&scratch.path().join("missing")), Ok(Contents::Fresh));
        assert_eq!(of(scratch.path()), Ok(Contents::Fresh));
        for dir in ["lost+found", "fixtures", ".snapshot", "log", "state"] {
            fs::create_dir(scratch.path().join(dir)).unwrap();
        }
        fs::write(scratch.path().join("LOCK"), b"").unwrap();
        let socket = std::os::unix::net::UnixListener::bind(scratch.path().join("t4.sock"));
        assert_eq!(of(scratch.path()), Ok(Contents::Fresh));
        drop(socket);
        fs::write(scratch.path().join("IDENTITY"), b"").unwrap();
        fs::write(scratch.path().join("x"), b"").unwrap();
        assert_eq!(of(scratch.path()), Ok(Contents::InUse), "what stands beside it is no matter");
    }

    #[test]
    fn what_could_be_used_is_told_without_making_anything() {
        let scratch = tempfile::tempdir().unwrap();
        let usable = |path: &str| Contents::usable(&scratch.path().join(path));
        assert_eq!(usable("a/b/c").unwrap(), Contents::Fresh);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is made");
        fs::write(scratch.path().join("file"), b"").unwrap();
        let told = usable("file/a").unwrap_err().to_string();
        assert!(told.contains("cannot create a directory in") && told.contains("file"), "{told}");
        fs::create_dir(scratch.path().join("used")).unwrap();
        fs::write(scratch.path().join("used/IDENTITY"), b"nonsense").unwrap();
        assert!(matches!(usable("used"), Err(OpenError::Identity { .. })));
    }

    #[test]
    fn somebody_elses_directory_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        for name in ["zebra.txt", "backup.db"] {
            fs::write(dir.join(name), b"").unwrap();
        }
        let told = of(dir).unwrap_err();
        assert!(told.contains("not a T4 data directory") && told.contains("backup.db"), "{told}");
        fs::create_dir(dir.join("member")).unwrap();
        let told = of(dir).unwrap_err();
        assert!(told.contains("holds the data of an etcd"), "{told}");
        let told = of(&dir.join("zebra.txt")).unwrap_err();
        assert!(told.contains("is not a directory"), "{told}");
        assert_eq!(of(&dir.join("zebra.txt/below")), Ok(Contents::Fresh), "making it fails");
    }
}
