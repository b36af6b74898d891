//! `KV.RangeStream`: a range in chunks that are all read at one revision.
//!
//! The chunks are as large as a request may be, more or less; the first is
//! small, as the size of what is stored is not known before. A chunk is made when
//! the client has taken the one before it, and counts until it has taken that.

use bytes::{BufMut, Bytes, BytesMut};
use t4_kv_types::{KeyValue, OpError, RangeEnd, RangeRequest, RangeResult, Revision, SortTarget};
use t4_node::ANSWER_BYTES_MAX;
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::answer::{RangeAnswer, StreamedAnswer};
use crate::api::Api;
use crate::errors::refused;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::{convert, validate};

/// Keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;

impl Api {
    pub(crate) async fn range_stream(
        &self,
        proof: &Proof,
        request: pb::RangeRequest,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        validate::range_stream(&request)?;
        let target_bytes = self.config.max_request_bytes;
        let request = convert::range_request(request);
        if request.sort_target != SortTarget::Key {
            return self.sorted_range_stream(proof, request, sink).await;
        }
        let mut chunks = Chunks::new(request, target_bytes);
        while let Some(request) = chunks.next_request() {
            let turn = sink.part_turn(target_bytes).await;
            let bytes_max = chunks.bytes_max();
            let result = self.acting(proof)?.range_as(request, bytes_max, |result| result).await;
            let result = match result {
                Err(OpError::AnswerTooLarge) if chunks.shrink() => continue,
                other => other.map_err(refused)?,
            };
            let answer = match chunks.take(result) {
                Taken::Part(kvs) => RangeAnswer::part(kvs),
                Taken::Last(result) => RangeAnswer::new(self.header(result.revision), result),
            };
            sink.send_part(turn, &StreamedAnswer(answer)).await?;
        }
        Ok(())
    }

    /// A range sorted by something other than the key has to be read whole to be
    /// sorted, as `Range` reads it; only the sending is in chunks. (etcd sorts
    /// each chunk by itself, and goes on after the key that happens to come last:
    /// keys get lost.)
    async fn sorted_range_stream(
        &self,
        proof: &Proof,
        request: RangeRequest,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        let read = || async { self.acting(proof)?.range(request.clone()).await.map_err(refused) };
        let turn = sink.large_turn().await;
        let mut result = match read().await {
            Ok(result) => result,
            Err(refused) => {
                turn.end();
                return Err(refused);
            }
        };
        let mut rest_bytes = result.kvs.iter().map(pair_bytes).sum::<usize>();
        // What there is no room for is not kept, but read again when there is.
        let mut held = if turn.has_room(rest_bytes) {
            turn.hold(rest_bytes)
        } else {
            drop(result);
            let held = turn.hold_room(rest_bytes).await;
            result = read().await?;
            rest_bytes = result.kvs.iter().map(pair_bytes).sum();
            held
        };
        turn.end();
        let mut rest = std::mem::take(&mut result.kvs).into_iter();
        loop {
            let chunk = next_chunk(&mut rest, self.config.max_request_bytes);
            rest_bytes -= chunk.iter().map(pair_bytes).sum::<usize>();
            if rest.len() == 0 {
                let last = RangeResult { kvs: chunk, ..result };
                let answer = RangeAnswer::new(self.header(last.revision), last);
                return sink.send(&StreamedAnswer(answer)).await;
            }
            sink.send(&StreamedAnswer(RangeAnswer::part(chunk))).await?;
            held.set(rest_bytes);
        }
    }
}

/// What a pair takes, more or less.
fn pair_bytes(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + size_of::<KeyValue>()
}

/// Takes pairs until they have `target_bytes`, one at least if there is one.
fn next_chunk(rest: &mut std::vec::IntoIter<KeyValue>, target_bytes: usize) -> Vec<KeyValue> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while bytes < target_bytes
        && let Some(kv) = rest.next()
    {
        bytes += kv.key.len() + kv.value.len();
        chunk.push(kv);
    }
    chunk
}

