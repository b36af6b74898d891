//! One call: a request and its response, on a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderValue, Request, Response, header, response};
use http_body::Body;
use t4_etcd_api::OpenCall;

use super::RequestBody;
use super::unsent::{Unsent, with_call};
use crate::body::{ResponseBody, Whole};
use crate::front::{Answer, Front, Purpose};

/// From this on a part of a response is large: the next is made only when it
/// is on its way.
const LARGE_PART_BYTES: usize = 64 << 10;

/// A call on its way.
pub(super) struct Call {
    pub(super) respond: SendResponse<Bytes>,
    /// Counts it as open, as long as it holds anything.
    pub(super) open: OpenCall,
    pub(super) unsent: Arc<Unsent>,
}

/// Begins to serve a request, in a task of its own.
///
/// What is made of it is made before the task is: what is passed into an `async
/// fn`, and on from there, is in its state twice. And a stream, which may wait
/// for long, has a task without what unary calls need.
pub(super) fn begin(
    front: Arc<Front>,
    purpose: Purpose,
    request: Request<RequestBody>,
    call: Call,
) {
    match front.answer(request, purpose) {
        Answer::There(response) => drop(tokio::spawn(deliver(response, call))),
        Answer::Unary(unary) => drop(tokio::spawn(exchange(|| unary.answer(), call))),
        Answer::Other(work) => drop(tokio::spawn(exchange(|| work, call))),
    }
}

/// Answers a call with what the work makes. Ends early when the client resets the
/// stream. The work begins here, as one that is passed in would be held twice.
async fn exchange<Work, Body>(work: impl FnOnce() -> Work, mut call: Call)
where
    Work: Future<Output = Response<Body>>,
    Body: Into<ResponseBody>,
{
    let response = {
        let mut work = pin!(work());
        poll_fn(|cx| {
            // Before the work: what is cancelled already does not begin.
            if call.respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    };
    if let Some(response) = response {
        deliver(response.map(Into::into), call).await;
    }
}

async fn deliver(response: Response<ResponseBody>, call: Call) {
    if let Err(error) = send(response, call).await {
        tracing::debug!(%error, "a response was not sent whole");
    }
}

/// Answers a call that is not served, with a head alone: that waits for no window,
/// and so leaves no memory to a client that opens none.
pub(super) fn refuse(
    response: Response<ResponseBody>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    respond.send_response(response.map(|_| ()), true)?;
    Ok(())
}

async fn send(response: Response<ResponseBody>, call: Call) -> Result<(), h2::Error> {
    let Call { mut respond, open, unsent } = call;
    let (mut head, body) = response.into_parts();
    if body.is_end_stream() {
        respond.send_response(Response::from_parts(head, ()), true)?;
        unsent.keep(open);
        return Ok(());
    }
    match body.into_whole() {
        Ok(mut whole) => {
            add_length(&mut head, &whole);
            let mut stream = respond.send_response(Response::from_parts(head, ()), false)?;
            // The library keeps what neither the client's window nor the socket has
            // room for. A reset drops it.
            if unsent.is_blocked() || !has_room(&mut stream, whole.data.len()) {
                whole.data = with_call(whole.data, open.into());
            }
            send_whole(&mut stream, whole)
        }
        Err(body) => {
            let stream = respond.send_response(Response::from_parts(head, ()), false)?;
            let open = Arc::new(open);
            send_parts(body, stream, &open).await?;
            unsent.keep(open);
            Ok(())
        }
    }
}

/// What is not gRPC says how long it is.
fn add_length(head: &mut response::Parts, whole: &Whole) {
    if whole.trailers.is_none() {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.data.len()));
    }
}

fn send_whole(stream: &mut SendStream<Bytes>, whole: Whole) -> Result<(), h2::Error> {
    let Whole { data, trailers } = whole;
    stream.send_data(data, trailers.is_none())?;
    trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
}

/// Whether the client's window has room for so many bytes now.
fn has_room(stream: &mut SendStream<Bytes>, bytes: usize) -> bool {
    stream.reserve_capacity(bytes);
    stream.capacity() >= bytes
}

/// Sends a body part by part, as fast as the client takes them.
async fn send_parts(
    mut body: ResponseBody,
    mut stream: SendStream<Bytes>,
    open: &Arc<OpenCall>,
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
                if !send_part(&mut stream, part, open).await? {
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
async fn send_part(
    stream: &mut SendStream<Bytes>,
    part: Bytes,
    open: &Arc<OpenCall>,
) -> Result<bool, h2::Error> {
    if part.is_empty() {
        return Ok(true);
    }
    if !await_room(stream).await? {
        return Ok(false);
    }
    let is_large = part.len() >= LARGE_PART_BYTES;
    if !is_large {
        // The call may end before it is sent.
        let fits = has_room(stream, part.len());
        let part = if fits { part } else { with_call(part, open.clone()) };
        stream.send_data(part, false)?;
        return Ok(true);
    }
    stream.send_data(part, false)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn output_bytes<A, B, Output>(_: impl Fn(A, B) -> Output) -> usize {
        size_of::<Output>()
    }

    /// There may be a hundred thousand of them.
    #[test]
    fn a_stream_that_waits_is_small() {
        let bytes = output_bytes(deliver);
        println!("{bytes} B");
        assert!(bytes <= 1_536, "{bytes} B");
    }
}
