//! A gRPC client of which every frame, window and header is in the test's hand.

use anyhow::Context;
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use tonic::{Code, Status};

use crate::server::Target;

/// One HTTP/2 connection, which ends when this is dropped.
pub(crate) struct RawConnection {
    requests: SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    /// gRPC's status, if there was one.
    pub(crate) status: Option<(Code, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: HeaderMap,
}

impl RawConnection {
    /// Connects. The window of each call is 64 KiB and opens only as far as is
    /// read; that of the connection is so large that no call waits for another.
    pub(crate) async fn open(target: impl Into<Target>) -> RawConnection {
        RawConnection::try_open(&target.into()).await.expect("connect")
    }

    /// The same, to a server that may refuse it.
    pub(crate) async fn try_open(target: &Target) -> anyhow::Result<RawConnection> {
        let handshake = Builder::new()
            .initial_connection_window_size(1 << 30)
            .handshake::<_, Bytes>(target.stream().await?)
            .await;
        let (requests, connection) = handshake.context("HTTP/2")?;
        let driver = tokio::spawn(async move {
            // How it ends shows in the calls.
            let _ = connection.await;
        });
        Ok(RawConnection { requests, driver })
    }

    /// Begins a call with these headers beside the usual; the body is the
    /// caller's.
    pub(crate) async fn begin(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.try_begin(path, headers).await.expect("the connection is open")
    }

    /// The same, on a connection that the server may have ended.
    pub(crate) async fn try_begin(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = Request::post(format!("http://t4{path}"));
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            if !headers.iter().any(|(other, _)| *other == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await?;
        requests.send_request(request, false)
    }

    /// A call with these bytes as its body.
    pub(crate) async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> ResponseFuture {
        let (response, mut request) = self.begin(path, headers).await;
        // Refused: the call was answered from its head alone. Its answer tells.
        let _ = request.send_data(body.into(), true);
        response
    }

    /// The same, and its answer.
    pub(crate) async fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, h2::Error> {
        read(self.send(path, headers, body).await).await
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(
    response: impl Future<Output = Result<Response<RecvStream>, h2::Error>>,
) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(&mut stream).await? {
        body.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?;
    let status = Status::from_header_map(&parts.headers)
        .or_else(|| Status::from_header_map(trailers.as_ref()?))
        .map(|status| (status.code(), status.message().to_owned()));
    Ok(Answer { http: parts.status, status, body, headers: parts.headers })
}

/// The next bytes of a body; opens the window for as many more.
pub(crate) async fn next_chunk(stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(chunk) = stream.data().await.transpose()? else { return Ok(None) };
    stream.flow_control().release_capacity(chunk.len())?;
    Ok(Some(chunk))
}

/// A message as it stands in a body.
pub(crate) fn framed(message: &impl Message) -> Vec<u8> {
    let payload = message.encode_to_vec();
    let length = u32::try_from(payload.len()).expect("a message");
    [&[0][..], &length.to_be_bytes(), &payload].concat()
}
