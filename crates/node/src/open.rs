//! How a replica starts: lock the directory, open the key space, replay the
//! log behind it, begin a new epoch, start the threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use t4_kv_types::{Epoch, LogIndex};
use t4_mvcc::{LogPosition, Store};
use t4_state_machine::{MemberAttributes, Sequencer, StateMachine};
use t4_wal::{Event, GroupCommit, SegmentDir, Wal};

use crate::auto_compaction::AutoCompactor;
use crate::commit_queue::{CommitQueue, LogNews};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::error::{Closed, OpenError};
use crate::lanes::{LaneRegistry, Lanes};
use crate::maintenance::{Maintenance, Task};
use crate::shared::Shared;
use crate::shortage::{Part, Shortage};
use crate::slow_applies::SlowApplies;
use crate::write_loop::{Ended, Parts, WriteLoop};

/// An fsync of the log that takes longer is told, as etcd does. It bounds the
/// lines by itself: there is one fsync at a time.
const SLOW_FSYNC: Duration = Duration::from_secs(1);

/// A replica whose threads run.
pub(crate) struct Started {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) lanes: Arc<LaneRegistry>,
    /// Reads the log beside its owner.
    pub(crate) log: t4_wal::Reader,
}

/// What the data directory held.
struct Restored {
    dir: DataDir,
    state: StateMachine,
    background: t4_mvcc::Background,
    wal: Wal,
    epoch: Epoch,
    origin: Instant,
}

/// Opens the data directory, and starts the threads, with the log where
/// `open_log` says, which is given its path. Blocks.
pub(crate) fn start<D: SegmentDir>(
    config: &Config,
    open_log: impl FnOnce(PathBuf) -> io::Result<D>,
) -> Result<Started, OpenError> {
    let started = start_threads(config, open_log);
    started.map_err(|error| error.or_no_room(&config.data_dir, config.log_segment_bytes))
}

fn start_threads<D: SegmentDir>(
    config: &Config,
    open_log: impl FnOnce(PathBuf) -> io::Result<D>,
) -> Result<Started, OpenError> {
    let mut nonce = [0u8; 8];
    getrandom::fill(&mut nonce).map_err(OpenError::Random)?;
    let restored = restore(config, open_log)?;
    let Restored { dir, state, background, wal, epoch, origin } = restored;

    let identity = dir.identity().clone();
    let queue =
        Arc::new(CommitQueue::new(config.commit_queue_requests_max, config.request_timeout));
    let shared = Arc::new(Shared::new(identity, origin, epoch, config.token_ttl, &state, &queue));
    let registry = Arc::new(LaneRegistry::default());
    let (tasks, task_queue) = mpsc::channel();

    let log = group_commit(wal, &shared, &queue)?;
    let log_reader = log.reader();
    let maintenance = Maintenance {
        shared: shared.clone(),
        queue: queue.clone(),
        background,
        tasks: task_queue,
        auto_compactor: AutoCompactor::new(config.auto_compaction, shared.now()),
        quota_bytes: config.quota_bytes,
        failing: false,
        collect_again: None,
        compacting_since: None,
    };
    let sequencer = Sequencer::new(&state, config.lease_ttl_min_s);
    let attributes = attributes(config, state.members().get(&shared.identity.member_id));
    let slow = SlowApplies::new(config.warning_apply_duration);
    let write_loop = WriteLoop::new(Parts {
        shared: shared.clone(),
        queue: queue.clone(),
        lanes: Lanes::new(registry.clone()),
        state,
        sequencer,
        log,
        tasks: tasks.clone(),
        slow,
        epoch,
        boot_nonce: u64::from_le_bytes(nonce),
        attributes,
    });
    spawn_threads(dir, shared.clone(), maintenance, write_loop, tasks)?;
    shared.wait_for_first_entry()?;
    Ok(Started { shared, queue, lanes: registry, log: log_reader })
}

