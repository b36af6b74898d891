//! A bound on how often something is logged: a server that is slow for all of
//! its clients must not become slower by saying so for each of them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const WINDOW: Duration = Duration::from_secs(1);

/// Lets so many lines a second through and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    lines_max: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the present second began.
    since: Option<Instant>,
    /// Lines in it.
    lines: u32,
    /// Lines suppressed since the last that was let through.
    suppressed: u64,
}

impl LogLimit {
    /// At most `lines_max` lines a second.
    #[must_use]
    pub const fn per_second(lines_max: u32) -> LogLimit {
        let state = State { since: None, lines: 0, suppressed: 0 };
        LogLimit { lines_max, state: Mutex::new(state) }
    }

    /// Whether a line may be written now; then, how many were suppressed since
    /// the last one, for it to tell.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let is_over = |since| now.saturating_duration_since(since) >= WINDOW;
        if state.since.is_none_or(is_over) {
            (state.since, state.lines) = (Some(now), 0);
        }
        if state.lines < self.lines_max {
            state.lines += 1;
            Some(std::mem::take(&mut state.suppressed))
        } else {
            state.suppressed += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suppressed_is_told_by_the_next_line() {
        let (limit, begin) = (LogLimit::per_second(2), Instant::now());
        let at = |millis| limit.admit(begin + Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(2), at(999)], [Some(0), Some(0), None, None]);
        assert_eq!([at(1000), at(1001), at(1002)], [Some(2), Some(0), None]);
        assert_eq!([at(5000), at(5001)], [Some(1), Some(0)]);
    }
}
