//! The data directory: its lock, its identity, and where its parts lie.
//!
//! ```text
//! <data-dir>/LOCK        held while a process uses the directory
//!            IDENTITY    who this replica is (docs/formats/identity.md)
//!            log/        the log's segments
//!            state/      the key space's segments and manifest
//! ```
//!
//! All of it is the owner's alone, whatever the umask: it has what clients
//! wrote, and hashes of passwords; and who can open LOCK can keep a server out.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use t4_kv_types::{ClusterId, LogIndex, NodeId};
use t4_wal::{FileDir, Wal};

use crate::contents::Contents;
use crate::error::{IdentityFault, OpenError};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What others than the owner may do.
const OTHERS: u32 = 0o077;

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
    ///
    /// A new one gets its log, then its identity: whoever finds an identity
    /// knows that there was a log.
    pub(crate) fn open(
        root: &Path,
        log_config: t4_wal::Config,
        first: Option<(ClusterId, NodeId)>,
    ) -> Result<Self, OpenError> {
        let io = |op: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpenError::DataDir { path, op, source }
        };
        // Before anything is made: a refused start changes nothing.
        Contents::of(root)?;
        create_durably(root).map_err(io("create the directory", root))?;
        warn_if_open_to_others(root);
        let lock = lock(root)?;
        let identity_path = root.join("IDENTITY");
        let identity = match read_file(&identity_path) {
            Ok(bytes) => parse_identity(&bytes)
                .map_err(|what| OpenError::Identity { path: identity_path, what })?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                refuse_orphans(root)?;
                let identity = Identity::new(first)?;
                let log = root.join("log");
                create_durably(&log).map_err(io("create the directory", &log))?;
                let log = FileDir::open(&log).map_err(io("open", &log))?;
                drop(Wal::open(log, log_config, LogIndex(0))?);
                write_durably(root, "IDENTITY", &identity.to_string())
                    .map_err(io("write", &identity_path))?;
                identity
            }
            Err(error) => return Err(io("read", &identity_path)(error)),
        };
        let dir = DataDir { root: root.to_owned(), identity, _lock: Some(lock) };
        for part in [dir.log(), dir.state()] {
            create_durably(&part).map_err(io("create the directory", &part))?;
            // One of an earlier version, with files that others may read.
            make_private(&part, DIR_MODE);
        }
        Ok(dir)
    }

    /// Opens a directory for looking at it: nothing is made, and nobody can
    /// run a node on it meanwhile. Others may look at the same time.
    pub(crate) fn open_read_only(root: &Path) -> Result<Self, OpenError> {
        let lock = share_lock(root)?;
        Contents::of(root)?;
        let identity = read_identity(root)?;
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

/// Keeps nodes from running on a directory, but not others who look at it.
pub(crate) fn share_lock(root: &Path) -> Result<Option<File>, OpenError> {
    let op = "read the directory";
    fs::read_dir(root).map_err(|source| OpenError::DataDir {
        path: root.to_owned(),
        op,
        source,
    })?;
    lock_shared(root)
}

/// The identity of a directory that is there.
pub(crate) fn read_identity(root: &Path) -> Result<Identity, OpenError> {
    let path = root.join("IDENTITY");
    let bytes = match read_file(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            refuse_orphans(root)?;
            let what = IdentityFault::Missing(": no node of T4 has run in this directory");
            return Err(OpenError::Identity { path, what });
        }
        Err(source) => return Err(OpenError::DataDir { path, op: "read", source }),
    };
    parse_identity(&bytes).map_err(|what| OpenError::Identity { path, what })
}

/// All of a file. Anything else under its name is an error: a FIFO would wait for a
/// writer for ever.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    fs::read(path)
}

