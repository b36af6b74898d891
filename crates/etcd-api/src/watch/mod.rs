//! The service Watch: one loop per stream, between the client's requests and
//! the node's messages.
//!
//! The loop is the response's body: it runs only while the client reads. What
//! happens meanwhile waits in the node, within bounds.

mod encode;
mod fragment;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use t4_kv_types::{KeyRange, Revision};
use t4_node::watch_hub::{CancelReason, Message};
use t4_node::{WatchSpec, WatchStream};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_create_request::FilterType;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Code, Status};

pub(crate) use self::encode::EncodedBatches;
use self::encode::Outbound;
use crate::api::Api;
use crate::convert;
use crate::errors::{self, ApiError};
use crate::leader_watch::LeaderWatch;
use crate::sink::Sink;
use crate::wire::Requests;

/// The id of a watcher that does not exist, or of all of a stream.
const NO_WATCHER: i64 = -1;

impl Api {
    pub(crate) async fn watch<B: Body<Data = Bytes>>(
        &self,
        mut requests: Requests<B, pb::WatchRequest>,
        mut leader: LeaderWatch,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        let stream = self.node.watch();
        let mut out = Outbound::new(self, sink);
        let mut ticks = ProgressTicks::default();
        let mut listening = true;
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return Err(ApiError::Stopped.status()) };
                    self.tell(message, &stream, &mut out).await;
                }
                request = requests.next(), if listening => {
                    match request.inspect_err(|status| count_failure(status, sink))? {
                        Some((request, bytes)) => {
                            sink.count_received(bytes);
                            let interval = self.config.watch_progress_notify_interval;
                            serve(&stream, request, || ticks.start(interval));
                        }
                        // The client has no more to ask, but may still listen.
                        None => listening = false,
                    }
                }
                () = ticks.next() => stream.notify_progress(),
                lost = leader.lost(self) => return Err(lost.status()),
            }
        }
    }

    /// Sends a message, and those that are there already in the same go.
    async fn tell(&self, message: Message, stream: &WatchStream, out: &mut Outbound<'_>) {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Events { id, header_revision, batch, prev_kv, fragment } => {
                    let events = self.batches.encode(&self.node, &batch, prev_kv).await;
                    let response = pb::WatchResponse {
                        header: Some(self.header(header_revision)),
                        watch_id: id,
                        ..Default::default()
                    };
                    out.push_events(response, events, fragment).await;
                }
                other => out.push(&self.control_response(other)).await,
            }
            next = stream.try_next();
        }
        out.flush().await;
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
            Message::Progress { id, revision }
            | Message::Events { id, header_revision: revision, .. } => response(revision, id),
        }
    }
}

/// Does what a request asks for; what comes of it comes as a message.
fn serve(stream: &WatchStream, request: pb::WatchRequest, wants_progress: impl FnOnce()) {
    match request.request_union {
        Some(RequestUnion::CreateRequest(request)) => {
            if request.progress_notify {
                wants_progress();
            }
            let id = (request.watch_id != 0).then_some(request.watch_id);
            stream.create(id, spec(&request));
        }
        Some(RequestUnion::CancelRequest(request)) => stream.cancel(request.watch_id),
        Some(RequestUnion::ProgressRequest(_)) => stream.request_progress(),
        None => tracing::debug!("a watch request that asks for nothing was ignored"),
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

/// When to tell of progress; runs once a watcher has asked for it.
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
