//! One call: a request and its response, on a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;

use super::RequestBody;
use crate::body::{ResponseBody, Whole};
use crate::front::{Front, Purpose};

/// From this on a part of a response is large: the next is made only when it
/// is on its way.
const LARGE_PART_BYTES: usize = 64 << 10;

/// Serves a request. Ends early when the client resets the stream.
pub(super) async fn exchange(
    front: Arc<Front>,
    purpose: Purpose,
    request: Request<RequestBody>,
    mut respond: SendResponse<Bytes>,
) {
    let response = {
        let mut work = pin!(front.answer(request, purpose));
        poll_fn(|cx| {
            // Before the work: what is cancelled already does not begin.
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    };
    let Some(response) = response else { return };
    if let Err(error) = send(response, respond).await {
        tracing::debug!(%error, "a response was not sent whole");
    }
}

async fn send(
    response: Response<ResponseBody>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (mut head, body) = response.into_parts();
    if body.is_end_stream() {
        respond.send_response(Response::from_parts(head, ()), true)?;
        return Ok(());
    }
    match body.into_whole() {
        Ok(Whole { data, trailers }) => {
            if trailers.is_none() {
                let length = HeaderValue::from(data.len());
                head.headers.insert(header::CONTENT_LENGTH, length);
            }
            let mut stream = respond.send_response(Response::from_parts(head, ()), false)?;
            // The library keeps what the client's window has no room for. A
            // reset drops it.
            stream.send_data(data, trailers.is_none())?;
            trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
        }
        Err(body) => {
            let stream = respond.send_response(Response::from_parts(head, ()), false)?;
            send_parts(body, stream).await
        }
    }
}

/// Sends a body part by part, as fast as the client takes them.
async fn send_parts(
    mut body: ResponseBody,
    mut stream: SendStream<Bytes>,
) -> Result<(), h2::Error> {
    loop {
        let frame = poll_fn(|cx| {
            if stream.poll_reset(cx)?.is_ready() {
                return Poll::Ready(Ok(None));
            }
            Pin::new(&mut body).poll_frame(cx).map(|frame| Ok::<_, h2::Error>(Some(frame)))
        });
        let frame = match frame.await? {
            // Reset.
            None => return Ok(()),
            Some(None) => return stream.send_data(Bytes::new(), true),
            Some(Some(Ok(frame))) => frame,
        };
        match frame.into_data() {
            Ok(part) => {
                if !send_part(&mut stream, part).await? {
                    return Ok(());
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return stream.send_trailers(trailers);
            }
        }
    }
}

/// Sends a part once the client takes something of it. False: the stream has
/// been reset.
///
/// The next part is asked for before room for it is, as room that is held for
/// parts to come is kept from other streams of the connection.
async fn send_part(stream: &mut SendStream<Bytes>, part: Bytes) -> Result<bool, h2::Error> {
    if part.is_empty() {
        return Ok(true);
    }
    if !await_room(stream).await? {
        return Ok(false);
    }
    let is_large = part.len() >= LARGE_PART_BYTES;
    stream.send_data(part, false)?;
    if !is_large {
        return Ok(true);
    }
    let open = await_room(stream).await?;
    if open {
        stream.reserve_capacity(0);
    }
    Ok(open)
}

/// Waits until what was sent is on its way and there is room for more. False:
/// the stream has been reset.
async fn await_room(stream: &mut SendStream<Bytes>) -> Result<bool, h2::Error> {
    stream.reserve_capacity(1);
    poll_fn(|cx| {
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    })
    .await
}
