//! Errors while setting up TLS, by what the caller must do about them. Failed
//! handshakes are [`crate::Rejection`]s instead: one per connection, without
//! lasting effect.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::moment::Utc;

/// Why a configuration, a certificate or an authority could not be created.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The options contradict each other or name something that does not exist:
    /// change the settings.
    #[error("{0}")]
    Options(String),
    /// A file was read, but its contents cannot be used: replace the file.
    #[error("{}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        fault: FileFault,
    },
    /// A file could not be read or written: check the path and its permissions.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The attempted action: a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Certificates should be verified against the system's roots, but the
    /// system has none: install them, or name a CA file.
    #[error(
        "the system has no usable root certificates{detail}: install them (package ca-certificates), or name a CA file"
    )]
    SystemRoots {
        /// Details of the attempt; empty, or starting with a space.
        detail: String,
    },
    /// The cryptographic library failed.
    #[error("{0}")]
    Crypto(String),
}

impl TlsError {
    pub(crate) fn file(path: &Path, fault: FileFault) -> Self {
        TlsError::File { path: path.to_owned(), fault }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        TlsError::Io { action, path: path.to_owned(), source }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        TlsError::Crypto(error.to_string())
    }
}

/// What is wrong with the contents of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// There is no PEM block of the required kind.
    Missing(PemKind),
    /// It is DER, but PEM is required.
    NotPem(PemKind),
    /// A PEM block, or the DER inside, cannot be parsed.
    Malformed(PemKind, String),
    /// The private key is encrypted with a passphrase.
    EncryptedKey,
    /// The key is of an unsupported kind or size.
    UnsupportedKey(String),
    /// The key does not match the certificate in the other file.
    KeyMismatch {
        /// The path of the certificate.
        certificate: PathBuf,
    },
    /// The leaf certificate has expired.
    Expired {
        /// The subject.
        subject: String,
        /// When it expired.
        not_after: SystemTime,
    },
    /// The leaf certificate is not valid yet.
    NotYetValid {
        /// The subject.
        subject: String,
        /// When it becomes valid.
        not_before: SystemTime,
    },
    /// A certificate in a CA bundle that may not sign others.
    NotACa {
        /// The subject.
        subject: String,
    },
    /// Every CA of a bundle has expired or is not valid yet.
    NoCaInForce,
    /// The certificate was not signed by the CA that should renew it.
    OtherIssuer {
        /// The issuer that the certificate names.
        issuer: String,
    },
    /// The revocation list's issuer is in the CA bundle, and did not sign it.
    CrlSignature {
        /// The issuer.
        issuer: String,
    },
    /// A revocation list of an unsupported kind.
    UnsupportedCrl(&'static str),
    /// The certificate would not be trusted.
    NotBelieved {
        /// The CAs that it was verified against.
        ca: PathBuf,
        /// The reason, as in a failed handshake.
        why: String,
    },
    /// The certificate is not for a host.
    OtherHost {
        /// The host.
        host: String,
        /// The names that it is for.
        names: String,
    },
    /// The file exists, and replacing it was not requested.
    Exists,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileFault::Missing(kind) => {
                write!(f, "no {kind} in it: it must hold a PEM block {}", kind.block())
            }
            FileFault::NotPem(kind) => {
                write!(f, "a {kind} in PEM is needed, and this is not PEM: convert it, {}", kind.conversion())
            }
            FileFault::Malformed(kind, why) => {
                write!(f, "the {kind} cannot be parsed ({why}): write the file again")
            }
            FileFault::EncryptedKey => f.write_str(
                "the private key is encrypted: decrypt it (openssl pkey -in KEY -out NEWKEY) and protect the file by its mode",
            ),
            FileFault::UnsupportedKey(why) => write!(
                f,
                "the private key cannot be used ({why}): RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521, or Ed25519 is needed"
            ),
            FileFault::KeyMismatch { certificate } => write!(
                f,
                "the private key is not the one of the certificate in {}: give the two files of one pair",
                certificate.display()
            ),
            FileFault::Expired { subject, not_after } => write!(
                f,
                "the certificate of {subject} expired at {}: renew it",
                Utc(*not_after)
            ),
            FileFault::NotYetValid { subject, not_before } => write!(
                f,
                "the certificate of {subject} is not valid before {}: check this machine's clock, or issue it again",
                Utc(*not_before)
            ),
            FileFault::NotACa { subject } => write!(
                f,
                "the certificate of {subject} is not a CA (basicConstraints or keyUsage forbid it to sign): give the certificate of the CA that signed the clients'"
            ),
            FileFault::NoCaInForce => {
                f.write_str("every CA in it has expired or is not valid yet: renew them")
            }
            FileFault::OtherIssuer { issuer } => write!(
                f,
                "the certificate was issued by {issuer}, not by this CA: give the CA that issued it"
            ),
            FileFault::CrlSignature { issuer } => write!(
                f,
                "the revocation list names {issuer} as its issuer, whose key did not sign it: fetch the list again"
            ),
            FileFault::UnsupportedCrl(what) => {
                write!(f, "{what} revocation lists are not supported: give a complete one of the CA")
            }
            FileFault::NotBelieved { ca, why } => {
                write!(f, "it is not believed by those who have {}: {why}", ca.display())
            }
            FileFault::OtherHost { host, names } => write!(
                f,
                "the certificate is valid for {names}, not {host}: issue it with {host} as a subject alternative name"
            ),
            FileFault::Exists => f.write_str("it exists already: remove it, or ask to replace it"),
        }
    }
}

/// The expected contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemKind {
    /// An X.509 certificate.
    Certificate,
    /// A private key.
    PrivateKey,
    /// A certificate revocation list.
    RevocationList,
}

impl PemKind {
    fn block(self) -> &'static str {
        match self {
            PemKind::Certificate => "-----BEGIN CERTIFICATE-----",
            PemKind::PrivateKey => "-----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY",
            PemKind::RevocationList => "-----BEGIN X509 CRL-----",
        }
    }

    fn conversion(self) -> &'static str {
        match self {
            PemKind::Certificate => "openssl x509 -inform der -in FILE -out NEWFILE",
            PemKind::PrivateKey => "openssl pkey -inform der -in FILE -out NEWFILE",
            PemKind::RevocationList => "openssl crl -inform der -in FILE -out NEWFILE",
        }
    }
}

impl fmt::Display for PemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PemKind::Certificate => "certificate",
            PemKind::PrivateKey => "private key",
            PemKind::RevocationList => "revocation list",
        })
    }
}
