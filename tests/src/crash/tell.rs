//! Asks a server for its history and its state.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchRequest};
use t4_proto::mvccpb::{Event, KeyValue};
use t4_testkit::Rpc;
use tokio_stream::wrappers::ReceiverStream;

const PATIENCE: Duration = Duration::from_secs(60);

fn everything() -> (Bytes, Bytes) {
    (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
}

/// A watch of all keys from `start_revision` on.
#[must_use]
pub(super) fn watch_all(start_revision: i64) -> WatchRequest {
    let (key, range_end) = everything();
    let create = WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// Every event from revision `from` up to the current one, by a watch.
///
/// # Errors
/// When the watch does not tell them within a minute, or is cancelled.
pub async fn history_since(rpc: &Rpc, from: i64) -> anyhow::Result<Vec<Event>> {
    let (current, _) = current_state(rpc).await?;
    let mut events = Vec::new();
    if from > current {
        return Ok(events);
    }
    let (requests, queue) = tokio::sync::mpsc::channel(1);
    requests.send(watch_all(from)).await?;
    let mut responses = rpc.clone().watch.watch(ReceiverStream::new(queue)).await?.into_inner();
    let collect = async {
        loop {
            let response = responses.message().await?.context("the watch ended")?;
            ensure!(!response.canceled, "the watch was cancelled: {response:?}");
            events.extend(response.events);
            let last = events.last().and_then(|event| event.kv.as_ref());
            if last.is_some_and(|kv| kv.mod_revision >= current) {
                return anyhow::Ok(());
            }
        }
    };
    match tokio::time::timeout(PATIENCE, collect).await {
        Ok(told) => told?,
        Err(_) => bail!("a watch from {from} did not reach the current revision {current}"),
    }
    Ok(events)
}

/// The current revision and every key.
///
/// # Errors
/// When the server does not answer.
pub async fn current_state(rpc: &Rpc) -> anyhow::Result<(i64, Vec<KeyValue>)> {
    let (key, range_end) = everything();
    let request = RangeRequest { key, range_end, ..RangeRequest::default() };
    let call = rpc.clone().kv.range(request).await;
    let response = call.context("range over everything")?.into_inner();
    Ok((response.header.context("a header")?.revision, response.kvs))
}
