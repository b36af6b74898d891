//! Messages that are compressed: gzip, as etcd takes it.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::HeaderValue;
use tokio::sync::Semaphore;
use tonic::Status;

use super::frame::FRAME_HEADER_BYTES;
use crate::errors::{self, ApiError};

/// The headers that say how messages are compressed, and how they may be.
pub(crate) const GRPC_ENCODING: &str = "grpc-encoding";
pub(crate) const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";
pub(crate) const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Longer messages take long enough to compress and to decompress, in bytes, to hold up
/// other calls of an I/O thread.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Turns to decompress long messages, one for each core: a kilobyte may become a
/// megabyte, and clients send many.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    Arc::new(Semaphore::new(available_parallelism().map_or(1, std::num::NonZero::get)))
});

/// How the messages of a request may be compressed, and those of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// That of a `grpc-encoding`; `None`: an unknown one.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"identity" => Some(Encoding::Identity),
            b"gzip" => Some(Encoding::Gzip),
            _ => None,
        }
    }

    /// Framed messages as they are sent. Large ones are compressed on a thread
    /// of their own.
    pub(crate) async fn encode(self, frames: Bytes) -> Bytes {
        match self {
            Encoding::Identity => frames,
            Encoding::Gzip if frames.len() <= INLINE_BYTES_MAX => compress_frames(&frames),
            Encoding::Gzip => {
                let plain = frames.clone();
                let work = tokio::task::spawn_blocking(move || compress_frames(&plain));
                // It fails only when the runtime ends: any answer will do.
                work.await.unwrap_or(frames)
            }
        }
    }
}

/// The message, of up to `bytes_max` bytes. A long one is decompressed on a thread of its
/// own, in its turn.
pub(crate) async fn decompress(message: Bytes, bytes_max: usize) -> Result<Bytes, Status> {
    if let Some(plain) = decompress_up_to(&message, INLINE_BYTES_MAX.min(bytes_max))? {
        return Ok(plain);
    }
    // Never closed. The turn lasts until the message is taken, or the work of a call that
    // was cancelled is over: so few long messages exist that nobody has taken.
    let turn = TURNS.clone().acquire_owned().await;
    let work = tokio::task::spawn_blocking(move || (decompress_up_to(&message, bytes_max), turn));
    // It fails only when the runtime ends.
    let (plain, _turn) = work.await.map_err(|_| ApiError::Stopped.status())?;
    let plain = plain?;
    plain.ok_or_else(|| errors::decompressed_too_large(bytes_max))
}

/// The message; `None` if it has more than `bytes_max` bytes. Like any gzip file
/// (RFC 1952, 2.2) it may consist of several members; anything else behind one is an
/// error.
pub(super) fn decompress_up_to(message: &[u8], bytes_max: usize) -> Result<Option<Bytes>, Status> {
    let mut plain = Vec::new();
    let limit = bytes_max as u64 + 1;
    let read = MultiGzDecoder::new(message).take(limit).read_to_end(&mut plain);
    read.map_err(|error| errors::cannot_decompress(&error))?;
    Ok((plain.len() <= bytes_max).then(|| plain.into()))
}

/// Framed messages, one behind the other, each compressed but for empty ones.
/// What is compressed already stays.
pub(crate) fn compress_frames(frames: &Bytes) -> Bytes {
    let mut rest = &frames[..];
    let mut out = BytesMut::with_capacity(frames.len() / 2);
    while let Some(&[flag, a, b, c, d]) = rest.first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        rest.advance(FRAME_HEADER_BYTES);
        let (message, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        if flag == 0 && !message.is_empty() {
            put_compressed(&mut out, message);
        } else {
            out.put_slice(&[flag, a, b, c, d]);
            out.put_slice(message);
        }
    }
    out.freeze()
}

fn put_compressed(out: &mut BytesMut, message: &[u8]) {
    let start = out.len();
    out.put_slice(&[1, 0, 0, 0, 0]);
    let mut encoder = GzEncoder::new(out.writer(), Compression::fast());
    // Memory takes all that is written to it.
    let _ = encoder.write_all(message).and_then(|()| encoder.try_finish());
    drop(encoder);
    let length = out.len() - start - FRAME_HEADER_BYTES;
    // Below 4 GiB, as the message is: gzip adds a thousandth at most.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out[start + 1..start + FRAME_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_message_may_have_several_members_and_nothing_else() {
        let two = [member(b"a part "), member(b"and another")].concat();
        assert_eq!(decompress_up_to(&two, 18).unwrap().unwrap(), "a part and another");
        assert_eq!(decompress_up_to(&two, 17).unwrap(), None, "the limit is for all of them");
        let junk = [member(b"a part "), b"junk".to_vec()].concat();
        assert!(decompress_up_to(&junk, 100).is_err());
        assert!(decompress_up_to(&two[..two.len() - 1], 100).is_err());
    }

    #[tokio::test]
    async fn long_messages_are_taken_in_turns_and_up_to_the_limit() {
        let long = vec![7; 4 * INLINE_BYTES_MAX];
        let message = || Bytes::from(member(&long));
        assert_eq!(decompress(message(), long.len()).await.unwrap(), long);
        let refused = decompress(message(), long.len() - 1).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let text = "grpc: received message after decompression larger than max 262143";
        assert_eq!(refused.message(), text);
        let noise = decompress(Bytes::from_static(&[1, 2, 3]), 10).await.unwrap_err();
        assert_eq!(noise.code(), Code::Internal);

        // Without a turn only short ones are.
        let turns = TURNS.available_permits() as u32;
        let all = TURNS.clone().acquire_many_owned(turns).await.unwrap();
        assert_eq!(decompress(member(b"short").into(), 100).await.unwrap(), "short");
        let mut waiting = tokio::spawn(decompress(message(), long.len()));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(all);
        assert_eq!((&mut waiting).await.unwrap().unwrap(), long);
    }
}
