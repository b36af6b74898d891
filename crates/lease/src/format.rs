//! The persisted form of the table; the byte diagram is
//! `docs/formats/lease-table.md`.
//!
//! Bytes in, records out and back. There is one encoding for each list of
//! records: whatever [`decode`] accepts, [`encode`] gives back byte for byte.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use t4_kv_types::LeaseId;
use thiserror::Error;

use crate::TTL_MAX_S;

/// The version of the format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"T4LEASES";
/// Magic, version, flags, count.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
const CRC_BYTES: usize = 4;
/// Flag: each record has the time that was left.
const WITH_REMAINING: u32 = 1;

/// One lease as it is persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Its id; never [`LeaseId::NONE`].
    pub id: LeaseId,
    /// The time to live that it was granted with, in seconds; `1..=TTL_MAX_S`.
    pub ttl_s: i64,
    /// What was left of it at a clean stop of the leader, rounded up to whole
    /// milliseconds and not above `ttl_s`; None if the table was written
    /// without remaining times.
    pub remaining: Option<Duration>,
}

/// Why a persisted lease table was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are damaged or are no lease table. Do not go on with this copy:
    /// restore it, or rebuild the replica from another one.
    #[error("the lease table is corrupt: {what}")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
    },
    /// Undamaged, but written by a newer release: run that one.
    #[error("the lease table has format {found}; this release reads up to {FORMAT_VERSION}")]
    NewerFormat {
        /// The version found.
        found: u32,
    },
}

/// Encodes records, which are in ascending order of their ids.
pub(crate) fn encode(
    records: impl ExactSizeIterator<Item = LeaseRecord>,
    with_remaining: bool,
) -> Bytes {
    let record_bytes = record_bytes(with_remaining);
    let mut out = BytesMut::with_capacity(HEADER_BYTES + records.len() * record_bytes + CRC_BYTES);
    out.put_slice(&MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(if with_remaining { WITH_REMAINING } else { 0 });
    out.put_u64_le(records.len() as u64);
    for record in records {
        out.put_i64_le(record.id.0);
        out.put_i64_le(record.ttl_s);
        if with_remaining {
            out.put_u64_le(whole_millis_up(record.remaining.unwrap_or_default()));
        }
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out.freeze()
}

/// Decodes a whole table. Any bytes may be given; memory is bounded by their
/// length.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<LeaseRecord>, DecodeError> {
    // The frame (magic and version in front, the checksum at the end) is the
    // same in every version, so damage is never taken for a newer format.
    let (mut body, crc) =
        bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(|| corrupt("it is cut short"))?;
    let magic = field::<8>(&mut body)?;
    if magic != MAGIC {
        return Err(corrupt("it does not begin as one"));
    }
    if crc32c::crc32c(&bytes[..bytes.len() - CRC_BYTES]) != u32::from_le_bytes(*crc) {
        return Err(corrupt("the checksum does not match"));
    }
    match u32::from_le_bytes(field(&mut body)?) {
        FORMAT_VERSION => decode_v1(body),
        0 => Err(corrupt("format version 0")),
        found => Err(DecodeError::NewerFormat { found }),
    }
}

/// `body` is what stands between the version and the checksum.
fn decode_v1(mut body: &[u8]) -> Result<Vec<LeaseRecord>, DecodeError> {
    let with_remaining = match u32::from_le_bytes(field(&mut body)?) {
        0 => false,
        WITH_REMAINING => true,
        _ => return Err(corrupt("unknown flags")),
    };
    let count = u64::from_le_bytes(field(&mut body)?);
    let record_bytes = record_bytes(with_remaining);
    // Before anything is allocated for the count.
    if count.checked_mul(record_bytes as u64) != Some(body.len() as u64) {
        return Err(corrupt("the number of leases does not match the length"));
    }
    let mut records: Vec<LeaseRecord> = Vec::with_capacity(body.len() / record_bytes);
    while !body.is_empty() {
        let record = decode_record(&mut body, with_remaining)?;
        if records.last().is_some_and(|last| last.id >= record.id) {
            return Err(corrupt("the ids do not ascend"));
        }
        records.push(record);
    }
    Ok(records)
}

fn decode_record(body: &mut &[u8], with_remaining: bool) -> Result<LeaseRecord, DecodeError> {
    let id = LeaseId(i64::from_le_bytes(field(body)?));
    if !id.is_some() {
        return Err(corrupt("a lease without an id"));
    }
    let ttl_s = i64::from_le_bytes(field(body)?);
    if !(1..=TTL_MAX_S).contains(&ttl_s) {
        return Err(corrupt("a time to live is out of bounds"));
    }
    let mut remaining = None;
    if with_remaining {
        let left = Duration::from_millis(u64::from_le_bytes(field(body)?));
        if left > Duration::from_secs(ttl_s.unsigned_abs()) {
            return Err(corrupt("a lease has more time left than it was granted"));
        }
        remaining = Some(left);
    }
    Ok(LeaseRecord { id, ttl_s, remaining })
}

/// Id, time to live and, with the flag, the remaining time.
const fn record_bytes(with_remaining: bool) -> usize {
    if with_remaining { 24 } else { 16 }
}

/// Cuts the next `N` bytes off.
fn field<const N: usize>(body: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (field, rest) = body.split_first_chunk().ok_or_else(|| corrupt("it is cut short"))?;
    *body = rest;
    Ok(*field)
}

/// Up, because a lease must not lose even a part of a millisecond by a stop. A
/// remaining time is at most `TTL_MAX_S`, so this cannot reach the bound of u64.
fn whole_millis_up(left: Duration) -> u64 {
    u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn corrupt(what: &'static str) -> DecodeError {
    DecodeError::Corrupt { what }
}
