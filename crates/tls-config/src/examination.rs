//! Checks a certificate before it is used, by the rules of a handshake.

use std::path::Path;
use std::time::SystemTime;

use crate::authority::LeafKind;
use crate::certificate::Certificate;
use crate::error::{FileFault, PemKind, TlsError};
use crate::key_pair::{KeyPair, in_force};
use crate::names::is_valid_for;
use crate::pem;
use crate::purpose::Purpose;
use crate::regular_file::read_regular_file;
use crate::roots::Roots;

/// The certificate to check, and the purpose to check it for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The certificate, followed by those between it and the CA; PEM.
    pub certificate: &'a Path,
    /// Its key; `None`: not checked.
    pub key: Option<&'a Path>,
    /// The CAs that the other side trusts.
    pub ca: &'a Path,
    /// The purpose; `None`: the purposes in its extended key usage.
    pub kind: Option<LeafKind>,
    /// Names and addresses used to connect: each must be in the certificate.
    pub hosts: &'a [String],
}

/// Returns the certificate's contents if it would be trusted now.
///
/// # Errors
///
/// A file cannot be read or parsed; the certificate is not in force, does not
/// lead to the CA, or is not for that purpose or a host; the key does not
/// match.
pub fn examine(question: &Question<'_>, now: SystemTime) -> Result<Certificate, TlsError> {
    let path = question.certificate;
    let bytes = read(path)?;
    let chain = pem::certificates(path, &bytes)?;
    let malformed =
        |why: String| TlsError::file(path, FileFault::Malformed(PemKind::Certificate, why));
    let (leaf, intermediates) =
        chain.split_first().ok_or_else(|| malformed("it is empty".to_owned()))?;
    let certificate = Certificate::from_der(leaf).map_err(|error| malformed(error.0))?;
    in_force(&certificate, now).map_err(|fault| TlsError::file(path, fault))?;
    if let Some(key) = question.key {
        KeyPair::from_pem((path, &bytes), (key, &read(key)?), now)?;
    }
    let roots = Roots::from_pem(question.ca, &read(question.ca)?, now)?;
    for purpose in purposes(question.kind, &certificate) {
        crate::chain::verify(leaf, intermediates, &roots, purpose, now).map_err(|why| {
            let ca = question.ca.to_owned();
            TlsError::file(path, FileFault::NotBelieved { ca, why: why.to_string() })
        })?;
    }
    for host in question.hosts {
        if !is_valid_for(&certificate.dns_names, &certificate.ip_addresses, host) {
            let fault = FileFault::OtherHost { host: host.clone(), names: names(&certificate) };
            return Err(TlsError::file(path, fault));
        }
    }
    Ok(certificate)
}

fn purposes(kind: Option<LeafKind>, certificate: &Certificate) -> Vec<Purpose> {
    match kind {
        Some(LeafKind::Server) => vec![Purpose::Server],
        Some(LeafKind::Client) => vec![Purpose::Client],
        Some(LeafKind::Peer) => vec![Purpose::Server, Purpose::Client],
        None => {
            let all = [Purpose::Server, Purpose::Client];
            let named: Vec<_> =
                all.into_iter().filter(|purpose| certificate.purposes.allow(*purpose)).collect();
            // A certificate for any other purpose fails as a server's.
            if named.is_empty() { vec![Purpose::Server] } else { named }
        }
    }
}

fn names(certificate: &Certificate) -> String {
    let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
    let all: Vec<String> = certificate.dns_names.iter().cloned().chain(addresses).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_regular_file(path).map_err(|source| TlsError::io("read", path, source))
}
