//! Clients that call until the server goes away, or until they are told to stop.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use t4_kv_types::Revision;
use t4_linearizability::{Call, Outcome, Request, Workload};

use super::wire::{Clock, Wire};

/// What everyone who takes part in a life of the server knows.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) clock: Clock,
    /// The server is being taken down: errors are no news.
    going_down: AtomicBool,
    /// Everyone ends what is under way.
    closing: AtomicBool,
    /// Compactions may go up to here: what the log's watch has delivered.
    compactable: AtomicI64,
    // What went wrong while the server should have served.
    trouble: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) fn new(clock: Clock, compactable: Revision) -> Arc<Stage> {
        Arc::new(Stage {
            clock,
            going_down: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            compactable: AtomicI64::new(compactable.0),
            trouble: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn go_down(&self) {
        self.going_down.store(true, Ordering::SeqCst);
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.closing.load(Ordering::SeqCst) || self.going_down.load(Ordering::SeqCst)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(super) fn compactable(&self) -> Revision {
        Revision(self.compactable.load(Ordering::Relaxed))
    }

    pub(super) fn delivered(&self, revision: Revision) {
        self.compactable.fetch_max(revision.0, Ordering::Relaxed);
    }

    /// Takes note of an error, unless the server is being taken down.
    pub(super) fn complain(&self, text: impl FnOnce() -> String) {
        if !self.going_down.load(Ordering::SeqCst) {
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).push(text());
        }
    }

    pub(super) fn trouble(&self) -> Vec<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends one request and records it. A call without an answer has no end yet.
pub(super) async fn call(stage: &Stage, wire: &mut Wire, client: u32, request: Request) -> Call {
    let invoked = stage.clock.now();
    let (outcome, status) = wire.send(&request).await;
    let returned = if outcome == Outcome::Unknown { u64::MAX } else { stage.clock.now() };
    if let Some(status) = status {
        stage.complain(|| format!("client {client}: {request:?}: {status}"));
    }
    Call { client, invoked, returned, request, outcome }
}

/// Calls until there is no answer. Gives the workload back, to go on with.
pub(super) async fn calls(
    stage: Arc<Stage>,
    mut wire: Wire,
    client: u32,
    mut workload: Workload,
) -> (Workload, Vec<Call>) {
    let mut calls = Vec::new();
    while !stage.is_over() {
        let request = workload.next(stage.compactable());
        let call = call(&stage, &mut wire, client, request).await;
        let lost = call.outcome == Outcome::Unknown;
        workload.saw(&call.outcome);
        calls.push(call);
        if lost {
            break;
        }
    }
    (workload, calls)
}
