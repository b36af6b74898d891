//! The contents of a certificate as plain data. [`crate::chain`] decides
//! whether to trust it; the parser is `x509-parser`.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;

use crate::error::{FileFault, PemKind, TlsError};
use crate::moment::{Utc, from_seconds};
use crate::pem;
use crate::purpose::Purposes;

/// A serial number: the bytes of a positive integer, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    /// From the bytes of DER's INTEGER, or of any big-endian number.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        SerialNumber(bytes.iter().skip(zeros).copied().collect())
    }
}

impl fmt::Display for SerialNumber {
    /// Lower-case hexadecimal without leading zeros, like Go's `%x` of a
    /// number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else { return f.write_str("0") };
        write!(f, "{first:x}")?;
        rest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The contents of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The version of X.509: 1 or 3.
    pub version: u32,
    /// The subject, in one line: `C=US, O=etcd, CN=m1`.
    pub subject: String,
    /// The issuer, in the same form.
    pub issuer: String,
    /// The last common name of the subject, which is the one that Go uses.
    pub common_name: Option<String>,
    /// DNS names of the subject, unchanged.
    pub dns_names: Vec<String>,
    /// IP addresses of the subject.
    pub ip_addresses: Vec<IpAddr>,
    /// The serial number, unique per issuer.
    pub serial: SerialNumber,
    /// Not valid before.
    pub not_before: SystemTime,
    /// Not valid after.
    pub not_after: SystemTime,
    /// Whether basicConstraints says that it is a CA.
    pub is_ca: bool,
    /// The purposes that extended key usage allows.
    pub purposes: Purposes,
    /// The kind and size of the key: `ECDSA P-256`, `RSA 2048`, `Ed25519`.
    pub key: String,
    /// SHA-256 of the DER.
    pub fingerprint: [u8; 32],
}

/// The reason why bytes are not a certificate that can be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedCertificate(pub(crate) String);

impl Certificate {
    /// Parses DER. Safe for arbitrary bytes.
    ///
    /// # Errors
    ///
    /// It is not a certificate, bytes follow it, or an extension that is used
    /// here is malformed or duplicated.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        Self::of(&parse(der)?)
    }

    pub(crate) fn of(x509: &X509Certificate<'_>) -> Result<Self, MalformedCertificate> {
        let (dns_names, ip_addresses) = alternative_names(x509)?;
        let common_names = x509.subject().iter_common_name();
        Ok(Certificate {
            version: x509.version().0.saturating_add(1),
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            common_name: common_names.last().and_then(|cn| cn.as_str().ok()).map(str::to_owned),
            dns_names,
            ip_addresses,
            serial: SerialNumber::from_bytes(x509.raw_serial()),
            not_before: from_seconds(x509.validity().not_before.timestamp()),
            not_after: from_seconds(x509.validity().not_after.timestamp()),
            is_ca: x509.is_ca(),
            purposes: Purposes::of(x509)?,
            key: key_name(x509),
            fingerprint: Sha256::digest(x509.as_raw()).into(),
        })
    }
}

/// All certificates of a PEM file, in its order: for commands in the
/// foreground, which may be given a pipe (a shell's `<(…)`) and wait for its
/// output.
///
/// # Errors
///
/// The file cannot be read, has no certificates, or has a malformed one.
pub fn certificates_in(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let bytes = std::fs::read(path).map_err(|source| TlsError::io("read", path, source))?;
    let malformed = |error: MalformedCertificate| {
        TlsError::file(path, FileFault::Malformed(PemKind::Certificate, error.0))
    };
    let all = pem::certificates(path, &bytes)?;
    all.iter().map(|der| Certificate::from_der(der).map_err(malformed)).collect()
}

