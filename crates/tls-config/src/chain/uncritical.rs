//! Lets webpki verify certificates whose policy extensions are critical.
//!
//! webpki rejects every critical extension that it does not implement, and it
//! implements none about policies; enterprise CAs mark them critical, as RFC
//! 5280 asks. [`super::policies`] implements them, so webpki may skip them: it
//! gets a copy in which they are not critical (one byte each), and the
//! signature is checked over the certificate as it was signed.

use std::ops::Range;

use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};
use x509_parser::extensions::{ParsedExtension, X509Extension};

use crate::certificate::parse;
use crate::signature::algorithms;

/// BOOLEAN TRUE in DER, which marks an extension as critical.
const TRUE: [u8; 3] = [0x01, 0x01, 0xff];

/// Whether [`super::policies`] handles an extension.
pub(super) fn is_policy(extension: &X509Extension<'_>) -> bool {
    matches!(
        extension.parsed_extension(),
        ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::PolicyMappings(_)
            | ParsedExtension::PolicyConstraints(_)
            | ParsedExtension::InhibitAnyPolicy(_)
    )
}

/// A certificate, and the form in which webpki sees it.
#[derive(Debug)]
pub(crate) struct Uncritical<'a> {
    signed: &'a CertificateDer<'a>,
    shown: CertificateDer<'a>,
    /// The range of the signed part, in both forms.
    signed_part: Range<usize>,
}

impl<'a> Uncritical<'a> {
    /// Safe for arbitrary bytes: a certificate that cannot be parsed is passed
    /// unchanged.
    pub(crate) fn of(der: &'a CertificateDer<'a>) -> Self {
        rewritten(der).unwrap_or_else(|| Uncritical {
            signed: der,
            shown: CertificateDer::from(der.as_ref()),
            signed_part: 0..0,
        })
    }

    /// Whether webpki sees something other than what was signed.
    pub(super) fn differs(&self) -> bool {
        self.shown != *self.signed
    }

    /// The form for webpki.
    pub(crate) fn shown(&self) -> &CertificateDer<'a> {
        &self.shown
    }

    /// The same, borrowed.
    pub(super) fn borrowed(&self) -> CertificateDer<'_> {
        CertificateDer::from(self.shown.as_ref())
    }

    /// The bytes that were signed, if `message` is the signed part of `shown`:
    /// that very slice, not one with equal bytes from another certificate.
    fn original(&self, message: &[u8]) -> Option<&[u8]> {
        let shown = self.shown.get(self.signed_part.clone())?;
        let is_it = !shown.is_empty() && std::ptr::eq(shown, message);
        is_it.then(|| self.signed.get(self.signed_part.clone()))?
    }
}

/// `None`: no policy extension is critical, or the certificate cannot be
/// parsed.
fn rewritten<'a>(der: &'a CertificateDer<'a>) -> Option<Uncritical<'a>> {
    let x509 = parse(der).ok()?;
    let mut shown = der.to_vec();
    let mut differs = false;
    for extension in x509.iter_extensions().filter(|e| e.critical && is_policy(e)) {
        let at = offset(der, extension.oid.as_bytes())?.end;
        let critical = shown.get_mut(at..at + TRUE.len())?;
        if *critical != TRUE {
            return None;
        }
        critical[TRUE.len() - 1] = 0;
        differs = true;
    }
    let signed_part = offset(der, x509.tbs_certificate.as_ref())?;
    let shown = CertificateDer::from(shown);
    differs.then_some(Uncritical { signed: der, shown, signed_part })
}

/// The range of `part` within `whole`.
fn offset(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let range = start..start.checked_add(part.len())?;
    (whole.get(range.clone())? == part).then_some(range)
}

/// An algorithm that checks signatures over the original bytes.
#[derive(Debug)]
struct OverSigned<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    certificates: &'a [Uncritical<'a>],
}

impl SignatureVerificationAlgorithm for OverSigned<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let original = self.certificates.iter().find_map(|shown| shown.original(message));
        self.algorithm.verify_signature(public_key, original.unwrap_or(message), signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// Runs `verify` with the supported algorithms, over the original bytes.
pub(super) fn with_algorithms<T>(
    certificates: &[Uncritical<'_>],
    verify: impl FnOnce(&[&dyn SignatureVerificationAlgorithm]) -> T,
) -> T {
    let over_signed =
        algorithms().all.iter().map(|&algorithm| OverSigned { algorithm, certificates });
    let over_signed: Vec<_> = over_signed.collect();
    let listed: Vec<&dyn SignatureVerificationAlgorithm> =
        over_signed.iter().map(|algorithm| algorithm as _).collect();
    verify(&listed)
}
