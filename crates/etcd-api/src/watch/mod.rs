//! The service Watch: one loop per stream, between the client's requests and
//! the node's messages.
//!
//! The loop is the response's body: it runs only while the client reads. What
//! happens meanwhile waits in the node, within bounds.

mod encode;
mod fragment;
mod history;
mod permits;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use t4_auth_rbac::Session;
use t4_kv_types::{KeyRange, Revision};
use t4_node::watch_hub::{CancelReason, Heard, Message};
use t4_node::{AuthChanges, WatchSpec, WatchStream};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_create_request::FilterType;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Code, Status};

pub(crate) use self::encode::EncodedBatches;
use self::encode::Outbound;
use self::history::History;
pub(crate) use self::history::PIECE_BYTES_MAX;
use self::permits::{Permit, Permits, watcher_bytes};
use crate::api::Api;
use crate::convert;
use crate::errors::{self, ApiError};
use crate::leader_watch::LeaderWatch;
use crate::memory::Held;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::wire::Requests;

/// The id of a watcher that does not exist, or of all of a stream.
const NO_WATCHER: i64 = -1;

impl Api {
    pub(crate) async fn watch<B: Body<Data = Bytes>>(
        &self,
        proof: &Proof,
        mut requests: Requests<B, pb::WatchRequest>,
        mut leader: LeaderWatch,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        // Before the first watcher is allowed, so that no change is missed.
        let mut changes = self.node.auth_changes();
        let permits = Permits::of_stream(self.opened_by(proof));
        let broken = HashMap::new();
        let held = sink.watchers();
        let mut watching = Watching { stream: self.node.watch(), permits, broken, held };
        let mut history = History::default();
        let mut out = Outbound::new(self, sink);
        let mut ticks = ProgressTicks::default();
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                goes_on = changes.changed() => {
                    if !goes_on {
                        return Err(ApiError::Stopped.status());
                    }
                    self.check(&mut watching, &mut changes)?;
                }
                heard = watching.stream.hear() => match heard {
                    Some(Heard::Message(message)) => {
                        history.step_aside();
                        let sent = self.tell(message, &mut watching, &mut changes, &mut out);
                        history.came(sent.await?);
                    }
                    Some(Heard::HistoryWanted) => history.want(),
                    Some(Heard::HistoryEnds) => history.end(),
                    None => return Err(ApiError::Stopped.status()),
                },
                bytes = history.next(sink) => watching.stream.grant_history(bytes),
                request = requests.next(), if listening => {
                    match request.inspect_err(|status| count_failure(status, sink))? {
                        Some((request, bytes)) => {
                            sink.count_received(bytes);
                            let interval = self.config.watch_progress_notify_interval;
                            self.serve(proof, &mut watching, request, || ticks.start(interval));
                            history.step_aside();
                            self.tell_refusals(&mut watching, &mut out).await?;
                            out.flush().await;
                        }
                        // The client has no more to ask, but may still listen.
                        None => listening = false,
                    }
                }
                () = ticks.next() => watching.stream.notify_progress(),
                lost = leader.lost(self) => return Err(lost.status()),
            }
        }
    }

    /// Sends a message, and those that are there already in the same go. Answers
    /// with the bytes of the largest piece of events.
    ///
    /// # Errors
    /// The stream may not go on.
    async fn tell(
        &self,
        message: Message,
        watching: &mut Watching,
        changes: &mut AuthChanges,
        out: &mut Outbound<'_>,
    ) -> Result<usize, Status> {
        let (mut next, mut largest) = (Some(message), 0);
        while let Some(message) = next {
            // Events written after a change of users or roles arrive after the
            // notice of that change.
            if changes.has_changed() {
                self.check(watching, changes)?;
            }
            match message {
                Message::Events { id, header_revision, batch, prev_kv, fragment } => {
                    if watching.permits.allows(id) && !watching.broken.contains_key(&id) {
                        let encoded = self.batches.encode(&self.node, &batch, prev_kv).await;
                        let events = match encoded {
                            Ok(events) => events,
                            Err(why) => {
                                watching.break_off(id, &why);
                                next = watching.stream.try_next();
                                continue;
                            }
                        };
                        largest = largest.max(events.len());
                        let response = pb::WatchResponse {
                            header: Some(self.header(header_revision)),
                            watch_id: id,
                            ..Default::default()
                        };
                        out.push_events(response, events, fragment).await?;
                    }
                }
                other => self.tell_control(other, watching, out).await?,
            }
            next = watching.stream.try_next();
        }
        out.flush().await;
        Ok(largest)
    }

    async fn tell_control(
        &self,
        message: Message,
        watching: &mut Watching,
        out: &mut Outbound<'_>,
    ) -> Result<(), Status> {
        let (mut created, mut reason) = (None, None);
        match &message {
            Message::Created { id, .. } => created = Some(*id),
            Message::CreateRefused { .. } => watching.permits.not_created(),
            Message::Canceled { id, .. } => {
                let broken = watching.broken.remove(id);
                reason = watching.permits.canceled(*id).map(errors::as_reason).or(broken);
            }
            Message::Progress { .. } | Message::Events { .. } => {}
        }
        let mut response = self.control_response(message);
        if let Some(reason) = reason {
            response.cancel_reason = reason;
        }
        out.push(&response).await?;
        if let Some(id) = created
            && !watching.permits.created(id)
        {
            watching.stream.cancel(id);
        }
        watching.held.set(watching.permits.bytes());
        self.tell_refusals(watching, out).await
    }

    /// Answers creations that were refused here and whose turn it is.
    async fn tell_refusals(
        &self,
        watching: &mut Watching,
        out: &mut Outbound<'_>,
    ) -> Result<(), Status> {
        while let Some(reason) = watching.permits.refused() {
            let response = pb::WatchResponse {
                header: Some(self.header_now()),
                watch_id: NO_WATCHER,
                created: true,
                canceled: true,
                cancel_reason: reason,
                ..Default::default()
            };
            out.push(&response).await?;
        }
        Ok(())
    }

    /// Ends the watchers that have lost their permission; their end comes as a
    /// message.
    ///
    /// # Errors
    /// The user that opened the stream no longer exists.
    fn check(&self, watching: &mut Watching, changes: &mut AuthChanges) -> Result<(), ApiError> {
        for session in watching.permits.sessions() {
            if let Some(lost) = self.lost(session) {
                return Err(lost);
            }
        }
        // Also one that is back by now was gone, and events may be from then.
        for change in changes.take() {
            for id in watching.permits.forbidden(&change) {
                watching.stream.cancel(id);
            }
        }
        watching.held.set(watching.permits.bytes());
        Ok(())
    }

    /// Does what a request asks for; what comes of it comes as a message, but
    /// for what is refused here.
    fn serve(
        &self,
        proof: &Proof,
        watching: &mut Watching,
        request: pb::WatchRequest,
        wants_progress: impl FnOnce(),
    ) {
        let Watching { stream, permits, held, .. } = watching;
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                let spec = spec(&request);
                match self.may_watch(proof, &spec.range) {
                    // First, as in etcd, which looks at the rights after this.
                    _ if spec.start < Revision(0) => {
                        permits.refuse(ApiError::Compacted.text().to_owned());
                    }
                    Err(error) => permits.refuse(errors::as_reason(error)),
                    Ok(_) if !held.try_set(permits.bytes() + watcher_bytes(&spec.range)) => {
                        permits.refuse(errors::as_reason(ApiError::TooManyWatchers));
                    }
                    Ok(permit) => {
                        if request.progress_notify {
                            wants_progress();
                        }
                        permits.asked(permit);
                        let id = (request.watch_id != 0).then_some(request.watch_id);
                        stream.create(id, spec);
                    }
                }
            }
            Some(RequestUnion::CancelRequest(request)) => stream.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => stream.request_progress(),
            None => tracing::debug!("a watch request that asks for nothing was ignored"),
        }
    }

    /// The user that opens a stream, if there is one. A stream without a user is opened
    /// all the same, and its first watcher is refused with the reason.
    fn opened_by(&self, proof: &Proof) -> Option<Session> {
        let (_, state) = self.node.numbered_auth();
        let who = self.who(&state, proof).ok()?;
        (state.is_enabled() && who.name().is_some()).then(|| state.open_session(&who))
    }

    fn may_watch(&self, proof: &Proof, range: &KeyRange) -> Result<Permit, ApiError> {
        let (given_at, state) = self.node.numbered_auth();
        let who = self.who(&state, proof)?;
        state.can_read(&who, range)?;
        Ok(Permit { session: state.open_session(&who), range: range.clone(), given_at })
    }

    /// The response to everything but events.
    fn control_response(&self, message: Message) -> pb::WatchResponse {
        let response = |revision, watch_id| pb::WatchResponse {
            header: Some(self.header(revision)),
            watch_id,
            ..Default::default()
        };
        match message {
            Message::Created { id, revision } => {
                pb::WatchResponse { created: true, ..response(revision, id) }
            }
            Message::CreateRefused { revision, reason } => pb::WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: errors::watch_refusal(reason).to_owned(),
                ..response(revision, NO_WATCHER)
            },
            Message::Canceled { id, revision, reason: CancelReason::Requested } => {
                pb::WatchResponse { canceled: true, ..response(revision, id) }
            }
            // No revision: clients take the one below.
            Message::Canceled { id, reason: CancelReason::Compacted(at), .. } => {
                pb::WatchResponse {
                    canceled: true,
                    compact_revision: at.0,
                    ..response(Revision(0), id)
                }
            }
            Message::Canceled { id, revision, reason: CancelReason::Damaged(what) } => {
                pb::WatchResponse {
                    canceled: true,
                    cancel_reason: errors::status_reason(&errors::damaged(&what)),
                    ..response(revision, id)
                }
            }
            Message::Progress { id, revision }
            | Message::Events { id, header_revision: revision, .. } => response(revision, id),
        }
    }
}

