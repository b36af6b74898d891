//! The encoding of one change in the tail and in segment files
//! (`docs/formats/segment.md`, "Record").
//!
//! A [`Record`] is always valid: it was encoded here, or its checksum and
//! structure were verified. Accessors slice it; nothing is copied.

use bytes::{Buf, Bytes};
use t4_kv_types::{Event, EventKind, KeyValue, LeaseId, Revision};

/// The bytes before the key.
pub(crate) const HEADER: usize = 52;

/// The flag of a delete.
const DELETE: u32 = 1;

/// The recorded fields of a change, except its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    /// The revision.
    pub(crate) main: i64,
    /// The place within the revision.
    pub(crate) sub: u32,
    /// Whether it is a delete: no value, and `create`, `version`, `lease` are 0.
    pub(crate) deleted: bool,
    /// The revision of the put that created this generation of the key.
    pub(crate) create: i64,
    /// 1 at creation, one more per put.
    pub(crate) version: i64,
    /// The lease, or 0.
    pub(crate) lease: i64,
    /// The key.
    pub(crate) key: &'a [u8],
}

/// The encoded bytes of one change, complete and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record(Bytes);

impl Record {
    /// Encodes a change.
    ///
    /// # Panics
    /// If key and value together exceed 4 GiB; requests are far smaller.
    pub(crate) fn encode(change: &Change<'_>, value: &[u8]) -> Record {
        let mut bytes = Vec::with_capacity(Record::length(change.key, value));
        Record::encode_into(&mut bytes, change, value);
        Record(Bytes::from(bytes))
    }

    /// The length of the record of a key and a value.
    pub(crate) fn length(key: &[u8], value: &[u8]) -> usize {
        HEADER + key.len() + value.len()
    }

    /// Appends the encoding to `bytes`.
    ///
    /// # Panics
    /// As [`Record::encode`].
    pub(crate) fn encode_into(bytes: &mut Vec<u8>, change: &Change<'_>, value: &[u8]) {
        let length = Record::length(change.key, value);
        let stored_length = u32::try_from(length).expect("a record is below 4 GiB");
        let key_length = change.key.len() as u32;
        let start = bytes.len();
        bytes.extend_from_slice(&stored_length.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&change.main.to_le_bytes());
        bytes.extend_from_slice(&change.sub.to_le_bytes());
        bytes.extend_from_slice(&(DELETE * u32::from(change.deleted)).to_le_bytes());
        bytes.extend_from_slice(&change.create.to_le_bytes());
        bytes.extend_from_slice(&change.version.to_le_bytes());
        bytes.extend_from_slice(&change.lease.to_le_bytes());
        bytes.extend_from_slice(&key_length.to_le_bytes());
        bytes.extend_from_slice(change.key);
        bytes.extend_from_slice(value);
        let crc = checksum(&bytes[start..]);
        bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Accepts `bytes` if they are exactly one valid record.
    pub(crate) fn verify(bytes: Bytes) -> Result<Record, &'static str> {
        let length = check(&bytes)?;
        if length == bytes.len() { Ok(Record(bytes)) } else { Err("bytes after the record") }
    }

    /// Verifies the record at the start of `bytes` and copies it into its own
    /// memory, so that it keeps nothing else alive.
    pub(crate) fn copy_first(bytes: &[u8]) -> Result<Record, &'static str> {
        let length = check(bytes)?;
        Ok(Record(Bytes::copy_from_slice(&bytes[..length])))
    }

    /// Verifies the record at `offset` of some bytes and returns it as a slice.
    pub(crate) fn slice_at(bytes: &Bytes, offset: usize) -> Result<Record, &'static str> {
        let length = check(bytes.get(offset..).unwrap_or_default())?;
        Ok(Record(bytes.slice(offset..offset + length)))
    }

    /// The record at `offset` of a block whose checksum was verified, as a slice.
    pub(crate) fn slice_of_block(block: &Bytes, offset: usize) -> Result<Record, &'static str> {
        let length = check_structure(block.get(offset..).unwrap_or_default())?.len();
        Ok(Record(block.slice(offset..offset + length)))
    }

    /// Like [`Record::slice_of_block`], but copied into its own memory.
    pub(crate) fn copy_of_block(block: &[u8], offset: usize) -> Result<Record, &'static str> {
        let record = check_structure(block.get(offset..).unwrap_or_default())?;
        Ok(Record(Bytes::copy_from_slice(record)))
    }

    /// Splits the first `length` bytes off `bytes`, as a copy of a record.
    pub(crate) fn split_copy(bytes: &mut Bytes, length: usize) -> Record {
        Record(bytes.split_to(length))
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All its bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The revision.
    pub(crate) fn main(&self) -> i64 {
        self.i64_at(8)
    }

    /// The sort order of all changes.
    pub(crate) fn order(&self) -> (i64, u32) {
        (self.main(), self.u32_at(16))
    }

    /// Everything but the value.
    pub(crate) fn change(&self) -> Change<'_> {
        Change {
            main: self.main(),
            sub: self.u32_at(16),
            deleted: self.is_delete(),
            create: self.i64_at(24),
            version: self.i64_at(32),
            lease: self.i64_at(40),
            key: self.key(),
        }
    }

    /// The key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.0[HEADER..HEADER + self.u32_at(48) as usize]
    }

    /// The key and the value as slices of this record.
    pub(crate) fn into_key_value(self) -> KeyValue {
        let change = self.change();
        let (create, version, lease) = (change.create, change.version, change.lease);
        let (main, key_length) = (change.main, change.key.len());
        let mut value = self.0;
        value.advance(HEADER);
        let key = value.split_to(key_length);
        KeyValue {
            key,
            value,
            create_revision: Revision(create),
            mod_revision: Revision(main),
            version,
            lease: LeaseId(lease),
        }
    }

    /// The event that watchers see.
    pub(crate) fn into_event(self) -> Event {
        let kind = if self.is_delete() { EventKind::Delete } else { EventKind::Put };
        Event { kind, kv: self.into_key_value() }
    }

    fn is_delete(&self) -> bool {
        self.u32_at(20) == DELETE
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32_at(&self.0, at)
    }

    fn i64_at(&self, at: usize) -> i64 {
        i64_at(&self.0, at)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Covers everything but the checksum itself.
fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

/// Verifies the record at the start of `bytes`; returns its length.
fn check(bytes: &[u8]) -> Result<usize, &'static str> {
    if bytes.len() < HEADER {
        return Err("a record is cut short");
    }
    let record = bytes.get(..u32_at(bytes, 0) as usize).ok_or("a record is cut short")?;
    if record.len() < HEADER || checksum(record) != u32_at(record, 4) {
        return Err("a record's checksum does not hold");
    }
    check_structure(record).map(<[u8]>::len)
}

