//! The certificates of the workloads over TLS: generated per run, and shared by
//! both servers.

use std::path::{Path, PathBuf};

use t4_testkit::{PairFiles, TestAuthority};
use t4_tls_config::{ClientOptions, ClientTls, KeyType};

/// The servers' certificate, and the CA that their clients trust.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The CA, a PEM file.
    pub ca: PathBuf,
    /// The servers' certificate and key, for 127.0.0.1.
    pub server: PairFiles,
}

impl Certificates {
    /// Generates them in a directory, which is created.
    ///
    /// # Errors
    /// If files cannot be written or exist already.
    pub fn make(dir: &Path, key_type: KeyType) -> anyhow::Result<Certificates> {
        let authority = TestAuthority::create(dir, key_type)?;
        Ok(Certificates { ca: authority.cert(), server: authority.server()? })
    }

    /// The TLS configuration of a client that has never connected, so that it
    /// has no session to resume.
    ///
    /// # Errors
    /// If the files are missing.
    pub fn client(&self) -> anyhow::Result<ClientTls> {
        let options = ClientOptions { ca: Some(self.ca.clone()), ..ClientOptions::default() };
        Ok(ClientTls::load(options)?)
    }
}