impl fmt::Display for Certificate {
    /// One line for each field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.ip_addresses.iter().map(|address| format!("IP:{address}"));
        let names = self.dns_names.iter().map(|name| format!("DNS:{name}")).chain(addresses);
        let names = names.collect::<Vec<_>>().join(", ");
        let fingerprint = self.fingerprint.iter().map(|byte| format!("{byte:02x}"));
        writeln!(f, "subject      {}", self.subject)?;
        writeln!(f, "issuer       {}", self.issuer)?;
        writeln!(f, "names        {}", if names.is_empty() { "none" } else { &names })?;
        writeln!(f, "serial       {}", self.serial)?;
        writeln!(f, "not before   {}", Utc(self.not_before))?;
        writeln!(f, "not after    {}", Utc(self.not_after))?;
        writeln!(f, "CA           {}", if self.is_ca { "yes" } else { "no" })?;
        writeln!(f, "usable for   {}", self.purposes)?;
        writeln!(f, "key          {}", self.key)?;
        writeln!(f, "version      {}", self.version)?;
        write!(f, "SHA-256      {}", fingerprint.collect::<String>())
    }
}

/// Parses a certificate in DER, with nothing after it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, MalformedCertificate> {
    let (rest, x509) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| MalformedCertificate(error.to_string()))?;
    if !rest.is_empty() {
        return Err(MalformedCertificate(format!("{} bytes follow it", rest.len())));
    }
    let broken = x509.iter_extensions().find(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. })
    });
    match broken {
        Some(broken) => Err(MalformedCertificate(format!("extension {} is broken", broken.oid))),
        None => Ok(x509),
    }
}

type AlternativeNames = (Vec<String>, Vec<IpAddr>);

fn alternative_names(x509: &X509Certificate<'_>) -> Result<AlternativeNames, MalformedCertificate> {
    let extension = x509.subject_alternative_name();
    let extension = extension.map_err(|error| MalformedCertificate(error.to_string()))?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.push(ip_address(bytes)?),
            GeneralName::Invalid(..) => {
                return Err(MalformedCertificate(
                    "a subject alternative name is broken".to_owned(),
                ));
            }
            _ => {}
        }
    }
    Ok((names, addresses))
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, MalformedCertificate> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes)
        .map_err(|_| MalformedCertificate(format!("an IP address of {} bytes", bytes.len())))?;
    Ok(IpAddr::from(v6))
}

/// The object identifiers of the curves, and of Ed25519, which has its own.
const CURVES: [(&str, &str); 3] =
    [("1.2.840.10045.3.1.7", "P-256"), ("1.3.132.0.34", "P-384"), ("1.3.132.0.35", "P-521")];
const ED25519: &str = "1.3.101.112";

fn key_name(x509: &X509Certificate<'_>) -> String {
    let key = x509.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            let parameters = key.algorithm.parameters.as_ref();
            let oid = parameters.and_then(|parameters| parameters.as_oid().ok());
            let oid = oid.map(|oid| oid.to_id_string()).unwrap_or_default();
            let curve = CURVES.iter().find(|(id, _)| *id == oid).map(|(_, name)| *name);
            format!("ECDSA {}", curve.unwrap_or("on an unknown curve"))
        }
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => "Ed25519".to_owned(),
        _ => format!("of the kind {}", key.algorithm.algorithm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_read_as_go_writes_them() {
        for (bytes, text) in [
            (&[0u8][..], "0"),
            (&[], "0"),
            (&[0x0a], "a"),
            (&[0, 0x80, 0x01], "8001"),
            (&[0x01, 0x0b], "10b"),
        ] {
            assert_eq!(SerialNumber::from_bytes(bytes).to_string(), text);
        }
        assert_eq!(SerialNumber::from_bytes(&[0, 7]), SerialNumber::from_bytes(&[7]));
    }

    #[test]
    fn noise_is_refused() {
        for noise in [&b""[..], b"\x30", b"\x30\x80\x00\x00", &[0x30; 4096]] {
            assert!(Certificate::from_der(noise).is_err());
        }
    }
}
