//! The oracle: a list of owed events for each watcher, and a list of
//! outstanding answers for each stream.

use std::collections::{BTreeMap, VecDeque};

use t4_kv_types::{Event, EventKind, Revision};
use t4_watch_hub::{CancelReason, Message, RefusalReason, WatchSpec};

pub(crate) type Check = Result<(), String>;

pub(crate) fn check(holds: bool, violation: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(violation()) }
}

/// A message as a client sees it; can be tampered with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    Created { id: i64, revision: i64 },
    Refused(u8),
    Events { id: i64, header: i64, pieces: Pieces },
    Progress { id: i64, revision: i64 },
    Canceled { id: i64, revision: i64, compacted: Option<i64> },
}

/// Whether it is a put, the key, and a number unique to the event.
pub(crate) type Essence = (bool, Vec<u8>, i64);

/// Whole revisions with their events.
pub(crate) type Pieces = Vec<(i64, Vec<Essence>)>;

/// An event, reduced to what distinguishes it from all others.
pub(crate) fn essence(event: &Event) -> Essence {
    (event.kind == EventKind::Put, event.kv.key.to_vec(), event.kv.version)
}

/// An outstanding answer of a stream, in the order of its requests.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Created(i64, i64, usize),
    Refused(u8),
    Canceled(i64),
    CompactedAtOnce(i64, i64),
    Progress,
}

struct Watcher {
    id: i64,
    spec: WatchSpec,
    // The requested start; `spec` has the effective one.
    named_start: Revision,
    // Whole revisions, filtered, oldest first.
    owed: VecDeque<(i64, Vec<Essence>)>,
    // The revision that progress messages claimed.
    complete: i64,
    header: i64,
    began_live: bool,
    ended: bool,
    // Its id stays taken until the client cancels it, even if a compaction has
    // ended it.
    holds_id: bool,
}

impl Watcher {
    fn wants(&self, event: &Event) -> bool {
        self.spec.range.contains(&event.kv.key)
            && match event.kind {
                EventKind::Put => !self.spec.no_put,
                EventKind::Delete => !self.spec.no_delete,
            }
    }

    fn owe(&mut self, revision: Revision, events: &[Event]) {
        let wanted: Vec<_> = events.iter().filter(|event| self.wants(event)).map(essence).collect();
        if revision >= self.spec.start && !wanted.is_empty() {
            self.owed.push_back((revision.0, wanted));
        }
    }
}

/// One stream as its client knows it.
#[derive(Default)]
pub(crate) struct Client {
    // In the order of creation; never removed.
    watchers: Vec<Watcher>,
    // The ids that the client can use now, based on what it has read.
    names: BTreeMap<i64, usize>,
    answers: VecDeque<Answer>,
    next_id: i64,
    /// Whether its queue was ever found at a bound.
    pub(crate) lagged: bool,
}