/// The record at the start of `bytes`, which are known to be intact: these
/// checks guard against a faulty writer.
fn check_structure(bytes: &[u8]) -> Result<&[u8], &'static str> {
    if bytes.len() < HEADER {
        return Err("a record is cut short");
    }
    let record = bytes.get(..u32_at(bytes, 0) as usize).ok_or("a record is cut short")?;
    let value_from = HEADER.saturating_add(u32_at(bytes, 48) as usize);
    if value_from > record.len() {
        return Err("a record's key is cut short");
    }
    let history = [24, 32, 40].map(|at| i64_at(record, at));
    match u32_at(record, 20) {
        _ if i64_at(record, 8) < 1 => Err("a record has no revision"),
        0 if history[0] < 1 || history[1] < 1 => Err("a put has no history"),
        0 => Ok(record),
        DELETE if value_from == record.len() && history == [0; 3] => Ok(record),
        DELETE => Err("a delete has a value or a history"),
        _ => Err("a record has unknown flags"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put() -> Change<'static> {
        Change { main: 7, sub: 2, deleted: false, create: 5, version: 3, lease: -9, key: b"key" }
    }

    fn delete() -> Change<'static> {
        Change { deleted: true, create: 0, version: 0, lease: 0, ..put() }
    }

    #[test]
    fn reads_what_was_written() {
        let record = Record::encode(&put(), b"value");
        assert_eq!(record.change(), put());
        assert_eq!(Record::verify(record.bytes().clone()), Ok(record.clone()));
        let kv = record.into_key_value();
        assert_eq!((kv.key.as_ref(), kv.value.as_ref()), (&b"key"[..], &b"value"[..]));
        assert_eq!((kv.create_revision, kv.mod_revision), (Revision(5), Revision(7)));
        assert_eq!((kv.version, kv.lease), (3, LeaseId(-9)));
    }

    #[test]
    fn a_delete_shows_key_and_revision_alone() {
        let event = Record::encode(&delete(), b"").into_event();
        let kv = KeyValue {
            key: Bytes::from_static(b"key"),
            mod_revision: Revision(7),
            ..KeyValue::default()
        };
        assert_eq!(event, Event { kind: EventKind::Delete, kv });
    }

    #[test]
    fn the_first_of_several_is_found_by_its_length() {
        let first = Record::encode(&put(), b"one");
        let both = [first.bytes().as_ref(), Record::encode(&delete(), b"").bytes()].concat();
        assert_eq!(Record::copy_first(&both), Ok(first.clone()));
        let block = Bytes::from(both.clone());
        assert_eq!(Record::slice_of_block(&block, 0), Ok(first.clone()));
        assert_eq!(Record::copy_of_block(&block, 0), Ok(first.clone()));
        let second = Record::slice_of_block(&block, first.len()).unwrap();
        assert!(second.change().deleted);
        assert!(Record::slice_of_block(&block, both.len()).is_err());
        assert!(Record::slice_of_block(&block, usize::MAX).is_err());
        assert!(Record::verify(both.into()).is_err());
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_an_error() {
        let whole = Record::encode(&put(), b"some value").bytes().to_vec();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::copy_first(&bytes).is_err(), "bit {bit}");
        }
        for cut in 0..whole.len() {
            assert!(Record::copy_first(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_valid_checksum_does_not_excuse_nonsense() {
        let nonsense = [
            Change { main: 0, ..put() },
            Change { create: 0, ..put() },
            Change { version: 0, ..put() },
            Change { deleted: true, ..put() },
        ];
        for change in nonsense {
            let record = Record::encode(&change, b"");
            assert!(Record::verify(record.bytes().clone()).is_err(), "{change:?}");
        }
        assert!(Record::verify(Record::encode(&delete(), b"v").0).is_err());
        let mut long_key = Record::encode(&put(), b"").bytes().to_vec();
        long_key[48] = 200;
        let crc = checksum(&long_key);
        long_key[4..8].copy_from_slice(&crc.to_le_bytes());
        assert!(Record::copy_first(&long_key).is_err());
    }
}
