//! What a node counts, as plain atomics. Whoever serves metrics gives them
//! names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::apply_times::ApplyTimes;
use crate::histogram::Histogram;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start of the process.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// How long things took.
            pub times: Times,
        }
    };
}

counters! {
    /// Ranges answered.
    ranges,
    /// Puts answered.
    puts,
    /// Deletes answered.
    deletes,
    /// Transactions answered.
    txns,
    /// Events made.
    events,
    /// Bytes of the keys and values that were put.
    put_bytes,
    /// Writes answered with an error of ours (no space, time-out, stopped).
    writes_failed,
    /// Leases granted.
    leases_granted,
    /// Leases revoked on request.
    leases_revoked,
    /// Leases renewed.
    leases_renewed,
    /// Leases whose time was over.
    leases_expired,
    /// Keys that went with a lease whose time was over.
    keys_expired,
    /// Bytes written to the log.
    log_bytes,
    /// Versions dropped by compaction passes and records by collections.
    records_collected,
    /// When the newest compaction was applied, in seconds of Unix time.
    compacted_at_s,
    /// Reads, and evaluations of writes, that took longer than
    /// [`Config::warning_apply_duration`](crate::Config::warning_apply_duration).
    slow_applies,
}

/// How long things took. The bounds are those of etcd's metrics.
#[derive(Debug)]
pub struct Times {
    /// The log's writes, before their fsyncs.
    pub log_write: Histogram,
    /// The log's fsyncs.
    pub log_fsync: Histogram,
    /// Commits of batches: from when the log was given one until it was
    /// applied.
    pub commit: Histogram,
    /// Evaluation of each request that goes through the log.
    pub apply: ApplyTimes,
    /// Seals: a segment and its manifest, durable.
    pub seal: Histogram,
    /// Collections of segments that are mostly dead.
    pub collect: Histogram,
    /// Snapshots: none is taken in this version.
    pub snapshot: Histogram,
    /// Steps of compaction passes, for which readers may wait.
    pub compaction_step: Histogram,
    /// Compaction passes as a whole.
    pub compaction: Histogram,
    /// Hashes of the key space as it is.
    pub hash: Histogram,
    /// Hashes of the key space at a revision.
    pub hash_at_revision: Histogram,
    /// The times to live of granted leases, in seconds.
    pub lease_ttl: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        let disk = || Histogram::seconds(Duration::from_millis(1), 14);
        let hash = || Histogram::seconds(Duration::from_millis(10), 15);
        Times {
            log_write: disk(),
            log_fsync: disk(),
            commit: disk(),
            apply: ApplyTimes::default(),
            seal: disk(),
            collect: Histogram::seconds(Duration::from_millis(100), 13),
            snapshot: Histogram::seconds(Duration::from_millis(10), 17),
            compaction_step: Histogram::milliseconds(Duration::from_micros(500), 14),
            compaction: Histogram::milliseconds(Duration::from_millis(100), 14),
            hash: hash(),
            hash_at_revision: hash(),
            lease_ttl: Histogram::numbers(1, 24),
        }
    }
}

/// Adds one.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
