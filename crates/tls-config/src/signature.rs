//! Checks signatures on DER that webpki does not parse itself: version 1
//! certificates, revocation lists, and the handshakes of version 1 clients.
//! This module only parses the DER; the cryptography and the list of supported
//! algorithms are webpki's and aws-lc's.

use std::sync::LazyLock;

use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::{DigitallySignedStruct, SignatureScheme};
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::x509::SubjectPublicKeyInfo;

/// A public key, and the identifier of its algorithm in the form that webpki
/// compares: the content of the SEQUENCE.
#[derive(Clone, Debug)]
pub(crate) struct VerifyingKey<'a> {
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> VerifyingKey<'a> {
    /// Extracts the key from a subject's public key info. `None`: it is
    /// malformed.
    pub(crate) fn of(info: &'a SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let (_, sequence) = Any::from_der(info.raw).ok()?;
        let (_, algorithm) = Any::from_der(sequence.data).ok()?;
        Some(VerifyingKey { algorithm: algorithm.data, bits: &info.subject_public_key.data })
    }

    /// Whether this key signed a certificate or revocation list, given as DER.
    pub(crate) fn signed(&self, document: &[u8]) -> bool {
        signed_parts(document).is_some_and(|parts| {
            algorithms().all.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == parts.algorithm
                    && self.verifies(*algorithm, parts.message, parts.signature)
            })
        })
    }

    /// Whether this key signed the transcript of a TLS 1.2 handshake. There the
    /// scheme does not determine the curve, so every algorithm of the scheme is
    /// tried (rustls does the same for the certificates that it can parse).
    pub(crate) fn signed_tls12(&self, message: &[u8], signed: &DigitallySignedStruct) -> bool {
        let found = of_scheme(signed.scheme);
        found.iter().any(|algorithm| self.verifies(*algorithm, message, signed.signature()))
    }

    fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        algorithm.public_key_alg_id().as_ref() == self.algorithm
            && algorithm.verify_signature(self.bits, message, signature).is_ok()
    }
}

/// The supported algorithms, and the TLS schemes that they serve.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    // The provider builds its lists on each call, and every handshake needs
    // this one.
    static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
        LazyLock::new(|| aws_lc_rs::default_provider().signature_verification_algorithms);
    *ALGORITHMS
}

fn of_scheme(scheme: SignatureScheme) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    let mapping = algorithms().mapping;
    mapping.iter().find(|(known, _)| *known == scheme).map_or(&[], |(_, algorithms)| algorithms)
}

struct SignedParts<'a> {
    message: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// `SEQUENCE { message, SEQUENCE algorithm, BIT STRING signature }`.
fn signed_parts(document: &[u8]) -> Option<SignedParts<'_>> {
    let (_, outer) = Any::from_der(document).ok()?;
    let (rest, _) = Any::from_der(outer.data).ok()?;
    let message = outer.data.get(..outer.data.len().checked_sub(rest.len())?)?;
    let (rest, algorithm) = Any::from_der(rest).ok()?;
    let (_, signature) = Any::from_der(rest).ok()?;
    // The first byte is the number of unused bits; a signature is whole bytes.
    let (&0, signature) = signature.data.split_first()? else { return None };
    Some(SignedParts { message, algorithm: algorithm.data, signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::parse;

    #[test]
    fn a_self_signed_certificate_verifies_under_its_own_key_only() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let made = |name: &str| {
                let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
                rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap()
            };
            let (own, other) = (made("own"), made("other"));
            let (own_x509, other_x509) = (parse(own.der()).unwrap(), parse(other.der()).unwrap());
            let key = VerifyingKey::of(own_x509.public_key()).unwrap();
            assert!(key.signed(own.der()));
            assert!(!key.signed(other.der()));
            assert!(!VerifyingKey::of(other_x509.public_key()).unwrap().signed(own.der()));
            let mut bent = own.der().to_vec();
            let last = bent.len() - 1;
            bent[last] ^= 1;
            assert!(!key.signed(&bent));
            bent[last] ^= 1;
            bent[40] ^= 1;
            assert!(!key.signed(&bent));
        }
    }

    #[test]
    fn noise_is_signed_by_nobody() {
        for noise in [&b""[..], b"\x30\x00", b"\x30\x02\x30\x00", &[0x30; 64]] {
            assert!(signed_parts(noise).is_none());
        }
    }
}