/// Which chunk to read next. Knows nothing of how.
struct Chunks {
    /// What is still to be read: range, limit and revision move on.
    rest: Option<RangeRequest>,
    /// Keys that the client still wants; `None`: all.
    wanted: Option<i64>,
    chunk_keys: i64,
    /// What a chunk shall have, in bytes: half of it to twice of it.
    target_bytes: usize,
    /// Count and revision, as of the first chunk.
    first: Option<(i64, Revision)>,
}

/// What of a chunk to send.
#[derive(Debug, PartialEq)]
enum Taken {
    Part(Vec<KeyValue>),
    Last(RangeResult),
}

impl Chunks {
    fn new(request: RangeRequest, target_bytes: usize) -> Self {
        Chunks {
            wanted: (request.limit > 0).then_some(request.limit),
            rest: Some(request),
            chunk_keys: FIRST_CHUNK_KEYS,
            target_bytes,
            first: None,
        }
    }

    fn next_request(&self) -> Option<RangeRequest> {
        let mut request = self.rest.clone()?;
        request.limit = self.wanted.unwrap_or(i64::MAX).min(self.chunk_keys);
        Some(request)
    }

    /// What the chunk may have, in bytes, before it is asked for again with fewer
    /// keys; one key is taken whatever its size.
    fn bytes_max(&self) -> usize {
        let is_one = self.wanted == Some(1) || self.chunk_keys == 1;
        if is_one { ANSWER_BYTES_MAX } else { self.target_bytes.saturating_mul(2) }
    }

    /// The chunk would have been too large: fewer keys, if there can be.
    fn shrink(&mut self) -> bool {
        let can = self.bytes_max() < ANSWER_BYTES_MAX;
        self.chunk_keys = (self.chunk_keys / 2).max(1);
        can
    }

    fn take(&mut self, mut result: RangeResult) -> Taken {
        let (count, revision) = *self.first.get_or_insert((result.count, result.revision));
        if let Some(wanted) = &mut self.wanted {
            *wanted -= result.kvs.len() as i64;
        }
        match (result.kvs.last(), self.wanted) {
            (Some(last), None | Some(1..)) if result.more => self.go_on_after(last, revision),
            _ => {
                self.rest = None;
                result.count = count;
                result.revision = revision;
                return Taken::Last(result);
            }
        }
        self.adapt(&result.kvs);
        Taken::Part(result.kvs)
    }

    fn go_on_after(&mut self, last: &KeyValue, revision: Revision) {
        let Some(rest) = &mut self.rest else { return };
        rest.range.start = successor(&last.key);
        debug_assert!(rest.range.end != RangeEnd::Single, "one key has no rest");
        if rest.revision.0 <= 0 {
            rest.revision = revision;
        }
        // This replica has that revision: it has just been read here.
        rest.serializable = true;
    }

    /// Twice the keys or half of them, until a chunk is about as large as it
    /// shall be.
    fn adapt(&mut self, kvs: &[KeyValue]) {
        let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        if bytes < self.target_bytes / 2 {
            self.chunk_keys = self.chunk_keys.saturating_mul(2);
        } else if bytes > self.target_bytes.saturating_mul(2) {
            self.chunk_keys = (self.chunk_keys / 2).max(1);
        }
    }
}

