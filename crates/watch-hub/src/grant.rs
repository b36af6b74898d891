//! How much history the driver grants to a stream, if history is on demand
//! ([`Limits::history_on_demand`](crate::Limits::history_on_demand)).

use crate::message::Message;

/// What the driver receives for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The oldest message.
    Message(Message),
    /// Watchers of the stream are catching up, and its grant is used up and all
    /// messages are taken. Reported once until more is granted.
    HistoryWanted,
    /// None of the stream's watchers is catching up any more, so its grant or
    /// request is free again.
    HistoryEnds,
}

/// The state of a stream's history grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grant {
    /// None was requested.
    #[default]
    Idle,
    /// Requested from the driver.
    Asked,
    /// This many bytes of events may still be queued.
    Open(usize),
    /// Used up: more is requested once all messages are taken.
    Spent,
    /// No longer needed; the driver has not been notified yet.
    Over,
}

impl Grant {
    /// Whether history may be queued.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Grant::Open(_))
    }

    /// Accounts for `bytes` that were queued.
    pub(crate) fn spend(&mut self, bytes: usize) {
        if let Grant::Open(left) = *self {
            let left = left.saturating_sub(bytes);
            *self = if left > 0 { Grant::Open(left) } else { Grant::Spent };
        }
    }

    /// No watcher of the stream needs history any more. Returns whether the driver
    /// must be notified.
    pub(crate) fn end(&mut self) -> bool {
        let is_news = !matches!(self, Grant::Idle | Grant::Over);
        if is_news {
            *self = Grant::Over;
        }
        is_news
    }

    /// What the driver receives for a stream once all its messages are taken.
    pub(crate) fn news(&mut self, wants_history: bool) -> Option<Heard> {
        match *self {
            Grant::Over => {
                *self = Grant::Idle;
                Some(Heard::HistoryEnds)
            }
            Grant::Idle | Grant::Spent if wants_history => {
                *self = Grant::Asked;
                Some(Heard::HistoryWanted)
            }
            Grant::Idle | Grant::Spent | Grant::Asked | Grant::Open(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_for_once_used_up_and_given_back() {
        let mut grant = Grant::default();
        assert_eq!(grant.news(false), None);
        assert_eq!(grant.news(true), Some(Heard::HistoryWanted));
        assert_eq!(grant.news(true), None, "once");
        grant = Grant::Open(10);
        grant.spend(9);
        assert!(grant.is_open() && grant.news(true).is_none());
        grant.spend(9);
        assert!(!grant.is_open());
        assert_eq!(grant.news(true), Some(Heard::HistoryWanted));
        assert!(grant.end() && !grant.end());
        assert_eq!(grant.news(true), Some(Heard::HistoryEnds), "before it is asked for again");
        assert_eq!(grant.news(true), Some(Heard::HistoryWanted));
    }
}
