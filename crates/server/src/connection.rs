//! One connection, from its first byte to its last: TLS or not, HTTP/1.1 or
//! HTTP/2.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use t4_etcd_api::Caller;
use t4_tls_config::looks_like_tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::config::Config;
use crate::front::{Front, Purpose};
use crate::http2;
use crate::socket::{Accepted, Connection, Registered, Socket};
use crate::tls::Handshaker;

/// A client that has not finished the head of its request after this long is
/// cut off (etcd waits 5 min; nobody needs that).
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// What connections to one listener find.
pub(crate) struct Port {
    pub(crate) purpose: Purpose,
    /// Whether plain text is spoken.
    pub(crate) plain: bool,
    /// Whether TLS is spoken, and how. With both, the first byte decides.
    pub(crate) tls: Option<Handshaker>,
}

/// What a shard serves connections with.
pub(crate) struct Serving {
    pub(crate) config: Arc<Config>,
    pub(crate) front: Front,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves a connection until it ends, or until `drain` turns true and what is
/// under way is done.
pub(crate) async fn converse(
    accepted: Accepted,
    port: Arc<Port>,
    serving: Arc<Serving>,
    drain: watch::Receiver<bool>,
) {
    let remote = accepted.remote();
    let outcome = match accepted.register() {
        Ok(Registered::Tcp(io)) => greet(io, remote, &port, &serving, drain).await,
        Ok(Registered::Unix(io)) => greet(io, remote, &port, &serving, drain).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = outcome {
        // A client's doing, not ours: gone, or not speaking HTTP.
        tracing::debug!(%error, "a connection ended");
    }
}

async fn greet<S: Socket>(
    io: S,
    remote: Option<SocketAddr>,
    port: &Port,
    serving: &Serving,
    mut drain: watch::Receiver<bool>,
) -> Result<(), BoxError> {
    let tls = match &port.tls {
        Some(tls) if port.plain => tokio::select! {
            is_tls = sniff(&io) => is_tls?.then_some(tls),
            _ = drain.wait_for(|drain| *drain) => return Ok(()),
        },
        tls => tls.as_ref(),
    };
    match tls {
        // In a box of its own: its future is large, and plain connections
        // should not carry it.
        Some(tls) => Box::pin(greet_over_tls(io, remote, tls, port, serving, drain)).await,
        None => {
            let caller = Caller { common_name: None, address: remote };
            let front = serving.front.for_connection(caller, false);
            speak(Connection::new(io), port.purpose, &serving.config, front, drain).await
        }
    }
}

async fn greet_over_tls<S: Socket>(
    io: S,
    remote: Option<SocketAddr>,
    tls: &Handshaker,
    port: &Port,
    serving: &Serving,
    mut drain: watch::Receiver<bool>,
) -> Result<(), BoxError> {
    let shaken = tokio::select! {
        shaken = tls.shake(io, remote) => shaken,
        _ = drain.wait_for(|drain| *drain) => return Ok(()),
    };
    let Some((io, identity)) = shaken else { return Ok(()) };
    let is_user = serving.config.security.common_name_is_user && identity.verified;
    let common_name = identity.common_name.filter(|_| is_user).map(Into::into);
    let front = serving.front.for_connection(Caller { common_name, address: remote }, true);
    speak(Connection::new(io), port.purpose, &serving.config, front, drain).await
}

/// Whether the client speaks TLS. It has to speak first in every protocol that
/// is spoken here.
async fn sniff<S: Socket>(io: &S) -> Result<bool, BoxError> {
    let first = tokio::time::timeout(HEAD_TIMEOUT, io.peek()).await??;
    // No request starts with the first byte of a handshake: one is enough.
    Ok(first.is_some_and(|first| looks_like_tls(&[first]) != Some(false)))
}

async fn speak<S>(
    mut io: Connection<S>,
    purpose: Purpose,
    config: &Config,
    front: Front,
    mut drain: watch::Receiver<bool>,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let front = Arc::new(front);
    let is_http2 = tokio::select! {
        is_http2 = io.is_http2() => is_http2?,
        _ = drain.wait_for(|drain| *drain) => return Ok(()),
    };
    if is_http2 {
        return Ok(http2::serve(io, purpose, config, front, drain).await?);
    }
    speak_http1(io, purpose, front, drain).await
}

async fn speak_http1<S>(
    io: Connection<S>,
    purpose: Purpose,
    front: Arc<Front>,
    mut drain: watch::Receiver<bool>,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let front = front.clone();
        async move { Ok::<_, std::convert::Infallible>(front.answer(request, purpose).response().await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        outcome = connection.as_mut() => return Ok(outcome?),
        _ = drain.wait_for(|drain| *drain) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}
