//! Chains whose leaf webpki rejects for its form: version 1, or a CA.
//!
//! Only the leaf may have that form; its issuers must satisfy the same rules as
//! with webpki. Features that this path does not implement (unknown critical
//! extensions, name constraints where there are names) are rejected, not
//! skipped.
//! not know, constraints on names where there are names) is refused, not skipped.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, NameConstraints, ParsedExtension, X509Extension};

use super::uncritical::is_policy;
use super::{ChainError, policies, unhandled};
use crate::certificate::{MalformedCertificate, parse};
use crate::moment::from_seconds;
use crate::purpose::{Purpose, Purposes};
use crate::roots::{Roots, allows_depth, may_sign, path_len};
use crate::signature::VerifyingKey;

/// Maximum number of signatures checked for one chain: bounds the computation
/// that a stranger can cause.
const SIGNATURES_MAX: usize = 32;
/// Maximum number of intermediates in a chain (webpki's bound is also 6).
const INTERMEDIATES_MAX: usize = 6;
/// Versions 1 and 3 in X.509's encoding.
const V1: u32 = 0;
const V3: u32 = 2;

/// Like [`super::verify`].
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
    if search.leads_to_root(&mut vec![&x509]) { Ok(()) } else { Err(ChainError::UnknownAuthority) }
}

impl From<MalformedCertificate> for ChainError {
    fn from(error: MalformedCertificate) -> Self {
        ChainError::Malformed(error.0)
    }
}

/// Checks that apply to every certificate of the chain except the root.
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
    match x509.iter_extensions().find(|extension| extension.critical && !is_handled(extension)) {
        Some(extension) => Err(unhandled(extension)),
        None => Ok(()),
    }
}

fn is_handled(extension: &X509Extension<'_>) -> bool {
    is_policy(extension)
        || matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::NameConstraints(_)
        )
}

/// A search upwards from a leaf.
struct Search<'a> {
    roots: &'a Roots,
    issuers: &'a [X509Certificate<'a>],
    purpose: Purpose,
    now: SystemTime,
    /// The number of signatures that may still be checked.
    budget: usize,
}

impl<'a> Search<'a> {
    /// `path`: from the leaf up to the certificate whose issuer is searched
    /// for.
    fn leads_to_root<'p>(&mut self, path: &mut Vec<&'p X509Certificate<'p>>) -> bool
    where
        'a: 'p,
    {
        let roots = self.roots;
        let allowed = policies::allow(path.iter().rev().copied());
        let trusted = allowed
            && roots.cas().iter().any(|root| {
                root.in_force(self.purpose, self.now)
                    && parse(&root.der).is_ok_and(|issuer| self.issued(&issuer, path))
            });
        if trusted {
            return true;
        }
        let issuers = self.issuers;
        path.len() <= INTERMEDIATES_MAX
            && issuers.iter().any(|issuer| {
                let fits = is_intermediate(issuer)
                    && check(issuer, self.purpose, self.now).is_ok()
                    && self.issued(issuer, path);
                if !fits {
                    return false;
                }
                path.push(issuer);
                let found = self.leads_to_root(path);
                path.pop();
                found
            })
    }

    /// Whether `issuer` issued the upper end of `path`, and allows the whole
    /// path.
    fn issued(&mut self, issuer: &X509Certificate<'_>, path: &[&X509Certificate<'_>]) -> bool {
        let [below @ .., x509] = path else { return false };
        if issuer.subject().as_raw() != x509.issuer().as_raw()
            || !allows_depth(path_len(issuer), below.len())
            || !allows_names(issuer, path)
        {
            return false;
        }
        let Some(left) = self.budget.checked_sub(1) else { return false };
        self.budget = left;
        VerifyingKey::of(issuer.public_key()).is_some_and(|key| key.signed(x509.as_raw()))
    }
}

/// Version 1 cannot say that it is a CA, so it is never an intermediate.
fn is_intermediate(x509: &X509Certificate<'_>) -> bool {
    x509.version().0 == V3 && may_sign(x509)
}

/// Whether an issuer's name constraints permit a path. Constraints on names of
/// the subjectAltName extension cannot forbid certificates that have none;
/// others are not implemented here.
fn allows_names(issuer: &X509Certificate<'_>, path: &[&X509Certificate<'_>]) -> bool {
    match issuer.name_constraints() {
        Ok(None) => true,
        Ok(Some(constraints)) => {
            let unnamed =
                |x509: &&X509Certificate<'_>| matches!(x509.subject_alternative_name(), Ok(None));
            of_alternative_names(constraints.value) && path.iter().all(unnamed)
        }
        Err(_) => false,
    }
}

/// Whether all constraints are on names of that extension.
fn of_alternative_names(constraints: &NameConstraints<'_>) -> bool {
    let trees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    trees.into_iter().flatten().flatten().all(|tree| {
        matches!(
            tree.base,
            GeneralName::DNSName(_)
                | GeneralName::RFC822Name(_)
                | GeneralName::URI(_)
                | GeneralName::IPAddress(_)
        )
    })
}