/// What this replica says of itself. Name and client URLs are the
/// configuration's at each start; peer URLs are so at the first, and from then
/// on what the membership says, which only `member update` changes. As etcd.
fn attributes(config: &Config, known: Option<&MemberAttributes>) -> MemberAttributes {
    let known = known.map(|known| &known.peer_urls).filter(|urls| !urls.is_empty());
    MemberAttributes {
        name: config.name.clone(),
        peer_urls: known.unwrap_or(&config.advertise_peer_urls).clone(),
        client_urls: config.advertise_client_urls.clone(),
    }
}

fn restore<D: SegmentDir>(
    config: &Config,
    open_log: impl FnOnce(PathBuf) -> io::Result<D>,
) -> Result<Restored, OpenError> {
    let wal_config =
        t4_wal::Config { segment_bytes: config.log_segment_bytes, ..Default::default() };
    let dir = DataDir::open(&config.data_dir, wal_config.clone(), config.first_identity)?;
    let origin = Instant::now();
    refuse_lost_state(&dir.state(), &dir.log())?;
    let (store, background) = Store::open(t4_mvcc::Config {
        seal_bytes: config.seal_bytes,
        cache_bytes: config.cache_bytes,
        ..t4_mvcc::Config::new(dir.state())
    })?;
    let sealed = store.position();
    let mut state = StateMachine::restore(store, origin.elapsed())?;

    refuse_lost_log(&dir.log(), sealed)?;
    let log_dir = open_log(dir.log()).map_err(|source| OpenError::DataDir {
        path: dir.log(),
        op: "open",
        source,
    })?;
    let (wal, replay) = Wal::open(log_dir, wal_config, sealed.index)?;
    report(wal.recovery());
    let mut replayed = Replayed::default();
    for entry in replay {
        let entry = entry?;
        let at = LogPosition { epoch: entry.epoch, index: entry.index };
        state.replay(at, &entry.payload, origin.elapsed())?;
        replayed.entries += 1;
        replayed.bytes += entry.payload.len() as u64;
    }
    state.replayed(origin.elapsed());
    replayed.report(&state, sealed, origin.elapsed());
    let newest = wal.last().0.max(state.position().epoch);
    Ok(Restored { dir, state, background, wal, epoch: Epoch(newest.0 + 1), origin })
}

/// What the log held behind the sealed key space.
#[derive(Default)]
struct Replayed {
    entries: u64,
    bytes: u64,
}

impl Replayed {
    /// One line of every start, whatever it follows: a clean stop or a crash.
    fn report(&self, state: &StateMachine, sealed: LogPosition, took: Duration) {
        tracing::info!(
            ?took,
            revision = state.revision().0,
            compacted = state.compacted().map(|at| at.0),
            keys = state.reader().stats().keys,
            sealed_log_index = sealed.index.0,
            replayed_entries = self.entries,
            replayed_bytes = self.bytes,
            "the key space was restored"
        );
    }
}

fn report(recovery: &t4_wal::Recovery) {
    if let Some(torn) = &recovery.torn {
        tracing::warn!(
            file = torn.file,
            offset = torn.offset,
            bytes = torn.bytes,
            "the log's torn tail was cut off: a write that was never acknowledged"
        );
    }
    if !recovery.strays.is_empty() {
        tracing::error!(
            bits = recovery.strays.len(),
            "bits are set in unused space of the log: no entry is changed, but the disk is failing"
        );
    }
}

/// A data directory with an identity has a log: the log is made first, so that
/// even before the first seal a log that is gone is missed. Looked at before the
/// log is opened, which would begin one in an empty directory; a log that merely
/// ends too early refuses itself.
pub(crate) fn refuse_lost_log(log: &Path, sealed: LogPosition) -> Result<(), OpenError> {
    match first_segment(log)? {
        Some(_) => Ok(()),
        None => Err(OpenError::LogLost { path: log.to_owned(), sealed: sealed.index }),
    }
}

