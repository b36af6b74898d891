//! The answer to a range read, encoded straight from what the store gave.
//!
//! A list of 100k keys would otherwise be turned into messages first, and prost
//! counts a reference up and down for each field of bytes that it copies: a
//! third of what the server did for such a list, by the profile.

use bytes::{BufMut, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use t4_kv_types::{KeyValue, RangeResult};
use t4_proto::etcdserverpb::{RangeResponse, ResponseHeader};

use crate::wire::Answer;

/// A [`RangeResponse`], with the pairs as the store has them.
#[derive(Debug)]
pub(crate) struct RangeAnswer {
    /// With the header alone, which comes before the pairs.
    head: RangeResponse,
    kvs: Vec<KeyValue>,
    /// With what comes after the pairs.
    tail: RangeResponse,
}

impl RangeAnswer {
    pub(crate) fn new(header: ResponseHeader, result: RangeResult) -> Self {
        let RangeResult { kvs, more, count, .. } = result;
        let head = RangeResponse { header: Some(header), ..Default::default() };
        RangeAnswer { head, kvs, tail: RangeResponse { more, count, ..Default::default() } }
    }

    /// A part of an answer: pairs alone.
    pub(crate) fn part(kvs: Vec<KeyValue>) -> Self {
        RangeAnswer { head: RangeResponse::default(), kvs, tail: RangeResponse::default() }
    }
}

/// The tags of fields that have a length: number and wire type 2.
const KVS: u8 = 2 << 3 | 2;
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 5 << 3 | 2;
/// Those of numbers: wire type 0.
const CREATE_REVISION: u8 = 2 << 3;
const MOD_REVISION: u8 = 3 << 3;
const VERSION: u8 = 4 << 3;
const LEASE: u8 = 6 << 3;

impl Answer for RangeAnswer {
    fn encoded_bytes(&self) -> usize {
        let kvs: usize = self.kvs.iter().map(|kv| 1 + with_length(kv_bytes(kv))).sum();
        self.head.encoded_len() + kvs + self.tail.encoded_len()
    }

    fn encode_into(&self, buffer: &mut BytesMut) {
        // Messages of one type, one behind the other, are one message.
        self.head.encode_into(buffer);
        for kv in &self.kvs {
            put_kv(buffer, kv);
        }
        self.tail.encode_into(buffer);
    }
}

/// A message of which the one field is a range's answer, with number 1.
#[derive(Debug)]
pub(crate) struct StreamedAnswer(pub(crate) RangeAnswer);

impl Answer for StreamedAnswer {
    fn encoded_bytes(&self) -> usize {
        1 + with_length(self.0.encoded_bytes())
    }

    fn encode_into(&self, buffer: &mut BytesMut) {
        buffer.put_u8(1 << 3 | 2);
        encode_varint(self.0.encoded_bytes() as u64, buffer);
        self.0.encode_into(buffer);
    }
}

fn with_length(bytes: usize) -> usize {
    encoded_len_varint(bytes as u64) + bytes
}

fn kv_bytes(kv: &KeyValue) -> usize {
    let bytes = |length| if length == 0 { 0 } else { 1 + with_length(length) };
    // A negative number has ten bytes, as in prost: the cast keeps its bits.
    let number = |value: i64| if value == 0 { 0 } else { 1 + encoded_len_varint(value as u64) };
    bytes(kv.key.len())
        + number(kv.create_revision.0)
        + number(kv.mod_revision.0)
        + number(kv.version)
        + bytes(kv.value.len())
        + number(kv.lease.0)
}

fn put_kv(buffer: &mut BytesMut, kv: &KeyValue) {
    buffer.put_u8(KVS);
    encode_varint(kv_bytes(kv) as u64, buffer);
    put_bytes(buffer, KEY, &kv.key);
    put_number(buffer, CREATE_REVISION, kv.create_revision.0);
    put_number(buffer, MOD_REVISION, kv.mod_revision.0);
    put_number(buffer, VERSION, kv.version);
    put_bytes(buffer, VALUE, &kv.value);
    put_number(buffer, LEASE, kv.lease.0);
}

fn put_bytes(buffer: &mut BytesMut, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        buffer.put_u8(tag);
        encode_varint(bytes.len() as u64, buffer);
        buffer.extend_from_slice(bytes);
    }
}

fn put_number(buffer: &mut BytesMut, tag: u8, value: i64) {
    if value != 0 {
        buffer.put_u8(tag);
        encode_varint(value as u64, buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use t4_kv_types::{LeaseId, Revision};
    use t4_proto::etcdserverpb::RangeStreamResponse;

    fn encoded(answer: &impl Answer) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        answer.encode_into(&mut buffer);
        assert_eq!(buffer.len(), answer.encoded_bytes());
        buffer.to_vec()
    }

    /// Pairs with every combination of lengths and numbers that have encodings
    /// of other lengths.
    fn pairs() -> Vec<KeyValue> {
        let numbers = [0, 1, 127, 128, 1 << 35, i64::MAX, -1];
        let lengths = [0, 1, 127, 128, 20_000];
        let mut kvs = Vec::new();
        for (n, number) in numbers.into_iter().enumerate() {
            for (l, length) in lengths.into_iter().enumerate() {
                kvs.push(KeyValue {
                    key: vec![b'k'; length].into(),
                    value: vec![b'v'; lengths[(l + n) % lengths.len()]].into(),
                    create_revision: Revision(number),
                    mod_revision: Revision(numbers[(n + 1) % numbers.len()]),
                    version: numbers[(n + l) % numbers.len()],
                    lease: LeaseId(numbers[(n + 2 * l) % numbers.len()]),
                });
            }
        }
        kvs
    }

    #[test]
    fn the_bytes_are_those_of_the_message() {
        let headers = [
            ResponseHeader::default(),
            ResponseHeader { cluster_id: 7, member_id: u64::MAX, revision: 300, raft_term: 2 },
        ];
        for header in headers {
            for (kvs, more, count) in [(pairs(), true, 1 << 20), (Vec::new(), false, 0)] {
                let result = RangeResult { revision: Revision(300), kvs, more, count };
                let message = convert::range_response(header, result.clone());
                let answer = RangeAnswer::new(header, result);
                assert_eq!(encoded(&answer), message.encode_to_vec());
                let streamed = RangeStreamResponse { range_response: Some(message) };
                assert_eq!(encoded(&StreamedAnswer(answer)), streamed.encode_to_vec());
            }
        }
    }

    #[test]
    fn a_part_has_pairs_alone() {
        let kvs = pairs().into_iter().map(convert::key_value).collect();
        let message = RangeResponse { kvs, ..Default::default() };
        assert_eq!(encoded(&RangeAnswer::part(pairs())), message.encode_to_vec());
    }
}
