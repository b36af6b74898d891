//! The purposes of a certificate: extended key usage, by Go's rules. An absent
//! extension allows everything; a present one allows what it names, and
//! `anyExtendedKeyUsage` allows everything.

use std::fmt;

use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};
use x509_parser::certificate::X509Certificate;

use crate::certificate::MalformedCertificate;

/// The purpose that a peer's certificate must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Authenticates a server.
    Server,
    /// Authenticates a client.
    Client,
}

/// The purposes that extended key usage allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purposes {
    /// A server's certificate (TLS Web Server Authentication).
    pub server: bool,
    /// A client's certificate (TLS Web Client Authentication).
    pub client: bool,
}

impl Purposes {
    /// The purposes that an absent extension allows.
    pub(crate) const ALL: Purposes = Purposes { server: true, client: true };

    pub(crate) fn of(x509: &X509Certificate<'_>) -> Result<Self, MalformedCertificate> {
        let extension = x509.extended_key_usage();
        let extension = extension.map_err(|error| MalformedCertificate(error.to_string()))?;
        Ok(extension.map_or(Purposes::ALL, |extension| Purposes {
            server: extension.value.any || extension.value.server_auth,
            client: extension.value.any || extension.value.client_auth,
        }))
    }

    pub(crate) fn allow(self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Server => self.server,
            Purpose::Client => self.client,
        }
    }
}

impl fmt::Display for Purposes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.server, self.client) {
            (true, true) => "server, client",
            (true, false) => "server",
            (false, true) => "client",
            (false, false) => "neither server nor client",
        })
    }
}

const ANY: [usize; 5] = [2, 5, 29, 37, 0];

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, ids: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let (usage, wanted) = match self {
            Purpose::Server => (KeyUsage::server_auth(), KeyUsage::SERVER_AUTH_REPR),
            Purpose::Client => (KeyUsage::client_auth(), KeyUsage::CLIENT_AUTH_REPR),
        };
        let mut present = Vec::new();
        for id in ids {
            let id = id?.to_decoded_oid();
            if id == wanted || id == ANY {
                return Ok(());
            }
            present.push(id);
        }
        if present.is_empty() {
            return Ok(());
        }
        let context = webpki::RequiredEkuNotFoundContext { required: usage, present };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}
