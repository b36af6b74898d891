//! Positioned reads, blocking or non-blocking.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::{Errno, ReadWriteFlags};

use crate::{Io, ReadError};

/// Opens a file for reading. Anything else under its name is an error: a FIFO would
/// wait for a writer for ever.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path)
}

/// All of a file, as [`open`] opens it.
pub(crate) fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads exactly `length` bytes at `offset`.
pub(crate) fn read(
    file: &File,
    path: &Path,
    offset: u64,
    length: usize,
    io: Io,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; length];
    match io {
        Io::Blocking => file.read_exact_at(&mut bytes, offset).map_err(|e| failed(path, e))?,
        Io::NoWait => read_cached(file, path, offset, &mut bytes)?,
    }
    Ok(bytes)
}

/// Reads what the page cache has. A file system that cannot tell is treated as
/// having nothing cached.
fn read_cached(file: &File, path: &Path, offset: u64, into: &mut [u8]) -> Result<(), ReadError> {
    let wanted = into.len();
    let flags = ReadWriteFlags::NOWAIT;
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(into)], offset, flags) {
        Ok(got) if got == wanted => Ok(()),
        Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS) => {
            Err(ReadError::WouldBlock)
        }
        Err(errno) => Err(failed(path, errno.into())),
    }
}

fn failed(path: &Path, source: io::Error) -> ReadError {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        let what = "the file is shorter than it was when it was opened".into();
        return ReadError::Corrupt { file: path.to_owned(), what };
    }
    ReadError::Io { file: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for other in [dir.path(), &fifo] {
            assert_eq!(open(other).unwrap_err().to_string(), "it is not a regular file");
        }
        assert_eq!(
            read_whole(&dir.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn reads_exactly_or_says_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(read(&file, &path, 2, 5, Io::Blocking).unwrap(), b"23456");
        let beyond = read(&file, &path, 8, 5, Io::Blocking).unwrap_err();
        assert!(matches!(beyond, ReadError::Corrupt { .. }), "{beyond}");
        match read(&file, &path, 2, 5, Io::NoWait) {
            Ok(bytes) => assert_eq!(bytes, b"23456"),
            Err(error) => assert!(matches!(error, ReadError::WouldBlock), "{error}"),
        }
        let beyond = read(&file, &path, 8, 5, Io::NoWait).unwrap_err();
        assert!(matches!(beyond, ReadError::WouldBlock), "{beyond}");
    }
}
