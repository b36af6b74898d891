//! Length-prefixed messages: one byte of flags, four of length, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::Status;

use crate::errors;

/// The bytes before each message.
pub(crate) const FRAME_HEADER_BYTES: usize = 5;

/// Cuts a byte stream into messages.
///
/// A message that lies within one chunk is a slice of it; one that spans
/// chunks is put together in a buffer of its own.
#[derive(Debug)]
pub struct FrameReader {
    /// Largest message that is taken, in bytes.
    message_bytes_max: usize,
    /// What is not consumed of the newest chunk.
    chunk: Bytes,
    /// The beginning of a message that continues in the chunks to come, with
    /// its header. Not empty only if `chunk` is.
    partial: BytesMut,
}

impl FrameReader {
    /// A reader at the beginning of a stream that takes messages of up to
    /// `message_bytes_max` bytes.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        FrameReader { message_bytes_max, chunk: Bytes::new(), partial: BytesMut::new() }
    }

    /// Adds what came next. To be called when [`FrameReader::decode_next`]
    /// has nothing more.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// Whether the stream may end here: no message has begun.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.chunk.is_empty() && self.partial.is_empty()
    }

    /// The next whole message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The status that ends the call if the message is too large, compressed,
    /// or not a message.
    pub fn decode_next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            let Some(length) = self.length_in(&self.chunk)? else {
                self.keep_partial(FRAME_HEADER_BYTES);
                return Ok(None);
            };
            let end = FRAME_HEADER_BYTES + length;
            if self.chunk.len() >= end {
                let frame = self.chunk.split_to(end);
                return Ok(Some(frame.slice(FRAME_HEADER_BYTES..)));
            }
            self.keep_partial(end);
            return Ok(None);
        }
        self.fill_partial(FRAME_HEADER_BYTES);
        let Some(length) = self.length_in(&self.partial)? else { return Ok(None) };
        let end = FRAME_HEADER_BYTES + length;
        self.fill_partial(end);
        if self.partial.len() < end {
            return Ok(None);
        }
        let frame = std::mem::take(&mut self.partial).freeze();
        Ok(Some(frame.slice(FRAME_HEADER_BYTES..)))
    }

    /// The length in the header, once that is whole.
    fn length_in(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        match flag {
            0 => {}
            // The request's `grpc-encoding` was refused earlier unless it was
            // absent or "identity".
            1 => return Err(errors::compressed_message(None)),
            _ => return Err(errors::bad_compression_flag(flag)),
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.message_bytes_max {
            return Err(errors::message_too_large(length, self.message_bytes_max));
        }
        Ok(Some(length))
    }

    /// Sets what is left of the chunk aside, with room for `bytes` in all.
    /// Room is only reserved for announced lengths below the limit.
    fn keep_partial(&mut self, bytes: usize) {
        if !self.chunk.is_empty() {
            self.partial.reserve(bytes);
            self.partial.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
        }
    }

    /// Moves bytes from the chunk until there are `bytes` set aside.
    fn fill_partial(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.partial.len());
        let taken = missing.min(self.chunk.len());
        self.partial.reserve(missing);
        self.partial.extend_from_slice(&self.chunk[..taken]);
        self.chunk.advance(taken);
    }
}

/// The largest message that is sent, in bytes: what grpc-go sends at most with
/// the limit that etcd sets, and what its clients take.
pub(crate) const SENT_BYTES_MAX: usize = i32::MAX as usize;

/// Something that is encoded into a buffer of its size.
pub(crate) trait Answer {
    /// Bytes that [`Answer::encode_into`] adds.
    fn encoded_bytes(&self) -> usize;

    /// Adds its encoding.
    fn encode_into(&self, buffer: &mut BytesMut);

    /// The message with its header.
    ///
    /// # Errors
    /// The status that ends the call if it is too large for a message.
    fn into_frame(self) -> Result<Bytes, Status>
    where
        Self: Sized,
    {
        encode_frame(&self)
    }
}

/// A message that was encoded where it was made, with its header.
pub(crate) struct Framed(pub(crate) Bytes);

impl Answer for Framed {
    fn encoded_bytes(&self) -> usize {
        self.0.len().saturating_sub(FRAME_HEADER_BYTES)
    }

    fn encode_into(&self, buffer: &mut BytesMut) {
        buffer.extend_from_slice(&self.0[FRAME_HEADER_BYTES..]);
    }

    fn into_frame(self) -> Result<Bytes, Status> {
        Ok(self.0)
    }
}

