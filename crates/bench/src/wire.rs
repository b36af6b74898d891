//! Inspects answers without decoding them: the number of key-values in them,
//! and the count that the server reports.

use anyhow::Context;
use bytes::Buf;

/// Field numbers of `RangeResponse`, and of the only field of
/// `RangeStreamResponse`.
const KVS: u64 = 2;
const COUNT: u64 = 4;
const RANGE_RESPONSE: u64 = 1;

/// The contents of one or more range answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Key-values in them.
    pub kvs: u64,
    /// The `count` field; 0 if absent.
    pub count: u64,
}

/// Inspects an encoded `RangeResponse`: reads the top-level field headers and
/// skips their contents, which takes a few nanoseconds per key-value.
///
/// # Errors
/// If it is not a protobuf message.
pub fn range_response(mut message: &[u8]) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    while message.has_remaining() {
        match field(&mut message)? {
            (KVS, Value::Bytes(_)) => seen.kvs += 1,
            (COUNT, Value::Varint(count)) => seen.count = count,
            _ => {}
        }
    }
    Ok(seen)
}

/// The same for an encoded `RangeStreamResponse`.
///
/// # Errors
/// If it is not a protobuf message.
pub fn range_stream_response(mut message: &[u8]) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    while message.has_remaining() {
        if let (RANGE_RESPONSE, Value::Bytes(inner)) = field(&mut message)? {
            let part = range_response(inner)?;
            seen.kvs += part.kvs;
            seen.count = seen.count.max(part.count);
        }
    }
    Ok(seen)
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

fn field<'a>(message: &mut &'a [u8]) -> anyhow::Result<(u64, Value<'a>)> {
    let tag = prost::encoding::decode_varint(message)?;
    let value = match tag & 7 {
        0 => Value::Varint(prost::encoding::decode_varint(message)?),
        1 => skip(message, 8).map(|_| Value::Fixed)?,
        2 => {
            let len = prost::encoding::decode_varint(message)?;
            Value::Bytes(skip(message, len)?)
        }
        5 => skip(message, 4).map(|_| Value::Fixed)?,
        other => anyhow::bail!("wire type {other}"),
    };
    Ok((tag >> 3, value))
}

fn skip<'a>(message: &mut &'a [u8], len: u64) -> anyhow::Result<&'a [u8]> {
    let len = usize::try_from(len)?;
    let (head, rest) = message.split_at_checked(len).context("the message is cut off")?;
    *message = rest;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use t4_proto::etcdserverpb::{RangeResponse, RangeStreamResponse, ResponseHeader};
    use t4_proto::mvccpb::KeyValue;

    use super::*;

    fn response(kvs: usize, count: i64) -> RangeResponse {
        let kv = KeyValue { key: "k".into(), value: "v".into(), version: 3, ..KeyValue::default() };
        let header = ResponseHeader { cluster_id: u64::MAX, revision: 9, ..Default::default() };
        RangeResponse { header: Some(header), kvs: vec![kv; kvs], more: true, count }
    }

    #[test]
    fn key_values_and_count_are_seen() {
        let bytes = response(300, 70_000).encode_to_vec();
        let seen = range_response(&bytes).expect("decodes");
        assert_eq!(seen, Seen { kvs: 300, count: 70_000 });
        let stream = RangeStreamResponse { range_response: Some(response(2, 5)) };
        let seen = range_stream_response(&stream.encode_to_vec()).expect("decodes");
        assert_eq!(seen, Seen { kvs: 2, count: 5 });
    }

    #[test]
    fn a_cut_message_is_an_error_or_a_shorter_message() {
        let bytes = response(3, 5).encode_to_vec();
        for end in 0..bytes.len() {
            if let Ok(seen) = range_response(&bytes[..end]) {
                assert!(seen.kvs <= 3, "{end}");
            }
        }
        assert!(range_response(&bytes[..bytes.len() - 1]).is_err());
        assert!(range_response(&[0x0f]).is_err());
    }
}
