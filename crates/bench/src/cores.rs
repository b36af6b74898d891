//! The client's threads: one single-threaded runtime per core.
//!
//! A connection and all its callers live on one runtime, so an answer wakes its
//! caller without crossing threads; with a work-stealing runtime, that is a
//! third of the client's cost.

use std::future::Future;
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Runtimes that run until this is dropped.
#[derive(Debug)]
pub struct Cores {
    runtimes: Vec<Core>,
}

#[derive(Debug)]
struct Core {
    handle: Handle,
    // Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cores {
    /// Starts one runtime per core that this process may use.
    ///
    /// # Errors
    /// If a thread or a runtime cannot be created.
    pub fn start() -> anyhow::Result<Cores> {
        let count = std::thread::available_parallelism()?.get();
        let runtimes = (0..count).map(|_| Core::start()).collect::<anyhow::Result<_>>()?;
        Ok(Cores { runtimes })
    }

    /// The number of runtimes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.runtimes.len()
    }

    /// The runtime of the connection with this number.
    #[must_use]
    pub fn of(&self, connection: usize) -> &Handle {
        &self.runtimes[connection % self.runtimes.len()].handle
    }

    /// Blocks the calling thread until the future is done.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtimes[0].handle.block_on(future)
    }
}

impl Core {
    fn start() -> anyhow::Result<Core> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("client".into()).spawn(move || {
            // A dropped sender yields an error, which signals the end.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Core { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has already printed a panic of the thread.
            let _ = thread.join();
        }
    }
}
