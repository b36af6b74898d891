//! Files with valid checksums and nonsensical contents: errors or different
//! data, but never a panic. `T4_SEED=n` replays one mutation, `T4_SEEDS=n`
//! tries that many.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::manifest::SegmentMeta;
use crate::record::Record;
use crate::segment::{
    FOOTER_LEN, Footer, Hold, SegmentFile, SegmentWriter, decode_table, encode_table,
};
use crate::{Io, Manifest, SegmentId, SegmentKind, decode_segment};

/// A segment with stored and compressed blocks, deletes, and enough unusual
/// keys for several chunks.
fn image() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut background) = Store::open(small(dir.path())).unwrap();
    let mut random = Random(5);
    for n in 0..40u64 {
        let value: Bytes = match n % 3 {
            0 => (0..300).map(|_| random.next() as u8).collect::<Vec<u8>>().into(),
            1 => owned(&"same ".repeat(80)),
            _ => Bytes::new(),
        };
        let key = owned(&format!("/k/{}", n % 15));
        let next = store.revision().next();
        let live = store.reader().newest(&key).is_some();
        let write = if live && n % 4 == 0 {
            Write::Delete { key }
        } else {
            Write::Put { key, value, lease: LeaseId(n as i64 - 20) }
        };
        store.apply(next, &[write]);
        store.publish(next);
    }
    let ticket = store.seal(LogPosition::default(), Vec::new());
    background.seal(ticket).unwrap();
    let meta = background.manifest().segments[0];
    fs::read(dir.path().join(meta.id.file_name())).unwrap()
}

fn footer_of(image: &[u8]) -> Footer {
    Footer::decode(image.last_chunk::<FOOTER_LEN>().unwrap(), image.len() as u64).unwrap()
}

fn put_footer(image: &mut [u8], footer: &Footer) {
    let at = image.len() - FOOTER_LEN;
    image[at..].copy_from_slice(&footer.encode());
}

/// Changes some bytes of a part, often to boundary values.
fn scramble(random: &mut Random, part: &mut [u8]) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(part.len() as u64) as usize;
        part[at] = match random.below(5) {
            0 => 0,
            1 => 0xff,
            2 => 0x80,
            3 => part[at].wrapping_add(1),
            _ => random.next() as u8,
        };
    }
}

/// Changes something and recomputes all checksums.
fn mutate(random: &mut Random, image: &mut [u8]) {
    let mut footer = footer_of(image);
    let (keys, table) = (footer.keys_offset as usize, footer.table_offset as usize);
    let table_end = table + footer.table_length();
    let end = image.len() - 4;
    match random.below(4) {
        0 => {
            let mut blocks = decode_table(&image[table..table_end], &footer).unwrap();
            let block = random.below(blocks.len() as u64) as usize;
            let block = &mut blocks[block];
            let stored = &mut image[block.offset as usize..][..block.stored as usize];
            scramble(random, stored);
            block.crc = crc32c::crc32c(stored);
            image[table..table_end].copy_from_slice(&encode_table(&blocks));
        }
        1 => {
            // The section is a single chunk.
            scramble(random, &mut image[keys + 12..table]);
            let crc = crc32c::crc32c(&image[keys..keys + 8]);
            let crc = crc32c::crc32c_append(crc, &image[keys + 12..table]);
            image[keys + 8..keys + 12].copy_from_slice(&crc.to_le_bytes());
        }
        2 => scramble(random, &mut image[table..table_end]),
        _ => {
            scramble(random, &mut image[end - 80..end - 8]);
            let crc = crc32c::crc32c(&image[end - 80..end]);
            return image[end..].copy_from_slice(&crc.to_le_bytes());
        }
    }
    footer.table_crc = crc32c::crc32c(&image[table..table_end]);
    put_footer(image, &footer);
}

/// Opens the bytes as a file and reads every key and record.
fn read_as_file(image: &[u8]) {
    let tail = image.last_chunk::<FOOTER_LEN>().unwrap();
    let Ok(footer) = Footer::decode(tail, image.len() as u64) else { return };
    let dir = tempfile::tempdir().unwrap();
    let meta = SegmentMeta::new(SegmentId([7; 32]), &footer);
    fs::write(dir.path().join(meta.id.file_name()), image).unwrap();
    let Ok(file) = SegmentFile::open(dir.path(), 1, meta) else { return };
    let file = Arc::new(file);
    let mut wanted = Vec::new();
    let mut cursor = file.keys();
    while let Ok(true) = cursor.advance() {
        let entry = cursor.entry();
        let size = crate::store::size_hint(entry.length as usize);
        let _ = file.record(entry.offset, size, Io::Blocking);
        wanted.push((entry.offset, size));
    }
    wanted.sort_unstable();
    for hold in [Hold::Alone, Hold::Together] {
        let read = |_, record: Record| {
            drop(record.into_key_value());
            Ok(())
        };
        let _ = file.records(&wanted, hold, Io::Blocking, &crate::Budget::unlimited(), read);
    }
    drop(file);
    let manifest =
        Manifest { revision: 1 << 40, compacted: -1, segments: vec![meta], ..Manifest::default() };
    manifest.save(dir.path()).unwrap();
    let Ok((store, _background)) = Store::open(small(dir.path())) else { return };
    let reader = store.reader();
    let everything = t4_kv_types::KeyRange::all();
    for at in [reader.revision(), Revision(20)] {
        let _ = reader.range(&everything, at, 0, crate::Projection::Full, Io::Blocking);
    }
    let _ = reader.events(Revision(1), reader.revision(), 1000, 1 << 20, Io::Blocking);
    let _ = reader.hash(reader.revision());
}

#[test]
fn nonsense_under_valid_checksums_never_panics() {
    let original = image();
    decode_segment(&original).unwrap();
    read_as_file(&original);
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let all = 0..number("T4_SEEDS").unwrap_or(500);
    let seeds = number("T4_SEED").map_or(all, |seed| seed..seed + 1);
    let mut refused = 0;
    for seed in seeds {
        let mut image = original.clone();
        mutate(&mut Random(seed), &mut image);
        let outcome = std::panic::catch_unwind(|| {
            read_as_file(&image);
            decode_segment(&image).is_err()
        });
        match outcome {
            Ok(error) => refused += u32::from(error),
            Err(_) => panic!("T4_SEED={seed}"),
        }
    }
    println!("{refused} were refused");
}

#[test]
fn nonsense_in_a_manifest_never_panics() {
    let meta = SegmentMeta {
        id: SegmentId([9; 32]),
        kind: SegmentKind::Log,
        file_bytes: 1,
        records: 1,
        oldest: 2,
        newest: 3,
        cap: Some(2),
    };
    let manifest = Manifest {
        revision: 9,
        compacted: 4,
        segments: vec![meta; 3],
        tables: vec![("a".into(), owned("b")), ("c".into(), owned("d"))],
        ..Manifest::default()
    };
    let original = manifest.encode();
    assert_eq!(Manifest::decode(&original).as_ref(), Ok(&manifest));
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut bytes = original.clone();
        scramble(&mut random, &mut bytes[24..]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[16..20]), &bytes[24..]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        if let Ok(manifest) = Manifest::decode(&bytes) {
            assert_eq!(manifest.encode(), bytes, "seed {seed}: there is one encoding");
        }
    }
}

#[test]
fn an_unfinished_segment_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writer =
        SegmentWriter::create(&Disk::default(), dir.path(), SegmentKind::Log, 1024).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