impl<M: Message> Answer for M {
    fn encoded_bytes(&self) -> usize {
        self.encoded_len()
    }

    fn encode_into(&self, buffer: &mut BytesMut) {
        self.encode(buffer).expect("a growing buffer has room");
    }
}

/// A message with its header, in a buffer of exactly its size.
///
/// # Errors
/// The status that ends the call if it is too large for a message. What the
/// node finds is bounded before; this is for all that is made of it.
pub(crate) fn encode_frame(message: &impl Answer) -> Result<Bytes, Status> {
    let length = message.encoded_bytes();
    check_sent(length)?;
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + length);
    put_frame_header(&mut frame, length)?;
    message.encode_into(&mut frame);
    Ok(frame.freeze())
}

/// The header of a message of `length` bytes.
///
/// # Errors
/// As [`encode_frame`]; nothing was added then.
pub(crate) fn put_frame_header(buffer: &mut BytesMut, length: usize) -> Result<(), Status> {
    let length = check_sent(length)?;
    buffer.put_u8(0);
    buffer.put_u32(length);
    Ok(())
}

/// Whether a message of so many bytes can be sent.
pub(crate) fn check_sent(length: usize) -> Result<u32, Status> {
    let too_large = || errors::sent_message_too_large(length, SENT_BYTES_MAX);
    if length > SENT_BYTES_MAX {
        return Err(too_large());
    }
    u32::try_from(length).map_err(|_| too_large())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        put_frame_header(&mut buffer, payload.len()).unwrap();
        buffer.extend_from_slice(payload);
        buffer.to_vec()
    }

    /// Whatever the chunks, the messages are the same.
    #[test]
    fn chunk_borders_do_not_matter() {
        let payloads: [&[u8]; 5] = [b"", b"a", b"hello", &[7; 300], b""];
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
        for size in 1..=stream.len() {
            let mut reader = FrameReader::new(300);
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                reader.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = reader.decode_next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, payloads, "chunks of {size}");
            assert!(reader.is_between_messages());
        }
    }

    #[test]
    fn a_message_in_one_chunk_is_not_copied() {
        let chunk = Bytes::from(frame(b"hello"));
        let mut reader = FrameReader::new(10);
        reader.push(chunk.clone());
        let message = reader.decode_next().unwrap().unwrap();
        assert_eq!(message.as_ptr(), chunk[FRAME_HEADER_BYTES..].as_ptr());
    }

    #[test]
    fn an_unfinished_message_shows() {
        let mut reader = FrameReader::new(10);
        for byte in &frame(b"hello")[..7] {
            reader.push(Bytes::copy_from_slice(&[*byte]));
            assert_eq!(reader.decode_next().unwrap(), None);
            assert!(!reader.is_between_messages());
        }
    }

    /// Of a size that nobody has in memory.
    struct Huge(usize);

    impl Answer for Huge {
        fn encoded_bytes(&self) -> usize {
            self.0
        }

        fn encode_into(&self, _: &mut BytesMut) {
            panic!("it is refused before");
        }
    }

    #[test]
    fn what_is_too_large_for_a_message_is_an_error() {
        for bytes in [SENT_BYTES_MAX + 1, u32::MAX as usize + 1, usize::MAX] {
            let refused = encode_frame(&Huge(bytes)).unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted);
            let text =
                format!("grpc: trying to send message larger than max ({bytes} vs. 2147483647)");
            assert_eq!(refused.message(), text);
        }
        assert_eq!(check_sent(SENT_BYTES_MAX).unwrap(), 2_147_483_647);
    }

    #[test]
    fn what_is_framed_already_is_sent_as_it_is() {
        let framed = || Framed(Bytes::from(frame(b"hello")));
        assert_eq!(encode_frame(&framed()).unwrap(), frame(b"hello"));
        assert_eq!(framed().into_frame().unwrap(), frame(b"hello"));
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        let refusal = |header: [u8; 5]| {
            let mut reader = FrameReader::new(2_097_152);
            reader.push(Bytes::copy_from_slice(&header));
            reader.decode_next().unwrap_err()
        };
        let large = refusal([0, 0, 0x20, 0, 1]);
        assert_eq!(large.code(), Code::ResourceExhausted);
        assert_eq!(large.message(), "grpc: received message larger than max (2097153 vs. 2097152)");
        assert_eq!(refusal([1, 0, 0, 0, 0]).code(), Code::Internal);
        assert_eq!(refusal([9, 0, 0, 0, 0]).code(), Code::Internal);
    }
}