impl Client {
    /// The ids that are taken.
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.watchers.iter().filter(|watcher| watcher.holds_id).map(|watcher| watcher.id).collect()
    }

    /// Whether it has watchers whose end was not reported to it.
    pub(crate) fn watches(&self) -> bool {
        self.watchers.iter().any(|watcher| !watcher.ended)
    }

    /// Whether one of them was created to start above `revision`.
    pub(crate) fn starts_above(&self, revision: Revision) -> bool {
        self.watchers.iter().any(|watcher| !watcher.ended && watcher.named_start > revision)
    }

    /// A create request was answered with `given`.
    pub(crate) fn created(
        &mut self,
        asked: Option<i64>,
        given: Option<i64>,
        spec: &WatchSpec,
        now: Now<'_>,
    ) -> Check {
        let taken = self.ids();
        let refusal = if spec.start < Revision(0) {
            Some(RefusalReason::NegativeStart)
        } else if spec.range.is_empty() {
            Some(RefusalReason::EmptyRange)
        } else {
            asked.filter(|id| taken.contains(id)).map(|_| RefusalReason::DuplicateId)
        };
        check(refusal.is_some() == given.is_none(), || format!("created {given:?}: {refusal:?}"))?;
        let Some(id) = given else {
            self.answers.extend(refusal.map(|reason| Answer::Refused(reason as u8)));
            return Ok(());
        };
        match asked {
            Some(asked) => check(asked == id, || format!("asked for id {asked}, got {id}"))?,
            None => {
                let skipped = (self.next_id..id).all(|id| taken.contains(&id));
                check(id >= self.next_id && skipped && !taken.contains(&id), || {
                    format!("automatic id {id}")
                })?;
                self.next_id = id + 1;
            }
        }
        self.answers.push_back(Answer::Created(id, now.visible.0, self.watchers.len()));
        let began_live = spec.start == Revision(0) || spec.start > now.published;
        let ended = spec.start > Revision(0) && spec.start < now.compacted;
        let named_start = spec.start;
        let mut spec = spec.clone();
        if spec.start == Revision(0) {
            spec.start = now.visible.next();
        }
        if ended {
            self.answers.push_back(Answer::CompactedAtOnce(id, now.compacted.0));
        }
        let owed = VecDeque::new();
        let mut watcher = Watcher {
            id,
            spec,
            named_start,
            owed,
            complete: 0,
            header: 0,
            began_live,
            ended,
            holds_id: true,
        };
        if !ended {
            now.log.iter().for_each(|(revision, events)| watcher.owe(*revision, events));
        }
        self.watchers.push(watcher);
        Ok(())
    }

    /// A cancel request was made; `known`: whether the hub knew the id.
    pub(crate) fn cancelled(&mut self, id: i64, known: bool) -> Check {
        let of_id = self.watchers.iter_mut().rfind(|watcher| watcher.id == id && watcher.holds_id);
        check(known == of_id.is_some(), || format!("cancelled {id}, known: {known}"))?;
        if let Some(watcher) = of_id {
            watcher.ended = true;
            watcher.holds_id = false;
            self.answers.push_back(Answer::Canceled(id));
        }
        Ok(())
    }

    /// A progress request has queued an answer.
    pub(crate) fn progress_requested(&mut self) {
        self.answers.push_back(Answer::Progress);
    }

    pub(crate) fn published(&mut self, revision: Revision, events: &[Event]) {
        for watcher in self.watchers.iter_mut().filter(|watcher| !watcher.ended) {
            watcher.owe(revision, events);
        }
    }

    /// The client reads a message.
    pub(crate) fn read(&mut self, seen: &Seen, now: Now<'_>, revisions_max: usize) -> Check {
        match seen {
            Seen::Events { id, header, pieces } => {
                check(pieces.len() <= revisions_max, || format!("{} revisions", pieces.len()))?;
                self.read_events(*id, *header, pieces, now)
            }
            Seen::Progress { id: Message::ALL_WATCHERS, revision } => {
                self.answered(&Answer::Progress)?;
                let named: Vec<usize> = self.names.values().copied().collect();
                named.into_iter().try_for_each(|index| self.complete(index, *revision, now))
            }
            Seen::Progress { id, revision } => {
                let index = self.named(*id)?;
                let asked = self.watchers[index].spec.progress_notify;
                check(asked, || format!("{id} did not ask for progress"))?;
                check(*revision >= self.watchers[index].spec.start.0 - 1, || {
                    format!("progress {revision} of {id}, which has not begun")
                })?;
                self.complete(index, *revision, now)
            }
            Seen::Created { id, revision } => {
                check(!self.names.contains_key(id), || format!("{id} is created twice"))?;
                let index = self.answered_created(*id, *revision)?;
                self.names.insert(*id, index);
                Ok(())
            }
            Seen::Refused(reason) => self.answered(&Answer::Refused(*reason)),
            Seen::Canceled { id, compacted: None, .. } => {
                // Its id may be gone already, if a compaction came first.
                self.names.remove(id);
                self.answered(&Answer::Canceled(*id))
            }
            Seen::Canceled { id, compacted: Some(at), .. } => self.read_compacted(*id, *at, now),
        }
    }

    fn read_events(&mut self, id: i64, header: i64, pieces: &Pieces, now: Now<'_>) -> Check {
        let index = self.named(id)?;
        let watcher = &mut self.watchers[index];
        check(!pieces.is_empty(), || format!("{id} gets nothing"))?;
        for piece in pieces {
            let owed = watcher.owed.pop_front();
            check(owed.as_ref() == Some(piece), || format!("{id} gets {piece:?}, owed {owed:?}"))?;
            check(piece.0 > watcher.complete, || format!("{piece:?} after progress"))?;
            check(piece.0 <= header, || format!("{piece:?} under header {header}"))?;
        }
        let monotone = watcher.header <= header && header <= now.published.0;
        check(monotone, || format!("header {header} after {}", watcher.header))?;
        watcher.header = header;
        Ok(())
    }

    fn read_compacted(&mut self, id: i64, at: i64, now: Now<'_>) -> Check {
        check(at <= now.compacted.0, || format!("compacted at {at}, which never was"))?;
        let index = self.named(id)?;
        if self.answers.front() == Some(&Answer::CompactedAtOnce(id, at)) {
            self.answers.pop_front();
        } else {
            let watcher = &self.watchers[index];
            let lacks = watcher.owed.front().is_some_and(|owed| owed.0 < at);
            let may_lack = self.lagged || !watcher.began_live;
            check(lacks || may_lack, || format!("{id} is compacted away but lacks nothing"))?;
        }
        self.watchers[index].ended = true;
        self.names.remove(&id);
        Ok(())
    }

    fn complete(&mut self, index: usize, revision: i64, now: Now<'_>) -> Check {
        let watcher = &mut self.watchers[index];
        let owed = watcher.owed.front().map(|owed| owed.0);
        check((1..=now.published.0).contains(&revision), || format!("progress {revision}"))?;
        check(owed.is_none_or(|owed| owed > revision), || {
            format!("progress {revision}, but {} is owed {owed:?}", watcher.id)
        })?;
        watcher.complete = watcher.complete.max(revision);
        Ok(())
    }

    fn named(&self, id: i64) -> Result<usize, String> {
        self.names.get(&id).copied().ok_or_else(|| format!("no watcher {id}"))
    }

    fn answered_created(&mut self, id: i64, revision: i64) -> Result<usize, String> {
        match self.answers.pop_front() {
            Some(Answer::Created(expected, at, index)) if (expected, at) == (id, revision) => {
                Ok(index)
            }
            other => Err(format!("created {id} at {revision}, expected {other:?}")),
        }
    }

    fn answered(&mut self, answer: &Answer) -> Check {
        let expected = self.answers.pop_front();
        check(expected.as_ref() == Some(answer), || format!("{answer:?}, expected {expected:?}"))
    }

    /// Whether a watcher still has to receive one of these events, or would if
    /// they were published.
    pub(crate) fn wants(&self, revision: Revision, events: &[Event]) -> bool {
        let wants = |watcher: &Watcher| match watcher.owed.back() {
            Some(newest) if newest.0 >= revision.0 => {
                watcher.owed.iter().any(|owed| owed.0 == revision.0)
            }
            _ => revision >= watcher.spec.start && events.iter().any(|event| watcher.wants(event)),
        };
        self.watchers.iter().any(|watcher| !watcher.ended && wants(watcher))
    }

    /// The first revision that a watcher known to the client still has to
    /// receive.
    pub(crate) fn first_owed(&self) -> Option<i64> {
        let first = |&index: &usize| self.watchers[index].owed.front().map(|owed| owed.0);
        self.names.values().filter_map(first).min()
    }

    /// Everything was read: nothing may be owed.
    pub(crate) fn settled(&self) -> Result<usize, String> {
        check(self.answers.is_empty(), || format!("unanswered: {:?}", self.answers))?;
        for &index in self.names.values() {
            let watcher = &self.watchers[index];
            check(watcher.owed.is_empty(), || {
                format!("{} never got {:?}", watcher.id, watcher.owed.front())
            })?;
        }
        Ok(self.names.len())
    }
}

/// The hub's inputs so far.
#[derive(Clone, Copy)]
pub(crate) struct Now<'a> {
    pub(crate) log: &'a [(Revision, std::sync::Arc<[Event]>)],
    pub(crate) published: Revision,
    /// The revision that readers of the store see.
    pub(crate) visible: Revision,
    pub(crate) compacted: Revision,
}

/// The reason of a cancel message, for [`Seen`].
pub(crate) fn compacted(reason: &CancelReason) -> Option<i64> {
    match reason {
        CancelReason::Requested => None,
        CancelReason::Compacted(at) => Some(at.0),
        CancelReason::Damaged(what) => panic!("nothing is damaged here: {what}"),
    }
}
