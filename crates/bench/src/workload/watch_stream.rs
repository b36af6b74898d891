//! A stream of watches, and values that carry the time of their put.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio_stream::StreamExt;
use tonic::Streaming;

use super::VALUE_BYTES;
use crate::client::Client;

/// An open stream whose watches have all started. Dropping it ends them.
#[derive(Debug)]
pub(super) struct WatchStream {
    answers: Streaming<WatchResponse>,
}

impl WatchStream {
    /// Opens a stream with one watch per key; their ids start at 1.
    pub(super) async fn open(client: &mut Client, keys: Vec<Bytes>) -> anyhow::Result<WatchStream> {
        let count = keys.len();
        let creates = (1..).zip(keys).map(|(watch_id, key)| create(watch_id, key));
        // The request stream stays open without further requests: its end would
        // end the watches.
        let requests = tokio_stream::iter(creates.collect::<Vec<_>>());
        let requests = requests.chain(tokio_stream::pending());
        let answers = client.watch.watch(requests).await?.into_inner();
        let mut stream = WatchStream { answers };
        for _ in 0..count {
            let answer = stream.next().await?;
            ensure!(answer.created && !answer.canceled, "a watch was not begun: {answer:?}");
        }
        Ok(stream)
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> anyhow::Result<WatchResponse> {
        self.answers.message().await?.context("the server ended a watch stream")
    }
}

fn create(watch_id: i64, key: Bytes) -> WatchRequest {
    let create = WatchCreateRequest { key, watch_id, ..WatchCreateRequest::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// When a value was put, in nanoseconds since a base shared by writers and
/// readers, and its number among the values of its key. It is at the start of
/// the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) sent_ns: u64,
    pub(super) number: u64,
}

impl Stamp {
    /// The stamp of a value that is sent now.
    pub(super) fn now(base: Instant, number: u64) -> Stamp {
        Stamp { sent_ns: base.elapsed().as_nanos() as u64, number }
    }

    /// A value that starts with the stamp.
    pub(super) fn value(self, filling: &Bytes) -> Bytes {
        let mut value = BytesMut::with_capacity(VALUE_BYTES);
        value.put_u64(self.sent_ns);
        value.put_u64(self.number);
        value.extend_from_slice(&filling[16..VALUE_BYTES]);
        value.freeze()
    }

    /// The stamp at the start of a value.
    pub(super) fn of(value: &[u8]) -> anyhow::Result<Stamp> {
        let (sent, rest) = value.split_first_chunk().context("a value without a stamp")?;
        let (number, _) = rest.split_first_chunk().context("a value without a stamp")?;
        Ok(Stamp { sent_ns: u64::from_be_bytes(*sent), number: u64::from_be_bytes(*number) })
    }

    /// The time since it was sent.
    pub(super) fn age(self, base: Instant) -> Duration {
        base.elapsed().saturating_sub(Duration::from_nanos(self.sent_ns))
    }
}

/// The order in which one watcher must receive the events of its key: every put
/// exactly once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Order {
    // `None` until the first event, which may have any number.
    next: Option<u64>,
}

impl Order {
    /// An order whose first event has this number.
    pub(super) fn from(number: u64) -> Order {
        Order { next: Some(number) }
    }

    /// Checks an event; fails if it is not the next one in order.
    pub(super) fn take(&mut self, stamp: Stamp) -> anyhow::Result<()> {
        let expected = self.next.unwrap_or(stamp.number);
        let number = stamp.number;
        ensure!(number >= expected, "a watcher got put {number} again or late, not {expected}");
        ensure!(number == expected, "a watcher got put {number}, and never put {expected}");
        self.next = Some(number + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(order: Order, numbers: &[u64]) -> anyhow::Result<()> {
        let mut order = order;
        numbers.iter().try_for_each(|&number| order.take(Stamp { sent_ns: 0, number }))
    }

    #[test]
    fn lost_doubled_and_reordered_events_are_found() {
        assert!(take_all(Order::default(), &[7, 8, 9]).is_ok());
        assert!(take_all(Order::from(0), &[0, 1]).is_ok());
        let why = |numbers| take_all(Order::default(), numbers).expect_err("found").to_string();
        assert!(why(&[7, 9]).contains("never put 8"));
        assert!(why(&[7, 8, 8]).contains("put 8 again"));
        assert!(why(&[7, 6]).contains("put 6 again or late"));
        assert!(take_all(Order::from(0), &[1]).is_err(), "the first event is missing");
    }

    #[test]
    fn a_stamp_is_read_back_from_its_value() {
        let base = Instant::now();
        let stamp = Stamp::now(base, 7);
        let value = stamp.value(&Bytes::from(vec![9; VALUE_BYTES]));
        assert_eq!(value.len(), VALUE_BYTES);
        assert_eq!(Stamp::of(&value).expect("stamped"), stamp);
        assert!(Stamp::of(&value[..15]).is_err());
    }
}
