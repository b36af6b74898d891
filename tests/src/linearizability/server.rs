//! The server under test: the real t4, or by hand the real etcd.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use t4_testkit::{Etcd, EtcdOptions, Scratch, T4, T4Options};

const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A server that is taken down and started again.
#[derive(Debug)]
pub enum Server {
    /// The real t4.
    T4(T4),
    /// The real etcd, which shows what the suite may ask.
    Etcd(Etcd, Scratch),
}

impl Server {
    /// Starts t4; or, with `T4_LINEARIZABILITY_OF=etcd`, the etcd in
    /// `T4_ETCD_DIR`.
    ///
    /// # Errors
    /// When there is none, or it does not serve.
    pub fn start() -> anyhow::Result<Server> {
        match std::env::var("T4_LINEARIZABILITY_OF").as_deref() {
            Ok("etcd") => Ok(Server::Etcd(
                Etcd::start(EtcdOptions::default())?,
                Scratch::new("linearizability")?,
            )),
            _ => Ok(Server::T4(T4::start(T4Options::default())?)),
        }
    }

    /// Whether it is etcd.
    #[must_use]
    pub fn is_etcd(&self) -> bool {
        matches!(self, Server::Etcd(..))
    }

    /// Where clients connect; the same after every start.
    ///
    /// # Errors
    /// Never: the endpoint is an address.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(match self {
            Server::T4(t4) => t4.endpoint().parse()?,
            Server::Etcd(etcd, _) => etcd.endpoint().parse()?,
        })
    }

    /// A directory that is kept when the test fails.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        match self {
            Server::T4(t4) => t4.scratch(),
            Server::Etcd(_, scratch) => scratch.path(),
        }
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self {
            Server::T4(t4) => t4.kill(),
            Server::Etcd(etcd, _) => etcd.kill(),
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        match self {
            Server::T4(t4) => t4.stop(),
            Server::Etcd(etcd, _) => {
                etcd.program().terminate()?;
                etcd.program().wait(STOP_DEADLINE)?;
                etcd.kill()
            }
        }
    }

    /// Starts it on its data; returns when it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        match self {
            Server::T4(t4) => t4.start_again(),
            Server::Etcd(etcd, _) => etcd.start_again(),
        }
    }
}
