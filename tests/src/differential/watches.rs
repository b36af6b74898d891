//! The watch streams that a client holds open on one server, and what arrives
//! on them.
//!
//! A task per stream sorts responses: events by watcher, everything else into
//! one list. It also checks what must hold on any server at any time, however
//! the events are batched: revisions never go back, one revision is never split
//! over two responses (unless the first says that it is a fragment), and no
//! response is older than its events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use t4_proto::etcdserverpb::{WatchRequest, WatchResponse};
use t4_proto::mvccpb::Event;
use t4_testkit::Rpc;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::answer::{Identity, Refusal};

/// One open stream.
#[derive(Debug)]
pub(super) struct WatchStream {
    requests: mpsc::Sender<WatchRequest>,
    state: Arc<State>,
    reader: tokio::task::JoinHandle<()>,
    // How many responses without events were handed out.
    controls_taken: usize,
}

#[derive(Debug, Default)]
struct State {
    arrived: Mutex<Arrived>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    controls: Vec<WatchResponse>,
    watchers: BTreeMap<i64, Watcher>,
    violations: Vec<String>,
    ended: Option<Refusal>,
}

#[derive(Debug, Default)]
struct Watcher {
    events: Vec<Event>,
    // How many were handed out by `join`.
    taken: usize,
    // Whether the last response said that its revision goes on in the next.
    in_fragment: bool,
}

impl State {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchStream {
    /// Opens a stream; `first` is its first request, which HTTP/2 servers may
    /// want to see before they answer with headers.
    pub(super) async fn open(
        rpc: &mut Rpc,
        identity: Identity,
        first: WatchRequest,
    ) -> Result<WatchStream, Refusal> {
        let (requests, queue) = mpsc::channel(64);
        // The queue is empty and open: this cannot fail.
        let _ = requests.try_send(first);
        let responses = rpc.watch.watch(ReceiverStream::new(queue)).await?.into_inner();
        let state = Arc::new(State::default());
        let reader = tokio::spawn(read(responses, identity, Arc::clone(&state)));
        Ok(WatchStream { requests, state, reader, controls_taken: 0 })
    }

    /// Sends a request. A stream that has ended shows when its answer is awaited.
    pub(super) async fn send(&self, request: WatchRequest) {
        let _ = self.requests.send(request).await;
    }

    /// The next `count` responses without events, or the error that ended the
    /// stream, or `None` after `patience`.
    pub(super) async fn controls(
        &mut self,
        count: usize,
        patience: Duration,
    ) -> Option<Result<Vec<WatchResponse>, Refusal>> {
        let from = self.controls_taken;
        let found = self
            .wait(patience, |arrived| {
                if arrived.controls.len() >= from + count {
                    return Some(Ok(arrived.controls[from..from + count].to_vec()));
                }
                arrived.ended.clone().map(Err)
            })
            .await;
        if let Some(Ok(_)) = &found {
            self.controls_taken += count;
        }
        found
    }

    /// The events of watcher `id` up to revision `upto` that were not taken
    /// before, once one at `upto` or later is there; `None` after `patience`.
    pub(super) async fn join(
        &mut self,
        id: i64,
        upto: i64,
        patience: Duration,
    ) -> Option<Result<Vec<Event>, Refusal>> {
        self.wait(patience, |arrived| {
            let ended = arrived.ended.clone();
            let watcher = arrived.watchers.entry(id).or_default();
            if watcher.events.last().is_some_and(|event| revision(event) >= upto) {
                let upto = watcher.events.partition_point(|event| revision(event) <= upto);
                let events = watcher.events[watcher.taken.min(upto)..upto].to_vec();
                watcher.taken = upto;
                return Some(Ok(events));
            }
            ended.map(Err)
        })
        .await
    }

    /// Resets the stream, and gives all responses without events that came,
    /// what was wrong in itself, and the error if the server had ended it.
    /// etcd does not end a stream that the client only half-closes.
    pub(super) fn close(self) -> (Vec<WatchResponse>, Vec<String>, Option<Refusal>) {
        self.reader.abort();
        let mut arrived = self.state.arrived();
        (
            std::mem::take(&mut arrived.controls),
            std::mem::take(&mut arrived.violations),
            arrived.ended.take(),
        )
    }

