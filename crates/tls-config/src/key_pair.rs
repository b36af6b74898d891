//! Our own certificate and its key: read, and checked against each other before
//! use.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::asn1_rs::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificate::{Certificate, parse};
use crate::error::{FileFault, PemKind, TlsError};
use crate::pem;
use crate::roots::{LoadedCertificate, Role};

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub(crate) struct KeyPair {
    certified: Arc<CertifiedKey>,
    certificates: Vec<LoadedCertificate>,
}

impl KeyPair {
    /// Loads a pair from two files, which may be the same.
    ///
    /// # Errors
    ///
    /// Either cannot be parsed, the key is of an unsupported kind or does not
    /// match the first certificate, or that certificate is not valid now.
    pub(crate) fn from_pem(
        cert: (&Path, &[u8]),
        key: (&Path, &[u8]),
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let chain = pem::certificates(cert.0, cert.1)?;
        let mut certificates = Vec::with_capacity(chain.len());
        for (place, der) in chain.iter().enumerate() {
            let certificate = Certificate::from_der(der).map_err(|error| {
                TlsError::file(cert.0, FileFault::Malformed(PemKind::Certificate, error.0))
            })?;
            let role = if place == 0 { Role::Leaf } else { Role::Intermediate };
            certificates.push(LoadedCertificate {
                path: Some(cert.0.to_owned()),
                role,
                certificate,
            });
        }
        for leaf in certificates.iter().take(1) {
            in_force(&leaf.certificate, now).map_err(|fault| TlsError::file(cert.0, fault))?;
        }
        let signing = aws_lc_rs::sign::any_supported_type(&pem::private_key(key.0, key.1)?)
            .map_err(|error| TlsError::file(key.0, FileFault::UnsupportedKey(error.to_string())))?;
        let certified = CertifiedKey::new(chain, signing);
        if !belong_together(&certified) {
            let fault = FileFault::KeyMismatch { certificate: cert.0.to_owned() };
            return Err(TlsError::file(key.0, fault));
        }
        Ok(KeyPair { certified: Arc::new(certified), certificates })
    }

    pub(crate) fn certificates(&self) -> &[LoadedCertificate] {
        &self.certificates
    }
}

/// Whether the certificate is within its dates.
pub(crate) fn in_force(leaf: &Certificate, now: SystemTime) -> Result<(), FileFault> {
    let subject = leaf.subject.clone();
    if now > leaf.not_after {
        return Err(FileFault::Expired { subject, not_after: leaf.not_after });
    }
    if now < leaf.not_before {
        return Err(FileFault::NotYetValid { subject, not_before: leaf.not_before });
    }
    Ok(())
}

/// Whether certificate and key have the same public key. rustls's own check
/// uses webpki's parser, which rejects version 1. The key bits are compared and
/// not the algorithms, because one RSA key has several algorithm names.
fn belong_together(certified: &CertifiedKey) -> bool {
    let leaf = certified.cert.first().and_then(|der| parse(der).ok());
    let (Some(leaf), Some(own)) = (leaf, certified.key.public_key()) else { return false };
    let Ok((_, own)) = SubjectPublicKeyInfo::from_der(&own) else { return false };
    leaf.public_key().subject_public_key.data == own.subject_public_key.data
}

impl ResolvesServerCert for KeyPair {
    // Whatever name was requested, if any: etcd has one certificate.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }
}

impl ResolvesClientCert for KeyPair {
    // Ignores the server's issuer hints: its own verdict on our certificate is
    // the better error.
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
