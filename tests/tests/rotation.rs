//! The whole chain rotated under load: a new CA and new leaves on both sides,
//! again and again, while clients put and get, and none of them is refused.
//!
//! Half of the clients keep the connection that they began with, by certificates
//! that nobody trusts any more after the first rotation: were it dropped, they
//! could not come back. The other half connects anew for each pair of requests.
//!
//! The files change as Kubernetes changes those of a secret. An operator's
//! three steps: trust both CAs; show the new leaves; forget the old CA. What
//! separates them is that everybody has connected since, as `docs/security.md`
//! has it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{bail, ensure};
use t4_proto::etcdserverpb::{PutRequest, RangeRequest};
use t4_testkit::{
    Metrics, PairFiles, Rpc, Scratch, T4, T4Options, TestAuthority, poll_until_async,
};
use t4_tls_config::{ClientOptions, ClientTls, KeyType, Outcome, Reload};
use tokio::task::JoinHandle;

/// Clients of each kind.
const CLIENTS: usize = 16;
const DEADLINE: Duration = Duration::from_secs(60);

/// For how long, and how often: what is promised.
const LENGTH: Duration = Duration::from_secs(120);
const PERIOD: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_whole_chain_is_rotated() {
    let scratch = Scratch::new("rotation").expect("scratch");
    let mut sides = Sides::new(&scratch).expect("certificates");
    let t4 = sides.serve();
    let load = Load::start(&t4, &sides).await.expect("clients connect");
    let (begun, mut rotations) = (Instant::now(), 0);
    while begun.elapsed() < LENGTH && !load.has_failed() {
        let next = tokio::time::Instant::now() + PERIOD;
        if let Err(error) = sides.rotate(&t4, &load).await {
            // What a client met says more than what the rotation waited for.
            load.stop().await;
            panic!("rotation {rotations}: {error:#}");
        }
        rotations += 1;
        tokio::time::sleep_until(next).await;
    }
    let requests = load.stop().await;
    let counted = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    for counter in ["t4_tls_handshake_failures_total{", "t4_tls_reload_failures_total{"] {
        assert_eq!(counted.sum(counter), 0, "{counter}: {}", counted.text());
    }
    assert!(rotations > 0, "no rotation was done");
    println!("{rotations} rotations in {:?}: {requests} requests, none failed", begun.elapsed());
}

/// A CA, and what it has issued.
struct Chain {
    ca: TestAuthority,
    server: PairFiles,
    client: PairFiles,
}

impl Chain {
    fn new(dir: &Path) -> anyhow::Result<Chain> {
        let ca = TestAuthority::create(dir, KeyType::EcdsaP256)?;
        let (server, client) = (ca.server()?, ca.client("app")?);
        Ok(Chain { ca, server, client })
    }
}

/// Who shows what to whom, and trusts what.
struct Sides {
    home: PathBuf,
    chain: Chain,
    chains: u32,
    server: Mount,
    client: Mount,
    /// Of the clients that connect again and again.
    tls: ClientTls,
}

impl Sides {
    fn new(scratch: &Scratch) -> anyhow::Result<Sides> {
        let home = scratch.path().to_path_buf();
        let chain = Chain::new(&home.join("0"))?;
        let (mut server, mut client) = (Mount::new(&home, "server")?, Mount::new(&home, "client")?);
        server.show(&[&chain.ca], &chain.server)?;
        client.show(&[&chain.ca], &chain.client)?;
        let tls = client.tls()?;
        Ok(Sides { home, chain, chains: 1, server, client, tls })
    }

    fn serve(&self) -> T4 {
        let tls = Some(self.server.pair());
        let flags = vec![format!("--client-tls-ca={}", self.server.ca().display())];
        T4::start(T4Options { tls, flags, ..T4Options::default() }).expect("start t4")
    }

    /// One rotation, from the CA to the leaves.
    async fn rotate(&mut self, t4: &T4, load: &Load) -> anyhow::Result<()> {
        let next = Chain::new(&self.home.join(self.chains.to_string()))?;
        self.chains += 1;
        let old = &self.chain;
        let both = [&old.ca, &next.ca];
        for (trusted, shown) in [(&both[..], old), (&both[..], &next), (&both[1..], &next)] {
            let before = reloads(t4)?;
            self.server.show(trusted, &shown.server)?;
            self.client.show(trusted, &shown.client)?;
            poll_until_async("the server has read its files", DEADLINE, async || {
                let now = reloads(t4)?;
                ensure!(now > before, "{now} reloads");
                Ok(())
            })
            .await?;
            let outcome = self.tls.look(SystemTime::now(), false);
            ensure!(outcome == Outcome::Reloaded, "the clients' files: {outcome:?}");
            load.everybody_has_asked_since().await?;
        }
        self.chain = next;
        Ok(())
    }
}

/// A directory of files as Kubernetes mounts a secret: all change at once, by
/// the rename of one link.
struct Mount {
    dir: PathBuf,
    versions: u32,
}

