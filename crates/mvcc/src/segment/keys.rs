//! The key section: all record fields except the values, by key and then
//! revision, so that an index can be built without reading values.
//!
//! Chunks of up to 64 KiB, each with its own checksum, are read one after the
//! other. Within a chunk, a key is stored as its difference from the previous key.

use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Footer, SegmentFile, varint};
use crate::StoreError;
use crate::record::Change;

/// A chunk is closed when its payload reaches this many bytes.
const CHUNK: usize = 64 << 10;
/// Payload length, number of entries, checksum.
const CHUNK_HEADER: usize = 12;
/// How much is read from the disk at once.
const WINDOW: usize = 256 << 10;

/// One entry, without its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    pub(crate) deleted: bool,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    /// The logical offset of the record.
    pub(crate) offset: u32,
    /// The bytes of the record.
    pub(crate) length: u32,
}

impl KeyEntry {
    /// The sort order of all changes.
    pub(crate) fn order(&self) -> (i64, u32) {
        (self.main, self.sub)
    }
}

/// Builds a key section. Revisions are stored relative to `oldest`.
pub(super) struct KeysEncoder {
    section: Vec<u8>,
    payload: Vec<u8>,
    entries: u32,
    last_key: Vec<u8>,
    oldest: i64,
}

impl KeysEncoder {
    pub(super) fn new(oldest: i64) -> Self {
        KeysEncoder {
            section: Vec::new(),
            payload: Vec::with_capacity(CHUNK + 1024),
            entries: 0,
            last_key: Vec::new(),
            oldest,
        }
    }

    /// Adds a record, in ascending order of key and revision.
    pub(super) fn push(&mut self, change: &Change<'_>, offset: u32, length: u32) {
        let shared = self.last_key.iter().zip(change.key).take_while(|(a, b)| a == b).count();
        let rest = &change.key[shared..];
        let out = &mut self.payload;
        varint::put(out, shared as u64);
        varint::put(out, rest.len() as u64);
        out.extend_from_slice(rest);
        varint::put(out, (change.main - self.oldest) as u64);
        varint::put(out, u64::from(change.sub) << 1 | u64::from(change.deleted));
        if !change.deleted {
            varint::put_signed(out, change.main - change.create);
            varint::put_signed(out, change.version);
            varint::put_signed(out, change.lease);
        }
        varint::put(out, offset.into());
        varint::put(out, length.into());
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(rest);
        self.entries += 1;
        if self.payload.len() >= CHUNK {
            self.close_chunk();
        }
    }

    fn close_chunk(&mut self) {
        let mut header = Vec::with_capacity(CHUNK_HEADER);
        header.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        header.extend_from_slice(&self.entries.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header), &self.payload);
        header.extend_from_slice(&crc.to_le_bytes());
        self.section.extend_from_slice(&header);
        self.section.extend_from_slice(&self.payload);
        self.payload.clear();
        self.last_key.clear();
        self.entries = 0;
    }

    /// Returns the bytes of the section.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.entries > 0 {
            self.close_chunk();
        }
        self.section
    }
}

/// The header of a chunk: payload length, entries, checksum.
fn decode_header(bytes: &[u8]) -> Option<(usize, u32, u32)> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    Some((word(0)? as usize, word(4)?, word(8)?))
}

/// Splits the first chunk off a section: its entries, its payload, the rest.
fn split_chunk(section: &[u8]) -> Result<(u32, &[u8], &[u8]), &'static str> {
    const CUT: &str = "the key section is cut short";
    let (length, entries, crc) = decode_header(section).ok_or(CUT)?;
    let (payload, rest) = section[CHUNK_HEADER..].split_at_checked(length).ok_or(CUT)?;
    if crc32c::crc32c_append(crc32c::crc32c(&section[..8]), payload) != crc {
        return Err("a checksum in the key section does not hold");
    }
    Ok((entries, payload, rest))
}

/// Takes an entry off the front of a chunk's payload. `key` is the previous key
/// (from the previous chunk if this is the first entry of its chunk) and
/// becomes the entry's key; the ordering compares the new key with the old one.
fn take_entry(
    from: &mut &[u8],
    key: &mut Vec<u8>,
    first_of_chunk: bool,
    footer: &Footer,
) -> Option<(Ordering, KeyEntry)> {
    let shared = usize::try_from(varint::take(from)?).ok()?;
    let length = usize::try_from(varint::take(from)?).ok()?;
    let (rest, after) = from.split_at_checked(length)?;
    *from = after;
    if first_of_chunk && shared != 0 {
        return None;
    }
    let ordering = rest.cmp(key.get(shared..)?);
    key.truncate(shared);
    key.extend_from_slice(rest);
    let main = footer.oldest.checked_add_unsigned(varint::take(from)?)?;
    let sub = varint::take(from)?;
    let mut entry = KeyEntry {
        main,
        sub: u32::try_from(sub >> 1).ok()?,
        deleted: sub & 1 == 1,
        ..KeyEntry::default()
    };
    if !entry.deleted {
        entry.create = main.checked_sub(varint::take_signed(from)?)?;
        entry.version = varint::take_signed(from)?;
        entry.lease = varint::take_signed(from)?;
    }
    entry.offset = varint::take_u32(from)?;
    entry.length = varint::take_u32(from)?;
    let end = u64::from(entry.offset) + u64::from(entry.length);
    (main <= footer.newest && end <= footer.record_bytes).then_some((ordering, entry))
}

