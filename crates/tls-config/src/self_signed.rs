//! A self-signed certificate, created and stored by the server (etcd's
//! `--auto-tls`): traffic is encrypted, nobody is authenticated.
//!
//! Unlike etcd's it is renewed before it expires, keeping its key. It is not a
//! CA, because verifiers (including rustls) reject a CA as a server's
//! certificate. Its key is on P-256 and not P-521, which some clients do not
//! support and which makes each handshake several times more expensive.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose};

use crate::certificate::Certificate;
use crate::error::TlsError;
use crate::key_pair::KeyPair;
use crate::making::{self, alternative_names, key_from_pem, validity};
use crate::names::is_valid_for;
use crate::pem;
use crate::regular_file::read_regular_file;
use crate::write_file::{Existing, Secrecy, write_file};

/// Renewed when this much of its life is left, or a third of it, if that is
/// less.
const RENEW_AHEAD: Duration = Duration::from_secs(30 * 86_400);
/// etcd's year, in days.
const YEAR_DAYS: u64 = 365;

/// A self-signed certificate and where it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfSigned {
    /// The path of the certificate.
    pub cert: PathBuf,
    /// The path of its key, mode 0600.
    pub key: PathBuf,
    /// The DNS names and IP addresses that it is for. An unspecified address
    /// (`0.0.0.0`) stands for the loopback ones and `localhost`.
    pub hosts: Vec<String>,
    /// How long it is valid after it is created.
    pub validity: Duration,
}

impl SelfSigned {
    /// `cert.pem` and `key.pem` in a directory, etcd's names.
    ///
    /// # Errors
    ///
    /// `validity_years` is 0, with etcd's text.
    pub fn in_dir(dir: &Path, hosts: Vec<String>, validity_years: u32) -> Result<Self, TlsError> {
        if validity_years == 0 {
            return Err(TlsError::Options(
                "selfSignedCertValidity is invalid,it should be greater than 0".to_owned(),
            ));
        }
        Ok(SelfSigned {
            cert: dir.join("cert.pem"),
            key: dir.join("key.pem"),
            hosts,
            validity: Duration::from_secs(u64::from(validity_years) * YEAR_DAYS * 86_400),
        })
    }

    /// Ensures that both files exist and will be valid for a while. Returns
    /// true if they were created or renewed.
    ///
    /// A certificate signed by somebody else is not touched: its owner is
    /// responsible for it.
    ///
    /// # Errors
    ///
    /// The files cannot be read or written.
    pub fn ensure(&self, now: SystemTime) -> Result<bool, TlsError> {
        let cert = read(&self.cert)?;
        let key = read(&self.key)?;
        if let (Some(cert), Some(key)) = (&cert, &key)
            && self.is_good(cert, key, now)
        {
            return Ok(false);
        }
        let key = match key.and_then(|key| key_from_pem(&self.key, &key).ok()) {
            Some(key) => key,
            None => {
                let key = making::KeyType::EcdsaP256.generate()?;
                let text = key.serialize_pem();
                write_file(&self.key, &text, Secrecy::Private, Existing::Replace)?;
                key
            }
        };
        let pem = self.params(now)?.self_signed(&key).map_err(making::failed)?.pem();
        write_file(&self.cert, &pem, Secrecy::Public, Existing::Replace)?;
        tracing::info!(cert = %self.cert.display(), hosts = ?self.hosts, "self-signed certificate made");
        Ok(true)
    }

    fn is_good(&self, cert: &[u8], key: &[u8], now: SystemTime) -> bool {
        let first = pem::certificates(&self.cert, cert).ok().and_then(|c| c.into_iter().next());
        let Some(own) = first.and_then(|der| Certificate::from_der(&der).ok()) else {
            return false;
        };
        if own.issuer != own.subject {
            return true;
        }
        let life = own.not_after.duration_since(own.not_before).unwrap_or_default();
        let left = own.not_after.duration_since(now).unwrap_or_default();
        let hosts = self.all_hosts();
        left > RENEW_AHEAD.min(life / 3)
            && KeyPair::from_pem((&self.cert, cert), (&self.key, key), now).is_ok()
            && hosts.iter().all(|h| is_valid_for(&own.dns_names, &own.ip_addresses, h))
    }

    fn params(&self, now: SystemTime) -> Result<CertificateParams, TlsError> {
        let hosts = self.all_hosts();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "self-signed");
        if let Some(host) = hosts.first() {
            params.distinguished_name.push(DnType::CommonName, host.as_str());
        }
        params.subject_alt_names = alternative_names(&hosts)?;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        // Both purposes, because peers present the same certificate when they
        // connect.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(making::random_serial()?);
        (params.not_before, params.not_after) = validity(now, self.validity)?;
        Ok(params)
    }

    fn all_hosts(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for host in &self.hosts {
            let unspecified = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
            let meant =
                if unspecified { &["localhost", "127.0.0.1", "::1"][..] } else { &[host.as_str()] };
            for host in meant {
                if !all.iter().any(|known| known == host) {
                    all.push((*host).to_owned());
                }
            }
        }
        all
    }
}

/// `None`: the file does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match read_regular_file(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TlsError::io("read", path, error)),
    }
}