/// A stream, and what its watchers may see.
struct Watching {
    stream: WatchStream,
    permits: Permits,
    /// Watchers of which something could not be read, and why: until their end
    /// comes as a message.
    broken: HashMap<i64, String>,
    /// Counts what the watchers hold.
    held: Held,
}

impl Watching {
    /// Ends a watcher whose events cannot be delivered in full.
    fn break_off(&mut self, id: i64, why: &Status) {
        self.broken.insert(id, errors::status_reason(why));
        self.stream.cancel(id);
    }
}

fn spec(request: &pb::WatchCreateRequest) -> WatchSpec {
    // There is no empty key; asked for one, etcd watches the first there is.
    let key = if request.key.is_empty() {
        Bytes::from_static(b"\0")
    } else {
        convert::owned(&request.key)
    };
    let filters = |filter| request.filters().any(|asked| asked == filter);
    WatchSpec {
        range: KeyRange::from_wire(key, convert::owned(&request.range_end)),
        start: Revision(request.start_revision),
        no_put: filters(FilterType::Noput),
        no_delete: filters(FilterType::Nodelete),
        prev_kv: request.prev_kv,
        progress_notify: request.progress_notify,
        fragment: request.fragment,
    }
}

fn count_failure(status: &Status, sink: &Sink<'_>) {
    if status.code() != Code::Cancelled {
        sink.stats().watch_receive_failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// When to send progress notifications; runs once a watcher has asked for them.
#[derive(Default)]
struct ProgressTicks(Option<Interval>);

impl ProgressTicks {
    /// Begins, if that was not done before. Up to a tenth is added, so that
    /// the streams of a server do not all tick at once.
    fn start(&mut self, interval: Duration) {
        if self.0.is_none() {
            let tenths = RandomState::new().build_hasher().finish() % 1000;
            let period = interval + interval.mul_f64(tenths as f64 / 10_000.0);
            let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            self.0 = Some(ticks);
        }
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use t4_kv_types::RangeEnd;

    #[test]
    fn requests_are_read_as_etcd_reads_them() {
        let asked = |key: &'static str, range_end: &'static str| {
            spec(&pb::WatchCreateRequest {
                key: key.into(),
                range_end: range_end.into(),
                ..Default::default()
            })
            .range
        };
        assert_eq!(asked("a", ""), KeyRange::single("a"));
        assert_eq!(asked("", ""), KeyRange::single("\0"));
        assert_eq!(asked("", "\0"), KeyRange { start: "\0".into(), end: RangeEnd::Open });
        assert_eq!(asked("a", "b").end, RangeEnd::Before("b".into()));

        let request = pb::WatchCreateRequest { filters: vec![7, 1], ..Default::default() };
        let read = spec(&request);
        assert!(read.no_delete && !read.no_put);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_ticks_begin_once_and_have_their_own_period() {
        let minute = Duration::from_secs(60);
        let mut ticks = ProgressTicks::default();
        ticks.start(minute);
        let start = Instant::now();
        ticks.start(Duration::from_secs(1));
        ticks.next().await;
        let first = start.elapsed();
        // The clock of tokio has milliseconds.
        assert!((minute..=minute.mul_f64(1.1) + Duration::from_millis(1)).contains(&first));
    }
}
