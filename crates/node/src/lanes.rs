//! The write loop's view of all lanes: what goes to which, gathered per batch.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::lane::{Completion, Lane, News};

/// Where lanes are added from any thread.
#[derive(Default)]
pub(crate) struct LaneRegistry {
    /// By number; a closed lane leaves a gap that the next one fills.
    lanes: Mutex<Registered>,
}

#[derive(Default)]
struct Registered {
    lanes: Vec<Option<Arc<Lane>>>,
    /// Grows with every change, so that the loop need not look each time.
    version: u64,
    closed: bool,
}

impl LaneRegistry {
    /// Adds a lane; its number is where its responses are addressed. A lane
    /// that is added after the node stopped is closed at once.
    pub(crate) fn add(&self, lane: Arc<Lane>) -> usize {
        let mut registered = self.lanes.lock();
        if registered.closed {
            lane.close();
        }
        registered.version += 1;
        let free = registered.lanes.iter().position(Option::is_none);
        let number = free.unwrap_or(registered.lanes.len());
        match free {
            Some(number) => registered.lanes[number] = Some(lane),
            None => registered.lanes.push(Some(lane)),
        }
        number
    }

    pub(crate) fn remove(&self, number: usize) {
        let mut registered = self.lanes.lock();
        registered.version += 1;
        if let Some(slot) = registered.lanes.get_mut(number) {
            *slot = None;
        }
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(&Lane)) {
        for lane in self.lanes.lock().lanes.iter().flatten() {
            visit(lane);
        }
    }
}

/// What one batch has for each lane.
pub(crate) struct Lanes {
    registry: Arc<LaneRegistry>,
    version: u64,
    lanes: Vec<(Option<Arc<Lane>>, Vec<Completion>)>,
}

impl Lanes {
    pub(crate) fn new(registry: Arc<LaneRegistry>) -> Self {
        Lanes { registry, version: 0, lanes: Vec::new() }
    }

    /// Sets a response aside for a lane.
    pub(crate) fn stage(&mut self, lane: usize, completion: Completion) {
        if lane >= self.lanes.len() {
            self.refresh();
        }
        match self.lanes.get_mut(lane) {
            Some((_, staged)) => staged.push(completion),
            // Its handle is gone, and with it whoever waited.
            None => drop(completion),
        }
    }

    /// Hands each lane its responses and everybody's events.
    pub(crate) fn flush(&mut self, news: &News) {
        self.refresh();
        for (lane, staged) in &mut self.lanes {
            match lane {
                Some(lane) => {
                    lane.deliver(staged, news);
                }
                None => staged.clear(),
            }
        }
    }

    /// Closes every lane.
    pub(crate) fn close(&mut self) {
        let mut registered = self.registry.lanes.lock();
        registered.closed = true;
        for lane in registered.lanes.iter().flatten() {
            lane.close();
        }
    }

    fn refresh(&mut self) {
        let registered = self.registry.lanes.lock();
        if registered.version == self.version {
            return;
        }
        self.version = registered.version;
        for (number, lane) in registered.lanes.iter().enumerate() {
            match self.lanes.get_mut(number) {
                Some((known, staged)) => {
                    let same = matches!((&*known, lane), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
                    if !same {
                        // What was staged for the former lane of this number
                        // has nobody who waits for it.
                        staged.clear();
                        known.clone_from(lane);
                    }
                }
                None => self.lanes.push((lane.clone(), Vec::new())),
            }
        }
    }
}
