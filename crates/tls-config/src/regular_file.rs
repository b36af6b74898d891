//! Reads files that an operator named without blocking on them: only regular
//! files, up to a maximum size.
//!
//! Otherwise a named pipe in place of a certificate would block the thread that
//! follows the files for ever, and with it the shutdown of the server.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Maximum file size, in bytes: a revocation list of a million entries is about
/// 40 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The contents of a regular file; links are followed. Never waits for a
/// writer.
///
/// # Errors
///
/// It is something else, such as a named pipe, or larger than 64 MiB; or the
/// system reports an error.
pub fn read_regular_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES_MAX) {
        let why = format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<File> {
    // Before the open, because opening a device may already have effects.
    check(&std::fs::metadata(path)?)?;
    // Opening a pipe waits for a writer unless it is non-blocking.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // And the opened file, because another may have replaced it in between.
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = name_of(metadata.file_type());
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    fn told(path: &Path) -> String {
        read_regular_file(path).unwrap_err().to_string()
    }

    #[test]
    fn links_are_followed_to_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "what it holds").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_regular_file(&link).unwrap(), b"what it holds");
        std::fs::remove_file(&file).unwrap();
        let gone = read_regular_file(&link).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    /// Returning at all is most of the test: nobody writes into the pipe.
    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("pipe"), Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, what) in [
            (at("pipe"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            (dir.path().to_owned(), "a directory"),
            ("/dev/zero".into(), "a device"),
        ] {
            assert_eq!(told(&path), format!("it is {what}, not a regular file"));
        }
    }

    #[test]
    fn files_have_a_largest_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(read_regular_file(&path).unwrap().len() as u64, FILE_BYTES_MAX);
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(told(&path), "it is larger than 64 MiB");
    }
}
