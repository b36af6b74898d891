//! Reads every byte of a store's directory and reports all damage. Read-only:
//! nothing is opened, locked or changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::decode_segment;
use crate::directory::any_segment;
use crate::manifest::{self, Manifest, SegmentMeta};
use crate::positioned;
use crate::segment::{SegmentFile, decode_block};

/// The contents of a store's files, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Verification {
    /// The manifest, if there is one and it is intact.
    pub manifest: Option<Manifest>,
    /// The number of files of the store, including the manifest.
    pub files: usize,
    /// Their length in bytes.
    pub bytes: u64,
    /// The number of intact records in the segments.
    pub records: u64,
    /// Everything that is wrong, each with the file.
    pub faults: Vec<Fault>,
}

/// What is wrong with a file.
#[derive(Debug)]
pub struct Fault {
    /// The byte at which it begins, where that is known.
    pub offset: Option<u64>,
    /// What it is; names the file.
    pub error: StoreError,
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault { offset: None, error }
    }
}

/// Reads and checks every byte of the files that make up the store in `dir`.
/// Segments are read one after the other, each as a whole. The store must not
/// be open meanwhile.
#[must_use]
pub fn verify(dir: &Path) -> Verification {
    let mut this = Verification::default();
    match Manifest::load(dir) {
        Ok(Some(found)) => {
            this.files += 1;
            this.bytes += found.encode().len() as u64;
            for meta in &found.segments {
                this.segment(dir, meta);
            }
            this.manifest = Some(found);
        }
        Ok(None) => {
            if let Ok(Some(_)) = any_segment(dir) {
                let remedy = "there are segment files, so this was a store; restore the whole \
                              data directory from a backup copy";
                let file = dir.join(manifest::NAME);
                this.faults.push(StoreError::Missing { file, remedy }.into());
            }
        }
        Err(error) => this.faults.push(error.into()),
    }
    this
}

impl Verification {
    fn segment(&mut self, dir: &Path, meta: &SegmentMeta) {
        let path = dir.join(meta.id.file_name());
        let opened = match SegmentFile::open(dir, 0, *meta) {
            Ok(file) => Arc::new(file),
            Err(error) => return self.faults.push(error.into()),
        };
        let bytes = match positioned::read_whole(&path) {
            Ok(bytes) => bytes,
            Err(error) => return self.faults.push(unreadable(path, error).into()),
        };
        self.files += 1;
        self.bytes += bytes.len() as u64;
        self.records += meta.records;
        let faults = self.faults.len();
        self.blocks(&opened, &bytes, &path);
        if self.faults.len() > faults {
            return;
        }
        let corrupt = |what: String| StoreError::Corrupt { file: path.clone(), what };
        if let Err(error) = decode_segment(&bytes) {
            self.faults.push(corrupt(error.to_string()).into());
        } else if Sha256::digest(&bytes)[..] != meta.id.0 {
            self.faults.push(corrupt("its SHA-256 is not the one in its name".into()).into());
        }
    }

    /// Checks every block separately, so that each damaged one is reported.
    fn blocks(&mut self, file: &SegmentFile, bytes: &[u8], path: &Path) {
        for block in file.blocks() {
            let from = block.offset as usize;
            let stored = bytes.get(from..from + block.stored as usize).unwrap_or_default();
            if let Err(what) = decode_block(block, stored.to_vec()) {
                let what = format!("byte {}: {what}", block.offset);
                let error = StoreError::Corrupt { file: path.to_owned(), what };
                self.faults.push(Fault { offset: Some(block.offset), error });
            }
        }
    }
}

fn unreadable(file: PathBuf, source: io::Error) -> StoreError {
    StoreError::Io { file, op: "reading", source }
}
