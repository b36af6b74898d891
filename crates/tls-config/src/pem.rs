//! What PEM files hold, with errors that name the file. Parsing of the blocks is
//! `rustls-pki-types`'s; the DER inside is left to those who use it.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::error::{FileFault, PemKind, TlsError};

/// DER's tag of a SEQUENCE, which all that we read begins with; PEM is text.
const DER_SEQUENCE: u8 = 0x30;

/// Every certificate of a file, in its order; at least one.
pub(crate) fn certificates(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(path, bytes, PemKind::Certificate)
}

/// Every revocation list of a file, which is PEM, or DER as etcd wants it.
pub(crate) fn revocation_lists(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    all(path, bytes, PemKind::RevocationList)
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1.
pub(crate) fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let kind = PemKind::PrivateKey;
    // Before anything else: an old-style encrypted key looks like a plain one
    // with a body of noise.
    if is_encrypted(bytes) {
        return Err(TlsError::file(path, FileFault::EncryptedKey));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::file(path, nothing(bytes, kind)),
        error => TlsError::file(path, FileFault::Malformed(kind, error.to_string())),
    })
}

fn all<T: PemObject>(path: &Path, bytes: &[u8], kind: PemKind) -> Result<Vec<T>, TlsError> {
    let found = T::pem_slice_iter(bytes).collect::<Result<Vec<T>, _>>();
    let found = found
        .map_err(|error| TlsError::file(path, FileFault::Malformed(kind, error.to_string())))?;
    if found.is_empty() {
        return Err(TlsError::file(path, nothing(bytes, kind)));
    }
    Ok(found)
}

fn nothing(bytes: &[u8], kind: PemKind) -> FileFault {
    if bytes.first() == Some(&DER_SEQUENCE) {
        FileFault::NotPem(kind)
    } else {
        FileFault::Missing(kind)
    }
}

/// PKCS#8 says so in the label, the old OpenSSL form in a header.
fn is_encrypted(bytes: &[u8]) -> bool {
    let says = |line: &[u8]| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b"ENCRYPTED"))
    };
    bytes.split(|&byte| byte == b'\n').any(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault<T: std::fmt::Debug>(result: Result<T, TlsError>) -> FileFault {
        match result {
            Err(TlsError::File { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_or_not_pem_is_said() {
        let path = Path::new("x.pem");
        for bytes in
            [&b""[..], b"hello", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
        {
            assert_eq!(fault(certificates(path, bytes)), FileFault::Missing(PemKind::Certificate));
            assert_eq!(fault(private_key(path, bytes)), FileFault::Missing(PemKind::PrivateKey));
            assert_eq!(
                fault(revocation_lists(path, bytes)),
                FileFault::Missing(PemKind::RevocationList)
            );
        }
        let der = [DER_SEQUENCE, 0];
        assert_eq!(fault(certificates(path, &der)), FileFault::NotPem(PemKind::Certificate));
        assert_eq!(fault(private_key(path, &der)), FileFault::NotPem(PemKind::PrivateKey));
        assert_eq!(revocation_lists(path, &der).unwrap().len(), 1);
    }

    #[test]
    fn a_block_that_does_not_end_is_malformed() {
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        let fault = fault(certificates(Path::new("x.pem"), cut));
        assert!(matches!(fault, FileFault::Malformed(PemKind::Certificate, _)), "{fault}");
    }

    #[test]
    fn encrypted_keys_are_recognised() {
        let path = Path::new("x.key");
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00\r\n\r\nAAAA\r\n-----END RSA PRIVATE KEY-----\r\n",
        ] {
            assert_eq!(fault(private_key(path, text.as_bytes())), FileFault::EncryptedKey);
        }
    }
}
