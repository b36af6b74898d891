//! What the driver lets a stream have of history, if it is to be asked
//! ([`Limits::history_on_demand`](crate::Limits::history_on_demand)).

use crate::message::Message;

/// What a driver hears of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The oldest message.
    Message(Message),
    /// Watchers of the stream catch up, and what was granted to it is used up and
    /// taken. Said once, until it is granted more.
    HistoryWanted,
    /// None of the stream's watchers catches up any more, so that what was granted
    /// to it, or asked for, is free again.
    HistoryEnds,
}

/// Where a stream stands with what it is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Nothing was asked for.
    #[default]
    Idle,
    /// The driver was asked.
    Asked,
    /// So many bytes of events may still be queued.
    Open(usize),
    /// It is used up: the driver is asked for more when all of it is taken.
    Spent,
    /// Nobody needs it any more, of which the driver is still to hear.
    Over,
}

impl Grant {
    /// Whether history may be queued.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Grant::Open(_))
    }

    /// So many bytes were queued.
    pub(crate) fn spend(&mut self, bytes: usize) {
        if let Grant::Open(left) = *self {
            let left = left.saturating_sub(bytes);
            *self = if left > 0 { Grant::Open(left) } else { Grant::Spent };
        }
    }

    /// No watcher of the stream needs history any more. Whether the driver is to
    /// hear of it.
    pub(crate) fn end(&mut self) -> bool {
        let is_news = !matches!(self, Grant::Idle | Grant::Over);
        if is_news {
            *self = Grant::Over;
        }
        is_news
    }

    /// What the driver hears of a stream of which all messages are taken.
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
