//! The threads that serve connections: one single-threaded runtime each, with
//! its own lane to the node, so that nothing on the way of a request is shared
//! between them but the node itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::{mpsc, watch};

use crate::body::ResponseBody;
use crate::config::Config;
use crate::front::Front;
use crate::socket::{Accepted, AnyConnection, Connection};

/// Connections handed to a shard that it has not taken yet, at most.
const HAND_OVER_QUEUE: usize = 1024;
/// A client that has not finished the head of its request after this long is
/// cut off (etcd waits 5 min; nobody needs that).
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Calls of one connection that are cancelled before they are looked at, at
/// most; beyond that the connection ends (CVE-2023-44487). Clients that cancel
/// all that they have just begun are to be served, which the default of h2, 20,
/// does not do.
const CANCELLED_UNSEEN_MAX: usize = 512;

/// What a shard is asked to serve, and by what.
pub(crate) struct Handed {
    pub(crate) connection: Accepted,
    /// Whether it came to the metrics listener, where only metrics and health
    /// are served.
    pub(crate) metrics_only: bool,
    /// Counts it as open until it is dropped.
    pub(crate) open: OpenConnection,
}

/// One open connection of a shard.
pub(crate) struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that serves connections.
pub(crate) struct Shard {
    connections: mpsc::Sender<Handed>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Shard {
    /// Starts a shard; `drain` turns true when connections shall end.
    pub(crate) fn start(
        number: usize,
        config: Arc<Config>,
        front: Front,
        drain: watch::Receiver<bool>,
    ) -> io::Result<Shard> {
        let (connections, incoming) = mpsc::channel(HAND_OVER_QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread =
            std::thread::Builder::new().name(format!("t4-io-{number}")).spawn(move || {
                runtime.block_on(async move {
                    serve(incoming, config, Arc::new(front.on_this_runtime()), drain).await;
                });
                // Connections that did not drain in time end with their runtime.
                runtime.shutdown_background();
            })?;
        Ok(Shard { connections, open: Arc::new(AtomicUsize::new(0)), thread })
    }

    /// How many connections it has.
    pub(crate) fn load(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Hands a connection over. False: the shard has ended or is overrun.
    pub(crate) fn hand_over(&self, connection: Accepted, metrics_only: bool) -> bool {
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenConnection(self.open.clone());
        self.connections.try_send(Handed { connection, metrics_only, open }).is_ok()
    }

    /// Lets the shard end and waits for it.
    pub(crate) fn join(self) {
        drop(self.connections);
        // A panic in it was reported by the panic hook.
        let _ = self.thread.join();
    }
}

/// Serves connections until they are drained, or until the drain takes too long.
async fn serve(
    mut incoming: mpsc::Receiver<Handed>,
    config: Arc<Config>,
    front: Arc<Front>,
    drain: watch::Receiver<bool>,
) {
    let mut drained = drain.clone();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            handed = incoming.recv() => {
                let Some(handed) = handed else { break };
                connections.spawn(converse(handed, config.clone(), front.clone(), drain.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = drained.wait_for(|drain| *drain) => break,
        }
    }
    incoming.close();
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(config.drain_timeout, all).await;
}

/// One connection, from its first byte to its last.
async fn converse(
    handed: Handed,
    config: Arc<Config>,
    front: Arc<Front>,
    drain: watch::Receiver<bool>,
) {
    let Handed { connection, metrics_only, open } = handed;
    let outcome = match connection.register() {
        Ok(AnyConnection::Tcp(io)) => speak(io, metrics_only, &config, front, drain).await,
        Ok(AnyConnection::Unix(io)) => speak(io, metrics_only, &config, front, drain).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = outcome {
        // A client's doing, not ours: gone, or not speaking HTTP.
        tracing::debug!(%error, "a connection ended");
    }
    drop(open);
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn speak<S>(
    io: Connection<S>,
    metrics_only: bool,
    config: &Config,
    front: Arc<Front>,
    mut drain: watch::Receiver<bool>,
) -> Result<(), BoxError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_pending_accept_reset_streams(CANCELLED_UNSEEN_MAX)
        // gRPC has no use for the date.
        .auto_date_header(false);
    // What the client does not read is bounded for each connection.
    let front = Arc::new(front.for_connection());
    let service = service_fn(move |request: Request<Incoming>| {
        let front = front.clone();
        async move {
            let response: Response<ResponseBody> = if metrics_only {
                front.metrics(request).await
            } else {
                front.client(request).await
            };
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        _ = drain.wait_for(|drain| *drain) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
