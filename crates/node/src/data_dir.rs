//! The data directory: its lock, its identity, and where its parts lie.
//!
//! ```text
//! <data-dir>/LOCK        held while a process uses the directory
//!            IDENTITY    who this replica is (docs/formats/identity.md)
//!            log/        the log's segments
//!            state/      the key space's segments and manifest
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use t4_kv_types::{ClusterId, NodeId};

use crate::error::OpenError;

const FORMAT_LINE: &str = "t4 identity, format 1";

/// Who a replica is: fixed when its data directory was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, as clients see it.
    pub cluster_id: ClusterId,
    /// This member, as clients see it: the first half of the replica id.
    pub member_id: NodeId,
    /// Names this copy of the data: 128 random bits, never reused.
    pub replica_id: u128,
}

/// A locked data directory.
pub(crate) struct DataDir {
    root: PathBuf,
    identity: Identity,
    /// Held for as long as this value lives. None: it was opened for reading,
    /// and no process has ever had it, so that there is nothing to lock.
    _lock: Option<File>,
}

impl DataDir {
    /// Makes or opens the directory, and locks it against other processes. If
    /// it is made, it gets the ids `first`, or random ones.
    pub(crate) fn open(root: &Path, first: Option<(ClusterId, NodeId)>) -> Result<Self, OpenError> {
        let io = |op: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpenError::DataDir { path, op, source }
        };
        create_durably(root).map_err(io("create the directory", root))?;
        let lock = lock(root)?;
        let identity_path = root.join("IDENTITY");
        let identity = match fs::read_to_string(&identity_path) {
            Ok(text) => Identity::parse(&text)
                .map_err(|what| OpenError::Identity { path: identity_path, what })?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                refuse_orphans(root)?;
                let identity = Identity::new(first)?;
                write_durably(root, "IDENTITY", &identity.to_string())
                    .map_err(io("write", &identity_path))?;
                identity
            }
            Err(error) => return Err(io("read", &identity_path)(error)),
        };
        let dir = DataDir { root: root.to_owned(), identity, _lock: Some(lock) };
        for part in [dir.log(), dir.state()] {
            create_durably(&part).map_err(io("create the directory", &part))?;
        }
        Ok(dir)
    }

    /// Opens a directory for looking at it: nothing is made, and nobody can
    /// run a node on it meanwhile. Others may look at the same time.
    pub(crate) fn open_read_only(root: &Path) -> Result<Self, OpenError> {
        let failed =
            |op, path: &Path, source| OpenError::DataDir { path: path.to_owned(), op, source };
        fs::read_dir(root).map_err(|source| failed("read the directory", root, source))?;
        let lock = lock_shared(root)?;
        let path = root.join("IDENTITY");
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => OpenError::Identity {
                path: path.clone(),
                what: "it is missing: no node of T4 has run in this directory".to_owned(),
            },
            _ => failed("read", &path, source),
        })?;
        let identity = Identity::parse(&text).map_err(|what| OpenError::Identity { path, what })?;
        Ok(DataDir { root: root.to_owned(), identity, _lock: lock })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("LOCK");
    let failed = |source| OpenError::DataDir { path: path.clone(), op: "lock", source };
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: root.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Needs no permission to write, and makes no file.
fn lock_shared(root: &Path) -> Result<Option<File>, OpenError> {
    let path = root.join("LOCK");
    let failed = |source| OpenError::DataDir { path: path.clone(), op: "lock", source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: root.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Makes a directory, and those above it, so that a power cut does not take
/// it, and with it what was acknowledged in it.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(error);
        }
        _ => {}
    }
    File::open(parent)?.sync_all()
}

/// A directory that has data but no identity is not a new one.
fn refuse_orphans(root: &Path) -> Result<(), OpenError> {
    for part in ["log", "state"] {
        let path = root.join(part);
        let occupied = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            return Err(OpenError::Identity {
                path: root.join("IDENTITY"),
                what: "it is missing, but the directory holds data".to_owned(),
            });
        }
    }
    Ok(())
}

/// Puts a small file in place so that a crash leaves the whole of it or none.
fn write_durably(root: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = root.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, root.join(name))?;
    File::open(root)?.sync_all()
}

impl Identity {
    /// An identity of these ids, or of random ones. The rest of the replica's
    /// id is random in either case: it names this copy of the data.
    fn new(ids: Option<(ClusterId, NodeId)>) -> Result<Self, OpenError> {
        let random = || {
            let mut bytes = [0u8; 16];
            getrandom::fill(&mut bytes).map(|()| u128::from_le_bytes(bytes))
        };
        let (mut replica_id, cluster) =
            (random().map_err(OpenError::Random)?, random().map_err(OpenError::Random)?);
        let mut cluster_id = ClusterId(cluster as u64);
        if let Some((cluster, member)) = ids {
            cluster_id = cluster;
            replica_id = u128::from(member.0.max(1)) << 64 | u128::from(replica_id as u64);
        }
        let cluster_id = ClusterId(cluster_id.0.max(1));
        Ok(Identity { cluster_id, member_id: member_id(replica_id), replica_id })
    }

