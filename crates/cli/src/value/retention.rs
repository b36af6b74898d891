//! `--auto-compaction-retention`, whose meaning depends on
//! `--auto-compaction-mode` (reference: etcd's `parseCompactionRetention`).

use std::time::Duration;

use t4_node::AutoCompaction;

use super::duration;

/// The unit of a retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetentionMode {
    /// Time.
    Periodic,
    /// Revisions.
    Revision,
}

/// The node checks its timers once a second.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// The retention. In the mode `revision`, etcd reads a duration as its number
/// of nanoseconds, which nobody can have intended: that is rejected.
pub(crate) fn retention(text: &str, mode: RetentionMode) -> Result<AutoCompaction, String> {
    let number = text.parse::<u32>().ok();
    match mode {
        _ if number == Some(0) => Ok(AutoCompaction::Off),
        RetentionMode::Periodic => {
            let hours = |hours| Duration::from_secs(u64::from(hours) * 3600);
            let period = number.map_or_else(|| duration(text), |number| Ok(hours(number)));
            match period {
                Ok(Duration::ZERO) => Ok(AutoCompaction::Off),
                Ok(period) if period >= PERIOD_MIN => Ok(AutoCompaction::Periodic(period)),
                _ => Err(PERIODIC.to_owned()),
            }
        }
        RetentionMode::Revision => match text.parse::<i64>() {
            Ok(revisions) if revisions > 0 => Ok(AutoCompaction::Revision(revisions)),
            _ => Err(REVISION.to_owned()),
        },
    }
}

const PERIODIC: &str = "in the mode periodic, use a number of hours or a duration of at least 1s, \
                        such as 30m or 7d; 0 is off";
const REVISION: &str = "in the mode revision, use a number of revisions; 0 is off";

#[cfg(test)]
mod tests {
    use super::*;

    fn periodic(text: &str) -> Result<AutoCompaction, String> {
        retention(text, RetentionMode::Periodic)
    }

    fn revision(text: &str) -> Result<AutoCompaction, String> {
        retention(text, RetentionMode::Revision)
    }

    #[test]
    fn time() {
        let kept = |seconds| Ok(AutoCompaction::Periodic(Duration::from_secs(seconds)));
        assert_eq!(periodic("5"), kept(18_000));
        assert_eq!(periodic("10m"), kept(600));
        assert_eq!(periodic("1h30m"), kept(5_400));
        assert_eq!(periodic("0"), Ok(AutoCompaction::Off));
        assert_eq!(periodic("0s"), Ok(AutoCompaction::Off));
        for wrong in ["", "-1", "10ms", "1.5", "x", "-1h"] {
            assert_eq!(periodic(wrong), Err(PERIODIC.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn revisions() {
        assert_eq!(revision("1000"), Ok(AutoCompaction::Revision(1000)));
        assert_eq!(revision("5000000000"), Ok(AutoCompaction::Revision(5_000_000_000)));
        assert_eq!(revision("0"), Ok(AutoCompaction::Off));
        for wrong in ["", "-1", "1h", "x"] {
            assert_eq!(revision(wrong), Err(REVISION.to_owned()), "{wrong}");
        }
    }
}