pub(crate) fn parse_identity(bytes: &[u8]) -> Result<Identity, IdentityFault> {
    let text = std::str::from_utf8(bytes);
    let damaged = |_| IdentityFault::Damaged("it was damaged: it is not text".to_owned());
    Identity::parse(text.map_err(damaged)?)
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("LOCK");
    let failed = |source| OpenError::DataDir { path: path.clone(), op: "lock", source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(FILE_MODE);
    let file = options.open(&path).map_err(failed)?;
    make_private(&path, FILE_MODE);
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
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(error);
        }
        Err(_) => {}
        Ok(()) => make_private(path, DIR_MODE),
    }
    File::open(parent)?.sync_all()
}

/// Gives `path` exactly this mode: its owner what a umask took away when it was
/// made, and others nothing. Where that cannot be done (another owner, a file
/// system without modes) it stays as it is.
fn make_private(path: &Path, mode: u32) {
    let found = fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    if found.is_ok_and(|found| found != mode) {
        let _ = fs::set_permissions(path, Permissions::from_mode(mode));
    }
}

/// The directory itself may be the operator's, with rights that were given on
/// purpose: they are told of, and not taken.
fn warn_if_open_to_others(root: &Path) {
    let Ok(found) = fs::metadata(root) else { return };
    let mode = found.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        tracing::warn!(
            mode = format_args!("{mode:04o}"),
            "the data directory is open to others than its owner; run: chmod 700 {}",
            root.display()
        );
    }
}

/// A directory that has data but no identity is not a new one. A log without
/// entries is what a first start leaves that was cut short.
fn refuse_orphans(root: &Path) -> Result<(), OpenError> {
    for part in ["log", "state"] {
        let path = root.join(part);
        let occupied = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !(part == "log" && is_unused_log(&path)) {
            return Err(OpenError::Identity {
                path: root.join("IDENTITY"),
                what: IdentityFault::Missing(", but the directory holds data"),
            });
        }
    }
    Ok(())
}

/// Whether there is a log in which nothing was ever written.
fn is_unused_log(log: &Path) -> bool {
    let found = FileDir::open_read_only(log).ok();
    let found = found.and_then(|dir| t4_wal::inspect(dir, LogIndex(0)).ok());
    found.is_some_and(|(found, _)| found.last.1 == LogIndex(0) && found.recovery.torn.is_none())
}

