//! The newest state: the applied state with the changes in flight on top.

use bytes::Bytes;
use t4_kv_types::{KeyRange, KeyValue, Revision};
use t4_mvcc::{Budget, Io, KeyMeta, Page, Projection, ReadError, Reader};

use crate::in_flight::{Found, InFlight};
use crate::read::{View, meta_of};

/// The applied state with the changes in flight on top.
pub(crate) struct Newest<'a> {
    pub(crate) reader: &'a Reader,
    /// The newest applied revision.
    pub(crate) applied: Revision,
    /// The newest revision in flight.
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
    pub(crate) in_flight: &'a InFlight,
    /// The budget of the current answer.
    pub(crate) budget: &'a Budget<'a>,
}

impl Newest<'_> {
    /// The applied revision underlying a view at `at`.
    fn base(&self, at: Revision) -> Revision {
        at.min(self.applied)
    }

    /// The currently live keys of a range, in order.
    pub(crate) fn keys(&self, range: &KeyRange) -> Result<Vec<Bytes>, ReadError> {
        if !self.in_flight.touches(range) {
            return self.reader.newest_keys(range, self.budget);
        }
        let page = self.page(range, self.revision, 0, Projection::KeysOnly)?;
        Ok(page.kvs.into_iter().map(|kv| kv.key).collect())
    }

    fn base_page(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
    ) -> Result<Page, ReadError> {
        let at = self.base(at);
        self.reader.range_within(range, at, limit, projection, Io::Blocking, self.budget)
    }

    fn check(&self, at: Revision) -> Result<(), ReadError> {
        if at > self.revision {
            return Err(ReadError::Future);
        }
        if self.compacted.is_some_and(|compacted| at < compacted) {
            return Err(ReadError::Compacted);
        }
        Ok(())
    }
}

impl View for Newest<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn compacted(&self) -> Option<Revision> {
        self.compacted
    }

    fn budget(&self) -> &Budget<'_> {
        self.budget
    }

    fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, ReadError> {
        self.check(at)?;
        let base = || self.reader.get(key, self.base(at), Io::Blocking);
        match self.in_flight.find(key) {
            Some(Found::Changes(key, pending)) => pending.at(key, at, base),
            Some(Found::DeletedAt(main)) if main <= at => Ok(None),
            _ => base(),
        }
    }

    fn meta(&self, key: &[u8]) -> Result<Option<KeyMeta>, ReadError> {
        match self.in_flight.find(key) {
            Some(Found::Changes(key, pending)) => {
                let base = || self.reader.get(key, self.applied, Io::Blocking);
                Ok(pending.at(key, self.revision, base)?.as_ref().map(meta_of))
            }
            Some(Found::DeletedAt(_)) => Ok(None),
            None => Ok(self.reader.newest(key)),
        }
    }

    fn page(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
    ) -> Result<Page, ReadError> {
        self.check(at)?;
        let whole = self.budget.bytes_left();
        let mut changed: Vec<(&Bytes, Option<KeyValue>)> = Vec::new();
        let mut count_change = 0i64;
        let deleted = self.in_flight.deleted_in(range, at);
        let mut hidden: usize = deleted.iter().map(|keys| keys.len()).sum();
        for (key, pending) in self.in_flight.range(range) {
            let before = self.reader.get(key, self.base(at), Io::Blocking)?;
            let was_live = before.is_some();
            let after = pending.at(key, at, || Ok(before))?;
            if projection != Projection::CountOnly {
                after.iter().try_for_each(|kv| self.budget.pair(kv))?;
            }
            count_change += i64::from(after.is_some()) - i64::from(was_live);
            // Deleted in bulk, and changed since.
            hidden -= deleted.iter().filter(|keys| keys.binary_search(key).is_ok()).count();
            changed.push((key, after));
        }
        if changed.is_empty() && hidden == 0 {
            return self.base_page(range, at, limit, projection);
        }
        // Each changed key can hide one key of the base.
        let base_limit = if limit == 0 { 0 } else { limit + changed.len() + hidden };
        let mut base = self.base_page(range, at, base_limit, projection)?;
        let count_change = count_change - hidden as i64;
        let count = base.count.saturating_add_signed(count_change);
        deleted.iter().for_each(|keys| remove_sorted(&mut base.kvs, keys));
        let kvs = match projection {
            Projection::CountOnly => Vec::new(),
            Projection::Full | Projection::KeysOnly => merge(base.kvs, changed, projection, limit),
        };
        // Count again: hidden pairs and pairs beyond the limit are not part of
        // the answer.
        self.budget.give_back_to(whole);
        kvs.iter().try_for_each(|kv| self.budget.pair(kv))?;
        Ok(Page { kvs, count })
    }
}

fn merge(
    base: Vec<KeyValue>,
    changed: Vec<(&Bytes, Option<KeyValue>)>,
    projection: Projection,
    limit: usize,
) -> Vec<KeyValue> {
    let mut merged = Vec::with_capacity(base.len() + changed.len());
    let mut base = base.into_iter().peekable();
    for (key, after) in changed {
        while base.peek().is_some_and(|kv| kv.key < *key) {
            merged.extend(base.next());
        }
        if base.peek().is_some_and(|kv| kv.key == *key) {
            base.next();
        }
        merged.extend(after.map(|mut kv| {
            if matches!(projection, Projection::KeysOnly) {
                kv.value = Bytes::new();
            }
            kv
        }));
    }
    merged.extend(base);
    if limit > 0 {
        merged.truncate(limit);
    }
    merged
}

/// Removes the pairs with the given keys; both lists are sorted.
fn remove_sorted(kvs: &mut Vec<KeyValue>, keys: &[Bytes]) {
    let mut rest = keys;
    kvs.retain(|kv| {
        while let [first, others @ ..] = rest
            && *first < kv.key
        {
            rest = others;
        }
        rest.first().is_none_or(|first| *first != kv.key)
    });
}
