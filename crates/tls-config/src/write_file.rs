//! Writes files atomically: they appear complete or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{FileFault, TlsError};

/// The permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Everyone, unless the umask forbids it: 0644.
    Public,
    /// Only the owner, whatever the umask: 0600.
    Private,
}

/// How to treat an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep it, and fail.
    Keep,
    /// Replace it.
    Replace,
}

/// Distinguishes the temporary files of one process.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Writes a file so that readers see the old contents or the new, never a mix:
/// to a temporary file beside it, which is then synced and renamed. Creates a
/// missing directory, accessible only to the owner.
///
/// # Errors
///
/// The file exists and must be kept; or the system reports an error.
pub fn write_file(
    path: &Path,
    content: &str,
    secrecy: Secrecy,
    existing: Existing,
) -> Result<(), TlsError> {
    let failed = |source| TlsError::io("write", path, source);
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    make_dir(dir).map_err(failed)?;
    let temporary = temporary(dir, path);
    let written = fill(&temporary, content, secrecy).and_then(|()| match existing {
        Existing::Replace => fs::rename(&temporary, path),
        // A link, because a rename would replace a file that was created in
        // between.
        Existing::Keep => fs::hard_link(&temporary, path),
    });
    if written.is_err() || existing == Existing::Keep {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&temporary);
    }
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(TlsError::file(path, FileFault::Exists))
        }
        written => written.and_then(|()| File::open(dir)?.sync_all()).map_err(failed),
    }
}

/// Keys will be stored in it.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    Ok(())
}

fn temporary(dir: &Path, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!(".{name}.{}-{count}.new", std::process::id()))
}

fn fill(path: &Path, content: &str, secrecy: Secrecy) -> io::Result<()> {
    let mode = match secrecy {
        Secrecy::Public => 0o644,
        Secrecy::Private => 0o600,
    };
    // Left behind by a crashed process with our process id.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if secrecy == Secrecy::Private {
        // Restores bits that the umask took from the owner.
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_private_and_nothing_is_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/ca.key");
        write_file(&path, "one", Secrecy::Private, Existing::Keep).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);

        let refused = write_file(&path, "two", Secrecy::Private, Existing::Keep).unwrap_err();
        assert!(refused.to_string().contains("it exists already"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");

        write_file(&path, "two", Secrecy::Private, Existing::Replace).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "temporary files stay behind");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let path = Path::new("/dev/null/ca.crt");
        let error = write_file(path, "", Secrecy::Public, Existing::Keep).unwrap_err();
        assert!(error.to_string().starts_with("cannot write /dev/null/ca.crt: "), "{error}");
    }
}
