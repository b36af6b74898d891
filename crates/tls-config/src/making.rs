//! The parts of new certificates: keys, names, serials, times. `rcgen` encodes the DER.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{KeyPair, RsaKeySize, SanType, SerialNumber};
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;

use crate::error::{FileFault, TlsError};
use crate::moment::seconds;
use crate::pem;

/// Certificates are valid from this long before they are created, for machines with slow
/// clocks.
pub(crate) const BACKDATED: Duration = Duration::from_secs(300);
/// Random bytes in a serial number: RFC 5280 allows at most 20, and 16 are more than enough
/// to avoid collisions.
const SERIAL_BYTES: usize = 16;

/// The kind of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyType {
    /// ECDSA on P-256: universally supported, and fast.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
}

const KEY_TYPES: [(KeyType, &str); 6] = [
    (KeyType::EcdsaP256, "ecdsa-p256"),
    (KeyType::EcdsaP384, "ecdsa-p384"),
    (KeyType::EcdsaP521, "ecdsa-p521"),
    (KeyType::Ed25519, "ed25519"),
    (KeyType::Rsa2048, "rsa-2048"),
    (KeyType::Rsa4096, "rsa-4096"),
];

impl KeyType {
    pub(crate) fn generate(self) -> Result<KeyPair, TlsError> {
        let made = match self {
            KeyType::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::EcdsaP521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
            KeyType::Ed25519 => return ed25519(),
            KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        made.map_err(failed)
    }
}

fn rsa(size: RsaKeySize) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
}

/// In version 1 of PKCS#8: `rcgen` writes version 2, which has the public key beside the
/// private one, and which OpenSSL 3.0 and everything built on it cannot read.
fn ed25519() -> Result<KeyPair, TlsError> {
    let made = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
        .map_err(|error| TlsError::Crypto(error.to_string()))?;
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(made.as_ref())).map_err(failed)
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KEY_TYPES.iter().find(|(kind, _)| kind == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for KeyType {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let found = KEY_TYPES.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind);
        found.ok_or_else(|| {
            let names = KEY_TYPES.map(|(_, name)| name).join(", ");
            TlsError::Options(format!("{text:?} is not a kind of key: use one of {names}"))
        })
    }
}

pub(crate) fn failed(error: rcgen::Error) -> TlsError {
    TlsError::Crypto(error.to_string())
}

/// A signing key from a PEM file.
pub(crate) fn key_from_pem(path: &Path, bytes: &[u8]) -> Result<KeyPair, TlsError> {
    let der = pem::private_key(path, bytes)?;
    KeyPair::try_from(&der)
        .map_err(|error| TlsError::file(path, FileFault::UnsupportedKey(error.to_string())))
}

/// The names in the form of a certificate.
///
/// # Errors
///
/// A name is neither an IP address nor a DNS name; `*` may stand for the first label.
pub(crate) fn alternative_names(hosts: &[String]) -> Result<Vec<SanType>, TlsError> {
    let named = |host: &String| {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(SanType::IpAddress(address));
        }
        let wrong = || {
            TlsError::Options(format!(
                "{host:?} is neither an IP address nor a DNS name: give localhost, 10.0.0.1, or *.example.com"
            ))
        };
        if !is_dns_name(host) {
            return Err(wrong());
        }
        Ok(SanType::DnsName(host.as_str().try_into().map_err(|_| wrong())?))
    };
    hosts.iter().map(named).collect()
}

/// Letters, digits, `-` and `_` in labels of at most 63, 253 in all.
fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // Digits and dots are a wrong IP address: 300.1.1.1, 10.0.0. Digits alone may be a host
    // name, such as the random ones of containers.
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let is_wrong_address = rest.contains('.') && rest.split('.').all(is_number);
    name.len() <= 253 && !is_wrong_address && rest.split('.').all(is_label)
}

/// A unique serial number.
pub(crate) fn random_serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = [0; SERIAL_BYTES];
    rand::fill(&mut bytes).map_err(|_| TlsError::Crypto("no random bytes".to_owned()))?;
    // Positive and not zero.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Start and end of a certificate created now.
///
/// # Errors
///
/// The duration is zero, or exceeds the calendar.
pub(crate) fn validity(
    now: SystemTime,
    length: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), TlsError> {
    if length.is_zero() {
        return Err(TlsError::Options("a certificate must be valid for some time".to_owned()));
    }
    let begin = moment(seconds(now).saturating_sub_unsigned(BACKDATED.as_secs()))?;
    let end = moment(seconds(now).saturating_add_unsigned(length.as_secs()))?;
    Ok((begin, end))
}

pub(crate) fn moment(seconds: i64) -> Result<OffsetDateTime, TlsError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| {
        TlsError::Options("a certificate cannot be valid beyond the year 9999".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_keys_have_names() {
        for (kind, name) in KEY_TYPES {
            assert_eq!(name.parse::<KeyType>().unwrap(), kind);
            assert_eq!(kind.to_string(), name);
        }
        assert!("dsa".parse::<KeyType>().unwrap_err().to_string().contains("ed25519"));
    }

    /// The version is the first number of a PKCS#8 document, after the outer tag and
    /// length.
    #[test]
    fn ed25519_is_written_in_version_1_and_read_in_both() {
        let ours = KeyType::Ed25519.generate().unwrap();
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        for (key, version) in [(ours, 0), (other, 1)] {
            assert_eq!(key.serialized_der()[2..5], [2, 1, version]);
            let text = key.serialize_pem();
            let text = (Path::new("x.key"), text.as_bytes());
            let read = key_from_pem(text.0, text.1).unwrap();
            assert_eq!(read.public_key_pem(), key.public_key_pem());
            let made = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
            let cert = (Path::new("x.crt"), made.as_bytes());
            crate::key_pair::KeyPair::from_pem(cert, text, SystemTime::now()).unwrap();
        }
    }

    #[test]
    fn names_are_checked() {
        let good = ["localhost", "a.b-c.d_e", "*.x.y", "10.0.0.1", "::1", "123456", "node.7"]
            .map(str::to_owned);
        assert_eq!(alternative_names(&good).unwrap().len(), good.len());
        for bad in [
            "",
            "a b",
            "-a",
            "a..b",
            "*",
            "a.*.b",
            "https://x",
            "x:1",
            "300.1.1.1",
            "10.0.0",
            "1.2.3.4.5",
        ] {
            assert!(alternative_names(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn serials_differ_and_are_positive() {
        let (one, two) = (random_serial().unwrap().to_bytes(), random_serial().unwrap().to_bytes());
        assert_ne!(one, two);
        assert!((0x40..0x80).contains(&one[0]));
    }

    #[test]
    fn times_have_limits() {
        let now = SystemTime::UNIX_EPOCH;
        assert!(validity(now, Duration::ZERO).is_err());
        assert!(validity(now, Duration::from_secs(u64::MAX)).is_err());
        let (begin, end) = validity(now, Duration::from_secs(86_400)).unwrap();
        assert_eq!((begin.unix_timestamp(), end.unix_timestamp()), (-300, 86_400));
    }
}
