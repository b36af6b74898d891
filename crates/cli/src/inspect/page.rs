//! Iterates over the keys of a range at one revision, a page at a time: a range
//! can be larger than memory.

use bytes::{BufMut, BytesMut};
use t4_kv_types::{KeyRange, KeyValue, Revision};
use t4_mvcc::{Io, Projection, ReadError, Reader};

/// Keys per page; with their values, which can be large, fewer.
const KEYS_PER_PAGE: usize = 1000;
const VALUES_PER_PAGE: usize = 64;

/// The key-values of a range, in key order.
pub(super) struct Walk<'a> {
    reader: &'a Reader,
    /// The range not read yet; `None` at the end.
    rest: Option<KeyRange>,
    at: Revision,
    projection: Projection,
    page: std::vec::IntoIter<KeyValue>,
}

impl<'a> Walk<'a> {
    /// `at` must be readable. Values are omitted unless requested.
    pub(super) fn new(reader: &'a Reader, range: KeyRange, at: Revision, values: bool) -> Self {
        let projection = if values { Projection::Full } else { Projection::KeysOnly };
        Walk { reader, rest: Some(range), at, projection, page: Vec::new().into_iter() }
    }

    fn fetch(&mut self) -> Result<(), ReadError> {
        let Some(range) = self.rest.take() else { return Ok(()) };
        let limit = match self.projection {
            Projection::Full => VALUES_PER_PAGE,
            _ => KEYS_PER_PAGE,
        };
        let kvs = self.reader.range(&range, self.at, limit, self.projection, Io::Blocking)?.kvs;
        if kvs.len() == limit
            && let Some(last) = kvs.last()
        {
            // The first key that can follow the last one.
            let mut start = BytesMut::with_capacity(last.key.len() + 1);
            start.put_slice(&last.key);
            start.put_u8(0);
            self.rest = Some(KeyRange { start: start.freeze(), end: range.end });
        }
        self.page = kvs.into_iter();
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<KeyValue, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0
            && let Err(error) = self.fetch()
        {
            return Some(Err(error));
        }
        self.page.next().map(Ok)
    }
}
