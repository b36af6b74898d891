//! One watch, recorded.

use anyhow::{Context, ensure};
use t4_kv_types::{KeyRange, Revision};
use t4_linearizability::{Watch, WatchEvent, WatchNews, WatchResponse};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_create_request::FilterType;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::messages;
use super::wire::{Clock, Wire, revision};

/// What a watch asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) client: u32,
    pub(super) range: KeyRange,
    pub(super) start: Option<Revision>,
    pub(super) prev_kv: bool,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
}

/// A watch that runs.
pub(super) struct WatchStream {
    pub(super) watch: Watch,
    clock: Clock,
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl WatchStream {
    /// Opens a stream with one watch, and waits until it is there.
    pub(super) async fn open(
        wire: &mut Wire,
        clock: Clock,
        wish: Wish,
    ) -> anyhow::Result<WatchStream> {
        let (requests, queue) = mpsc::channel(4);
        let (key, range_end) = messages::wire_range(&wish.range);
        let mut filters: Vec<i32> = Vec::new();
        filters.extend(wish.no_put.then_some(FilterType::Noput as i32));
        filters.extend(wish.no_delete.then_some(FilterType::Nodelete as i32));
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: wish.start.map_or(0, |start| start.0),
            prev_kv: wish.prev_kv,
            filters,
            ..pb::WatchCreateRequest::default()
        };
        let invoked = clock.now();
        requests.send(request(RequestUnion::CreateRequest(create))).await?;
        let mut responses = wire.watch.watch(ReceiverStream::new(queue)).await?.into_inner();
        let first = responses.message().await?.context("the watch ended")?;
        let created = Some((clock.now(), Revision(revision(first.header))));
        ensure!(first.created && !first.canceled, "not created: {first:?}");
        let watch = Watch {
            client: wish.client,
            range: wish.range,
            start: wish.start,
            prev_kv: wish.prev_kv,
            no_put: wish.no_put,
            no_delete: wish.no_delete,
            invoked,
            created,
            responses: Vec::new(),
        };
        Ok(WatchStream { watch, clock, requests, responses })
    }

    /// The next response, which is recorded. False: the stream has ended.
    pub(super) async fn receive(&mut self) -> anyhow::Result<bool> {
        let Ok(Some(response)) = self.responses.message().await else { return Ok(false) };
        let at = self.clock.now();
        let header = Revision(revision(response.header));
        let news = if response.canceled {
            ensure!(response.compact_revision > 0, "cancelled: {response:?}");
            WatchNews::Compacted(Revision(response.compact_revision))
        } else if response.events.is_empty() {
            WatchNews::Progress
        } else {
            let fragment = response.fragment;
            WatchNews::Events {
                events: response.events.into_iter().map(messages::event).collect(),
                fragment,
            }
        };
        self.watch.responses.push(WatchResponse { at, revision: header, news });
        Ok(true)
    }

    /// Asks for word of how far the watch is.
    pub(super) async fn ask_for_progress(&self) {
        let ask = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        // Without a reader the stream has ended, which `receive` tells.
        let _ = self.requests.send(request(ask)).await;
    }

    /// What the last response said.
    pub(super) fn last(&self) -> Option<&WatchNews> {
        self.watch.responses.last().map(|response| &response.news)
    }

    /// The revision of the last event, if there was one.
    pub(super) fn delivered(&self) -> Option<Revision> {
        let event = |response: &WatchResponse| match &response.news {
            WatchNews::Events { events, .. } => events.last().map(WatchEvent::revision),
            _ => None,
        };
        self.watch.responses.iter().rev().find_map(event)
    }
}

fn request(union: RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(union) }
}