/// Puts a small file in place so that a crash leaves the whole of it or none.
fn write_durably(root: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = root.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&temporary)?;
    make_private(&temporary, FILE_MODE);
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
    pub fn parse(text: &str) -> Result<Self, IdentityFault> {
        let damaged = |what: &str| IdentityFault::Damaged(what.to_owned());
        let mut lines = text.lines();
        match lines.next() {
            Some(FORMAT_LINE) => {}
            Some(line) if line.starts_with("t4 identity, format ") => {
                return Err(IdentityFault::Newer(line.to_owned()));
            }
            _ => return Err(damaged("its first line is not T4's")),
        }
        let mut field = |name: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .and_then(|hex| u128::from_str_radix(hex, 16).ok())
                .ok_or_else(|| damaged(&format!("the line {name:?} is missing or malformed")))
        };
        let cluster = u64::try_from(field("cluster")?)
            .ok()
            .filter(|id| *id != 0)
            .ok_or_else(|| damaged("the cluster id is not a 64-bit number above 0"))?;
        let replica_id = field("replica")?;
        let identity = Identity {
            cluster_id: ClusterId(cluster),
            member_id: member_id(replica_id),
            replica_id,
        };
        if identity.to_string() == text {
            Ok(identity)
        } else {
            Err(damaged("it was changed by hand or by a damaged disk (its checksum differs)"))
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

    fn open(root: &Path) -> Result<DataDir, OpenError> {
        open_with_ids(root, None)
    }

    fn open_with_ids(root: &Path, ids: Option<(ClusterId, NodeId)>) -> Result<DataDir, OpenError> {
        DataDir::open(root, t4_wal::Config { segment_bytes: 8192, background: false }, ids)
    }

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
        let first = open(scratch.path()).unwrap();
        assert!(matches!(open(scratch.path()), Err(OpenError::Locked { .. })));
        let identity = first.identity().clone();
        drop(first);
        assert_eq!(open(scratch.path()).unwrap().identity(), &identity);
    }

    #[test]
    fn a_new_directory_takes_the_ids_that_are_given_and_an_old_one_keeps_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let ids = |cluster, member| Some((ClusterId(cluster), NodeId(member)));
        let of = |path: &Path, ids| open_with_ids(path, ids).unwrap().identity().clone();
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
        let owner = open(scratch.path()).unwrap();
        assert!(matches!(look(), Err(OpenError::Locked { .. })));
        drop(owner);
        let (one, two) = (look().unwrap(), look().unwrap());
        assert_eq!(one.identity(), two.identity());
        assert!(matches!(open(scratch.path()), Err(OpenError::Locked { .. })));
        drop((one, two));
        open(scratch.path()).unwrap();
    }

    #[test]
    fn what_an_earlier_version_left_open_is_closed_but_for_the_root() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("data");
        drop(open(&root).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let parts = ["log", "state", "LOCK"].map(|part| root.join(part));
        for path in parts.iter().chain([&root]) {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        drop(open(&root).unwrap());
        assert_eq!(parts.each_ref().map(|part| mode(part)), [0o700, 0o700, 0o600]);
        assert_eq!(mode(&root), 0o755, "that one is the operator's");
    }

    #[test]
    fn directories_above_are_made() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("a/b/c");
        drop(open(&deep).unwrap());
        assert!(deep.join("log").is_dir());
        fs::write(scratch.path().join("file"), b"").unwrap();
        let below_a_file = open(&scratch.path().join("file/d"));
        assert!(matches!(below_a_file, Err(OpenError::DataDir { .. })));
    }

    #[test]
    fn data_without_identity_is_not_a_new_directory() {
        let scratch = tempfile::tempdir().unwrap();
        drop(open(scratch.path()).unwrap());
        fs::remove_file(scratch.path().join("IDENTITY")).unwrap();
        let state = scratch.path().join("state/MANIFEST");
        fs::write(&state, b"x").unwrap();
        assert!(matches!(open(scratch.path()), Err(OpenError::Identity { .. })));
        fs::remove_file(state).unwrap();
        fs::write(scratch.path().join("log/00000000000000000001.wal"), b"x").unwrap();
        assert!(matches!(open(scratch.path()), Err(OpenError::Identity { .. })));
    }

    /// A first start that ended after any of its steps is taken up again; one
    /// that had an identity had a log.
    #[test]
    fn the_log_is_there_before_the_identity() {
        let scratch = tempfile::tempdir().unwrap();
        drop(open(scratch.path()).unwrap());
        let log = scratch.path().join("log");
        let segments = || fs::read_dir(&log).unwrap().count();
        assert_eq!(segments(), 1);
        let identity = scratch.path().join("IDENTITY");
        fs::remove_file(&identity).unwrap();
        fs::remove_dir(scratch.path().join("state")).unwrap();
        drop(open(scratch.path()).unwrap());
        fs::remove_file(&identity).unwrap();
        fs::remove_dir_all(&log).unwrap();
        fs::create_dir(&log).unwrap();
        fs::write(log.join("next.tmp"), [0; 99]).unwrap();
        drop(open(scratch.path()).unwrap());
        assert_eq!(segments(), 1);
        // With an entry in it, it is data.
        let dir = FileDir::open(&log).unwrap();
        let config = t4_wal::Config { segment_bytes: 8192, background: false };
        let mut wal = Wal::open(dir, config, LogIndex(0)).unwrap().0;
        let (epoch, index) = (t4_kv_types::Epoch(1), LogIndex(1));
        wal.append(&[t4_wal::Entry { epoch, index, payload: "put".into() }]).unwrap();
        drop(wal);
        fs::remove_file(&identity).unwrap();
        assert!(matches!(open(scratch.path()), Err(OpenError::Identity { .. })));
    }
}
