//! What keeps a node from writing for a while: a full disk, or a process
//! without open files or memory.
//!
//! The log refuses entries and seals fail then, hundreds of times a second when
//! many write. The operator is told twice, when it begins and when it is over:
//! more lines would only go to the disk that is full. Gauges, readiness and
//! alarms show it in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use t4_kv_types::OpError;

/// An episode is over when nothing was refused for so long: room that is there
/// one moment and gone the next does not make an episode of each write.
const QUIET: Duration = Duration::from_secs(1);

/// What is lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Room on the disk of the data directory, or in its quota.
    DiskFull,
    /// Open files of the process or the system, or memory.
    Exhausted,
}

impl Shortage {
    const ALL: [Shortage; 2] = [Shortage::DiskFull, Shortage::Exhausted];

    /// What a write is refused with meanwhile.
    pub(crate) fn error(self) -> OpError {
        match self {
            Shortage::DiskFull => OpError::DiskFull,
            Shortage::Exhausted => OpError::Exhausted,
        }
    }

    pub(crate) fn of_log(error: &t4_wal::WalError) -> Option<Shortage> {
        match error {
            t4_wal::WalError::NoSpace { .. } => Some(Shortage::DiskFull),
            t4_wal::WalError::Exhausted { .. } => Some(Shortage::Exhausted),
            _ => None,
        }
    }

    pub(crate) fn of_store(error: &t4_mvcc::StoreError) -> Option<Shortage> {
        match error {
            t4_mvcc::StoreError::NoSpace { .. } => Some(Shortage::DiskFull),
            t4_mvcc::StoreError::Exhausted { .. } => Some(Shortage::Exhausted),
            _ => None,
        }
    }
}

/// What lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The log cannot make its next segment.
    Log,
    /// The key space cannot be sealed or collected.
    State,
}

/// One shortage, from its first sign to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Episode {
    since: Option<Duration>,
    log: bool,
    state: bool,
    refused: u64,
    refused_last: Option<Duration>,
    failed_seals: u64,
}

impl Episode {
    fn part(&mut self, part: Part) -> &mut bool {
        match part {
            Part::Log => &mut self.log,
            Part::State => &mut self.state,
        }
    }

    /// True: it begins with this.
    fn lacks(&mut self, part: Part, now: Duration) -> bool {
        *self.part(part) = true;
        self.failed_seals += u64::from(part == Part::State);
        let begins = self.since.is_none();
        self.since.get_or_insert(now);
        begins
    }

    /// What it was, if it is over.
    fn end(&mut self, now: Duration) -> Option<Episode> {
        self.since?;
        let quiet = self.refused_last.is_none_or(|last| now >= last + QUIET);
        (quiet && !self.log && !self.state).then(|| std::mem::take(self))
    }
}

/// All shortages of a node.
#[derive(Debug, Default)]
pub(crate) struct Shortages {
    /// Spares the lock while nothing is lacking.
    any: AtomicBool,
    /// In the order of [`Shortage::ALL`].
    episodes: Mutex<[Episode; 2]>,
}

impl Shortages {
    /// A part could not do its work for want of something.
    pub(crate) fn lacks(
        &self,
        what: Shortage,
        part: Part,
        why: &dyn std::error::Error,
        now: Duration,
    ) {
        let begins = self.episodes.lock()[what as usize].lacks(part, now);
        self.any.store(true, Ordering::Release);
        if begins {
            // An error of the key space has its cause beside its text.
            let cause = why.source().map(ToString::to_string).unwrap_or_default();
            match what {
                Shortage::DiskFull => tracing::error!(
                    error = %why,
                    cause,
                    "the disk of the data directory is full: free space. Writes are refused when \
                     the present segment of the log is full, until there is room"
                ),
                Shortage::Exhausted => tracing::error!(
                    error = %why,
                    cause,
                    "the system has no open files or no memory left: raise the limit. Writes are \
                     refused when the present segment of the log is full, until it has"
                ),
            }
        }
    }

    /// A part has done its work.
    pub(crate) fn works(&self, part: Part, now: Duration) {
        if self.any.load(Ordering::Acquire) {
            self.episodes.lock().iter_mut().for_each(|episode| *episode.part(part) = false);
            self.tick(now);
        }
    }

    /// The log has refused an entry.
    pub(crate) fn refused(&self, what: Shortage, why: &dyn std::error::Error, now: Duration) {
        self.lacks(what, Part::Log, why, now);
        self.episodes.lock()[what as usize].refused_last = Some(now);
    }

