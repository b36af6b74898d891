//! The persisted form: golden fixtures, round trips, and refusal of everything
//! that is not exactly one table.

mod prng;

use std::time::Duration;

use prng::Prng;
use t4_kv_types::LeaseId;
use t4_lease::{DecodeError, FORMAT_VERSION, LeaseRecord, LeaseTable, TTL_MAX_S};

const GOLDEN: &[u8] = include_bytes!("fixtures/lease-table-v1.bin");
const GOLDEN_REMAINING: &[u8] = include_bytes!("fixtures/lease-table-v1-remaining.bin");

fn at(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// The table of the fixtures, to be encoded at 160 s.
fn golden_table() -> LeaseTable {
    let mut table = LeaseTable::new();
    table.grant(LeaseId(0x0123_4567_89ab_cdef), 60, at(150));
    table.grant(LeaseId(i64::MIN), 1, at(100));
    table.grant(LeaseId(i64::MAX), TTL_MAX_S, at(160));
    table.grant(LeaseId(-1), 61, Duration::from_nanos(100_000_000_001));
    table.attach(LeaseId(-1), "keys are not persisted".into());
    table
}

fn golden_records(remaining_ms: [Option<u64>; 4]) -> Vec<LeaseRecord> {
    let ids = [(i64::MIN, 1), (-1, 61), (0x0123_4567_89ab_cdef, 60), (i64::MAX, TTL_MAX_S)];
    let with = |((id, ttl_s), ms): ((i64, i64), Option<u64>)| LeaseRecord {
        id: LeaseId(id),
        ttl_s,
        remaining: ms.map(Duration::from_millis),
    };
    ids.into_iter().zip(remaining_ms).map(with).collect()
}

/// Replaces the checksum by the right one, to get past it.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn patched(golden: &[u8], offset: usize, with: &[u8]) -> Result<Vec<LeaseRecord>, DecodeError> {
    let mut bytes = golden.to_vec();
    bytes[offset..offset + with.len()].copy_from_slice(with);
    LeaseTable::decode(&seal(bytes))
}

fn corrupt(what: &'static str) -> Result<Vec<LeaseRecord>, DecodeError> {
    Err(DecodeError::Corrupt { what })
}

#[test]
fn golden_fixture_without_remaining_times() {
    assert_eq!(LeaseTable::decode(GOLDEN).unwrap(), golden_records([None; 4]));
    assert_eq!(golden_table().encode(None), GOLDEN);
}

#[test]
fn golden_fixture_with_remaining_times() {
    // Expired; one nanosecond into a millisecond, rounded up; a plain one; all.
    let remaining_ms = [Some(0), Some(1_001), Some(50_000), Some(9_000_000_000_000)];
    let records = golden_records(remaining_ms);
    assert_eq!(LeaseTable::decode(GOLDEN_REMAINING).unwrap(), records);
    assert_eq!(golden_table().encode(Some(at(160))), GOLDEN_REMAINING);
}

#[test]
fn the_empty_table_is_a_table() {
    let bytes = LeaseTable::new().encode(None);
    assert_eq!(bytes.len(), 28);
    assert_eq!(LeaseTable::decode(&bytes), Ok(vec![]));
    assert_eq!(LeaseTable::decode(&LeaseTable::new().encode(Some(at(1)))), Ok(vec![]));
}