/// The first key after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use t4_kv_types::KeyRange;

    /// Reads keys `0..keys` with values of `value_bytes` as the chunks ask for
    /// it; gives the numbers of keys per chunk and the last result.
    fn read(request: RangeRequest, keys: u32, value_bytes: usize) -> (Vec<usize>, RangeResult) {
        let key = |n: u32| Bytes::copy_from_slice(&n.to_be_bytes());
        let mut chunks = Chunks::new(request, 10_000);
        let (mut sizes, mut seen) = (Vec::new(), 0);
        while let Some(request) = chunks.next_request() {
            assert!(seen == 0 || (request.serializable && request.revision == Revision(7)));
            let inside: Vec<u32> = (0..keys).filter(|&n| request.range.contains(&key(n))).collect();
            let kvs: Vec<_> = inside
                .iter()
                .take(request.limit as usize)
                .map(|&n| KeyValue {
                    key: key(n),
                    value: vec![0; value_bytes].into(),
                    ..Default::default()
                })
                .collect();
            let result = RangeResult {
                // The store moves on meanwhile.
                revision: Revision(7 + i64::from(seen)),
                more: kvs.len() < inside.len(),
                count: inside.len() as i64,
                kvs,
            };
            for kv in &result.kvs {
                assert_eq!(kv.key, key(seen));
                seen += 1;
            }
            sizes.push(result.kvs.len());
            if let Taken::Last(result) = chunks.take(result) {
                return (sizes, result);
            }
        }
        panic!("no last chunk");
    }

    fn all() -> RangeRequest {
        RangeRequest::new(KeyRange::all())
    }

    #[test]
    fn chunks_grow_to_the_target() {
        let (sizes, last) = read(all(), 1000, 96);
        assert_eq!(sizes, [10, 20, 40, 80, 80, 80, 80, 80, 80, 80, 80, 80, 80, 80, 50]);
        assert_eq!((last.count, last.more, last.revision), (1000, false, Revision(7)));
    }

    #[test]
    fn chunks_shrink_to_the_target() {
        let (sizes, _) = read(all(), 40, 5_000);
        assert_eq!(sizes, [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        let (sizes, _) = read(all(), 20, 50_000);
        assert_eq!(sizes, [10, 5, 2, 1, 1, 1], "never below one key");
    }

    /// What follows small keys may be large: the chunk is bounded before it is read.
    #[test]
    fn a_chunk_that_would_be_too_large_is_asked_for_with_fewer_keys() {
        let mut chunks = Chunks::new(all(), 10_000);
        chunks.chunk_keys = 5_120;
        let mut asked = Vec::new();
        while chunks.bytes_max() == 20_000 {
            asked.push(chunks.next_request().unwrap().limit);
            assert!(chunks.shrink());
        }
        assert_eq!((asked.len(), asked.last()), (12, Some(&2)));
        assert_eq!(chunks.next_request().unwrap().limit, 1);
        assert_eq!(chunks.bytes_max(), ANSWER_BYTES_MAX, "one key is taken whatever its size");
        assert!(!chunks.shrink());
    }

    #[test]
    fn a_limit_holds_over_all_chunks() {
        let (sizes, last) = read(RangeRequest { limit: 35, ..all() }, 1000, 1);
        assert_eq!(sizes, [10, 20, 5]);
        assert_eq!((last.count, last.more), (1000, true));
        let (sizes, last) = read(RangeRequest { limit: 1000, ..all() }, 15, 1);
        assert_eq!(sizes, [10, 5]);
        assert_eq!((last.count, last.more), (15, false));
    }

    #[test]
    fn a_sorted_result_is_cut_by_bytes() {
        let pair = |bytes: usize| KeyValue { value: vec![0; bytes].into(), ..Default::default() };
        let cut = |sizes: &[usize]| {
            let pairs: Vec<_> = sizes.iter().map(|&bytes| pair(bytes)).collect();
            let mut rest = pairs.into_iter();
            let mut chunks = vec![next_chunk(&mut rest, 100).len()];
            while rest.len() > 0 {
                chunks.push(next_chunk(&mut rest, 100).len());
            }
            chunks
        };
        assert_eq!(cut(&[]), [0]);
        assert_eq!(cut(&[40, 40, 40, 40]), [3, 1]);
        assert_eq!(cut(&[1000, 1000, 1]), [1, 1, 1]);
    }

    #[test]
    fn what_fits_comes_at_once() {
        let (sizes, last) = read(all(), 10, 1);
        assert_eq!((sizes, last.kvs.len(), last.count), (vec![10], 10, 10));
        let (sizes, last) = read(all(), 0, 1);
        assert_eq!((sizes, last.kvs.len(), last.count), (vec![0], 0, 0));
    }
}