/// The chunks that are not read yet.
enum Source {
    /// A section in memory.
    Memory(Vec<u8>, usize),
    /// A section in a file, read through a window.
    File { file: Arc<SegmentFile>, at: u64, end: u64, window: Vec<u8>, used: usize },
}

impl Source {
    /// Replaces `payload` with that of the next chunk; returns its number of
    /// entries, or `None` at the end.
    fn next_chunk(&mut self, payload: &mut Vec<u8>) -> Result<Option<u32>, KeysError> {
        loop {
            let (unread, used) = match self {
                Source::Memory(section, used) => (&section[*used..], used),
                Source::File { window, used, .. } => (&window[*used..], used),
            };
            let needed = match decode_header(unread) {
                Some((length, ..)) => CHUNK_HEADER.saturating_add(length),
                None => CHUNK_HEADER,
            };
            if unread.len() >= needed {
                let (entries, found, _) = split_chunk(unread).map_err(KeysError::Malformed)?;
                payload.clear();
                payload.extend_from_slice(found);
                *used += needed;
                return Ok(Some(entries));
            }
            let left = unread.len();
            if !self.refill(needed)? {
                return if left == 0 {
                    Ok(None)
                } else {
                    Err(KeysError::Malformed("the key section is cut short"))
                };
            }
        }
    }

    /// Reads until the window holds `needed` unread bytes; false if the section
    /// does not have that many.
    fn refill(&mut self, needed: usize) -> Result<bool, KeysError> {
        let Source::File { file, at, end, window, used } = self else { return Ok(false) };
        window.drain(..*used);
        *used = 0;
        let have = window.len();
        let want = (needed.max(WINDOW) - have).min(usize::try_from(*end - *at).unwrap_or(0));
        if needed > have + want {
            return Ok(false);
        }
        window.resize(have + want, 0);
        read_at(file.file(), &mut window[have..], *at).map_err(KeysError::Io)?;
        *at += want as u64;
        Ok(true)
    }
}

fn read_at(file: &File, into: &mut [u8], at: u64) -> Result<(), std::io::Error> {
    file.read_exact_at(into, at)
}

enum KeysError {
    Malformed(&'static str),
    Io(std::io::Error),
}

/// Walks a key section and verifies it along the way: order, bounds, counts.
pub(crate) struct KeyCursor {
    source: Source,
    footer: Footer,
    path: PathBuf,
    payload: Vec<u8>,
    at: usize,
    entries_left: u32,
    key: Vec<u8>,
    entry: KeyEntry,
    /// The entries seen so far, and the bytes of their records.
    seen: u64,
    seen_bytes: u64,
}

impl KeyCursor {
    /// Starts before the first entry of a file's section.
    pub(super) fn of_file(file: Arc<SegmentFile>) -> Self {
        let footer = *file.footer();
        let path = file.path().to_owned();
        let (at, end) = (footer.keys_offset, footer.table_offset);
        Self::new(Source::File { file, at, end, window: Vec::new(), used: 0 }, footer, path)
    }

    /// Starts before the first entry of a section in memory.
    pub(super) fn of_bytes(section: Vec<u8>, footer: Footer) -> Self {
        Self::new(Source::Memory(section, 0), footer, PathBuf::new())
    }

    fn new(source: Source, footer: Footer, path: PathBuf) -> Self {
        KeyCursor {
            source,
            footer,
            path,
            payload: Vec::new(),
            at: 0,
            entries_left: 0,
            key: Vec::new(),
            entry: KeyEntry::default(),
            seen: 0,
            seen_bytes: 0,
        }
    }

    /// Advances to the next entry; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, StoreError> {
        self.step().map_err(|error| match error {
            KeysError::Malformed(what) => {
                StoreError::Corrupt { file: self.path.clone(), what: what.into() }
            }
            KeysError::Io(source) => StoreError::io(&self.path, "reading the keys", source),
        })
    }

    fn step(&mut self) -> Result<bool, KeysError> {
        let first_of_chunk = self.entries_left == 0;
        if first_of_chunk && !self.next_chunk()? {
            return self.end();
        }
        let mut rest = &self.payload[self.at..];
        let (ordering, entry) = take_entry(&mut rest, &mut self.key, first_of_chunk, &self.footer)
            .ok_or(KeysError::Malformed("an entry of the key section is impossible"))?;
        if ordering.then(entry.order().cmp(&self.entry.order())).is_le() {
            return Err(KeysError::Malformed("the key section is not in order"));
        }
        self.at = self.payload.len() - rest.len();
        self.entry = entry;
        self.entries_left -= 1;
        self.seen += 1;
        self.seen_bytes += u64::from(entry.length);
        Ok(true)
    }

    fn next_chunk(&mut self) -> Result<bool, KeysError> {
        if self.at != self.payload.len() {
            return Err(KeysError::Malformed("a chunk of keys is longer than its entries"));
        }
        let Some(entries) = self.source.next_chunk(&mut self.payload)? else {
            return Ok(false);
        };
        if entries == 0 {
            return Err(KeysError::Malformed("a chunk of keys is empty"));
        }
        (self.at, self.entries_left) = (0, entries);
        Ok(true)
    }

    /// The key of the current entry.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The current entry.
    pub(crate) fn entry(&self) -> &KeyEntry {
        &self.entry
    }

    fn end(&self) -> Result<bool, KeysError> {
        if self.seen == self.footer.records && self.seen_bytes == self.footer.record_bytes {
            Ok(false)
        } else {
            Err(KeysError::Malformed("the key section does not list every record"))
        }
    }
}
