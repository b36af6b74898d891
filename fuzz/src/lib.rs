//! What must hold of every decoder of bytes from disk, whatever it is given.
//!
//! Each decoder answers with an error or with a value, never with a panic. If
//! it is a value, the bytes were the only ones that stand for it: it encodes
//! to the same bytes again or, where there is no encoder of a whole file, no
//! file that differs in one bit is taken for the same.
//!
//! Used twice: by the fuzz targets of this folder, and, through the same file,
//! by `tests/tests/fuzz_corpus.rs`, which runs in every test run.

mod seal;

use std::time::Duration;

use bytes::Bytes;
use t4_auth_rbac::{AuthState, Effect};
use t4_lease::LeaseTable;
use t4_mvcc::Manifest;
use t4_node::Identity;
use t4_state_machine::{Batch, decode_alarms, decode_members, encode_alarms, encode_members};
use t4_wal::format::{Closing, EndMark, Tail};

/// A decoder with what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Its name: that of its fuzz target and of its folder in `corpus`.
    pub name: &'static str,
    /// Decodes; panics if what must hold does not. True if the bytes were
    /// accepted.
    pub check: fn(&[u8]) -> bool,
    /// Makes the checksums right, as far as the bytes still have the form, so
    /// that made-up bytes reach what is behind the checksums.
    pub seal: fn(&mut [u8]),
}

/// Every decoder.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "wal_segment", check: wal_segment, seal: seal::wal_segment },
    Decoder { name: "wal_end", check: wal_end, seal: seal::checksum_line },
    Decoder { name: "lease_table", check: lease_table, seal: seal::lease_table },
    Decoder { name: "log_payload", check: log_payload, seal: seal::nothing },
    Decoder { name: "alarm_table", check: alarm_table, seal: seal::nothing },
    Decoder { name: "member_table", check: member_table, seal: seal::nothing },
    Decoder { name: "auth_effect", check: auth_effect, seal: seal::nothing },
    Decoder { name: "auth_state", check: auth_state, seal: seal::nothing },
    Decoder { name: "mvcc_manifest", check: mvcc_manifest, seal: seal::mvcc_manifest },
    Decoder { name: "mvcc_segment", check: mvcc_segment, seal: seal::mvcc_segment },
    Decoder { name: "node_identity", check: node_identity, seal: seal::checksum_line },
];

/// What a fuzz target does with its input.
///
/// # Panics
/// When there is no such decoder, or what must hold does not.
#[allow(dead_code, reason = "the corpus test has its own loop")]
pub fn fuzz(name: &str, bytes: &[u8]) {
    let decoder = DECODERS.iter().find(|decoder| decoder.name == name).expect("a decoder");
    (decoder.check)(bytes);
    let mut sealed = bytes.to_vec();
    (decoder.seal)(&mut sealed);
    (decoder.check)(&sealed);
}

fn wal_segment(bytes: &[u8]) -> bool {
    let Ok(contents) = t4_wal::format::decode_segment(bytes) else { return false };
    let first = contents.header.first.0;
    for (index, entry) in (first..).zip(&contents.entries) {
        assert_eq!(entry.index.0, index, "entries follow one another");
    }
    // What is torn may be anything; all other bytes are accounted for, if the
    // file is one that a writer makes.
    let whole = contents.tail == Tail::Clean && contents.closing != Closing::Torn;
    if whole && has_no_sparse_sector(bytes) {
        let flipped = flip_one_bit(bytes);
        if let Ok(found) = t4_wal::format::decode_segment(&flipped) {
            assert!(matches!(found.tail, Tail::Stray { .. }), "a flipped bit went unnoticed");
            assert_eq!(found.entries, contents.entries, "a stray bit changed an entry");
        }
    }
    true
}

/// Whether every sector that is all payload has two bits set or more, as
/// writers see to it by scrambling: else one flipped bit can look like a tear.
fn has_no_sparse_sector(bytes: &[u8]) -> bool {
    const SECTOR: usize = 512;
    let sparse = |sector: &[u8]| sector.iter().map(|byte| byte.count_ones()).sum::<u32>() < 2;
    seal::wal_payloads(bytes).into_iter().all(|payload| {
        let first = payload.start.next_multiple_of(SECTOR).min(payload.end);
        let own = bytes.get(first..payload.end).unwrap_or_default();
        !own.chunks_exact(SECTOR).any(sparse)
    })
}

fn wal_end(bytes: &[u8]) -> bool {
    let Ok(mark) = EndMark::decode(bytes) else { return false };
    assert_eq!(mark.to_string().as_bytes(), bytes);
    true
}

fn lease_table(bytes: &[u8]) -> bool {
    const NOW: Duration = Duration::ZERO;
    let Ok(records) = LeaseTable::decode(bytes) else { return false };
    let mut table = LeaseTable::new();
    for record in &records {
        table.grant(record.id, record.ttl_s, NOW);
        if let Some(left) = record.remaining {
            table.restore_remaining(record.id, left, NOW);
        }
    }
    // The lowest bit of the flags; an empty table has no record to tell by.
    let with_remaining = bytes[12] & 1 == 1;
    assert_eq!(table.encode(with_remaining.then_some(NOW)), bytes);
    true
}

fn log_payload(bytes: &[u8]) -> bool {
    let Ok(batch) = Batch::decode(&Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(batch.encode(), bytes);
    true
}

fn alarm_table(bytes: &[u8]) -> bool {
    let Ok(alarms) = decode_alarms(&Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(encode_alarms(&alarms), bytes);
    true
}

fn member_table(bytes: &[u8]) -> bool {
    let Ok(members) = decode_members(&Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(encode_members(&members), bytes);
    true
}

fn auth_effect(bytes: &[u8]) -> bool {
    let Ok(effect) = Effect::decode(bytes) else { return false };
    assert_eq!(effect.encode(), bytes);
    true
}

fn auth_state(bytes: &[u8]) -> bool {
    let Ok(state) = AuthState::decode(bytes) else { return false };
    assert_eq!(state.encode(), bytes);
    true
}

fn mvcc_manifest(bytes: &[u8]) -> bool {
    let Ok(manifest) = Manifest::decode(bytes) else { return false };
    assert_eq!(manifest.encode(), bytes);
    true
}

fn mvcc_segment(bytes: &[u8]) -> bool {
    let Ok(summary) = t4_mvcc::decode_segment(bytes) else { return false };
    assert!(summary.records > 0, "a segment has at least one record");
    assert!(1 <= summary.oldest && summary.oldest <= summary.newest, "{summary:?}");
    let flipped = t4_mvcc::decode_segment(&flip_one_bit(bytes));
    assert!(flipped.is_err(), "a flipped bit went unnoticed");
    true
}

fn node_identity(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(identity) = Identity::parse(text) else { return false };
    assert_eq!(identity.to_string(), text);
    true
}

/// The bytes with one bit flipped. Which one depends on the bytes, so that an
/// input that fails, fails again.
fn flip_one_bit(bytes: &[u8]) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    let mixed = u64::from(crc32c::crc32c(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bit = (u128::from(mixed) * (bytes.len() as u128 * 8)) >> 64;
    if let Some(byte) = flipped.get_mut((bit / 8) as usize) {
        *byte ^= 1 << (bit % 8);
    }
    flipped
}
