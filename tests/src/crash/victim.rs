//! A server that can be taken down and started again.

use std::time::Duration;

use t4_testkit::{Etcd, T4};

// etcd waits for its streams before it ends by force.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// What the crash suite asks of a server. The suite is for T4; that it passes
/// on etcd shows that it asks nothing unreasonable.
pub trait Victim {
    /// `host:port` of the client listener; the same after every start.
    fn endpoint(&self) -> String;
    /// Takes it down under load; returns when the process is gone.
    ///
    /// # Errors
    /// When the process does not end.
    fn take_down(&mut self) -> anyhow::Result<()>;
    /// Starts it on its data; returns when it serves.
    ///
    /// # Errors
    /// When it does not.
    fn start_again(&mut self) -> anyhow::Result<()>;
    /// Starts it on its data and takes it down after so long, wherever its
    /// recovery is then.
    ///
    /// # Errors
    /// When the process cannot be started, or does not end.
    fn stumble(&mut self, after: Duration) -> anyhow::Result<()>;
}

/// Is killed, at any moment.
impl Victim for T4 {
    fn endpoint(&self) -> String {
        T4::endpoint(self).to_owned()
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        T4::kill(self)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        T4::start_again(self)
    }

    fn stumble(&mut self, after: Duration) -> anyhow::Result<()> {
        T4::begin_start(self)?;
        std::thread::sleep(after);
        T4::kill(self)
    }
}

/// Is stopped by SIGTERM under the same load, and only while it serves: 3.5.0 to
/// 3.5.2 lose an acknowledged write when they are killed under load
/// (etcd-io/etcd#13766, mended in 3.5.3). With SIGKILL this suite finds that in
/// one run of six or so: one write `Lost`, all later ones `Moved` by one.
impl Victim for Etcd {
    fn endpoint(&self) -> String {
        Etcd::endpoint(self).to_owned()
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        self.program().terminate()?;
        // Its end is by the signal itself, so the status tells nothing.
        self.program().wait(STOP_DEADLINE)?;
        Etcd::kill(self)
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        Etcd::start_again(self)
    }

    fn stumble(&mut self, _: Duration) -> anyhow::Result<()> {
        Ok(())
    }
}
