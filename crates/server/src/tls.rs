//! The TLS of a running server: loaded once, followed until the end, and
//! handshakes that are bounded in number and in time.
//!
//! What a handshake is, and which files are good, is `t4-tls-config`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use t4_tls_config::{
    ClientTls, HANDSHAKE_LIMIT, LOOK_INTERVAL, PeerIdentity, Rejection, RejectionKind, ReloadStats,
    Reloader, Reloading, ServerStream, ServerTls, TlsError,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::error::StartError;
use crate::front::Purpose;
use crate::lent::{Lent, lend};
use crate::security::Security;

/// Handshakes under way at a time, at most. Each takes some 30 KiB; who comes
/// beyond waits for its turn, in order, with nothing but its socket.
const HANDSHAKES_MAX: usize = 2048;

/// The configurations that are in force.
pub(crate) struct Tls {
    client: Option<ServerTls>,
    metrics: Option<ServerTls>,
    reloader: Reloader,
    counts: Arc<TlsCounts>,
    slots: Arc<Semaphore>,
}

/// What became of handshakes.
#[derive(Default)]
pub(crate) struct TlsCounts {
    done: AtomicU64,
    /// In the order of [`KINDS`].
    rejected: [AtomicU64; KINDS.len()],
}

const KINDS: [RejectionKind; 5] = [
    RejectionKind::Closed,
    RejectionKind::TimedOut,
    RejectionKind::Certificate,
    RejectionKind::Remote,
    RejectionKind::Protocol,
];

impl Tls {
    /// Reads and checks all files.
    pub(crate) fn load(security: &Security) -> Result<Self, StartError> {
        let failed = |surface: &str| {
            let surface = surface.to_owned();
            move |source: TlsError| StartError::Tls { surface, source: Box::new(source) }
        };
        let reloader = Reloader::new();
        let mut servers = [None, None, None];
        let all = [
            ("client", &security.client),
            ("metrics", &security.metrics),
            ("peer", &security.peer),
        ];
        for ((name, options), place) in all.into_iter().zip(&mut servers) {
            let Some(options) = options else { continue };
            let tls = ServerTls::load(options.clone()).map_err(failed(name))?;
            reloader.watch(name, tls.clone());
            *place = Some(tls);
        }
        for (name, options) in &security.outgoing {
            let tls = ClientTls::load(options.clone()).map_err(failed(name))?;
            reloader.watch(name, tls);
        }
        let [client, metrics, _] = servers;
        Ok(Tls {
            client,
            metrics,
            reloader,
            counts: Arc::default(),
            slots: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        })
    }

    /// What listeners of a purpose shake hands with; `None`: they cannot.
    pub(crate) fn of(&self, purpose: Purpose) -> Option<Handshaker> {
        let tls = match purpose {
            Purpose::Client | Purpose::Grpc | Purpose::Http => &self.client,
            Purpose::Metrics => &self.metrics,
        };
        let (counts, slots) = (self.counts.clone(), self.slots.clone());
        tls.clone().map(|tls| Handshaker { tls, counts, slots })
    }

    /// Follows the files, if there are any, until the handle is dropped.
    pub(crate) fn follow(&self) -> Result<Option<Reloading>, StartError> {
        if self.reloader.stats().is_empty() {
            return Ok(None);
        }
        self.reloader.clone().start(LOOK_INTERVAL).map(Some).map_err(StartError::Thread)
    }

    /// What the metrics tell.
    pub(crate) fn observed(&self) -> Observed {
        let free = self.slots.available_permits();
        Observed {
            followed: self.reloader.stats(),
            done: self.counts.done.load(Ordering::Relaxed),
            under_way: HANDSHAKES_MAX - free.min(HANDSHAKES_MAX),
            rejected: KINDS
                .iter()
                .zip(&self.counts.rejected)
                .map(|(kind, count)| (kind.as_str(), count.load(Ordering::Relaxed)))
                .collect(),
        }
    }
}

/// TLS at one moment.
pub(crate) struct Observed {
    /// By the name of the configuration.
    pub(crate) followed: Vec<(String, ReloadStats)>,
    pub(crate) done: u64,
    pub(crate) under_way: usize,
    /// By the kind of failure.
    pub(crate) rejected: Vec<(&'static str, u64)>,
}

/// Shakes the hands of those who connect to one listener.
#[derive(Clone)]
pub(crate) struct Handshaker {
    tls: ServerTls,
    counts: Arc<TlsCounts>,
    slots: Arc<Semaphore>,
}

impl Handshaker {
    /// Shakes hands, or says in the log why not. The wait for a turn and the
    /// handshake each have [`HANDSHAKE_LIMIT`].
    pub(crate) async fn shake<IO>(
        &self,
        io: IO,
        remote: Option<SocketAddr>,
    ) -> Option<(ServerStream<Lent<IO>>, PeerIdentity)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Ok(turn) = tokio::time::timeout(HANDSHAKE_LIMIT, self.slots.acquire()).await else {
            self.count(RejectionKind::TimedOut);
            let remote = shown(remote);
            tracing::warn!("remote-addr" = remote, "too many handshakes at once: one was dropped");
            return None;
        };
        // The semaphore is never closed.
        let _turn = turn.ok()?;
        let (lent, lender) = lend(io);
        match self.tls.accept(lent, remote).await {
            Ok(shaken) => {
                self.counts.done.fetch_add(1, Ordering::Relaxed);
                Some(shaken)
            }
            Err(rejection) => {
                self.count(rejection.kind);
                tell(&rejection);
                // It holds its turn meanwhile, so that these are bounded too.
                if !matches!(rejection.kind, RejectionKind::Closed | RejectionKind::TimedOut) {
                    lender.close().await;
                }
                None
            }
        }
    }

    fn count(&self, kind: RejectionKind) {
        if let Some(at) = KINDS.iter().position(|one| *one == kind) {
            self.counts.rejected[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// etcd's line, with its fields.
fn tell(rejection: &Rejection) {
    let remote = shown(rejection.remote);
    let server_name = rejection.server_name.as_deref().unwrap_or_default();
    let (addresses, names) = (&rejection.ip_addresses, &rejection.dns_names);
    let error = &rejection.error;
    // Whoever only looks whether the port is open is no news.
    if rejection.kind == RejectionKind::Closed {
        tracing::debug!(
            "remote-addr" = remote,
            "server-name" = server_name,
            error,
            "rejected connection on client endpoint"
        );
        return;
    }
    tracing::warn!(
        "remote-addr" = remote,
        "server-name" = server_name,
        "ip-addresses" = ?addresses,
        "dns-names" = ?names,
        error,
        "rejected connection on client endpoint"
    );
}

fn shown(remote: Option<SocketAddr>) -> String {
    remote.map_or_else(|| "@".to_owned(), |remote| remote.to_string())
}