    async fn wait<T>(
        &self,
        patience: Duration,
        mut probe: impl FnMut(&mut Arrived) -> Option<T>,
    ) -> Option<T> {
        let wait = async {
            loop {
                let grown = self.state.grown.notified();
                if let Some(found) = probe(&mut self.state.arrived()) {
                    return found;
                }
                grown.await;
            }
        };
        tokio::time::timeout(patience, wait).await.ok()
    }
}

async fn read(mut responses: Streaming<WatchResponse>, identity: Identity, state: Arc<State>) {
    loop {
        let ended = match responses.message().await {
            Ok(Some(response)) => {
                state.arrived().take_in(response, identity);
                None
            }
            Ok(None) => Some(Refusal { code: "Ok".to_owned(), text: String::new() }),
            Err(status) => Some(Refusal::from(status)),
        };
        let over = ended.is_some();
        if over {
            state.arrived().ended = ended;
        }
        // `notify_one` keeps a permit when nobody waits yet, and only one waits.
        state.grown.notify_one();
        if over {
            return;
        }
    }
}

impl Arrived {
    fn take_in(&mut self, mut response: WatchResponse, identity: Identity) {
        identity.strip(&mut response.header);
        if response.events.is_empty() {
            if response.created {
                // Maybe the id of a watcher that is gone: a new history begins.
                self.watchers.remove(&response.watch_id);
            }
            self.controls.push(response);
            return;
        }
        if let Some(violation) = self.violation(&response) {
            self.violations.push(format!("{violation}: {response:?}"));
        }
        let watcher = self.watchers.entry(response.watch_id).or_default();
        watcher.in_fragment = response.fragment;
        watcher.events.append(&mut response.events);
    }

    // What no server may send.
    fn violation(&mut self, response: &WatchResponse) -> Option<&'static str> {
        let watcher = self.watchers.entry(response.watch_id).or_default();
        let revisions: Vec<i64> = response.events.iter().map(revision).collect();
        if !revisions.is_sorted() {
            return Some("revisions go back inside a response");
        }
        let (first, last) = (*revisions.first()?, *revisions.last()?);
        if let Some(before) = watcher.events.last().map(revision) {
            if first < before {
                return Some("revisions go back between responses");
            }
            if first == before && !watcher.in_fragment {
                return Some("a revision is split over responses, or repeated");
            }
        }
        if response.created || response.canceled {
            return Some("events in a response that creates or cancels");
        }
        let header = response.header.as_ref().map_or(0, |header| header.revision);
        // A fragment's header may be the revision that is being split.
        (header < last).then_some("the header is older than the events")
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

#[cfg(test)]
mod tests {
    use t4_proto::etcdserverpb::ResponseHeader;
    use t4_proto::mvccpb::KeyValue;

    use super::*;

    fn response(header: i64, revisions: &[i64]) -> WatchResponse {
        let event = |revision: &i64| Event {
            kv: Some(KeyValue { mod_revision: *revision, ..Default::default() }),
            ..Default::default()
        };
        WatchResponse {
            header: Some(ResponseHeader { revision: header, ..Default::default() }),
            events: revisions.iter().map(event).collect(),
            ..Default::default()
        }
    }

    fn violations(responses: &[WatchResponse]) -> Vec<String> {
        let mut arrived = Arrived::default();
        for response in responses {
            arrived.take_in(response.clone(), Identity::default());
        }
        arrived.violations
    }

    #[test]
    fn whole_revisions_in_order_are_right() {
        assert!(violations(&[response(9, &[2, 2, 3]), response(9, &[4, 9])]).is_empty());
    }

    #[test]
    fn what_no_server_may_send_is_found() {
        let one = |responses: &[WatchResponse], text: &str| {
            let found = violations(responses);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(text), "{found:?}");
        };
        one(&[response(9, &[3, 2])], "go back inside");
        one(&[response(9, &[3]), response(9, &[2])], "go back between");
        one(&[response(9, &[3]), response(9, &[3])], "split over responses, or repeated");
        one(&[response(2, &[3])], "older than the events");
        let cancels = WatchResponse { canceled: true, ..response(3, &[3]) };
        one(&[cancels], "creates or cancels");
    }

    #[test]
    fn an_id_that_is_used_again_begins_a_new_history() {
        let created = WatchResponse { created: true, ..response(9, &[]) };
        assert!(violations(&[response(9, &[7, 9]), created, response(9, &[3, 7])]).is_empty());
    }

    #[test]
    fn a_fragment_may_go_on_in_the_next_response() {
        let first = WatchResponse { fragment: true, ..response(5, &[5]) };
        assert!(violations(&[first, response(5, &[5])]).is_empty());
    }
}
