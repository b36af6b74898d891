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
//! * CAs of enterprises mark the extensions about policies critical; webpki
//!   implements none of them. [`policies`] does, and webpki skips them
//!   ([`uncritical`]).
//! * Roots must be in force themselves and their limits hold, and issuers must be
//!   allowed to sign by their keyUsage: webpki does not look, Go does.

mod lenient;
mod policies;
#[cfg(test)]
mod tests;
mod uncritical;

use std::time::SystemTime;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::{EndEntityCert, VerifiedPath};
use x509_parser::extensions::{ParsedExtension, X509Extension};

use crate::certificate::parse;
use crate::moment::{from_unix, unix};
use crate::purpose::Purpose;
use crate::roots::{Roots, may_sign};
use crate::signature::algorithms;

use self::uncritical::{is_policy, with_algorithms};

pub(crate) use self::uncritical::Uncritical;

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
    let chain = Chain { leaf, intermediates, roots, purpose, now };
    match chain.verified_by_webpki() {
        Err(webpki::Error::UnsupportedCertVersion | webpki::Error::CaUsedAsEndEntity) => {
            lenient::verify(leaf, intermediates, roots, purpose, now)
        }
        Err(_) if roots.contain(leaf) => lenient::verify(leaf, intermediates, roots, purpose, now),
        Err(webpki::Error::UnsupportedCriticalExtension) => Err(chain.unhandled_extension()),
        decided => decided.map_err(ChainError::from),
    }
}

/// Go's words, and which extension it is.
fn unhandled(extension: &X509Extension<'_>) -> ChainError {
    ChainError::Refused(format!("unhandled critical extension {}", extension.oid))
}

/// What a peer has shown, and what it is to be verified by.
struct Chain<'a> {
    leaf: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    roots: &'a Roots,
    purpose: Purpose,
    now: SystemTime,
}

impl Chain<'_> {
    fn verified_by_webpki(&self) -> Result<(), webpki::Error> {
        let algorithms = algorithms().all;
        let as_signed = self.verified_as(self.leaf, self.intermediates, algorithms);
        if as_signed.is_ok() {
            return Ok(());
        }
        let all = std::iter::once(self.leaf).chain(self.intermediates);
        let certificates: Vec<_> = all.map(Uncritical::of).collect();
        if !certificates.iter().any(Uncritical::differs) {
            return as_signed;
        }
        // The very buffers: signatures are looked up by where the message lies.
        let shown: Vec<_> = certificates.iter().map(Uncritical::borrowed).collect();
        with_algorithms(&certificates, |algorithms| {
            self.verified_as(&shown[0], &shown[1..], algorithms)
        })
    }

    /// Verifies certificates that say what those of the peer say.
    fn verified_as(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), webpki::Error> {
        let believed = |path: &VerifiedPath<'_>| {
            if self.believes(leaf, path) { Ok(()) } else { Err(webpki::Error::UnknownIssuer) }
        };
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                algorithms,
                self.roots.anchors(),
                intermediates,
                unix(self.now),
                self.purpose,
                None,
                Some(&believed),
            )
            .map(drop)
    }

    /// What webpki does not look at.
    fn believes(&self, leaf: &CertificateDer<'_>, path: &VerifiedPath<'_>) -> bool {
        let issuers: Vec<_> = path.intermediate_certificates().map(|issuer| issuer.der()).collect();
        let mut behind = self.roots.behind(path.anchor());
        if !behind
            .any(|root| root.in_force(self.purpose, self.now) && root.allows_depth(issuers.len()))
        {
            return false;
        }
        let down = issuers.iter().rev().chain([leaf]).map(|der| parse(der));
        let Ok(down) = down.collect::<Result<Vec<_>, _>>() else { return false };
        let issuers = &down[..down.len() - 1];
        issuers.iter().all(may_sign) && policies::allow(down.iter())
    }

    /// Why webpki does not handle a critical extension: which one it is.
    fn unhandled_extension(&self) -> ChainError {
        for der in std::iter::once(self.leaf).chain(self.intermediates) {
            let Ok(x509) = parse(der) else { continue };
            let unknown = |extension: &&X509Extension<'_>| {
                extension.critical && !is_policy(extension) && !is_webpkis(extension)
            };
            if let Some(extension) = x509.iter_extensions().find(unknown) {
                return unhandled(extension);
            }
        }
        webpki::Error::UnsupportedCriticalExtension.into()
    }
}

/// Whether webpki implements an extension of certificates.
fn is_webpkis(extension: &X509Extension<'_>) -> bool {
    matches!(
        extension.parsed_extension(),
        ParsedExtension::KeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::BasicConstraints(_)
            | ParsedExtension::NameConstraints(_)
            | ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::ExtendedKeyUsage(_)
    )
}
