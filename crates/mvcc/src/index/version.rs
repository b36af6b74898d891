//! The index's data about a version of a key, and the location of its record.
//!
//! Plain data. The file table resolves file numbers, and the readers read records.

/// The location of a record: its file, and its offset in the concatenation of
/// all records of that file. It does not change when the file is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location {
    /// The local number assigned to the file when its tail was started.
    pub(crate) file: u32,
    /// The bytes of the records before this one in the file.
    pub(crate) offset: u32,
}

/// One change of one key. 24 bytes, because there is one per stored change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// The revision of the change.
    pub(crate) main: i64,
    /// Its place among the changes of that revision, from 0.
    pub(crate) sub: u32,
    /// Whether it deleted the key.
    pub(crate) deleted: bool,
    /// The length of its record, so that it can be read exactly and counted
    /// when it is dropped; [`Version::SIZE_MAX`] means that or more.
    pub(crate) size: u16,
    /// The location of its record.
    pub(crate) at: Location,
}

impl Version {
    /// The `size` of a record of this length or more. Such a record has a block
    /// of its own, whose length is known.
    pub(crate) const SIZE_MAX: u16 = u16::MAX;

    /// The sort order of all changes of a store.
    pub(crate) fn order(&self) -> (i64, u32) {
        (self.main, self.sub)
    }
}

/// The newest version of a key, with the fields that the next change and a
/// metadata read need. After a delete, `create`, `count` and `lease` are meaningless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The change.
    pub(crate) version: Version,
    /// The revision of the put that created this generation of the key.
    pub(crate) create: i64,
    /// etcd's `version`: 1 at creation, one more per put.
    pub(crate) count: i64,
    /// The lease, 0 for none.
    pub(crate) lease: i64,
}

/// The index's data about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The key.
    pub(crate) key: &'a [u8],
    /// Its newest version.
    pub(crate) newest: &'a Newest,
    /// The earlier versions that were not compacted away, oldest first.
    pub(crate) older: &'a [Version],
}

impl Entry<'_> {
    /// The last version whose revision is at most `revision`. It may be a
    /// delete; `None` if the key had not been changed by then, or if that
    /// version has been compacted away.
    pub(crate) fn at(&self, revision: i64) -> Option<&Version> {
        if self.newest.version.main <= revision {
            return Some(&self.newest.version);
        }
        let known = self.older.partition_point(|version| version.main <= revision);
        self.older[..known].last()
    }

    /// The version with exactly this order, if present.
    pub(crate) fn find(&self, order: (i64, u32)) -> Option<&Version> {
        if self.newest.version.order() == order {
            return Some(&self.newest.version);
        }
        let at = self.older.binary_search_by_key(&order, Version::order).ok()?;
        self.older.get(at)
    }

    /// All versions, oldest first.
    pub(crate) fn versions(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.older.iter().chain(std::iter::once(&self.newest.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(main: i64, sub: u32) -> Version {
        Version { main, sub, deleted: false, size: 0, at: Location::default() }
    }

    #[test]
    fn sizes_are_what_the_memory_budget_counts_with() {
        assert_eq!(size_of::<Version>(), 24);
        assert_eq!(size_of::<Newest>(), 48);
    }

    #[test]
    fn the_version_at_a_revision_is_the_last_sub_of_it() {
        let older = [version(3, 0), version(5, 0), version(5, 1)];
        let newest = Newest { version: version(9, 2), create: 3, count: 4, lease: 0 };
        let entry = Entry { key: b"k", newest: &newest, older: &older };
        let at = |revision| entry.at(revision).map(Version::order);
        assert_eq!(at(2), None);
        assert_eq!(at(3), Some((3, 0)));
        assert_eq!(at(4), Some((3, 0)));
        assert_eq!(at(5), Some((5, 1)));
        assert_eq!(at(8), Some((5, 1)));
        assert_eq!(at(9), Some((9, 2)));
        assert_eq!(entry.versions().count(), 4);
        let find = |main, sub| entry.find((main, sub)).map(Version::order);
        assert_eq!(
            [find(3, 0), find(5, 1), find(9, 2)],
            [Some((3, 0)), Some((5, 1)), Some((9, 2))]
        );
        assert_eq!([find(3, 1), find(9, 1), find(1, 0)], [None; 3]);
    }
}
