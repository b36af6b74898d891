//! A test certificate authority and the certificates it issues, in PEM files.
//!
//! For suites that need working TLS, built with the code of `t4 certs`. Suites
//! that test T4 with certificates from other tools run `openssl`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use t4_tls_config::{
    Authority, CaRequest, Existing, Issued, KeyType, LeafKind, LeafRequest, PairSource, Secrecy,
    write_file,
};

/// Longer than any run.
const VALIDITY: Duration = Duration::from_secs(7 * 86_400);

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl PairFiles {
    /// In the form that the options of `t4-tls-config` take.
    #[must_use]
    pub fn source(&self) -> PairSource {
        PairSource::Files { cert: self.cert.clone(), key: self.key.clone() }
    }
}

/// A CA with its own directory, which contains everything that it issues.
#[derive(Debug)]
pub struct TestAuthority {
    dir: PathBuf,
    authority: Authority,
    key_type: KeyType,
}

impl TestAuthority {
    /// Creates a CA in `dir`, and the directory too. Its own key and the keys
    /// of everything that it issues are of this type.
    ///
    /// # Errors
    /// When there is one already, or files cannot be written.
    pub fn create(dir: &Path, key_type: KeyType) -> anyhow::Result<TestAuthority> {
        let request = CaRequest {
            common_name: "test-ca".to_owned(),
            organization: None,
            validity: VALIDITY,
            key_type,
        };
        let (authority, made) = Authority::create(&request, SystemTime::now())?;
        let ca = TestAuthority { dir: dir.to_path_buf(), authority, key_type };
        write_file(&ca.cert(), &made.certificate, Secrecy::Public, Existing::Keep)?;
        Ok(ca)
    }

    /// The file with its own certificate, which both sides trust.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A pair for a server that is reached as `localhost` or 127.0.0.1.
    ///
    /// # Errors
    /// When there is one already, or files cannot be written.
    pub fn server(&self) -> anyhow::Result<PairFiles> {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        self.issue(LeafKind::Server, "server", names.into())
    }

    /// A pair for a client; its common name is `user`.
    ///
    /// # Errors
    /// When there is one for the user already, or files cannot be written.
    pub fn client(&self, user: &str) -> anyhow::Result<PairFiles> {
        self.issue(LeafKind::Client, user, Vec::new())
    }

    fn issue(&self, kind: LeafKind, name: &str, sans: Vec<String>) -> anyhow::Result<PairFiles> {
        let request = LeafRequest {
            kind,
            common_name: name.to_owned(),
            organization: None,
            sans,
            validity: VALIDITY,
            key_type: self.key_type,
        };
        let Issued { certificate, key } = self.authority.issue(&request, SystemTime::now())?;
        let key = key.context("what is issued for the first time has a new key")?;
        let at = |end: &str| self.dir.join(format!("{name}.{end}"));
        let files = PairFiles { cert: at("crt"), key: at("key") };
        write_file(&files.key, &key, Secrecy::Private, Existing::Keep)?;
        write_file(&files.cert, &certificate, Secrecy::Public, Existing::Keep)?;
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use t4_tls_config::{ClientOptions, ClientTls, ServerOptions, ServerTls};

    use super::*;
    use crate::Scratch;

    #[tokio::test]
    async fn a_server_and_a_client_of_one_authority_know_each_other() {
        let scratch = Scratch::new("certificates").expect("scratch");
        let ca = TestAuthority::create(&scratch.join("ca"), KeyType::EcdsaP256).expect("a CA");
        let shown = ca.server().expect("a pair");
        let server = ServerTls::load(ServerOptions {
            client_ca: Some(ca.cert()),
            ..ServerOptions::new(shown.source())
        });
        let client = ClientTls::load(ClientOptions {
            ca: Some(ca.cert()),
            pair: Some(ca.client("alice").expect("a pair").source()),
            ..ClientOptions::default()
        });
        let (near, far) = tokio::io::duplex(16 << 10);
        let (server, client) = (server.expect("loads"), client.expect("loads"));
        let (accepted, connected) =
            tokio::join!(server.accept(far, None), client.connect(near, "127.0.0.1"));
        let (_stream, who) = accepted.expect("let in");
        assert_eq!(who.common_name.as_deref(), Some("alice"));
        connected.expect("trusted");
        assert!(ca.client("alice").is_err(), "nothing is written over");
    }
}
