//! The manifest: the files that make up the key space, and the log position
//! from which to replay (`docs/formats/manifest.md`).
//!
//! It is replaced as a whole, by an atomic rename. Files that it does not name
//! do not belong to the store.

use std::io;
use std::path::Path;

use bytes::Bytes;
use t4_kv_types::{Epoch, LogIndex};

use crate::disk::Disk;
use crate::positioned;
use crate::preamble;
use crate::segment::{Footer, SegmentId, SegmentKind};
use crate::{FormatError, LogPosition, StoreError, Tables};

/// The file name.
pub const NAME: &str = "MANIFEST";
/// The temporary name used while writing.
pub(crate) const TEMPORARY: &str = "MANIFEST.tmp";
/// The newest format that this version knows.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"T4MANI\r\n";
/// The preamble, the length of the body, and its checksum.
const HEADER: usize = preamble::LEN + 8;

/// One segment of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its file.
    pub id: SegmentId,
    /// The order of its records.
    pub kind: SegmentKind,
    /// The size of the file in bytes.
    pub file_bytes: u64,
    /// The number of records in it.
    pub records: u64,
    /// The oldest revision in it.
    pub oldest: i64,
    /// The newest revision in it.
    pub newest: i64,
    /// Records above this revision are not part of this key space, which was
    /// forked there.
    pub cap: Option<i64>,
}

impl SegmentMeta {
    /// For a file that was just written.
    pub(crate) fn new(id: SegmentId, footer: &Footer) -> Self {
        SegmentMeta {
            id,
            kind: footer.kind,
            file_bytes: footer.file_length,
            records: footer.records,
            oldest: footer.oldest,
            newest: footer.newest,
            cap: None,
        }
    }

    /// Whether a file with this footer can be the described one.
    pub(crate) fn describes(&self, footer: &Footer) -> bool {
        *self == SegmentMeta { cap: self.cap, ..SegmentMeta::new(self.id, footer) }
    }

    /// The newest revision that belongs to this key space.
    #[must_use]
    pub fn newest_kept(&self) -> i64 {
        self.cap.map_or(self.newest, |cap| cap.min(self.newest))
    }
}

/// The contents of a store's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The files hold the state after this log entry.
    pub position: LogPosition,
    /// The newest revision at that position.
    pub revision: i64,
    /// The compacted revision; -1 if there was no compaction.
    pub compacted: i64,
    /// The files, log segments in revision order.
    pub segments: Vec<SegmentMeta>,
    /// The side tables at that position.
    pub tables: Tables,
}

impl Manifest {
    /// The manifest of a store without writes.
    pub(crate) fn empty() -> Self {
        Manifest { revision: 1, compacted: -1, ..Manifest::default() }
    }

