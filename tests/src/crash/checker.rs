//! Judges a history. Pure: attempts and events in, violations out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use bytes::Bytes;
use t4_proto::mvccpb::{Event, KeyValue, event::EventType};

use super::attempt::{Attempt, AttemptId, Change, Outcome};

/// Something that a correct server never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The server's history does not go on where it ended, or skips a revision.
    Hole {
        /// The revision that should have come.
        expected: i64,
        /// The one that came.
        found: i64,
    },
    /// A revision that the server told before now reads otherwise.
    Rewritten(i64),
    /// A revision that no attempt wrote.
    Foreign(i64),
    /// A revision holds some changes of an attempt, or others than it asked for.
    Half(AttemptId, i64),
    /// An attempt stands at two revisions.
    Twice(AttemptId, i64, i64),
    /// An acknowledged write is nowhere.
    Lost(AttemptId, i64),
    /// An acknowledged write stands at another revision.
    Moved(AttemptId, i64, i64),
    /// A write stands before one that was acknowledged before it began.
    Overtook(AttemptId, i64),
    /// An event's version, create revision or previous state is wrong.
    Record(i64, Bytes),
    /// The current state of a key is not what the history makes it.
    State(Bytes),
    /// The server's current revision is not the last of its history.
    Current {
        /// The last revision of the history.
        history: i64,
        /// What the server says is current.
        told: i64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What is known of a server's history, round after round.
#[derive(Debug, Default)]
pub struct Checker {
    // Every event so far, in order.
    log: Vec<Event>,
    // What the log makes of each key.
    state: BTreeMap<Bytes, KeyValue>,
    // Where each attempt stands.
    placed: HashMap<AttemptId, i64>,
    // Changes and life time of every attempt, by name.
    attempts: HashMap<AttemptId, Attempt>,
}

impl Checker {
    /// The last revision of the history; the empty store has 1.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.log.last().map_or(1, revision)
    }

    /// Every event of the history, in order.
    #[must_use]
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// Where an attempt stands, if it happened.
    #[must_use]
    pub fn place_of(&self, id: AttemptId) -> Option<i64> {
        self.placed.get(&id).copied()
    }

    /// Takes in the attempts of a round, and the history from revision `from`
    /// on that the server tells after it.
    pub fn round(&mut self, attempts: Vec<Attempt>, from: i64, told: &[Event]) -> Vec<Violation> {
        let new: Vec<AttemptId> = attempts.iter().map(|attempt| attempt.id).collect();
        self.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id, attempt)));
        let mut found = Vec::new();
        let fresh = self.same_as_before(from, told, &mut found);
        for group in fresh.chunk_by(|a, b| revision(a) == revision(b)) {
            self.take_in(group, &mut found);
        }
        for id in &new {
            self.acknowledged_is_there(*id, &mut found);
        }
        self.real_time_order(&new, &mut found);
        found
    }

    /// Compares the current state that the server tells with what the history
    /// makes of it.
    #[must_use]
    pub fn state(&self, current: i64, told: &[KeyValue]) -> Vec<Violation> {
        let mut found = Vec::new();
        if current != self.revision() {
            found.push(Violation::Current { history: self.revision(), told: current });
        }
        let told: BTreeMap<&Bytes, &KeyValue> = told.iter().map(|kv| (&kv.key, kv)).collect();
        for (key, kv) in &self.state {
            if told.get(key) != Some(&kv) {
                found.push(Violation::State(key.clone()));
            }
        }
        for key in told.keys().filter(|key| !self.state.contains_key(**key)) {
            found.push(Violation::State((*key).clone()));
        }
        found
    }

    /// What a client that watched all the time saw must be the history's
    /// beginning, each event once: the place of the first one that is not.
    #[must_use]
    pub fn watched(&self, seen: &[Event]) -> Option<usize> {
        if seen.len() > self.log.len() {
            return Some(self.log.len());
        }
        (0..seen.len()).find(|&place| seen[place] != self.log[place])
    }

    // The part of the history that is known already must not have changed;
    // gives the part that is new.
    fn same_as_before<'a>(
        &self,
        from: i64,
        told: &'a [Event],
        found: &mut Vec<Violation>,
    ) -> &'a [Event] {
        let known = &self.log[self.log.partition_point(|event| revision(event) < from)..];
        for (place, event) in known.iter().enumerate() {
            if told.get(place) != Some(event) {
                found.push(Violation::Rewritten(revision(event)));
                // One is enough to show: after it, everything is shifted.
                return &[];
            }
        }
        &told[known.len()..]
    }

    // The events of one revision.
    fn take_in(&mut self, group: &[Event], found: &mut Vec<Violation>) {
        let Some(at) = group.first().map(revision) else { return };
        let expected = self.revision() + 1;
        if at != expected {
            found.push(Violation::Hole { expected, found: at });
        }
        match self.author(group) {
            None => found.push(Violation::Foreign(at)),
            Some(id) => {
                if self.effect(id) != changes(group) {
                    found.push(Violation::Half(id, at));
                }
                if let Some(before) = self.placed.insert(id, at) {
                    found.push(Violation::Twice(id, before, at));
                }
            }
        }
        for event in group {
            self.apply(event, found);
        }
        self.log.extend_from_slice(group);
    }

    fn author(&self, group: &[Event]) -> Option<AttemptId> {
        let named = |event: &Event| AttemptId::of_value(&event.kv.as_ref()?.value);
        let id = group.iter().find_map(named)?;
        self.attempts.contains_key(&id).then_some(id)
    }

    // The changes of an attempt that do something now: a delete of a key that
    // is not there leaves no event.
    fn effect(&self, id: AttemptId) -> Vec<Change> {
        let Some(attempt) = self.attempts.get(&id) else { return Vec::new() };
        let does_something = |change: &&Change| match change {
            Change::Put(..) => true,
            Change::Delete(key) => self.state.contains_key(key),
        };
        attempt.changes.iter().filter(does_something).cloned().collect()
    }

    fn apply(&mut self, event: &Event, found: &mut Vec<Violation>) {
        let Some(kv) = &event.kv else { return };
        let before = self.state.get(&kv.key);
        let expected = if is_delete(event) {
            KeyValue { key: kv.key.clone(), mod_revision: kv.mod_revision, ..KeyValue::default() }
        } else {
            KeyValue {
                create_revision: before.map_or(kv.mod_revision, |kv| kv.create_revision),
                version: before.map_or(1, |kv| kv.version + 1),
                lease: 0,
                ..kv.clone()
            }
        };
        if *kv != expected {
            found.push(Violation::Record(kv.mod_revision, kv.key.clone()));
        }
        if is_delete(event) {
            self.state.remove(&kv.key);
        } else {
            self.state.insert(kv.key.clone(), kv.clone());
        }
    }

    fn acknowledged_is_there(&self, id: AttemptId, found: &mut Vec<Violation>) {
        let Some(Outcome::Acknowledged(at)) = self.attempts.get(&id).map(|a| a.outcome) else {
            return;
        };
        match self.placed.get(&id) {
            None => found.push(Violation::Lost(id, at)),
            Some(place) if *place != at => found.push(Violation::Moved(id, at, *place)),
            Some(_) => {}
        }
    }

    // A sweep over time: nothing that began after an acknowledgement may stand
    // before what was acknowledged.
    fn real_time_order(&self, new: &[AttemptId], found: &mut Vec<Violation>) {
        let mut ends: Vec<(u64, i64)> = Vec::new();
        let mut begins: Vec<(u64, AttemptId, i64)> = Vec::new();
        for id in new {
            let (Some(attempt), Some(place)) = (self.attempts.get(id), self.placed.get(id)) else {
                continue;
            };
            if let Outcome::Acknowledged(_) = attempt.outcome {
                ends.push((attempt.ended, *place));
            }
            begins.push((attempt.began, *id, *place));
        }
        ends.sort_unstable();
        begins.sort_unstable();
        let (mut highest, mut next) = (0, 0);
        for (began, id, place) in begins {
            while next < ends.len() && ends[next].0 < began {
                highest = highest.max(ends[next].1);
                next += 1;
            }
            if place <= highest {
                found.push(Violation::Overtook(id, place));
            }
        }
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn is_delete(event: &Event) -> bool {
    event.r#type == EventType::Delete as i32
}

fn changes(group: &[Event]) -> Vec<Change> {
    let change = |event: &Event| {
        let kv = event.kv.clone().unwrap_or_default();
        if is_delete(event) { Change::Delete(kv.key) } else { Change::Put(kv.key, kv.value) }
    };
    group.iter().map(change).collect()
}

#[cfg(test)]
mod tests;