    /// Reads what `to_string` writes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        match lines.next() {
            Some(FORMAT_LINE) => {}
            Some(line) if line.starts_with("t4 identity, format ") => {
                return Err(format!("it is of a newer version of T4 ({line:?}); run that version"));
            }
            _ => return Err("its first line is not T4's".to_owned()),
        }
        let mut field = |name: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .and_then(|hex| u128::from_str_radix(hex, 16).ok())
                .ok_or_else(|| format!("the line {name:?} is missing or malformed"))
        };
        let cluster = u64::try_from(field("cluster")?)
            .ok()
            .filter(|id| *id != 0)
            .ok_or("the cluster id is not a 64-bit number above 0")?;
        let replica_id = field("replica")?;
        let identity = Identity {
            cluster_id: ClusterId(cluster),
            member_id: member_id(replica_id),
            replica_id,
        };
        if identity.to_string() == text {
            Ok(identity)
        } else {
            Err("it was changed by hand or by a damaged disk (its checksum differs)".to_owned())
        }
    }
}

fn member_id(replica_id: u128) -> NodeId {
    NodeId(((replica_id >> 64) as u64).max(1))
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = format!(
            "{FORMAT_LINE}\ncluster {:016x}\nreplica {:032x}\n",
            self.cluster_id.0, self.replica_id
        );
        writeln!(f, "{body}crc32c {:08x}", crc32c::crc32c(body.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = "t4 identity, format 1\ncluster 000000000000002a\n\
        replica 00000000000000070000000000000001\ncrc32c f3bc1597\n";

    #[test]
    fn golden_identity() {
        let identity =
            Identity { cluster_id: ClusterId(42), member_id: NodeId(7), replica_id: (7 << 64) | 1 };
        assert_eq!(identity.to_string(), GOLDEN);
        assert_eq!(Identity::parse(GOLDEN), Ok(identity));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        for at in 0..GOLDEN.len() {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[at] ^= 1;
            if let Ok(text) = std::str::from_utf8(&bytes) {
                assert!(Identity::parse(text).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_second_opener_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let first = DataDir::open(scratch.path(), None).unwrap();
        assert!(matches!(DataDir::open(scratch.path(), None), Err(OpenError::Locked { .. })));
        let identity = first.identity().clone();
        drop(first);
        assert_eq!(DataDir::open(scratch.path(), None).unwrap().identity(), &identity);
    }

    #[test]
    fn a_new_directory_takes_the_ids_that_are_given_and_an_old_one_keeps_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let ids = |cluster, member| Some((ClusterId(cluster), NodeId(member)));
        let of = |path: &Path, ids| DataDir::open(path, ids).unwrap().identity().clone();
        let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
        let first = of(&one, ids(7, u64::MAX));
        assert_eq!((first.cluster_id, first.member_id), (ClusterId(7), NodeId(u64::MAX)));
        let second = of(&other, ids(7, u64::MAX));
        assert_eq!(second.member_id, first.member_id);
        assert_ne!(second.replica_id, first.replica_id, "each copy of the data has its own");
        assert_eq!(of(&one, ids(8, 9)), first);
        assert_eq!(of(&one, None), first);
    }

    #[test]
    fn lookers_share_and_keep_a_node_out() {
        let scratch = tempfile::tempdir().unwrap();
        let look = || DataDir::open_read_only(scratch.path());
        assert!(matches!(look(), Err(OpenError::Identity { .. })));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is made");
        let owner = DataDir::open(scratch.path(), None).unwrap();
        assert!(matches!(look(), Err(OpenError::Locked { .. })));
        drop(owner);
        let (one, two) = (look().unwrap(), look().unwrap());
        assert_eq!(one.identity(), two.identity());
        assert!(matches!(DataDir::open(scratch.path(), None), Err(OpenError::Locked { .. })));
        drop((one, two));
        DataDir::open(scratch.path(), None).unwrap();
    }

    #[test]
    fn directories_above_are_made() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("a/b/c");
        drop(DataDir::open(&deep, None).unwrap());
        assert!(deep.join("log").is_dir());
        fs::write(scratch.path().join("file"), b"").unwrap();
        let below_a_file = DataDir::open(&scratch.path().join("file/d"), None);
        assert!(matches!(below_a_file, Err(OpenError::DataDir { .. })));
    }

    #[test]
    fn data_without_identity_is_not_a_new_directory() {
        let scratch = tempfile::tempdir().unwrap();
        drop(DataDir::open(scratch.path(), None).unwrap());
        fs::write(scratch.path().join("log/00000000000000000001.wal"), b"x").unwrap();
        fs::remove_file(scratch.path().join("IDENTITY")).unwrap();
        assert!(matches!(DataDir::open(scratch.path(), None), Err(OpenError::Identity { .. })));
    }
}