    /// Encodes the manifest.
    ///
    /// # Panics
    /// If the tables are 4 GiB or more; they are small.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = preamble::encode(MAGIC, FORMAT).to_vec();
        bytes.extend_from_slice(&[0; HEADER - preamble::LEN]);
        self.encode_body(&mut bytes);
        let length = u32::try_from(bytes.len() - HEADER).expect("a manifest is below 4 GiB");
        bytes[16..20].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.position.index.0.to_le_bytes());
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&self.compacted.to_le_bytes());
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for segment in &self.segments {
            out.extend_from_slice(&segment.id.0);
            out.extend_from_slice(&segment.kind.code().to_le_bytes());
            out.extend_from_slice(&segment.file_bytes.to_le_bytes());
            out.extend_from_slice(&segment.records.to_le_bytes());
            out.extend_from_slice(&segment.oldest.to_le_bytes());
            out.extend_from_slice(&segment.newest.to_le_bytes());
            out.extend_from_slice(&segment.cap.unwrap_or(0).to_le_bytes());
        }
        out.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        for (name, table) in &self.tables {
            for part in [name.as_bytes(), table] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
    }

    /// Decodes the bytes of a manifest file.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, FormatError> {
        const CUT: FormatError = FormatError::Damaged("it is cut short");
        preamble::check(bytes, MAGIC, FORMAT)?;
        let body = bytes.get(HEADER..).ok_or(CUT)?;
        let length = u64::from(u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]));
        if length != body.len() as u64 {
            return Err(FormatError::Damaged("it is not as long as it says"));
        }
        if bytes[20..24] != checksum(bytes).to_le_bytes() {
            return Err(FormatError::Damaged("its checksum does not hold"));
        }
        let mut rest = body;
        let manifest = take_manifest(&mut rest).ok_or(CUT)?;
        if !rest.is_empty() {
            return Err(FormatError::Damaged("there are bytes after its end"));
        }
        manifest.check().map_err(FormatError::Damaged)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), &'static str> {
        let in_order = self.segments.iter().all(|s| {
            let kept = s.newest_kept();
            1 <= s.oldest && s.oldest <= s.newest && s.oldest <= kept && kept <= self.revision
        });
        let sensible = 1 <= self.revision && (-1..=self.revision).contains(&self.compacted);
        if in_order && sensible { Ok(()) } else { Err("it contradicts itself") }
    }

    /// Reads the manifest of a directory; `None` if there is no such file.
    pub fn load(dir: &Path) -> Result<Option<Manifest>, StoreError> {
        let file = dir.join(NAME);
        let bytes = match positioned::read_whole(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(file, "reading", error)),
        };
        Manifest::decode(&bytes).map(Some).map_err(|error| error.in_file(&file))
    }

    /// Makes this the manifest of `dir`, durably: the last step of restoring a
    /// store, after the files that it names. No store may have `dir` open.
    pub fn save(&self, dir: &Path) -> Result<(), StoreError> {
        self.store(&Disk::default(), dir).map(drop)
    }

    /// Makes this the manifest of `dir`, durably, and returns its size in
    /// bytes. Names created in the directory before are made durable first.
    pub(crate) fn store(&self, disk: &Disk, dir: &Path) -> Result<u64, StoreError> {
        let bytes = self.encode();
        let mut file = disk.create(dir.join(TEMPORARY))?;
        file.write(&bytes)?;
        disk.sync_dir(dir)?;
        file.finish(&dir.join(NAME))?;
        disk.sync_dir(dir)?;
        Ok(bytes.len() as u64)
    }
}

/// Covers the length and the body; the preamble has its own checksum.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[16..20]), &bytes[HEADER..])
}

fn take_manifest(from: &mut &[u8]) -> Option<Manifest> {
    let position = LogPosition { epoch: Epoch(take_u64(from)?), index: LogIndex(take_u64(from)?) };
    let (revision, compacted) = (take_i64(from)?, take_i64(from)?);
    // The counts are not trusted for allocation.
    let segments = (0..take_u32(from)?).map(|_| take_segment(from)).collect::<Option<_>>()?;
    let tables = (0..take_u32(from)?).map(|_| take_table(from)).collect::<Option<_>>()?;
    Some(Manifest { position, revision, compacted, segments, tables })
}

fn take_segment(from: &mut &[u8]) -> Option<SegmentMeta> {
    Some(SegmentMeta {
        id: SegmentId(take_array(from)?),
        kind: SegmentKind::from_code(take_u32(from)?)?,
        file_bytes: take_u64(from)?,
        records: take_u64(from)?,
        oldest: take_i64(from)?,
        newest: take_i64(from)?,
        cap: Some(take_i64(from)?).filter(|&cap| cap != 0),
    })
}

fn take_table(from: &mut &[u8]) -> Option<(String, Bytes)> {
    let name = String::from_utf8(take_part(from)?.to_vec()).ok()?;
    Some((name, Bytes::copy_from_slice(take_part(from)?)))
}

fn take_part<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_u32(from)? as usize;
    let (part, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(part)
}

fn take_array<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*array)
}

fn take_u32(from: &mut &[u8]) -> Option<u32> {
    take_array(from).map(u32::from_le_bytes)
}

fn take_u64(from: &mut &[u8]) -> Option<u64> {
    take_array(from).map(u64::from_le_bytes)
}

fn take_i64(from: &mut &[u8]) -> Option<i64> {
    take_array(from).map(i64::from_le_bytes)
}
