//! Chains whose leaf webpki refuses by its form: version 1, or a CA.
//!
//! Only the leaf may be so; its issuers must satisfy the same rules as under
//! webpki. What this path does not implement (name constraints, critical
//! extensions that it does not know) is refused, not skipped.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::ChainError;
use crate::certificate::{MalformedCertificate, parse};
use crate::moment::from_seconds;
use crate::purpose::{Purpose, Purposes};
use crate::roots::{Roots, allows_depth, may_sign, path_len};
use crate::signature::VerifyingKey;

/// Signatures that are checked for one chain, at most: what a stranger can make
/// us compute is bounded.
const SIGNATURES_MAX: usize = 32;
/// Intermediate certificates in a chain, at most (webpki's bound is 6 as well).
const INTERMEDIATES_MAX: usize = 6;
/// Version 1 and 3 as X.509 writes them.
const V1: u32 = 0;
const V3: u32 = 2;

/// As [`super::verify`].
pub(super) fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &Roots,
    purpose: Purpose,
    now: SystemTime,
) -> Result<(), ChainError> {
    let x509 = parse(leaf)?;
    check(&x509, purpose, now)?;
    if roots.contain(leaf) {
        return Ok(());
    }
    let issuers: Vec<_> = intermediates.iter().filter_map(|der| parse(der).ok()).collect();
    let mut search = Search { roots, issuers: &issuers, purpose, now, budget: SIGNATURES_MAX };
    if search.leads_to_root(&x509, 0) { Ok(()) } else { Err(ChainError::UnknownAuthority) }
}

impl From<MalformedCertificate> for ChainError {
    fn from(error: MalformedCertificate) -> Self {
        ChainError::Malformed(error.0)
    }
}

/// What must hold of every certificate of the chain but the root.
fn check(x509: &X509Certificate<'_>, purpose: Purpose, now: SystemTime) -> Result<(), ChainError> {
    if !matches!(x509.version().0, V1 | V3) {
        return Err(ChainError::Malformed("neither version 1 nor version 3".to_owned()));
    }
    if x509.signature_algorithm != x509.tbs_certificate.signature {
        return Err(ChainError::Malformed("two different signature algorithms".to_owned()));
    }
    let not_before = from_seconds(x509.validity().not_before.timestamp());
    let not_after = from_seconds(x509.validity().not_after.timestamp());
    if now < not_before {
        return Err(ChainError::NotInForce { limit: not_before });
    }
    if now > not_after {
        return Err(ChainError::NotInForce { limit: not_after });
    }
    if !Purposes::of(x509)?.allow(purpose) {
        return Err(ChainError::Purpose);
    }
    let unhandled =
        x509.iter_extensions().find(|e| e.critical && !is_handled(e.parsed_extension()));
    match unhandled {
        Some(extension) => {
            let oid = &extension.oid;
            Err(ChainError::Refused(format!("the critical extension {oid} is not understood")))
        }
        None => Ok(()),
    }
}

fn is_handled(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
    )
}

/// A search upwards from a leaf.
struct Search<'a> {
    roots: &'a Roots,
    issuers: &'a [X509Certificate<'a>],
    purpose: Purpose,
    now: SystemTime,
    /// Signatures that may still be checked.
    budget: usize,
}

impl Search<'_> {
    /// `below`: how many intermediates lie under `x509` already.
    fn leads_to_root(&mut self, x509: &X509Certificate<'_>, below: usize) -> bool {
        let roots = self.roots;
        let trusted = roots.cas().iter().any(|root| {
            !root.constrains_names
                && root.in_force(self.purpose, self.now)
                && parse(&root.der).is_ok_and(|issuer| self.issued(&issuer, x509, below))
        });
        if trusted {
            return true;
        }
        let issuers = self.issuers;
        below < INTERMEDIATES_MAX
            && issuers.iter().any(|issuer| {
                is_intermediate(issuer)
                    && check(issuer, self.purpose, self.now).is_ok()
                    && self.issued(issuer, x509, below)
                    && self.leads_to_root(issuer, below + 1)
            })
    }

    fn issued(
        &mut self,
        issuer: &X509Certificate<'_>,
        x509: &X509Certificate<'_>,
        below: usize,
    ) -> bool {
        if issuer.subject().as_raw() != x509.issuer().as_raw()
            || !allows_depth(path_len(issuer), below)
        {
            return false;
        }
        let Some(left) = self.budget.checked_sub(1) else { return false };
        self.budget = left;
        VerifyingKey::of(issuer.public_key()).is_some_and(|key| key.signed(x509.as_raw()))
    }
}

/// Version 1 cannot say that it is a CA, so it is none among intermediates.
/// One that constrains names is not understood here.
fn is_intermediate(x509: &X509Certificate<'_>) -> bool {
    x509.version().0 == V3 && may_sign(x509) && matches!(x509.name_constraints(), Ok(None))
}
