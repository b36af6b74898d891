//! Verifies that a certificate leads to a root. webpki decides; where it would
//! reject what Go accepts and common recipes produce, [`lenient`] does.
//!
//! The deliberate differences from webpki:
//!
//! * `openssl x509 -req` without an extension file makes version 1
//!   certificates, which webpki does not parse. They cannot be CAs; as leaves
//!   they are fine.
//! * etcd's own self-signed certificates call themselves a CA; webpki rejects a
//!   CA as a leaf.
//! * A certificate that is itself in the bundle is trusted.
//! * Enterprise CAs mark policy extensions as critical; webpki implements none
//!   of them. [`policies`] does, and webpki skips them ([`uncritical`]).
//! * A root must itself be within its dates and its limits must hold, and an
//!   issuer's keyUsage must allow signing: webpki does not check this, Go does.

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

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    /// No path to a root that is in force.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// Expired, or not valid yet.
    #[error("x509: certificate has expired or is not yet valid: {}", crate::moment::Utc(*limit))]
    NotInForce {
        /// The violated limit: the end or the start.
        limit: SystemTime,
    },
    /// Extended key usage does not include the purpose.
    #[error("x509: certificate specifies an incompatible key usage")]
    Purpose,
    /// It cannot be parsed.
    #[error("x509: malformed certificate: {0}")]
    Malformed(String),
    /// Any other error from webpki.
    #[error("x509: {0}")]
    Refused(String),
}

impl ChainError {
    /// Determines the alert that is sent to the peer.
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

/// Verifies that `leaf` leads to one of `roots`, through `intermediates` in any
/// order, and is valid for `purpose` now.
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

/// Go's text, with the extension.
fn unhandled(extension: &X509Extension<'_>) -> ChainError {
    ChainError::Refused(format!("unhandled critical extension {}", extension.oid))
}

/// The certificates presented by a peer, and the parameters of verification.
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
        // Borrows the same buffers: signatures are looked up by the address of
        // the message.
        let shown: Vec<_> = certificates.iter().map(Uncritical::borrowed).collect();
        with_algorithms(&certificates, |algorithms| {
            self.verified_as(&shown[0], &shown[1..], algorithms)
        })
    }

    /// Verifies certificates that stand for those of the peer.
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

    /// The checks that webpki does not make.
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

    /// Finds the critical extension that webpki does not handle.
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

/// Whether webpki implements a certificate extension.
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
