//! A small certificate authority: enough to try TLS, and to run a store whose
//! operator has no other CA.
//!
//! Produces PEM texts and no files (see [`crate::write_file`]); keeps no
//! register of issued certificates. The time is an argument; keys and serials
//! are random.

mod renewal;

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;

use crate::certificate::{Certificate, parse};
use crate::error::{FileFault, PemKind, TlsError};
use crate::making::{
    KeyType, alternative_names, failed, key_from_pem, moment, random_serial, validity,
};
use crate::moment::seconds;
use crate::pem;
use crate::roots::may_sign;

/// A request for a new CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaRequest {
    /// Its name.
    pub common_name: String,
    /// The organization. Default none.
    pub organization: Option<String>,
    /// Validity, starting now.
    pub validity: Duration,
    /// The kind of its key.
    pub key_type: KeyType,
}

/// The purpose of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// A server: extended key usage serverAuth.
    Server,
    /// A client: clientAuth.
    Client,
    /// A member of a cluster, which is both a server and a client.
    Peer,
}

impl LeafKind {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            LeafKind::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            LeafKind::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            LeafKind::Peer => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        }
    }
}

/// A request for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// The purpose.
    pub kind: LeafKind,
    /// The common name; for a client, the user's name.
    pub common_name: String,
    /// The organization. Default none.
    pub organization: Option<String>,
    /// DNS names and IP addresses. A server or a peer needs at least one:
    /// clients ignore the common name.
    pub sans: Vec<String>,
    /// Validity, starting now; never longer than the CA's.
    pub validity: Duration,
    /// The kind of its key.
    pub key_type: KeyType,
}

/// Options for renewing a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Validity, starting now; `None`, the default: as long as before.
    pub validity: Option<Duration>,
    /// The kind of a new key; `None`, the default: the key is kept, so that
    /// only one file changes, and no reader can see half of the change.
    pub new_key: Option<KeyType>,
}

/// A new certificate, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, followed by the CA's, unless the CA is a root.
    pub certificate: String,
    /// The new key in PKCS#8; `None`: the key was kept.
    pub key: Option<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys must not reach a log.
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A CA that can sign.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    certificate: Certificate,
    /// Sent with every certificate: the CA's own, unless it is a root.
    chain: String,
}

impl Authority {
    /// Creates a self-signed CA.
    ///
    /// # Errors
    ///
    /// The validity is zero or exceeds the calendar.
    pub fn create(request: &CaRequest, now: SystemTime) -> Result<(Self, Issued), TlsError> {
        let key = request.key_type.generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name =
            distinguished_name(&request.common_name, request.organization.as_deref());
        (params.not_before, params.not_after) = validity(now, request.validity)?;
        let issued_key = key.serialize_pem();
        let pem = self_sign(params, &key)?;
        let authority = Self::of(Path::new("the new CA"), pem.as_bytes(), key)?;
        Ok((authority, Issued { certificate: pem, key: Some(issued_key) }))
    }

    /// Loads a CA from two PEM files; any tool may have made them.
    ///
    /// # Errors
    ///
    /// A file is malformed, the key does not match the certificate, or the
    /// certificate may not sign or is not valid now.
    pub fn load(
        cert: (&Path, &[u8]),
        key: (&Path, &[u8]),
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let pair = crate::key_pair::KeyPair::from_pem(cert, key, now)?;
        drop(pair);
        Self::of(cert.0, cert.1, key_from_pem(key.0, key.1)?)
    }

