//! The certificates of the workloads over TLS: made for the run, the same files
//! for both servers.

use std::path::{Path, PathBuf};

use t4_testkit::{PairFiles, TestAuthority};
use t4_tls_config::{ClientOptions, ClientTls, KeyType};

/// What both servers show, and what their clients trust.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The CA, a PEM file.
    pub ca: PathBuf,
    /// The pair of the servers, for 127.0.0.1.
    pub server: PairFiles,
}

impl Certificates {
    /// Makes them in a directory, which is made too.
    ///
    /// # Errors
    /// When files cannot be written, or are there already.
    pub fn make(dir: &Path, key_type: KeyType) -> anyhow::Result<Certificates> {
        let authority = TestAuthority::create(dir, key_type)?;
        Ok(Certificates { ca: authority.cert(), server: authority.server()? })
    }

    /// The TLS of a client that has never connected, so that it knows no
    /// session that it could resume.
    ///
    /// # Errors
    /// When the files are gone.
    pub fn client(&self) -> anyhow::Result<ClientTls> {
        let options = ClientOptions { ca: Some(self.ca.clone()), ..ClientOptions::default() };
        Ok(ClientTls::load(options)?)
    }
}
