//! The file that records how far the log reached when it was closed.
//!
//! A segment whose last frames read as zeros looks like one that a power cut
//! tore; after a clean close, this file distinguishes the two. It names the
//! last durable entry. The log never loses an entry, so the file stays true
//! while the log is appended to: it need not be removed at the next start, only
//! before entries are removed.

use t4_kv_types::LogIndex;

use crate::dir::SegmentDir;
use crate::error::{SYNC, WalError};
use crate::format::{END_MARK_BYTES, END_MARK_VERSION, EndMark, Unreadable};
use crate::housekeeping::remove_if_there;
use crate::segment::sync_dir;

/// The name of the file.
pub(crate) const END_NAME: &str = "END";

/// Its name while it is written.
pub(crate) const END_TEMPORARY: &str = "end.tmp";

/// No version of the mark is longer, in bytes; a longer file is not a mark.
const BYTES_MAX: u64 = 4096;

/// The entry that the log must reach; 0 if no mark says so.
pub(crate) fn read_end_mark(dir: &dyn SegmentDir) -> Result<LogIndex, WalError> {
    let file = match dir.open(END_NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(LogIndex(0)),
        Err(error) => return Err(WalError::fatal("open", END_NAME, error)),
    };
    let bytes = file.file_bytes().map_err(|error| WalError::fatal("stat", END_NAME, error))?;
    let mut text = vec![0; bytes.min(BYTES_MAX) as usize];
    file.read_at(&mut text, 0).map_err(|error| WalError::fatal("read", END_NAME, error))?;
    match EndMark::decode(&text) {
        Ok(mark) if bytes <= BYTES_MAX => Ok(mark.entry),
        Err(Unreadable::Newer { version }) => {
            let file = END_NAME.to_owned();
            Err(WalError::NewerFormat { file, version, known: END_MARK_VERSION })
        }
        _ => Err(WalError::EndMark { file: END_NAME.to_owned() }),
    }
}

/// Records, durably, that every entry up to `entry` is on the disk; the caller
/// ensures that this is true. A crash leaves either the previous mark or this
/// one.
pub(crate) fn write_end_mark(dir: &dyn SegmentDir, entry: LogIndex) -> Result<(), WalError> {
    let failed = |operation| move |error| WalError::from_io(operation, END_TEMPORARY, error);
    remove_if_there(dir, END_TEMPORARY).map_err(failed("remove"))?;
    let file = dir.create(END_TEMPORARY, END_MARK_BYTES as u64).map_err(failed("create"))?;
    let text = EndMark { entry }.to_string();
    file.write_at(text.as_bytes(), 0).map_err(failed("write"))?;
    file.sync().map_err(|error| WalError::fatal(SYNC, END_TEMPORARY, error))?;
    dir.rename(END_TEMPORARY, END_NAME).map_err(failed("rename"))?;
    sync_dir(dir)
}

/// Removes the mark, durably.
pub(crate) fn remove_end_mark(dir: &dyn SegmentDir) -> Result<(), WalError> {
    remove_if_there(dir, END_NAME).map_err(|error| WalError::fatal("remove", END_NAME, error))?;
    sync_dir(dir)
}
