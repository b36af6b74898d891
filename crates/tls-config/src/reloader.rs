//! Follows files: checks those of every registered configuration twice a
//! second, and on request (SIGHUP). Logs the results, and which certificates
//! will expire.
//!
//! This module decides what is checked and how often; [`crate::live`] decides
//! what a change means. It has a thread of its own, because checking files
//! blocks, on a network file system for long.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::expiry::{ExpiryWatch, Stage, Warning};
use crate::live::{Outcome, ReloadStats};
use crate::roots::Role;

/// The interval between checks: half of the 2 s within which a change must be
/// in force, halved again, because a bad file is checked twice.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum number of requested reloads that have not begun.
const WAITING_MAX: usize = 16;

/// Something that follows files.
pub trait Reload: Send + Sync + 'static {
    /// Checks the files; `force`: even if nothing seems to have changed. May
    /// block for as long as reading them takes.
    fn look(&self, now: SystemTime, force: bool) -> Outcome;

    /// The results of the checks so far.
    fn stats(&self) -> ReloadStats;
}

/// The registered followers, by name. Clones share it.
#[derive(Clone, Default)]
pub struct Reloader {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    followers: Mutex<Vec<(String, Arc<dyn Reload>)>>,
    expiry: Mutex<ExpiryWatch>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.followers().into_iter().map(|(name, _)| name).collect();
        f.debug_struct("Reloader").field("followers", &names).finish()
    }
}

impl Reloader {
    /// Creates a reloader that follows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also follows the files of `follower`. `name` is for the log and the
    /// metrics: `client`, `peer`.
    pub fn watch(&self, name: &str, follower: impl Reload) {
        self.inner.followers.lock().push((name.to_owned(), Arc::new(follower)));
    }

    fn followers(&self) -> Vec<(String, Arc<dyn Reload>)> {
        self.inner.followers.lock().clone()
    }

    /// Checks all files once, and logs the results.
    pub fn look(&self, now: SystemTime, force: bool) {
        for (name, follower) in self.followers() {
            log_outcome(&name, &follower.look(now, force));
        }
        let certificates = self.stats().into_iter().flat_map(|(name, stats)| {
            stats.certificates.into_iter().map(move |certificate| (name.clone(), certificate))
        });
        let certificates: Vec<_> = certificates.collect();
        for warning in self.inner.expiry.lock().due(&certificates, now) {
            log_expiry(&warning);
        }
    }

    /// The results of the checks so far, by name, in the order of
    /// [`Reloader::watch`].
    pub fn stats(&self) -> Vec<(String, ReloadStats)> {
        self.followers().into_iter().map(|(name, follower)| (name, follower.stats())).collect()
    }

    /// Checks the files every `interval` (see [`LOOK_INTERVAL`]) until the
    /// handle is dropped.
    ///
    /// # Errors
    ///
    /// The thread cannot be created.
    pub fn start(self, interval: Duration) -> std::io::Result<Reloading> {
        let (wake, woken) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("t4-tls-reload".to_owned())
            .spawn(move || self.run(&woken, interval))?;
        Ok(Reloading { wake: Some(wake), thread: Some(thread) })
    }

    fn run(&self, woken: &Receiver<Sender<()>>, interval: Duration) {
        loop {
            let mut asked = Vec::new();
            match woken.recv_timeout(interval) {
                Ok(done) => asked.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // One check serves all requests that are already waiting.
            asked.extend(woken.try_iter());
            self.look(SystemTime::now(), !asked.is_empty());
            for done in asked {
                // The caller may not be waiting for it.
                let _ = done.send(());
            }
        }
    }
}

/// The thread that checks; it ends when this is dropped.
#[derive(Debug)]
pub struct Reloading {
    wake: Option<SyncSender<Sender<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reloading {
    /// Requests a reload of all files, changed or not: for SIGHUP. Does not
    /// wait; the returned channel receives a message once the files have been
    /// read, or is disconnected if too many requests are waiting and this one
    /// was dropped.
    pub fn reload_now(&self) -> Receiver<()> {
        let (done, when_done) = channel();
        let _ = self.wake.as_ref().map(|wake| wake.try_send(done));
        when_done
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        self.wake = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that follows certificates panicked");
        }
    }
}

fn log_outcome(name: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Reloaded => tracing::info!(listener = name, "TLS files reloaded"),
        Outcome::Failed(error) => tracing::warn!(
            listener = name,
            error,
            "TLS files not reloaded; what was in force stays in force"
        ),
        Outcome::Unchanged | Outcome::Unsettled | Outcome::StillFailing => {}
    }
}

fn log_expiry(warning: &Warning) {
    let certificate = &warning.loaded.certificate;
    let path = warning.loaded.path.as_ref().map(|path| path.display().to_string());
    let (subject, role) = (&certificate.subject, warning.loaded.role.as_str());
    let not_after = crate::moment::Utc(certificate.not_after);
    let listener = &warning.name;
    match (warning.stage, warning.loaded.role) {
        (Stage::Over, Role::Leaf) => tracing::error!(
            listener, role, path, subject, %not_after,
            "a certificate in use has expired: clients refuse it; renew it"
        ),
        (Stage::Over, _) => tracing::warn!(
            listener, role, path, subject, %not_after,
            "a certificate has expired: nothing that it signed is accepted; renew or remove it"
        ),
        _ => tracing::warn!(
            listener, role, path, subject, %not_after,
            "a certificate expires soon: renew it"
        ),
    }
}
