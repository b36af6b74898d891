//! A configuration that follows its files: rebuilt when they change, with the
//! old one kept in force if the new one is bad.
//!
//! One half reads ([`Live::current`], on every handshake), the other writes
//! ([`Live::look`], called by the [`crate::Reloader`]). A configuration lives
//! as long as it is referenced, so open connections never notice.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};

use crate::error::TlsError;
use crate::file_set::{FileSet, Stamps};
use crate::roots::LoadedCertificate;

/// Builds a configuration from files.
pub(crate) trait Recipe: Debug + Send + Sync + 'static {
    type Product: Debug + Send + Sync + 'static;

    /// The files to read and to check for changes.
    fn paths(&self) -> Vec<PathBuf>;

    /// Creates the files if that is our job.
    fn prepare(&self, now: SystemTime) -> Result<(), TlsError>;

    fn build(&self, files: &FileSet, now: SystemTime) -> Result<Loaded<Self::Product>, TlsError>;
}

/// A configuration and the certificates that it was built from.
#[derive(Debug)]
pub(crate) struct Loaded<P> {
    pub(crate) product: P,
    pub(crate) certificates: Vec<LoadedCertificate>,
}

/// A configuration that follows its files.
#[derive(Debug)]
pub(crate) struct Live<R: Recipe> {
    recipe: R,
    current: RwLock<Arc<Loaded<R::Product>>>,
    /// Held while the files are checked.
    watch: Mutex<Watch>,
    /// Held only briefly, so that metrics never wait for a file system.
    record: Mutex<Record>,
}

/// What the writing half remembers about the files.
#[derive(Debug)]
struct Watch {
    stamps: Stamps,
    /// Whether the next change would show in `stamps`.
    settled: bool,
    /// The digest of the files in force.
    in_force: [u8; 32],
}

/// The results of the checks.
#[derive(Debug, Default)]
struct Record {
    /// Why the newest files are not in force, if they are bad.
    failing: Option<Failing>,
    counts: Counts,
}

/// A failure that was seen at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    /// The digest of the files; `None`: they could not be read.
    digest: Option<[u8; 32]>,
    error: String,
    /// Whether it was seen twice and so is not a half-finished rotation.
    told: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    reloads: u64,
    failures: u64,
    last_reload: Option<SystemTime>,
    last_failure: Option<SystemTime>,
}

/// The result of checking the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing has changed.
    Unchanged,
    /// A new configuration is in force.
    Reloaded,
    /// The files are bad for the first time, which may be a rotation between
    /// its first file and its last: the next check decides.
    Unsettled,
    /// The files are bad and the old configuration stays in force.
    /// Distinguished from [`Outcome::StillFailing`] so that it is logged once.
    Failed(String),
    /// Still failing as at the last check.
    StillFailing,
}

/// The reload history of one configuration, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadStats {
    /// New configurations put in force since the start.
    pub reloads: u64,
    /// Distinct failures since the start.
    pub failures: u64,
    /// Why the newest files are not in force, if they are not.
    pub failing: Option<String>,
    /// When the last new configuration was put in force.
    pub last_reload: Option<SystemTime>,
    /// When the last failure was first seen for certain.
    pub last_failure: Option<SystemTime>,
    /// Every certificate in force.
    pub certificates: Vec<LoadedCertificate>,
}

impl<R: Recipe> Live<R> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// Any fault that makes the configuration unusable.
    pub(crate) fn load(recipe: R, now: SystemTime) -> Result<Self, TlsError> {
        recipe.prepare(now)?;
        let paths = recipe.paths();
        let stamps = Stamps::of(&paths);
        let files = FileSet::read(&paths)?;
        let loaded = recipe.build(&files, now)?;
        let watch = Watch { settled: stamps.are_settled(now), stamps, in_force: files.digest() };
        Ok(Live {
            recipe,
            current: RwLock::new(Arc::new(loaded)),
            watch: Mutex::new(watch),
            record: Mutex::default(),
        })
    }

    pub(crate) fn recipe(&self) -> &R {
        &self.recipe
    }

    /// The configuration currently in force.
    pub(crate) fn current(&self) -> Arc<Loaded<R::Product>> {
        Arc::clone(&self.current.read())
    }

    /// Checks the files; `force`: even if they seem unchanged, and without
    /// waiting to see whether a failure persists. Blocks while reading small
    /// files.
    pub(crate) fn look(&self, now: SystemTime, force: bool) -> Outcome {
        let mut watch = self.watch.lock();
        if let Err(error) = self.recipe.prepare(now) {
            return self.record.lock().failed(None, &error, now, force);
        }
        let paths = self.recipe.paths();
        // Taken before the bytes are read: a change in between is found by the
        // next check.
        let stamps = Stamps::of(&paths);
        let failing = self.record.lock().failing.is_some();
        let looks_same = watch.settled && watch.stamps == stamps && !failing;
        if looks_same && !force {
            return Outcome::Unchanged;
        }
        let files = match FileSet::read(&paths) {
            Ok(files) => files,
            Err(error) => return self.record.lock().failed(None, &error, now, force),
        };
        let digest = files.digest();
        watch.settled = stamps.are_settled(now);
        watch.stamps = stamps;
        if digest == watch.in_force && !force {
            self.record.lock().failing = None;
            return Outcome::Unchanged;
        }
        match self.recipe.build(&files, now) {
            Ok(loaded) => {
                *self.current.write() = Arc::new(loaded);
                watch.in_force = digest;
                self.record.lock().succeeded(now)
            }
            Err(error) => self.record.lock().failed(Some(digest), &error, now, force),
        }
    }

    pub(crate) fn stats(&self) -> ReloadStats {
        let certificates = self.current().certificates.clone();
        let record = self.record.lock();
        let told = record.failing.as_ref().filter(|failing| failing.told);
        ReloadStats {
            reloads: record.counts.reloads,
            failures: record.counts.failures,
            failing: told.map(|failing| failing.error.clone()),
            last_reload: record.counts.last_reload,
            last_failure: record.counts.last_failure,
            certificates,
        }
    }
}

impl Record {
    fn succeeded(&mut self, now: SystemTime) -> Outcome {
        self.failing = None;
        self.counts.reloads += 1;
        self.counts.last_reload = Some(now);
        Outcome::Reloaded
    }

    fn failed(
        &mut self,
        digest: Option<[u8; 32]>,
        error: &TlsError,
        now: SystemTime,
        force: bool,
    ) -> Outcome {
        let error = error.to_string();
        let before = self.failing.take();
        let lasts = before.as_ref().is_some_and(|b| b.digest == digest && b.error == error);
        let told_before = lasts && before.is_some_and(|before| before.told);
        let told = lasts || force;
        self.failing = Some(Failing { digest, error: error.clone(), told });
        match (told_before, told) {
            (true, _) => Outcome::StillFailing,
            (false, true) => {
                self.counts.failures += 1;
                self.counts.last_failure = Some(now);
                Outcome::Failed(error)
            }
            (false, false) => Outcome::Unsettled,
        }
    }
}
