//! Splitting the encoded events of a large response.

use bytes::{Buf, Bytes};

use super::encode::EVENTS_TAG;

/// Splits encoded events into parts of fewer than `room` bytes, or of one
/// event if that alone is larger. Parts are slices; nothing is copied.
pub(super) fn split(events: &Bytes, room: usize) -> impl Iterator<Item = Bytes> {
    let mut rest = events.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut length = first_event_bytes(&rest);
        while length < rest.len() {
            let next = first_event_bytes(&rest[length..]);
            if length + next >= room {
                break;
            }
            length += next;
        }
        Some(rest.split_to(length))
    })
}

/// The bytes of the first event, with its tag and its length.
fn first_event_bytes(mut events: &[u8]) -> usize {
    let all = events.len();
    debug_assert_eq!(events[0], EVENTS_TAG);
    events.advance(1);
    let length = prost::decode_length_delimiter(&mut events).unwrap_or(events.len());
    all - events.len() + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};
    use prost::Message;
    use t4_proto::etcdserverpb::WatchResponse;
    use t4_proto::mvccpb::{Event, KeyValue};

    fn encode(sizes: &[usize]) -> Bytes {
        let mut events = BytesMut::new();
        for (index, &size) in sizes.iter().enumerate() {
            let kv = KeyValue {
                mod_revision: 1 + index as i64,
                value: vec![0; size].into(),
                ..Default::default()
            };
            events.put_u8(EVENTS_TAG);
            Event { kv: Some(kv), ..Default::default() }
                .encode_length_delimited(&mut events)
                .unwrap();
        }
        events.freeze()
    }

    /// The parts as numbers of events; that they are all there, in order, is
    /// checked here.
    fn split_counts(sizes: &[usize], room: usize) -> Vec<usize> {
        let mut seen = 0;
        split(&encode(sizes), room)
            .map(|part| {
                let response = WatchResponse::decode(part.clone()).unwrap();
                assert!(response.events.len() == 1 || part.len() < room);
                for event in &response.events {
                    seen += 1;
                    assert_eq!(event.kv.as_ref().unwrap().mod_revision, seen);
                }
                response.events.len()
            })
            .collect()
    }

    #[test]
    fn parts_are_as_large_as_fits() {
        // An event of 100 bytes takes 108 here.
        assert_eq!(encode(&[100]).len(), 108);
        assert_eq!(split_counts(&[100; 5], 217), [2, 2, 1]);
        assert_eq!(split_counts(&[100; 5], 216), [1, 1, 1, 1, 1]);
        assert_eq!(split_counts(&[100; 5], 10_000), [5]);
    }

    #[test]
    fn an_event_is_never_split() {
        assert_eq!(split_counts(&[10, 5000, 10, 10], 300), [1, 1, 2]);
        assert_eq!(split_counts(&[5000], 0), [1]);
        assert_eq!(split_counts(&[], 10), [0; 0]);
    }
}
