//! Leases: granted and immediately revoked, and 10,000 that are kept alive.

use anyhow::{Context, ensure};
use t4_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Bench, Family, Workload};
use crate::client::Client;
use crate::closed_loop::{Operation, connect};
use crate::server::Server;

const CLIENTS: usize = 16;
const LEASES: usize = 10_000;
/// Longer than any run: no lease may expire during a measurement.
const TTL_S: i64 = 36_000;

pub(super) fn family() -> Family {
    let churn = "grant of a lease, then its revoke: two requests";
    let keep = "keep-alive of one of 10k leases, on 16 streams";
    let workloads = vec![
        Workload::new("lease-churn-16", churn, [], |bench, server| {
            let outcome = bench.closed_loop(server, CLIENTS, |_, client| Churn { client })?;
            Ok(outcome.window.sample())
        }),
        Workload::new("lease-keepalive-10000", keep, [], |bench, server| {
            let outcome = bench.closed_loop(server, CLIENTS, KeepAlive::new)?;
            Ok(outcome.window.sample())
        }),
    ];
    Family { fill: Box::new(grant_all), workloads, tls: None }
}

/// Grants the leases 1 to 10,000.
fn grant_all(bench: &Bench, server: &mut Server) -> anyhow::Result<()> {
    const GRANTING: usize = 64;
    let mut running = Vec::new();
    for (first, (core, mut client)) in
        connect(&bench.cores, server, GRANTING)?.into_iter().enumerate()
    {
        running.push(bench.cores.of(core).spawn(async move {
            for lease in (first..LEASES).step_by(GRANTING) {
                let request = LeaseGrantRequest { ttl: TTL_S, id: lease as i64 + 1 };
                client.lease.lease_grant(request).await?;
            }
            anyhow::Ok(())
        }));
    }
    running.into_iter().try_for_each(|granting| bench.cores.wait(granting)?)
}

struct Churn {
    client: Client,
}

impl Operation for Churn {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let request = LeaseGrantRequest { ttl: TTL_S, id: 0 };
        let id = self.client.lease.lease_grant(request).await?.into_inner().id;
        self.client.lease.lease_revoke(LeaseRevokeRequest { id }).await?;
        Ok(true)
    }
}

struct KeepAlive {
    client: Client,
    // Opened by the first operation, on the runtime that it runs on.
    stream: Option<(mpsc::Sender<LeaseKeepAliveRequest>, Streaming<LeaseKeepAliveResponse>)>,
    lease: usize,
}

impl KeepAlive {
    fn new(number: usize, client: Client) -> KeepAlive {
        KeepAlive { client, stream: None, lease: number }
    }
}

impl Operation for KeepAlive {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let request = LeaseKeepAliveRequest { id: self.lease as i64 + 1 };
        self.lease = (self.lease + CLIENTS) % LEASES;
        if self.stream.is_none() {
            // etcd answers the call itself only with the first message, so the
            // first request must be sent before.
            let (requests, queue) = mpsc::channel(1);
            requests.send(request).await?;
            let call = self.client.lease.lease_keep_alive(ReceiverStream::new(queue));
            self.stream = Some((requests, call.await?.into_inner()));
        } else if let Some((requests, _)) = &self.stream {
            requests.send(request).await?;
        }
        let (_, answers) = self.stream.as_mut().context("the stream was opened")?;
        let answer = answers.message().await?.context("the server ended the stream")?;
        ensure!(answer.id == request.id && answer.ttl > 0, "lease {request:?} gave {answer:?}");
        Ok(true)
    }
}
