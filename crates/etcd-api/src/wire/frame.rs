//! Length-prefixed messages: one byte of flags, four of length, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::Status;

use super::compression::Encoding;
use crate::errors;

/// The bytes before each message.
pub(crate) const FRAME_HEADER_BYTES: usize = 5;

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Plain(Bytes),
    Compressed(Bytes),
}

/// Cuts a byte stream into messages.
///
/// A message that lies within one chunk is a slice of it; one that spans
/// chunks is put together in a buffer of its own, which grows with what has
/// come and not with what was announced.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// Largest message that is taken, in bytes.
    message_bytes_max: usize,
    encoding: Encoding,
    /// What is not consumed of the newest chunk.
    chunk: Bytes,
    /// The beginning of a message that continues in the chunks to come, with
    /// its header. Not empty only if `chunk` is.
    partial: BytesMut,
}

impl FrameReader {
    /// A reader at the beginning of a stream that takes messages of up to
    /// `message_bytes_max` bytes, which may be compressed with `encoding`.
    pub(crate) fn new(message_bytes_max: usize, encoding: Encoding) -> Self {
        let (chunk, partial) = (Bytes::new(), BytesMut::new());
        FrameReader { message_bytes_max, encoding, chunk, partial }
    }

    /// Memory of a message that has begun and goes on in the chunks to come.
    pub(crate) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Adds what came next. To be called when [`FrameReader::decode_next`]
    /// has nothing more.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// Whether the stream may end here: no message has begun.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.chunk.is_empty() && self.partial.is_empty()
    }

    /// The next whole message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The status that ends the call if the message is too large, compressed
    /// in a way that was not agreed on, or not a message.
    pub(crate) fn decode_next(&mut self) -> Result<Option<Received>, Status> {
        let Some(frame) = self.next_frame()? else { return Ok(None) };
        let message = frame.slice(FRAME_HEADER_BYTES..);
        let received = if frame[0] == 0 { Received::Plain } else { Received::Compressed };
        Ok(Some(received(message)))
    }

    /// The next message with its header, which is right.
    fn next_frame(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            let Some(length) = self.length_in(&self.chunk)? else {
                self.keep_partial(FRAME_HEADER_BYTES);
                return Ok(None);
            };
            let end = FRAME_HEADER_BYTES + length;
            if self.chunk.len() >= end {
                return Ok(Some(self.chunk.split_to(end)));
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
        Ok(Some(std::mem::take(&mut self.partial).freeze()))
    }

    /// The length in the header, once that is whole.
    fn length_in(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        match (flag, self.encoding) {
            (0, _) | (1, Encoding::Gzip) => {}
            // Any other `grpc-encoding` was refused with the head.
            (1, Encoding::Identity) => return Err(errors::compressed_message(None)),
            _ => return Err(errors::bad_compression_flag(flag)),
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.message_bytes_max {
            return Err(errors::message_too_large(length, self.message_bytes_max));
        }
        Ok(Some(length))
    }

    /// Sets what is left of the chunk aside. It is the beginning of `bytes`.
    fn keep_partial(&mut self, bytes: usize) {
        self.fill_partial(bytes);
        self.chunk = Bytes::new();
    }

    /// Moves bytes from the chunk until there are `bytes` set aside.
    fn fill_partial(&mut self, bytes: usize) {
        let taken = bytes.saturating_sub(self.partial.len()).min(self.chunk.len());
        let there = self.partial.len() + taken;
        if there > self.partial.capacity() {
            // At most twice of what has come: what is announced costs nothing.
            let room = there.saturating_mul(2).min(bytes);
            self.partial.reserve(room - self.partial.len());
        }
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

    use crate::wire::compression::{compress_frames, decompress_up_to};

    /// The next message, decompressed if it is compressed.
    fn next(reader: &mut FrameReader) -> Option<Bytes> {
        match reader.decode_next().unwrap()? {
            Received::Plain(message) => Some(message),
            Received::Compressed(message) => decompress_up_to(&message, usize::MAX - 1).unwrap(),
        }
    }

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
            let mut reader = FrameReader::new(300, Encoding::Identity);
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                reader.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = next(&mut reader) {
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
        let mut reader = FrameReader::new(10, Encoding::Identity);
        reader.push(chunk.clone());
        let message = next(&mut reader).unwrap();
        assert_eq!(message.as_ptr(), chunk[FRAME_HEADER_BYTES..].as_ptr());
    }

    #[test]
    fn an_unfinished_message_shows() {
        let mut reader = FrameReader::new(10, Encoding::Identity);
        for byte in &frame(b"hello")[..7] {
            reader.push(Bytes::copy_from_slice(&[*byte]));
            assert_eq!(reader.decode_next().unwrap(), None);
            assert!(!reader.is_between_messages());
        }
    }

    /// Whatever is announced: what it costs is at most twice of what has come.
    #[test]
    fn what_is_announced_costs_nothing() {
        const ANNOUNCED: usize = 1 << 20;
        let message = frame(&vec![7; ANNOUNCED]);
        for size in [1, 3, 1000, 16_384] {
            let mut reader = FrameReader::new(ANNOUNCED, Encoding::Identity);
            let mut come = 0;
            for chunk in message[..message.len() / 4].chunks(size) {
                reader.push(Bytes::copy_from_slice(chunk));
                assert_eq!(reader.decode_next().unwrap(), None);
                come += chunk.len();
                assert!(
                    reader.held_bytes() <= 2 * come + 64,
                    "{} B for {come}",
                    reader.held_bytes()
                );
            }
            reader.push(Bytes::copy_from_slice(&message[come..]));
            assert_eq!(next(&mut reader).unwrap().len(), ANNOUNCED);
            assert_eq!(reader.held_bytes(), 0, "nothing is kept");
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
    fn compressed_messages_are_taken_if_that_was_said() {
        let plain = frame(&[9; 5000]);
        let zipped = compress_frames(&Bytes::from(plain.clone()));
        assert!(zipped.len() < 500 && zipped[0] == 1);
        // Plain ones may be among them.
        let stream = [&zipped[..], &plain, &zipped].concat();
        for size in [1, 7, stream.len()] {
            let mut reader = FrameReader::new(5000, Encoding::Gzip);
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                reader.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = next(&mut reader) {
                    found.push(message);
                }
            }
            assert_eq!(found, vec![vec![9; 5000]; 3]);
        }
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        let refusal = |header: [u8; 5]| {
            let mut reader = FrameReader::new(2_097_152, Encoding::Identity);
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
