//! Reads PEM files, with errors that name the file. `rustls-pki-types` parses
//! the blocks; the callers parse the DER inside.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::error::{FileFault, PemKind, TlsError};

/// DER's tag of a SEQUENCE, with which everything read here begins; PEM is
/// text.
const DER_SEQUENCE: u8 = 0x30;
/// The longest block name that errors repeat: longer than any real one.
const LABEL_BYTES_MAX: usize = 32;

/// All certificates of a file, in order; at least one.
pub(crate) fn certificates(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(path, bytes, PemKind::Certificate)
}

/// All revocation lists of a file, which is PEM, or DER as in etcd.
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
    // Checked first: an old-style encrypted key looks like a plain one with
    // random contents.
    if is_encrypted(bytes) {
        return Err(TlsError::file(path, FileFault::EncryptedKey));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::file(path, nothing(bytes, kind)),
        error => TlsError::file(path, FileFault::Malformed(kind, in_words(&error))),
    })
}

fn all<T: PemObject>(path: &Path, bytes: &[u8], kind: PemKind) -> Result<Vec<T>, TlsError> {
    let found = T::pem_slice_iter(bytes).collect::<Result<Vec<T>, _>>();
    let found = found
        .map_err(|error| TlsError::file(path, FileFault::Malformed(kind, in_words(&error))))?;
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

/// The library's own texts print bytes as numbers, including a whole key whose
/// line breaks are missing. Only the name of a block is shown.
fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => match label(end_marker) {
            Some(label) => format!("the file ends before its line -----END {label}-----"),
            None => "a line with -----BEGIN has more on it than the name of a block".to_owned(),
        },
        pem::Error::IllegalSectionStart { .. } => {
            "a line begins with -----BEGIN and does not end with -----".to_owned()
        }
        pem::Error::Base64Decode(_) => "between its BEGIN and END is what is no base64".to_owned(),
        error => error.to_string(),
    }
}

/// The name of a block, if it is a plausible one.
fn label(bytes: &[u8]) -> Option<&str> {
    let is_name = |&b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ';
    let named = bytes.len() <= LABEL_BYTES_MAX && bytes.iter().all(is_name);
    str::from_utf8(bytes).ok().filter(|_| named)
}

/// PKCS#8 says it in the label, OpenSSL's old format in a header.
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
    fn what_is_malformed_is_said_in_words() {
        let path = Path::new("x.pem");
        let whole = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut_off = "the file ends before its line -----END CERTIFICATE-----";
        for (text, why) in [
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", cut_off),
            (&whole[..whole.len() - 12], cut_off),
            (&format!("{whole}-----BEGIN CERTIFICATE-----"), cut_off),
            ("-----BEGIN CERTIF", "a line begins with -----BEGIN and does not end with -----"),
            (&whole.replace("AAAA", "*"), "between its BEGIN and END is what is no base64"),
        ] {
            let told = certificates(path, text.as_bytes()).unwrap_err().to_string();
            let whole =
                format!("x.pem: the certificate cannot be parsed ({why}): write the file again");
            assert_eq!(told, whole, "{text}");
        }
        let list = "-----BEGIN X509 CRL-----\nAAAA";
        let told = revocation_lists(path, list.as_bytes()).unwrap_err().to_string();
        assert!(told.contains("-----END X509 CRL-----)"), "{told}");
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGtleQ==\n-----END PRIVATE KEY-----\n";
        let cut = &text[..text.len() - 4];
        let told = private_key(Path::new("x.key"), cut.as_bytes()).unwrap_err().to_string();
        assert!(told.ends_with("line -----END PRIVATE KEY-----): write the file again"), "{told}");
        // A shell variable loses line breaks like this.
        let one_line = text.replace('\n', " ");
        let one_line = fault(private_key(Path::new("x.key"), one_line.as_bytes()));
        let why = "a line with -----BEGIN has more on it than the name of a block".to_owned();
        assert_eq!(one_line, FileFault::Malformed(PemKind::PrivateKey, why));
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
