//! The events of a response, encoded once for all watchers that get them.

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use t4_kv_types::{Event, EventKind};
use t4_node::Node;
use t4_node::watch_hub::Batch;
use t4_proto::etcdserverpb::WatchResponse;
use tonic::Status;

use super::fragment;
use crate::api::Api;
use crate::convert;
use crate::errors::refused;
use crate::sink::Sink;
use crate::wire::{FRAME_HEADER_BYTES, check_sent, put_frame_header};

/// The tag of the field `events` of a response: number 11, with a length.
pub(super) const EVENTS_TAG: u8 = 11 << 3 | 2;

/// Events are copied behind their response when they are shorter, and sent as
/// a chunk of their own, which the watchers share, when they are longer.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// Responses are gathered into one chunk up to here.
const CHUNK_BYTES: usize = 32 * 1024;

/// Batches of which the encoding is kept.
const SLOTS: usize = 64;

/// Bytes of encodings that are kept. The newest is kept whatever its size.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// The encodings of the newest batches: watchers of the same range get the
/// same batch, one after the other.
#[derive(Debug)]
pub(crate) struct EncodedBatches {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Each batch has its slot by its address; two of one slot displace one
    /// another.
    slots: Box<[Option<Encoded>]>,
    bytes: usize,
}

#[derive(Debug)]
struct Encoded {
    /// Held, so that no other batch can have its address.
    batch: Batch,
    prev_kv: bool,
    events: Bytes,
}

impl Default for EncodedBatches {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| None).collect();
        EncodedBatches { kept: Mutex::new(Kept { slots, bytes: 0 }) }
    }
}

impl EncodedBatches {
    /// The field `events` of a response with this batch; with what was before
    /// each change if `prev_kv`.
    ///
    /// # Errors
    /// The status that ends the watcher: what was before a change cannot be read,
    /// or it is all too large for a message.
    pub(crate) async fn encode(
        &self,
        node: &Node,
        batch: &Batch,
        prev_kv: bool,
    ) -> Result<Bytes, Status> {
        let slot = slot_of(batch, prev_kv);
        if let Some(encoded) = &self.kept.lock().slots[slot]
            && encoded.prev_kv == prev_kv
            && encoded.batch.is_shared_with(batch)
        {
            return Ok(encoded.events.clone());
        }
        let events = encode_events(node, batch, prev_kv).await?;
        self.kept
            .lock()
            .put(slot, Encoded { batch: batch.clone(), prev_kv, events: events.clone() });
        Ok(events)
    }
}

impl Kept {
    fn put(&mut self, slot: usize, encoded: Encoded) {
        self.bytes += encoded.events.len();
        let displaced = self.slots[slot].replace(encoded);
        self.bytes -= displaced.map_or(0, |displaced| displaced.events.len());
        if self.bytes > KEPT_BYTES_MAX {
            let newest = self.slots[slot].take();
            self.slots.fill_with(|| None);
            self.bytes = newest.as_ref().map_or(0, |newest| newest.events.len());
            self.slots[slot] = newest;
        }
    }
}

fn slot_of(batch: &Batch, prev_kv: bool) -> usize {
    let address = batch.pieces().as_ptr().addr();
    // What malloc gives out differs in the middle bits.
    ((address >> 6) ^ (address >> 12) ^ usize::from(prev_kv)) % SLOTS
}

async fn encode_events(node: &Node, batch: &Batch, prev_kv: bool) -> Result<Bytes, Status> {
    let payload: usize =
        batch.events().map(|event| event.kv.key.len() + event.kv.value.len()).sum();
    check_sent(payload)?;
    // Per event: tags, lengths and numbers.
    let mut events = BytesMut::with_capacity(payload + 48 * batch.event_count());
    for event in batch.events() {
        let before = match prev_kv && !is_creation(event) {
            true => {
                let before = node.before(&event.kv.key, event.kv.mod_revision).await;
                before.map_err(refused)?
            }
            false => None,
        };
        let message = convert::event(event, before);
        events.put_u8(EVENTS_TAG);
        check_sent(events.len() + message.encoded_len())?;
        message.encode_length_delimited(&mut events).expect("a growing buffer has room");
    }
    Ok(events.freeze())
}

/// Before it, there was no key.
fn is_creation(event: &Event) -> bool {
    event.kind == EventKind::Put && event.kv.create_revision == event.kv.mod_revision
}

/// The responses of a stream on their way to the client.
pub(super) struct Outbound<'a> {
    sink: &'a Sink<'a>,
    /// Responses that allow it are split from this size on, in bytes.
    split_bytes: usize,
    chunk: BytesMut,
}

impl<'a> Outbound<'a> {
    pub(super) fn new(api: &Api, sink: &'a Sink<'a>) -> Self {
        Outbound { sink, split_bytes: api.config.message_bytes_max(), chunk: BytesMut::new() }
    }

    /// Adds a response without events.
    ///
    /// # Errors
    /// The status that ends the stream if it is too large for a message.
    pub(super) async fn push(&mut self, response: &WatchResponse) -> Result<(), Status> {
        self.put(response, &Bytes::new()).await
    }

    /// Adds a response with these events; split if it is large and may be.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) async fn push_events(
        &mut self,
        mut response: WatchResponse,
        events: Bytes,
        may_split: bool,
    ) -> Result<(), Status> {
        if !may_split || response.encoded_len() + events.len() < self.split_bytes {
            return self.put(&response, &events).await;
        }
        response.fragment = true;
        let room = self.split_bytes.saturating_sub(response.encoded_len());
        let mut parts = fragment::split(&events, room).peekable();
        while let Some(part) = parts.next() {
            response.fragment = parts.peek().is_some();
            self.put(&response, &part).await?;
        }
        Ok(())
    }

    async fn put(&mut self, response: &WatchResponse, events: &Bytes) -> Result<(), Status> {
        let length = response.encoded_len() + events.len();
        put_frame_header(&mut self.chunk, length)?;
        self.sink.count_sent(FRAME_HEADER_BYTES + length);
        response.encode(&mut self.chunk).expect("a growing buffer has room");
        // Compressed, a message has to be in one piece.
        if events.len() <= COPIED_BYTES_MAX || self.sink.compresses() {
            self.chunk.extend_from_slice(events);
        } else {
            self.flush().await;
            self.sink.send_framed(events.clone()).await;
        }
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush().await;
        }
        Ok(())
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self) {
        if !self.chunk.is_empty() {
            self.sink.send_framed(self.chunk.split().freeze()).await;
        }
    }
}
