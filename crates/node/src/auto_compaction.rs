//! Which revision to compact to, and when: a pure decider (reference: etcd's
//! `v3compactor`).

use std::collections::VecDeque;
use std::time::Duration;

use t4_kv_types::Revision;

use crate::config::AutoCompaction;

const HOUR: Duration = Duration::from_secs(3600);
/// Samples per base interval of the periodic mode.
const SAMPLES: u32 = 10;
/// How often the revision mode looks.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);

/// Decides from ticks; `now` is on any monotonic clock.
pub(crate) struct AutoCompactor {
    mode: AutoCompaction,
    /// (when, revision then), oldest first.
    samples: VecDeque<(Duration, Revision)>,
    next_sample: Duration,
    next_compaction: Duration,
    last: Revision,
}

impl AutoCompactor {
    pub(crate) fn new(mode: AutoCompaction, now: Duration) -> Self {
        let first = match mode {
            AutoCompaction::Periodic(retention) => now + retention,
            AutoCompaction::Revision(_) => now + REVISION_INTERVAL,
            AutoCompaction::Off => now,
        };
        AutoCompactor {
            mode,
            samples: VecDeque::new(),
            next_sample: now,
            next_compaction: first,
            last: Revision(0),
        }
    }

    /// What to compact to now, if anything.
    pub(crate) fn tick(&mut self, now: Duration, current: Revision) -> Option<Revision> {
        let target = match self.mode {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic(retention) => self.periodic(now, current, retention),
            AutoCompaction::Revision(retention) => {
                if now < self.next_compaction {
                    return None;
                }
                self.next_compaction = now + REVISION_INTERVAL;
                Some(Revision(current.0 - retention))
            }
        };
        let target = target.filter(|target| *target > self.last && target.0 > 0)?;
        self.last = target;
        Some(target)
    }

    fn periodic(
        &mut self,
        now: Duration,
        current: Revision,
        retention: Duration,
    ) -> Option<Revision> {
        let base = retention.min(HOUR);
        if now >= self.next_sample {
            self.samples.push_back((now, current));
            self.next_sample = now + base / SAMPLES;
        }
        if now < self.next_compaction {
            return None;
        }
        self.next_compaction = now + base;
        let horizon = now.saturating_sub(retention);
        let mut target = None;
        while self.samples.front().is_some_and(|(at, _)| *at <= horizon) {
            target = self.samples.pop_front().map(|(_, revision)| revision);
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn run(mode: AutoCompaction, minutes: u32) -> Vec<(u32, i64)> {
        let mut compactor = AutoCompactor::new(mode, Duration::ZERO);
        // One revision a minute.
        (0..minutes)
            .filter_map(|minute| {
                let revision = Revision(i64::from(minute) + 1);
                let target = compactor.tick(MINUTE * minute, revision)?;
                Some((minute, target.0))
            })
            .collect()
    }

    #[test]
    fn off_never_compacts() {
        assert_eq!(run(AutoCompaction::Off, 1000), []);
    }

    #[test]
    fn periodic_keeps_one_retention() {
        // First after one retention, then every retention (up to 1 h), to the
        // revision of one retention ago.
        let half_hour = AutoCompaction::Periodic(MINUTE * 30);
        assert_eq!(run(half_hour, 100), [(30, 1), (60, 31), (90, 61)]);
    }

    #[test]
    fn periodic_over_an_hour_compacts_hourly() {
        let three_hours = AutoCompaction::Periodic(HOUR * 3);
        assert_eq!(run(three_hours, 400), [(180, 1), (240, 61), (300, 121), (360, 181)]);
    }

    #[test]
    fn revision_keeps_a_number_of_revisions() {
        assert_eq!(run(AutoCompaction::Revision(7), 16), [(10, 4), (15, 9)]);
    }
}
