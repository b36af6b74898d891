//! Files that an earlier version wrote must stay readable: a checked-in store
//! of each format, with a dump of its contents. `T4_BLESS=1` rewrites them; do
//! that only after adding a format, never to make this test pass.

use std::fs;
use std::path::{Path, PathBuf};

use t4_kv_types::{KeyRange, KeyValue};

use super::*;
use crate::{Io, Manifest, Projection, SegmentKind, decode_segment, fork};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// One line per key and event that a reader can see.
fn dump(store: &Store) -> String {
    let reader = store.reader();
    let (from, to) = (reader.compacted().unwrap_or(Revision(1)), reader.revision());
    let line = |kv: &KeyValue| {
        let (value, length) = (crc32c::crc32c(&kv.value), kv.value.len());
        let KeyValue { key, create_revision, mod_revision, version, lease, .. } = kv;
        format!(
            "  {} = {length} bytes {value:08x}, {create_revision} {mod_revision} {version} {lease}\n",
            key.escape_ascii(),
        )
    };
    let mut text = String::new();
    for at in from.0..=to.0 {
        let page = reader.range(&KeyRange::all(), Revision(at), 0, Projection::Full, Io::Blocking);
        text += &format!("at {at}\n");
        page.unwrap().kvs.iter().for_each(|kv| text += &line(kv));
    }
    for (revision, events) in reader.events(from, to, 99, 1 << 20, Io::Blocking).unwrap() {
        text += &format!("events of {revision}\n");
        events.iter().for_each(|event| text += &line(&event.kv));
    }
    text
}

/// A store that uses every feature of the file formats.
fn write_store(dir: &Path) {
    let original = tempfile::tempdir().unwrap();
    let (mut store, mut background) = Store::open(small(original.path())).unwrap();
    let mut random = Random(1);
    let write = |store: &mut Store, writes: &[Write]| {
        let next = store.revision().next();
        store.apply(next, writes);
        store.publish(next);
    };
    let mut noise =
        |length| -> Bytes { (0..length).map(|_| random.next() as u8).collect::<Vec<u8>>().into() };
    write(&mut store, &[put("/a/compressible", &"abc ".repeat(300)), put("/a/gone", "1")]);
    write(
        &mut store,
        &[Write::Put { key: owned("/a/noise"), value: noise(1500), lease: LeaseId(-7) }],
    );
    for n in 0..30 {
        write(&mut store, &[put("/b/often", &n.to_string()), put(&format!("/b/{n}"), "")]);
    }
    write(&mut store, &[delete("/a/gone"), put("/twice", "1"), delete("/twice")]);
    let tables = vec![("leases".to_owned(), owned("opaque")), (String::new(), Bytes::new())];
    let position = LogPosition { epoch: Epoch(3), index: LogIndex(99) };
    let ticket = store.seal(position, tables.clone());
    background.seal(ticket).unwrap();
    store.compact(Revision(34));
    while background.compaction_step() {}
    background.collect().unwrap();
    write(
        &mut store,
        &[
            put("/a/noise", "small now"),
            Write::Put {
                key: Bytes::from(vec![0xff; 300]),
                value: noise(70),
                lease: LeaseId(i64::MAX),
            },
        ],
    );
    write(&mut store, &[put("/b/often", "last before the cap")]);
    write(&mut store, &[put("/b/often", "above the cap")]);
    let ticket = store.seal(LogPosition { epoch: Epoch(4), index: LogIndex(120) }, tables);
    background.seal(ticket).unwrap();
    fork(original.path(), dir, Revision(36)).unwrap();
}

#[test]
fn format_1_is_read_as_it_was_written() {
    let (store_dir, text) = (fixtures().join("store-v1"), fixtures().join("store-v1.txt"));
    if std::env::var_os("T4_BLESS").is_some() {
        fs::create_dir_all(&store_dir).unwrap();
        fs::read_dir(&store_dir).unwrap().for_each(|f| fs::remove_file(f.unwrap().path()).unwrap());
        write_store(&store_dir);
        let store = Store::open_read_only(small(&store_dir)).unwrap();
        fs::write(&text, dump(&store)).unwrap();
    }
    let store = Store::open_read_only(small(&store_dir)).unwrap();
    let expected = fs::read_to_string(text).unwrap();
    assert!(dump(&store) == expected);

    let bytes = fs::read(store_dir.join("MANIFEST")).unwrap();
    let manifest = Manifest::decode(&bytes).unwrap();
    assert_eq!(manifest.encode(), bytes);
    assert_eq!(manifest.position, LogPosition { epoch: Epoch(4), index: LogIndex(120) });
    assert_eq!((manifest.revision, manifest.compacted), (36, 34));
    assert_eq!(manifest.tables.len(), 2);
    let shape: Vec<_> = manifest.segments.iter().map(|meta| (meta.kind, meta.cap)).collect();
    let (base, log) = (SegmentKind::Base, SegmentKind::Log);
    assert_eq!(shape, [(base, None), (base, None), (log, Some(36))]);
    for meta in &manifest.segments {
        let image = fs::read(store_dir.join(meta.id.file_name())).unwrap();
        let summary = decode_segment(&image).unwrap();
        assert_eq!((summary.records, summary.newest), (meta.records, meta.newest));
        use sha2::Digest;
        assert_eq!(<[u8; 32]>::from(sha2::Sha256::digest(&image)), meta.id.0);
    }
}

#[test]
fn the_formats_have_not_moved() {
    // Written by hand from the byte diagrams.
    let manifest = Manifest {
        position: LogPosition { epoch: Epoch(2), index: LogIndex(3) },
        revision: 5,
        compacted: -1,
        segments: Vec::new(),
        tables: vec![("t".into(), owned("xy"))],
    };
    let bytes = manifest.encode();
    assert_eq!(bytes[..12], *b"T4MANI\r\n\x01\0\0\0");
    assert_eq!(bytes[16..20], 51u32.to_le_bytes());
    let body = [
        &2u64.to_le_bytes()[..],
        &3u64.to_le_bytes(),
        &5i64.to_le_bytes(),
        &(-1i64).to_le_bytes(),
        &0u32.to_le_bytes(),
        &1u32.to_le_bytes(),
        &[1, 0, 0, 0, b't', 2, 0, 0, 0, b'x', b'y'],
    ]
    .concat();
    assert_eq!(bytes[24..], body);
}
