//! The body of a request.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use super::late::LateBodies;

/// What a client sends on a stream.
///
/// The window opens again for what was read here, so that a client is ahead of
/// its reader by a window at most. When this is dropped before the end the
/// client may well be sending still: the rest goes to [`LateBodies`].
pub(crate) struct RequestBody {
    /// `None`: nothing more comes.
    stream: Option<RecvStream>,
    late: LateBodies,
}

impl RequestBody {
    pub(super) fn new(stream: RecvStream, late: LateBodies) -> Self {
        RequestBody { stream: Some(stream), late }
    }
}

/// The next bytes of a stream, for which its window opens again.
pub(super) fn poll_chunk(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, h2::Error>>> {
    let chunk = ready!(stream.poll_data(cx));
    if let Some(Ok(bytes)) = &chunk {
        // Fails only for more than was received.
        let _ = stream.flow_control().release_capacity(bytes.len());
    }
    Poll::Ready(chunk)
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let chunk = ready!(poll_chunk(stream, cx));
        if !matches!(chunk, Some(Ok(_))) {
            // The end, or an error. Trailers of a request mean nothing.
            self.stream = None;
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match poll_chunk(&mut stream, &mut cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return,
                Poll::Pending => return self.late.hear_out(stream),
            }
        }
    }
}