    fn of(path: &Path, pem: &[u8], key: KeyPair) -> Result<Self, TlsError> {
        let malformed =
            |why: String| TlsError::file(path, FileFault::Malformed(PemKind::Certificate, why));
        let der = pem::certificates(path, pem)?.into_iter().next();
        let der = der.ok_or_else(|| malformed("it is empty".to_owned()))?;
        let certificate = Certificate::from_der(&der).map_err(|error| malformed(error.0))?;
        let signs = parse(&der).is_ok_and(|x509| may_sign(&x509));
        if !signs {
            let fault = FileFault::NotACa { subject: certificate.subject };
            return Err(TlsError::file(path, fault));
        }
        let issuer =
            Issuer::from_ca_cert_der(&der, key).map_err(|error| malformed(error.to_string()))?;
        let is_root = certificate.subject == certificate.issuer;
        let chain = if is_root { String::new() } else { String::from_utf8_lossy(pem).into_owned() };
        Ok(Authority { issuer, der, certificate, chain })
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    ///
    /// A name is invalid, a server has no names, the validity is zero, or the
    /// CA's own name cannot be encoded again.
    pub fn issue(&self, request: &LeafRequest, now: SystemTime) -> Result<Issued, TlsError> {
        if request.sans.is_empty() && request.kind != LeafKind::Client {
            return Err(TlsError::Options(
                "a server's or peer's certificate needs the names that clients connect to: give DNS names or IP addresses"
                    .to_owned(),
            ));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name =
            distinguished_name(&request.common_name, request.organization.as_deref());
        params.subject_alt_names = alternative_names(&request.sans)?;
        params.extended_key_usages = request.kind.purposes();
        let key = request.key_type.generate()?;
        let certificate = self.sign(params, &key, request.validity, now)?;
        Ok(Issued { certificate, key: Some(key.serialize_pem()) })
    }

    /// Reissues a certificate that this CA, or an earlier one of the same name,
    /// has issued: same names and purposes, new serial and dates. `path` is the
    /// origin of `pem`, for errors.
    ///
    /// # Errors
    ///
    /// It is malformed, from another issuer, or has contents that cannot be
    /// encoded again.
    pub fn renew(
        &self,
        path: &Path,
        pem: &[u8],
        renewal: Renewal,
        now: SystemTime,
    ) -> Result<Issued, TlsError> {
        let old = renewal::Old::read(path, pem)?;
        if old.issuer_der != self.subject_der()? {
            return Err(TlsError::file(path, FileFault::OtherIssuer { issuer: old.issuer }));
        }
        let length = renewal.validity.unwrap_or(old.validity);
        match renewal.new_key {
            Some(kind) => {
                let key = kind.generate()?;
                let certificate = self.sign(old.params, &key, length, now)?;
                Ok(Issued { certificate, key: Some(key.serialize_pem()) })
            }
            None => {
                let certificate = self.sign(old.params, &old.key, length, now)?;
                Ok(Issued { certificate, key: None })
            }
        }
    }

    /// Reissues the CA's own certificate with the same name and key, so that
    /// certificates signed by it stay valid; `validity` as in [`Renewal`].
    ///
    /// # Errors
    ///
    /// It was signed by another CA, or its name cannot be encoded again.
    pub fn renew_itself(
        &self,
        path: &Path,
        validity_asked: Option<Duration>,
        now: SystemTime,
    ) -> Result<Issued, TlsError> {
        if self.certificate.subject != self.certificate.issuer {
            let issuer = self.certificate.issuer.clone();
            return Err(TlsError::file(path, FileFault::OtherIssuer { issuer }));
        }
        let old = renewal::Old::of(path, &self.der)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = old.params.distinguished_name;
        let length = validity_asked.unwrap_or(old.validity);
        (params.not_before, params.not_after) = validity(now, length)?;
        let certificate = self_sign(params, self.issuer.key())?;
        Ok(Issued { certificate, key: None })
    }

    /// Signs a certificate that is not a CA.
    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        length: Duration,
        now: SystemTime,
    ) -> Result<String, TlsError> {
        (params.not_before, params.not_after) = validity(now, length)?;
        // A certificate is rejected once its CA has expired: the shorter date
        // is honest.
        params.not_after = params.not_after.min(moment(seconds(self.certificate.not_after))?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.serial_number = Some(random_serial()?);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(key, &self.issuer).map_err(failed)?;
        // Verifiers compare names byte by byte, and the name is encoded again
        // here.
        let issuer = parse(signed.der()).map(|x509| x509.issuer().as_raw().to_vec());
        if issuer.ok() != Some(self.subject_der()?) {
            return Err(TlsError::Crypto(format!(
                "the CA's name ({}) has a form that cannot be written again: use a CA with a plain name",
                self.certificate.subject
            )));
        }
        Ok(format!("{}{}", signed.pem(), self.chain))
    }

    fn subject_der(&self) -> Result<Vec<u8>, TlsError> {
        let x509 = parse(&self.der).map_err(|error| TlsError::Crypto(error.0))?;
        Ok(x509.subject().as_raw().to_vec())
    }
}

fn self_sign(mut params: CertificateParams, key: &KeyPair) -> Result<String, TlsError> {
    // It signs leaves only, so that a leaf cannot be turned into a CA by
    // mistake.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params.serial_number = Some(random_serial()?);
    Ok(params.self_signed(key).map_err(failed)?.pem())
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}
