//! Reading the messages of a request body.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use prost::Message;
use tonic::Status;

use super::compression::{self, Encoding};
use super::frame::{FrameReader, Received};
use crate::errors::{self, ApiError};
use crate::memory::Held;

/// How a request is to be read.
pub(crate) struct Reading {
    /// The largest message, in bytes.
    pub(crate) message_bytes_max: usize,
    pub(crate) encoding: Encoding,
    /// Counts what is held of a message that is not there as a whole.
    pub(crate) unfinished: Held,
}

type Decompressing = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send>>;

/// Where in a request its reader is.
struct Frames {
    reader: FrameReader,
    /// A message that is being decompressed.
    decompressing: Option<Decompressing>,
    message_bytes_max: usize,
    unfinished: Held,
}

impl Reading {
    fn begin(self) -> Frames {
        let Reading { message_bytes_max, encoding, unfinished } = self;
        let reader = FrameReader::new(message_bytes_max, encoding);
        Frames { reader, decompressing: None, message_bytes_max, unfinished }
    }
}

/// The messages of a request body, one after the other.
pub(crate) struct Requests<B, M> {
    body: Pin<Box<B>>,
    frames: Frames,
    message: PhantomData<fn() -> M>,
}

impl<B, M> Requests<B, M>
where
    B: Body<Data = Bytes>,
    M: Message + Default,
{
    pub(crate) fn new(body: B, reading: Reading) -> Self {
        Requests { body: Box::pin(body), frames: reading.begin(), message: PhantomData }
    }

    /// The next message, with the bytes that it took on the wire; `None` when
    /// the client has no more. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<(M, usize)>, Status> {
        let next = poll_fn(|cx| poll_message(self.body.as_mut(), &mut self.frames, cx)).await?;
        next.map(decode).transpose()
    }
}

/// The bytes of the one message of a request.
pub(crate) async fn read_unary<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    reading: Reading,
) -> Result<Bytes, Status> {
    let mut frames = reading.begin();
    let first = poll_fn(|cx| poll_message(body.as_mut(), &mut frames, cx)).await?;
    let message = first.ok_or_else(errors::missing_message)?;
    if poll_fn(|cx| poll_message(body.as_mut(), &mut frames, cx)).await?.is_some() {
        return Err(errors::surplus_message());
    }
    Ok(message)
}

/// A message, and how many bytes it took.
pub(crate) fn decode<M: Message + Default>(bytes: Bytes) -> Result<(M, usize), Status> {
    let length = bytes.len();
    match M::decode(bytes) {
        Ok(message) => Ok((message, length)),
        Err(error) => Err(errors::malformed_message(&error)),
    }
}

fn poll_message<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    frames: &mut Frames,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Status>> {
    loop {
        if let Some(work) = &mut frames.decompressing {
            let message = ready!(work.as_mut().poll(cx));
            frames.decompressing = None;
            frames.unfinished.set(frames.reader.held_bytes());
            return Poll::Ready(message.map(Some));
        }
        match frames.reader.decode_next()? {
            Some(Received::Plain(message)) => {
                frames.unfinished.set(frames.reader.held_bytes());
                return Poll::Ready(Ok(Some(message)));
            }
            Some(Received::Compressed(message)) => {
                frames.unfinished.set(frames.reader.held_bytes() + message.len());
                let work = compression::decompress(message, frames.message_bytes_max);
                frames.decompressing = Some(Box::pin(work));
                continue;
            }
            None => {}
        }
        if body.is_end_stream() {
            return Poll::Ready(end(&frames.reader));
        }
        if !frames.unfinished.try_set(frames.reader.held_bytes()) {
            return Poll::Ready(Err(errors::too_much_unfinished()));
        }
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => frames.reader.push(chunk),
                // Trailers: a request has none that matter, and nothing after.
                Err(_) => return Poll::Ready(end(&frames.reader)),
            },
            // The client has gone, or has reset the stream.
            Some(Err(_)) => return Poll::Ready(Err(ApiError::ContextCanceled.status())),
            None => return Poll::Ready(end(&frames.reader)),
        }
    }
}

fn end(frames: &FrameReader) -> Result<Option<Bytes>, Status> {
    if frames.is_between_messages() { Ok(None) } else { Err(errors::truncated_message()) }
}
