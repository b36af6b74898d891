//! The trusted certificates: those of a CA bundle, or the system's.
//!
//! webpki's trust anchors are a name and a key without dates; Go also checks a
//! root's own dates, basic constraints and purposes, so these are kept as well.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;

use crate::certificate::{Certificate, parse};
use crate::error::{FileFault, PemKind, TlsError};
use crate::pem;
use crate::purpose::{Purpose, Purposes};
use crate::signature::VerifyingKey;

/// The certificates that are trusted without a signature.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Those that may sign others.
    anchors: Vec<TrustAnchor<'static>>,
    /// Parallel to `anchors`.
    facts: Vec<Root>,
    /// Self-signed certificates that are not CAs: each is trusted itself, but
    /// nothing signed by its key is.
    pinned: Vec<CertificateDer<'static>>,
    certificates: Vec<Certificate>,
}

/// The facts about a root that webpki's anchor lacks.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) der: CertificateDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
    purposes: Purposes,
    /// Intermediates that may follow it; `None`: any number.
    path_len: Option<u32>,
}

impl Root {
    /// Whether it may issue certificates for this purpose now.
    pub(crate) fn in_force(&self, purpose: Purpose, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now) && self.purposes.allow(purpose)
    }

    /// Whether this many intermediates may follow it.
    pub(crate) fn allows_depth(&self, intermediates: usize) -> bool {
        allows_depth(self.path_len, intermediates)
    }
}

impl Roots {
    /// Loads the certificates of a PEM bundle.
    ///
    /// # Errors
    ///
    /// It has none, a malformed one, one that is neither a CA nor self-signed,
    /// or none that is valid now. An expired CA beside a valid one is not an
    /// error: bundles for a rotation contain both.
    pub(crate) fn from_pem(path: &Path, bytes: &[u8], now: SystemTime) -> Result<Self, TlsError> {
        let mut roots = Roots::empty();
        for der in pem::certificates(path, bytes)? {
            roots.add(der).map_err(|fault| TlsError::file(path, fault))?;
        }
        let valid = |ca: &Certificate| (ca.not_before..=ca.not_after).contains(&now);
        if !roots.certificates.iter().any(valid) {
            return Err(TlsError::file(path, FileFault::NoCaInForce));
        }
        Ok(roots)
    }

    /// Loads the roots that the system trusts. Unreadable ones are skipped:
    /// system stores contain odd certificates.
    pub(crate) fn from_system() -> Result<Self, TlsError> {
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = Roots::empty();
        let refused = loaded.certs.into_iter().map(|der| roots.add(der)).filter(Result::is_err);
        let refused = refused.count();
        if roots.anchors.is_empty() {
            let said = loaded.errors.first().map(|error| format!(" ({error})"));
            return Err(TlsError::SystemRoots { detail: said.unwrap_or_default() });
        }
        tracing::debug!(roots = roots.anchors.len(), refused, "the system's root certificates");
        Ok(roots)
    }

    fn empty() -> Self {
        Roots {
            anchors: Vec::new(),
            facts: Vec::new(),
            pinned: Vec::new(),
            certificates: Vec::new(),
        }
    }

    fn add(&mut self, der: CertificateDer<'static>) -> Result<(), FileFault> {
        let malformed = |why: String| FileFault::Malformed(PemKind::Certificate, why);
        let x509 = parse(&der).map_err(|error| malformed(error.0))?;
        let certificate = Certificate::of(&x509).map_err(|error| malformed(error.0))?;
        if !may_sign(&x509) {
            if !is_self_signed(&x509) {
                return Err(FileFault::NotACa { subject: certificate.subject });
            }
            self.pinned.push(der.clone());
        } else {
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|error| malformed(error.to_string()))?;
            self.anchors.push(anchor.to_owned());
            self.facts.push(Root {
                der: der.clone(),
                not_before: certificate.not_before,
                not_after: certificate.not_after,
                purposes: certificate.purposes,
                path_len: path_len(&x509),
            });
        }
        self.certificates.push(certificate);
        Ok(())
    }

    /// The anchors for webpki.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The CAs.
    pub(crate) fn cas(&self) -> &[Root] {
        &self.facts
    }

    /// The CAs of an anchor: several certificates may share name and key.
    pub(crate) fn behind<'a>(
        &'a self,
        anchor: &'a TrustAnchor<'_>,
    ) -> impl Iterator<Item = &'a Root> {
        let all = self.anchors.iter().zip(&self.facts);
        all.filter(|(known, _)| {
            known.subject == anchor.subject
                && known.subject_public_key_info == anchor.subject_public_key_info
        })
        .map(|(_, root)| root)
    }

    /// Whether a certificate is itself one of the trusted ones.
    pub(crate) fn contain(&self, der: &CertificateDer<'_>) -> bool {
        self.pinned.iter().chain(self.facts.iter().map(|root| &root.der)).any(|own| own == der)
    }

    /// The names of CAs that a server sends when it asks clients for
    /// certificates.
    pub(crate) fn hints(&self) -> Vec<DistinguishedName> {
        let subjects = self.anchors.iter().map(|anchor| anchor.subject.as_ref());
        subjects.map(DistinguishedName::in_sequence).collect()
    }

    /// All certificates of the bundle, in order.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}

/// Whether a certificate may sign others, by Go's rule: version 3 needs
/// basicConstraints that say so, and keyUsage, if present, must include
/// certSign. Version 1 has neither, and may sign as a root (not as an
/// intermediate; see [`crate::chain`]).
pub(crate) fn may_sign(x509: &X509Certificate<'_>) -> bool {
    if x509.version().0 == 0 {
        return is_self_signed(x509);
    }
    let usage = x509.key_usage().ok().flatten();
    x509.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
}

/// The number of intermediates that may follow a CA, if its basicConstraints
/// limit it.
pub(crate) fn path_len(x509: &X509Certificate<'_>) -> Option<u32> {
    let constraints = x509.basic_constraints().ok().flatten();
    constraints.and_then(|constraints| constraints.value.path_len_constraint)
}

pub(crate) fn allows_depth(path_len: Option<u32>, intermediates: usize) -> bool {
    path_len.is_none_or(|limit| usize::try_from(limit).is_ok_and(|limit| intermediates <= limit))
}

/// Whether the certificate was signed by its own key.
fn is_self_signed(x509: &X509Certificate<'_>) -> bool {
    x509.subject().as_raw() == x509.issuer().as_raw()
        && VerifyingKey::of(x509.public_key()).is_some_and(|key| key.signed(x509.as_raw()))
}

/// A loaded certificate and its origin, for the metrics of expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedCertificate {
    /// The file; `None`: the system's store.
    pub path: Option<PathBuf>,
    /// Its role.
    pub role: Role,
    /// Its contents.
    pub certificate: Certificate,
}

/// The role of a loaded certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Our own, presented to peers.
    Leaf,
    /// Presented with our own, to lead to a root.
    Intermediate,
    /// A CA that peers' certificates are verified with.
    Ca,
}

impl Role {
    /// The value for metric labels: `leaf`, `intermediate`, `ca`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leaf => "leaf",
            Role::Intermediate => "intermediate",
            Role::Ca => "ca",
        }
    }
}