impl Mount {
    fn new(home: &Path, name: &str) -> anyhow::Result<Mount> {
        let dir = home.join(name);
        fs::create_dir(&dir)?;
        for file in ["ca.crt", "tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), dir.join(file))?;
        }
        Ok(Mount { dir, versions: 0 })
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    fn pair(&self) -> PairFiles {
        PairFiles { cert: self.dir.join("tls.crt"), key: self.dir.join("tls.key") }
    }

    fn show(&mut self, trusted: &[&TestAuthority], pair: &PairFiles) -> anyhow::Result<()> {
        let version = format!("..version-{}", self.versions);
        self.versions += 1;
        let new = self.dir.join(&version);
        fs::create_dir(&new)?;
        let mut bundle = Vec::new();
        for ca in trusted {
            bundle.extend(fs::read(ca.cert())?);
        }
        fs::write(new.join("ca.crt"), bundle)?;
        fs::copy(&pair.cert, new.join("tls.crt"))?;
        fs::copy(&pair.key, new.join("tls.key"))?;
        let link = self.dir.join("..data-new");
        symlink(version, &link)?;
        Ok(fs::rename(link, self.dir.join("..data"))?)
    }

    /// What is in it, for a client.
    fn tls(&self) -> anyhow::Result<ClientTls> {
        let options = ClientOptions {
            ca: Some(self.ca()),
            pair: Some(self.pair().source()),
            ..ClientOptions::default()
        };
        Ok(ClientTls::load(options)?)
    }
}

/// The clients, until they are stopped.
struct Load {
    shared: Arc<Shared>,
    running: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// What the clients share with the test.
struct Shared {
    stop: AtomicBool,
    failed: AtomicBool,
    /// Pairs of requests that each has done.
    done: Vec<AtomicU64>,
}

impl Load {
    async fn start(t4: &T4, sides: &Sides) -> anyhow::Result<Load> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            done: (0..2 * CLIENTS).map(|_| AtomicU64::new(0)).collect(),
        });
        let mut running = Vec::new();
        for number in 0..2 * CLIENTS {
            let endpoint = t4.endpoint().to_owned();
            let kept = if number < CLIENTS {
                // It never reads its files again: it has this connection or none.
                Some(Rpc::connect_tls(&endpoint, &sides.client.tls()?).await?)
            } else {
                None
            };
            let client = Client { number, endpoint, tls: sides.tls.clone(), kept };
            running.push(tokio::spawn(client.run(Arc::clone(&shared))));
        }
        Ok(Load { shared, running })
    }

    fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Returns when every client has begun, and been through with, a pair of
    /// requests since this was called.
    async fn everybody_has_asked_since(&self) -> anyhow::Result<()> {
        let count = || self.shared.done.iter().map(|done| done.load(Ordering::Relaxed));
        // The first that ends may have begun before.
        let due: Vec<u64> = count().map(|done| done + 2).collect();
        poll_until_async("every client has asked again", DEADLINE, async || {
            ensure!(!self.has_failed(), "a client has failed");
            let late = count().zip(&due).filter(|(done, due)| done < due).count();
            ensure!(late == 0, "{late} clients have not");
            Ok(())
        })
        .await
    }

    /// Ends the load, and returns how many requests there were.
    ///
    /// Panics if one of them has failed.
    async fn stop(self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.running {
            if let Err(error) = client.await.expect("a client does not panic") {
                panic!("a request failed: {error:#}");
            }
        }
        self.shared.done.iter().map(|done| 2 * done.load(Ordering::Relaxed)).sum()
    }
}

struct Client {
    number: usize,
    endpoint: String,
    tls: ClientTls,
    /// `None`: it connects anew each time.
    kept: Option<Rpc>,
}

impl Client {
    async fn run(self, shared: Arc<Shared>) -> anyhow::Result<()> {
        let kind = if self.kept.is_some() { "an open connection" } else { "new connections" };
        for round in 0_u64.. {
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = self.put_and_get(round).await {
                shared.failed.store(true, Ordering::Relaxed);
                return Err(error.context(format!("round {round} of a client with {kind}")));
            }
            shared.done[self.number].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn put_and_get(&self, round: u64) -> anyhow::Result<()> {
        let mut rpc = match &self.kept {
            Some(rpc) => rpc.clone(),
            None => Rpc::connect_tls(&self.endpoint, &self.tls).await?,
        };
        let key = format!("rotation/{}", self.number);
        let value = round.to_string();
        let put = PutRequest {
            key: key.clone().into(),
            value: value.clone().into(),
            ..PutRequest::default()
        };
        rpc.kv.put(put).await?;
        let get = RangeRequest { key: key.into(), ..RangeRequest::default() };
        match &rpc.kv.range(get).await?.into_inner().kvs[..] {
            [kv] if kv.value == value => Ok(()),
            other => bail!("{value} was put, and {other:?} is there"),
        }
    }
}

fn reloads(t4: &T4) -> anyhow::Result<u64> {
    let metrics = Metrics::read(t4.metrics_endpoint())?;
    let text = metrics.text();
    ensure!(text.contains("t4_tls_reloads_total{"), "no metric of reloads in {text}");
    Ok(metrics.sum("t4_tls_reloads_total{"))
}