/// A log that begins behind the first entry was sealed up to there, in a key space that
/// has a manifest. Looked at before the key space is opened, which would begin one in an
/// empty directory.
pub(crate) fn refuse_lost_state(state: &Path, log: &Path) -> Result<(), OpenError> {
    let path = state.join(t4_mvcc::MANIFEST_NAME);
    match first_segment(log)? {
        Some(first) if first > LogIndex(1) && !path.exists() => {
            Err(OpenError::StateLost { path, first })
        }
        _ => Ok(()),
    }
}

/// The first entry of the log, by the names of its segments; `None` if it has none. A
/// segment with another name counts as the first. What cannot be read is an error: it may
/// well be there.
fn first_segment(log: &Path) -> Result<Option<LogIndex>, OpenError> {
    let failed =
        |source| OpenError::DataDir { path: log.to_owned(), op: "read the directory", source };
    let entries = match std::fs::read_dir(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(failed)?,
    };
    let mut first = None;
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension() == Some("wal".as_ref()) {
            let name = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let index = LogIndex(name.unwrap_or(0));
            first = Some(first.map_or(index, |first: LogIndex| first.min(index)));
        }
    }
    Ok(first)
}

fn group_commit(
    wal: Wal,
    shared: &Arc<Shared>,
    queue: &Arc<CommitQueue>,
) -> Result<GroupCommit, OpenError> {
    let (shared, queue) = (shared.clone(), queue.clone());
    let log = GroupCommit::spawn(wal, move |event| match event {
        Event::Durable(durable) => {
            let counters = &shared.counters;
            counters.times.log_write.observe(durable.write_duration);
            counters.times.log_fsync.observe(durable.sync_duration);
            counters.log_bytes.fetch_add(durable.bytes, std::sync::atomic::Ordering::Relaxed);
            if durable.sync_duration > SLOW_FSYNC {
                tracing::warn!(
                    took = ?durable.sync_duration,
                    "expected-duration" = ?SLOW_FSYNC,
                    entries = durable.entries,
                    bytes = durable.bytes,
                    "slow fdatasync"
                );
            }
            shared.shortages.tick(shared.now());
            queue.log_news(LogNews::Durable);
        }
        Event::Refused(refused) => {
            match Shortage::of_log(&refused.error) {
                Some(what) => shared.shortages.refused(what, &*refused.error, shared.now()),
                None => tracing::error!(error = %refused.error, "the log refused an entry"),
            }
            shared.refused(&refused.error);
            queue.log_news(LogNews::Refused);
        }
        Event::PreparationFailed(error) => match Shortage::of_log(&error) {
            Some(what) => shared.shortages.lacks(what, Part::Log, &error, shared.now()),
            None => tracing::warn!(%error, "the next log segment could not be prepared"),
        },
        Event::PreparationRecovered => shared.shortages.works(Part::Log, shared.now()),
        Event::Fatal(error) => queue.log_news(LogNews::Fatal(error.to_string())),
    })?;
    Ok(log)
}

fn spawn_threads(
    dir: DataDir,
    shared: Arc<Shared>,
    maintenance: Maintenance,
    write_loop: WriteLoop,
    tasks: mpsc::Sender<Task>,
) -> Result<(), OpenError> {
    let maintenance = std::thread::Builder::new()
        .name("t4-maintenance".to_owned())
        .spawn(move || maintenance.run())
        .map_err(OpenError::Thread)?;
    std::thread::Builder::new()
        .name("t4-write-loop".to_owned())
        .spawn(move || {
            let ended = write_loop.run();
            let _ = tasks.send(Task::Stop);
            let _ = maintenance.join();
            // The lock goes last: nobody else may open what is still written.
            drop(dir);
            shared.close(match ended {
                Ended::Stopped => Closed::Stopped,
                Ended::Fatal(why) => Closed::Fatal(why),
            });
        })
        .map_err(OpenError::Thread)?;
    Ok(())
}
