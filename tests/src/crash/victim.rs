//! A server that can be killed and started again.

use t4_testkit::{Etcd, T4};

/// What the crash suite asks of a server. The suite is for T4; that it passes
/// on etcd shows that it asks nothing unreasonable.
pub trait Victim {
    /// `host:port` of the client listener; the same after every start.
    fn endpoint(&self) -> String;
    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    fn kill(&mut self) -> anyhow::Result<()>;
    /// Starts it on its data; returns when it serves.
    ///
    /// # Errors
    /// When it does not.
    fn start_again(&mut self) -> anyhow::Result<()>;
    /// Starts it on its data; returns at once.
    ///
    /// # Errors
    /// When the process cannot be started.
    fn begin_start(&mut self) -> anyhow::Result<()>;
}

impl Victim for T4 {
    fn endpoint(&self) -> String {
        T4::endpoint(self).to_owned()
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        T4::kill(self)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        T4::start_again(self)
    }

    fn begin_start(&mut self) -> anyhow::Result<()> {
        T4::begin_start(self)
    }
}

impl Victim for Etcd {
    fn endpoint(&self) -> String {
        Etcd::endpoint(self).to_owned()
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        Etcd::kill(self)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        Etcd::start_again(self)
    }

    fn begin_start(&mut self) -> anyhow::Result<()> {
        Etcd::begin_start(self)
    }
}
