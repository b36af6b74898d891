//! Over TLS: puts and gets on open connections, and 1,000 handshakes.
//!
//! Both servers present the same certificate and request none, as with only
//! `--client-tls-cert` and `--cert-file`. A handshake is the first action of a
//! client unknown to the server: TCP, full TLS, HTTP/2, one get. It is measured
//! with both kinds of keys because their costs differ: signing with RSA is
//! expensive for the server, verifying ECDSA for the client.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use t4_proto::etcdserverpb::RangeRequest;
use t4_tls_config::KeyType;

use super::single::{KEY_BYTES, Share, workload};
use super::{Bench, Family, Workload};
use crate::bulk;
use crate::client::Client;
use crate::dataset::Keys;
use crate::histogram::Histogram;
use crate::sample::{Metric, Window};
use crate::server::{Server, cpu_of};
use crate::target::Target;
use crate::transport::{Connection, Endpoint};

const KEYS: usize = 10_000;
/// Clients of the puts and gets.
const CLIENTS: usize = 64;
const HANDSHAKES: usize = 1_000;
/// Clients that connect concurrently.
const CONNECTING: usize = 16;
/// Unmeasured handshakes at the start.
const WARM_UP: usize = 64;

/// With the kind of certificate that `t4 certs` makes.
pub(super) fn family() -> Family {
    let keys = Arc::new(Keys::new("bench/secure/", KEYS, KEY_BYTES));
    let get = Share { get: true, put: false };
    let put = Share { get: false, put: true };
    let [got, given] = ["get of one of 10k keys, 256 B, TLS", "put of one of 10k keys, 256 B, TLS"];
    let workloads = vec![
        workload(&keys, format!("tls-get-{CLIENTS}"), got, CLIENTS, promised(), get, false),
        workload(&keys, format!("tls-put-{CLIENTS}"), given, CLIENTS, promised(), put, false),
        handshakes("tls-handshakes-1000", &keys),
    ];
    filled(keys, workloads, KeyType::EcdsaP256)
}

/// With the kind of certificate that most recipes of openssl and cfssl make.
pub(super) fn rsa_family() -> Family {
    let keys = Arc::new(Keys::new("bench/secure/", CONNECTING, KEY_BYTES));
    let workloads = vec![handshakes("tls-handshakes-rsa-1000", &keys)];
    filled(keys, workloads, KeyType::Rsa2048)
}

fn filled(keys: Arc<Keys>, workloads: Vec<Workload>, key_type: KeyType) -> Family {
    let fill =
        move |bench: &Bench, server: &mut _| bulk::load(&bench.cores, server, &keys, &bench.values);
    Family { fill: Box::new(fill), workloads, tls: Some(key_type) }
}

/// The targets for puts and gets with 64 clients.
fn promised() -> Vec<Target> {
    vec![Target::throughput(1.5), Target::at_most(Metric::ServerCpu, 0.5)]
}

fn handshakes(name: &str, keys: &Keys) -> Workload {
    let operation = format!("TCP, TLS in full, HTTP/2 and a get; {CONNECTING} clients at a time");
    let key = keys.get(0);
    Workload::new(name, operation, [Target::throughput(2.0)], move |bench, server| {
        connect_all(bench, server, &key, WARM_UP)?;
        connect_all(bench, server, &key, HANDSHAKES).map(|window| window.sample())
    })
}

/// Opens `connections` new connections: 16 clients, each opening one after another.
fn connect_all(
    bench: &Bench,
    server: &Server,
    key: &Bytes,
    connections: usize,
) -> anyhow::Result<Window> {
    // Created in advance, so that reading files is not measured.
    let mut shares: Vec<Vec<Endpoint>> = vec![Vec::new(); CONNECTING];
    for number in 0..connections {
        shares[number % CONNECTING].push(server.unknown_client()?);
    }
    let (server_cpu, client_cpu) = (server.cpu()?, cpu_of("self")?);
    let began = Instant::now();
    let mut running = Vec::with_capacity(CONNECTING);
    for (number, share) in shares.into_iter().enumerate() {
        running.push(bench.cores.of(number).spawn(connect_in_turn(share, key.clone())));
    }
    let mut latency = Histogram::default();
    for client in running {
        latency.merge(&bench.cores.wait(client)??);
    }
    let elapsed = began.elapsed();
    let server_cpu = server.cpu()? - server_cpu;
    let client_cpu = cpu_of("self")? - client_cpu;
    Ok(Window { elapsed, server_cpu, client_cpu, latency })
}

async fn connect_in_turn(endpoints: Vec<Endpoint>, key: Bytes) -> anyhow::Result<Histogram> {
    let mut latency = Histogram::default();
    for endpoint in endpoints {
        let began = Instant::now();
        let mut client = Client::new(Connection::open(endpoint).await?);
        let request = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let answer = client.kv.range(request).await?.into_inner();
        ensure!(answer.kvs.len() == 1, "a get of a key that is there gave {answer:?}");
        latency.record(began.elapsed());
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_over_tls_is_judged() {
        let targets = |family: Family| {
            let of = |workload: &Workload| (workload.name.clone(), workload.targets.len());
            family.workloads.iter().map(of).collect::<Vec<_>>()
        };
        let names = ["tls-get-64", "tls-put-64", "tls-handshakes-1000"].map(str::to_owned);
        let [get, put, shake] = names;
        assert_eq!(targets(family()), [(get, 2), (put, 2), (shake, 1)]);
        assert_eq!(targets(rsa_family()), [("tls-handshakes-rsa-1000".to_owned(), 1)]);
    }
}
