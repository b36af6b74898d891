//! Lists of watchers; each watcher is in at most one list of a roster.
//!
//! The links are stored beside the watchers, not in the lists: a list of one
//! costs eight bytes, joining and leaving are O(1), and merging two lists
//! touches only the smaller one. The order within a list is a function of the
//! calls alone.

use crate::slots::{NONE, Slots};

struct List {
    first: u32,
    len: u32,
}

#[derive(Clone, Copy)]
struct Link {
    list: u32,
    previous: u32,
    next: u32,
}

const UNLINKED: Link = Link { list: NONE, previous: NONE, next: NONE };

/// Disjoint lists of watchers.
pub(crate) struct Roster {
    lists: Slots<List>,
    // Indexed by watcher.
    links: Vec<Link>,
}

impl Roster {
    pub(crate) fn new() -> Self {
        Roster { lists: Slots::new(), links: Vec::new() }
    }

    /// A new, empty list.
    pub(crate) fn open(&mut self) -> u32 {
        self.lists.insert(List { first: NONE, len: 0 })
    }

    /// Closes a list, which must be empty.
    pub(crate) fn close(&mut self, list: u32) {
        let closed = self.lists.remove(list);
        assert!(closed.is_some_and(|list| list.len == 0), "only an empty list is closed");
    }

    /// Puts `member`, which is in no list, at the front of `list`.
    pub(crate) fn join(&mut self, list: u32, member: u32) {
        if self.links.len() <= member as usize {
            self.links.resize(member as usize + 1, UNLINKED);
        }
        assert!(self.links[member as usize].list == NONE, "a member is in one list only");
        let head = &mut self.lists[list];
        let next = std::mem::replace(&mut head.first, member);
        head.len += 1;
        self.links[member as usize] = Link { list, previous: NONE, next };
        if next != NONE {
            self.links[next as usize].previous = member;
        }
    }

    /// Removes `member` from its list and returns the list.
    pub(crate) fn leave(&mut self, member: u32) -> u32 {
        let Link { list, previous, next } =
            std::mem::replace(&mut self.links[member as usize], UNLINKED);
        let head = &mut self.lists[list];
        head.len -= 1;
        if previous == NONE {
            head.first = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        list
    }

    /// Merges the smaller of two lists into the larger; closes the emptied list
    /// and returns the other.
    pub(crate) fn merge(&mut self, a: u32, b: u32) -> u32 {
        let (from, into) = if self.len(a) <= self.len(b) { (a, b) } else { (b, a) };
        let moved: Vec<u32> = self.members(from).collect();
        for member in moved {
            self.leave(member);
            self.join(into, member);
        }
        self.close(from);
        into
    }

    /// The list that contains `member`.
    pub(crate) fn list_of(&self, member: u32) -> Option<u32> {
        self.links.get(member as usize).map(|link| link.list).filter(|&list| list != NONE)
    }

    /// The number of members of a list.
    pub(crate) fn len(&self, list: u32) -> usize {
        self.lists[list].len as usize
    }

    /// The members of a list.
    pub(crate) fn members(&self, list: u32) -> impl Iterator<Item = u32> {
        let first = Some(self.lists[list].first).filter(|&first| first != NONE);
        std::iter::successors(first, |&member| {
            Some(self.links[member as usize].next).filter(|&next| next != NONE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(roster: &Roster, list: u32) -> Vec<u32> {
        let mut members: Vec<u32> = roster.members(list).collect();
        assert_eq!(members.len(), roster.len(list));
        members.sort_unstable();
        members
    }

    #[test]
    fn join_leave_merge() {
        let mut roster = Roster::new();
        let (a, b) = (roster.open(), roster.open());
        for member in 0..5 {
            roster.join(a, member);
        }
        roster.join(b, 9);
        assert_eq!(roster.leave(2), a);
        assert_eq!(roster.leave(4), a);
        assert_eq!(roster.leave(0), a);
        assert_eq!(members(&roster, a), [1, 3]);
        assert_eq!(
            (roster.list_of(2), roster.list_of(3), roster.list_of(77)),
            (None, Some(a), None)
        );
        assert_eq!(roster.merge(a, b), a);
        assert_eq!(members(&roster, a), [1, 3, 9]);
        assert_eq!(roster.list_of(9), Some(a));
        for member in [9, 1, 3] {
            roster.leave(member);
        }
        assert_eq!(roster.len(a), 0);
        roster.close(a);
    }
}
