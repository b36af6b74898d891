//! Whether a certificate leads to a root: webpki decides, and where webpki would
//! refuse what Go accepts and recipes in use produce, [`lenient`] does.
//!
//! The differences, each on purpose:
//!
//! * `openssl x509 -req` without an extension file makes certificates of version
//!   1, which webpki does not parse. They cannot be CAs; as leaves they are fine.
//! * etcd's own self-signed certificates call themselves CA; webpki refuses a CA
//!   as a leaf.
//! * A certificate that is itself in the bundle is believed.
//! * Roots must be in force themselves and their limits hold, and issuers must be
//!   allowed to sign by their keyUsage: webpki does not look, Go does.

mod lenient;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use webpki::{EndEntityCert, VerifiedPath};

use crate::certificate::parse;
use crate::moment::{from_unix, unix};
use crate::purpose::Purpose;
use crate::roots::{Roots, may_sign};
use crate::signature::algorithms;

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    /// No path to a root that is in force.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// Too old, or too new.
    #[error("x509: certificate has expired or is not yet valid: {}", crate::moment::Utc(*limit))]
    NotInForce {
        /// The end, or the beginning, that does not fit.
        limit: SystemTime,
    },
    /// Extended key usage names other purposes.
    #[error("x509: certificate specifies an incompatible key usage")]
    Purpose,
    /// It cannot be parsed.
    #[error("x509: malformed certificate: {0}")]
    Malformed(String),
    /// Anything else that webpki found.
    #[error("x509: {0}")]
    Refused(String),
}

impl ChainError {
    /// What decides the alert that the peer is sent.
    pub(crate) fn alert(&self) -> CertificateError {
        match self {
            ChainError::UnknownAuthority => CertificateError::UnknownIssuer,
            ChainError::NotInForce { .. } => CertificateError::Expired,
            ChainError::Purpose => CertificateError::InvalidPurpose,
            ChainError::Malformed(_) | ChainError::Refused(_) => CertificateError::BadEncoding,
        }
    }
}

impl From<webpki::Error> for ChainError {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error;
        match error {
            Error::UnknownIssuer
            | Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                ChainError::UnknownAuthority
            }
            Error::CertExpired { not_after, .. } => {
                ChainError::NotInForce { limit: from_unix(not_after) }
            }
            Error::CertNotValidYet { not_before, .. } => {
                ChainError::NotInForce { limit: from_unix(not_before) }
            }
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => ChainError::Purpose,
            Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => {
                ChainError::Malformed(error.to_string())
            }
            error => ChainError::Refused(error.to_string()),
        }
    }
}

/// Whether `leaf` leads to one of `roots`, over `intermediates` in any order,
/// and is good for `purpose` now.
pub(crate) fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &Roots,
    purpose: Purpose,
    now: SystemTime,
) -> Result<(), ChainError> {
    match by_webpki(leaf, intermediates, roots, purpose, now) {
        Err(webpki::Error::UnsupportedCertVersion | webpki::Error::CaUsedAsEndEntity) => {
            lenient::verify(leaf, intermediates, roots, purpose, now)
        }
        Err(_) if roots.contain(leaf) => lenient::verify(leaf, intermediates, roots, purpose, now),
        decided => decided.map_err(ChainError::from),
    }
}

fn by_webpki(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &Roots,
    purpose: Purpose,
    now: SystemTime,
) -> Result<(), webpki::Error> {
    let leaf = EndEntityCert::try_from(leaf)?;
    let believed = |path: &VerifiedPath<'_>| {
        let depth = path.intermediate_certificates().count();
        let mut behind = roots.behind(path.anchor());
        let root = behind.any(|root| root.in_force(purpose, now) && root.allows_depth(depth));
        let signs = |der: &CertificateDer<'_>| parse(der).is_ok_and(|x509| may_sign(&x509));
        let issuers = path.intermediate_certificates().all(|issuer| signs(&issuer.der()));
        if root && issuers { Ok(()) } else { Err(webpki::Error::UnknownIssuer) }
    };
    leaf.verify_for_usage(
        algorithms().all,
        roots.anchors(),
        intermediates,
        unix(now),
        purpose,
        None,
        Some(&believed),
    )
    .map(drop)
}