#[test]
fn every_flipped_bit_is_corruption() {
    for golden in [GOLDEN, GOLDEN_REMAINING] {
        for bit in 0..golden.len() * 8 {
            let mut bytes = golden.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = LeaseTable::decode(&bytes).expect_err("a flipped bit was accepted");
            assert!(matches!(error, DecodeError::Corrupt { .. }), "bit {bit}: {error}");
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_corruption() {
    for golden in [GOLDEN, GOLDEN_REMAINING] {
        for len in 0..golden.len() {
            assert!(LeaseTable::decode(&golden[..len]).is_err(), "cut to {len}");
            if len >= 12 {
                // With a checksum that matches, the length gives it away.
                assert!(LeaseTable::decode(&seal(golden[..len].to_vec())).is_err());
            }
        }
        for extra in 1..=24 {
            let mut bytes = golden.to_vec();
            bytes.resize(golden.len() + extra, 0);
            assert!(LeaseTable::decode(&seal(bytes)).is_err(), "{extra} more");
        }
    }
}

#[test]
fn each_field_has_its_bounds() {
    let i = i64::to_le_bytes;
    assert_eq!(patched(GOLDEN, 0, b"T4LEASED"), corrupt("it does not begin as one"));
    assert_eq!(patched(GOLDEN, 8, &[0]), corrupt("format version 0"));
    assert_eq!(patched(GOLDEN, 12, &[2]), corrupt("unknown flags"));
    let count = "the number of leases does not match the length";
    assert_eq!(patched(GOLDEN, 16, &[3]), corrupt(count));
    assert_eq!(patched(GOLDEN, 16, &u64::MAX.to_le_bytes()), corrupt(count));
    // 16 bytes a record: 2^60 + 4 of them would be right if the sum wrapped.
    assert_eq!(patched(GOLDEN, 16, &((1u64 << 60) + 4).to_le_bytes()), corrupt(count));
    assert_eq!(patched(GOLDEN, 24, &i(0)), corrupt("a lease without an id"));
    assert_eq!(patched(GOLDEN, 24, &i(-1)), corrupt("the ids do not ascend"));
    assert_eq!(patched(GOLDEN, 24, &i(5)), corrupt("the ids do not ascend"));
    for ttl_s in [0, -1, i64::MIN, TTL_MAX_S + 1, i64::MAX] {
        let refused = patched(GOLDEN, 32, &i(ttl_s));
        assert_eq!(refused, corrupt("a time to live is out of bounds"), "{ttl_s}");
    }
    let more = "a lease has more time left than it was granted";
    assert!(patched(GOLDEN_REMAINING, 40, &i(1000)).is_ok());
    assert_eq!(patched(GOLDEN_REMAINING, 40, &i(1001)), corrupt(more));
    assert_eq!(patched(GOLDEN_REMAINING, 40, &i(-1)), corrupt(more));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let newer = FORMAT_VERSION + 1;
    assert_eq!(
        patched(GOLDEN, 8, &newer.to_le_bytes()),
        Err(DecodeError::NewerFormat { found: newer })
    );
    // Whatever a later version puts between the version and the checksum.
    let mut bytes = b"T4LEASES\xff\xff\xff\xff".to_vec();
    bytes.extend([0; 4]);
    assert_eq!(LeaseTable::decode(&seal(bytes)), Err(DecodeError::NewerFormat { found: u32::MAX }));
}

/// Damaged tables with a matching checksum: either refused, or a table that
/// encodes to the very bytes that were read.
#[test]
fn whatever_is_accepted_encodes_to_the_same_bytes() {
    let mut prng = Prng::for_test();
    let mut accepted = 0;
    for _ in 0..20_000 {
        let golden = if prng.below(2) == 0 { GOLDEN } else { GOLDEN_REMAINING };
        let mut bytes = golden.to_vec();
        for _ in 0..prng.below(4) {
            let place = prng.below(bytes.len() as u64) as usize;
            bytes[place] = prng.bits() as u8;
        }
        if prng.below(8) == 0 {
            bytes.truncate(4 + prng.below(bytes.len() as u64 - 4) as usize);
        }
        let bytes = seal(bytes);
        if let Ok(records) = LeaseTable::decode(&bytes) {
            accepted += 1;
            assert_eq!(encode_again(&records, &bytes), bytes);
        }
    }
    assert!(accepted > 1000, "only {accepted} were accepted: the test does not test");
}

/// A table filled from the records, as a replica does at start, encoded.
fn encode_again(records: &[LeaseRecord], from: &[u8]) -> Vec<u8> {
    let mut table = LeaseTable::new();
    for record in records {
        table.grant(record.id, record.ttl_s, at(7));
        if let Some(left) = record.remaining {
            table.restore_remaining(record.id, left, at(7));
        }
    }
    let with_remaining = from[12] == 1;
    table.encode(with_remaining.then_some(at(7))).to_vec()
}

#[test]
fn random_bytes_are_refused_without_a_panic() {
    let mut prng = Prng::for_test();
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..prng.below(96)).map(|_| prng.bits() as u8).collect();
        assert!(LeaseTable::decode(&bytes).is_err());
        // And behind a frame that is right.
        bytes.splice(0..0, *b"T4LEASES\x01\0\0\0");
        bytes.extend([0; 4]);
        let _ = LeaseTable::decode(&seal(bytes));
    }
}