    /// So many writes were in it. What they are told.
    pub(crate) fn count_refused(&self, writes: usize) -> OpError {
        let mut episodes = self.episodes.lock();
        let newest = Shortage::ALL.into_iter().max_by_key(|what| {
            // The first of two equal ones would be the second kind.
            (episodes[*what as usize].refused_last, *what == Shortage::DiskFull)
        });
        let what = newest.unwrap_or(Shortage::DiskFull);
        episodes[what as usize].refused += writes as u64;
        what.error()
    }

    /// Whether something is lacking now, be it that writes are still taken.
    pub(crate) fn has(&self, what: Shortage) -> bool {
        self.any.load(Ordering::Acquire) && self.episodes.lock()[what as usize].since.is_some()
    }

    /// For want of what writes are refused now.
    pub(crate) fn refusing(&self) -> Option<Shortage> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let episodes = self.episodes.lock();
        let refusing = |what: &Shortage| episodes[*what as usize].refused_last.is_some();
        Shortage::ALL.into_iter().find(refusing)
    }

    /// Ends what is over. Called at least once a second.
    pub(crate) fn tick(&self, now: Duration) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut episodes = self.episodes.lock();
        let ended: Vec<_> = Shortage::ALL
            .into_iter()
            .filter_map(|what| Some((what, episodes[what as usize].end(now)?)))
            .collect();
        let left = episodes.iter().any(|episode| episode.since.is_some());
        self.any.store(left, Ordering::Release);
        drop(episodes);
        for (what, episode) in ended {
            let lasted_s = now.saturating_sub(episode.since.unwrap_or(now)).as_secs();
            let Episode { refused, failed_seals, .. } = episode;
            match what {
                Shortage::DiskFull => tracing::info!(
                    refused,
                    failed_seals,
                    lasted_s,
                    "there is room on the disk of the data directory again: writes are taken"
                ),
                Shortage::Exhausted => tracing::info!(
                    refused,
                    failed_seals,
                    lasted_s,
                    "the system has open files and memory again: writes are taken"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn why() -> std::io::Error {
        std::io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn an_episode_begins_once_and_ends_when_all_works_and_nothing_is_refused() {
        let mut episode = Episode::default();
        assert!(episode.lacks(Part::State, s(1)));
        assert!(!episode.lacks(Part::Log, s(2)));
        assert!(!episode.lacks(Part::State, s(3)));
        episode.refused_last = Some(s(3));
        *episode.part(Part::State) = false;
        assert_eq!(episode.end(s(60)), None, "the log has no room yet");
        *episode.part(Part::Log) = false;
        assert_eq!(episode.end(s(3)), None, "one was refused just now");
        let ended = episode.end(s(4)).expect("over");
        assert_eq!((ended.since, ended.failed_seals), (Some(s(1)), 2));
        assert_eq!(episode, Episode::default());
        assert_eq!(episode.end(s(99)), None);
    }

    #[test]
    fn what_is_lacking_shows_before_writes_are_refused() {
        let shortages = Shortages::default();
        assert!(!shortages.has(Shortage::DiskFull));
        shortages.lacks(Shortage::DiskFull, Part::Log, &why(), s(1));
        assert!(shortages.has(Shortage::DiskFull) && !shortages.has(Shortage::Exhausted));
        assert_eq!(shortages.refusing(), None);
        shortages.refused(Shortage::DiskFull, &why(), s(2));
        assert_eq!(shortages.refusing(), Some(Shortage::DiskFull));
        assert_eq!(shortages.count_refused(3), OpError::DiskFull);
        shortages.tick(s(60));
        assert_eq!(shortages.refusing(), Some(Shortage::DiskFull), "there is no room yet");
        shortages.works(Part::Log, s(61));
        assert!(shortages.refusing().is_none() && !shortages.has(Shortage::DiskFull));
    }

    #[test]
    fn a_write_is_told_what_its_entry_was_refused_for() {
        let shortages = Shortages::default();
        shortages.refused(Shortage::DiskFull, &why(), s(1));
        shortages.refused(Shortage::Exhausted, &why(), s(2));
        assert_eq!(shortages.count_refused(1), OpError::Exhausted);
        shortages.refused(Shortage::DiskFull, &why(), s(3));
        assert_eq!(shortages.count_refused(1), OpError::DiskFull);
    }
}
