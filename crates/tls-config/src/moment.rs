//! Times in the resolution of certificates: whole seconds of UTC. Callers read
//! the clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

/// A time, formatted for people: `2026-11-22T09:14:16Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(pub SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = time::OffsetDateTime::from_unix_timestamp(seconds(self.0)) else {
            return f.write_str("a time beyond the calendar");
        };
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Seconds since 1970; negative before.
pub(crate) fn seconds(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    }
}

/// The time for a count of seconds; saturates at the limits of the system's
/// clock.
pub(crate) fn from_seconds(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    at.unwrap_or(UNIX_EPOCH)
}

/// The time for webpki; times before 1970 become 1970.
pub(crate) fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The time from webpki.
pub(crate) fn from_unix(at: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(Utc(from_seconds(0)).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Utc(from_seconds(-1)).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(Utc(from_seconds(1_795_338_856)).to_string(), "2026-11-22T09:14:16Z");
        assert_eq!(Utc(from_seconds(253_402_300_799)).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn seconds_go_both_ways() {
        for at in [0, -1, 1, 1_795_338_856, -2_208_988_800] {
            assert_eq!(seconds(from_seconds(at)), at);
        }
    }
}
