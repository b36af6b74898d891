//! Revoked certificates: revocation lists, by issuer and serial.
//!
//! etcd rejects any certificate of the presented chain whose serial is in its
//! list, whatever its issuer. Serials are unique per issuer only, so here both
//! must match. As in etcd, the dates of a list are ignored: an old list revokes
//! less than a new one, and rejecting every client because nobody fetched a new
//! list in time would do more harm. The expiry is available in
//! [`RevocationList::next_update`] instead.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::FromDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::{SerialNumber, parse};
use crate::error::{FileFault, PemKind, TlsError};
use crate::moment::from_seconds;
use crate::pem;
use crate::roots::Roots;
use crate::signature::VerifyingKey;

/// deltaCRLIndicator, and an entry's certificateIssuer (RFC 5280, 5.2.4 and
/// 5.3.3): lists that cannot be interpreted by issuer and serial alone.
const DELTA_INDICATOR: &str = "2.5.29.27";
const ENTRY_ISSUER: &str = "2.5.29.29";

/// A parsed revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The issuer, in one line.
    pub issuer: String,
    /// The issuer's name in a certificate's encoding: DER.
    pub issuer_der: Vec<u8>,
    /// The revoked serials.
    pub serials: HashSet<SerialNumber>,
    /// The time by which a newer list is promised, if given.
    pub next_update: Option<SystemTime>,
}

impl RevocationList {
    /// Parses DER. Safe for arbitrary bytes. The signature is not checked.
    ///
    /// # Errors
    ///
    /// It is not a revocation list, or one of a kind (delta, indirect) whose
    /// entries have another meaning.
    pub fn from_der(der: &[u8]) -> Result<Self, FileFault> {
        let malformed = |why: String| FileFault::Malformed(PemKind::RevocationList, why);
        let (rest, list) = CertificateRevocationList::from_der(der)
            .map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes follow it", rest.len())));
        }
        let is = |oid: &x509_parser::der_parser::Oid<'_>, id| oid.to_id_string() == id;
        for extension in list.extensions() {
            if is(&extension.oid, DELTA_INDICATOR) {
                return Err(FileFault::UnsupportedCrl("delta"));
            }
            if matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. }) {
                return Err(malformed(format!("extension {} is broken", extension.oid)));
            }
        }
        let mut serials = HashSet::new();
        for entry in list.iter_revoked_certificates() {
            if entry.extensions().iter().any(|extension| is(&extension.oid, ENTRY_ISSUER)) {
                return Err(FileFault::UnsupportedCrl("indirect"));
            }
            serials.insert(SerialNumber::from_bytes(entry.raw_serial()));
        }
        Ok(RevocationList {
            issuer: list.issuer().to_string(),
            issuer_der: list.issuer().as_raw().to_vec(),
            serials,
            next_update: list.next_update().map(|at| from_seconds(at.timestamp())),
        })
    }
}

/// All revoked certificates.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    by_issuer: HashMap<Vec<u8>, HashSet<SerialNumber>>,
}

impl Revoked {
    /// Loads the lists of a file, PEM or DER.
    ///
    /// # Errors
    ///
    /// The file has no list, an unsupported one, or one that names a CA of
    /// `roots` as its issuer and was not signed by it. The list of an
    /// intermediate CA, whose certificate is not available here, is accepted
    /// without a check: the operator supplied it, and it can only reject.
    pub(crate) fn from_file(path: &Path, bytes: &[u8], roots: &Roots) -> Result<Self, TlsError> {
        let mut revoked = Revoked::default();
        for der in pem::revocation_lists(path, bytes)? {
            let list = RevocationList::from_der(&der).map_err(|f| TlsError::file(path, f))?;
            match signed_by_root(&list, &der, roots) {
                Some(false) => {
                    let fault = FileFault::CrlSignature { issuer: list.issuer };
                    return Err(TlsError::file(path, fault));
                }
                Some(true) => {}
                None => tracing::debug!(
                    issuer = list.issuer,
                    "a revocation list is of an issuer outside the CA file; its signature is not checked"
                ),
            }
            revoked.by_issuer.entry(list.issuer_der).or_default().extend(list.serials);
        }
        Ok(revoked)
    }

    /// The first certificate of a chain that is revoked.
    pub(crate) fn find(&self, chain: &[CertificateDer<'_>]) -> Option<SerialNumber> {
        if self.by_issuer.is_empty() {
            return None;
        }
        chain.iter().filter_map(|der| parse(der).ok()).find_map(|x509| {
            let serial = SerialNumber::from_bytes(x509.raw_serial());
            let serials = self.by_issuer.get(x509.issuer().as_raw())?;
            serials.contains(&serial).then_some(serial)
        })
    }
}

/// `None`: no root has the name of the issuer.
fn signed_by_root(list: &RevocationList, der: &[u8], roots: &Roots) -> Option<bool> {
    let mut named = None;
    for root in roots.cas() {
        let Ok(x509) = parse(&root.der) else { continue };
        if x509.subject().as_raw() != list.issuer_der {
            continue;
        }
        let signed = VerifyingKey::of(x509.public_key()).is_some_and(|key| key.signed(der));
        named = Some(named.unwrap_or(false) || signed);
    }
    named
}
