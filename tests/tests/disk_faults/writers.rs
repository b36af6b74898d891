//! Clients that write keys of their own, each once, and remember what they were
//! told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use t4_proto::etcdserverpb::{PutRequest, RangeRequest};
use t4_testkit::{Rng, Rpc};
use tokio::task::JoinSet;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(30);
/// Keys that are read at once: some MiB of them.
const PAGE: i64 = 32;

/// What a client knows of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// The server said that it has not happened.
    Refused(String),
    /// It may have happened.
    Unknown,
}

/// Writes by key.
pub(crate) type Writes = BTreeMap<Vec<u8>, Outcome>;

/// Writers that run until they are told to stop, or the server is gone.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    running: JoinSet<Writes>,
}

impl Writers {
    /// `count` writers of values of `bytes` bytes. Their keys begin with `name`.
    pub(crate) async fn start(endpoint: &str, name: &str, count: usize, bytes: usize) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for number in 0..count {
            let rpc = Rpc::connect(endpoint).await.expect("connect");
            let prefix = format!("{name}/{number}");
            running.spawn(write(rpc, prefix, bytes, stop.clone()));
        }
        Writers { stop, running }
    }

    /// Tells them to stop, and waits for what is under way. One that the server
    /// does not answer gives up after a while.
    pub(crate) async fn stop(self) -> Writes {
        self.stop.store(true, Ordering::Relaxed);
        self.joined().await
    }

    async fn joined(mut self) -> Writes {
        let mut all = Writes::new();
        while let Some(writes) = self.running.join_next().await {
            all.extend(writes.expect("a writer"));
        }
        all
    }
}

/// Writes `count` keys, which must all be taken.
pub(crate) async fn acknowledged(endpoint: &str, name: &str, count: usize, bytes: usize) -> Writes {
    let mut rpc = Rpc::connect(endpoint).await.expect("connect");
    let mut writes = Writes::new();
    for number in 0..count {
        let key = format!("{name}/{number:06}").into_bytes();
        rpc.kv.put(put(&key, bytes)).await.expect("a write before the fault");
        writes.insert(key, Outcome::Acknowledged);
    }
    writes
}

async fn write(mut rpc: Rpc, prefix: String, bytes: usize, stop: Arc<AtomicBool>) -> Writes {
    let mut writes = Writes::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{prefix}/{number:06}").into_bytes();
        let answer = tokio::time::timeout(PATIENCE, rpc.kv.put(put(&key, bytes))).await;
        let outcome = match answer {
            Ok(Ok(_)) => Outcome::Acknowledged,
            Ok(Err(status)) if status.code() == Code::ResourceExhausted => {
                // The disk stays as it is for a while: no use in hurrying.
                tokio::time::sleep(Duration::from_millis(5)).await;
                Outcome::Refused(status.message().to_owned())
            }
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        };
        let is_over = outcome == Outcome::Unknown;
        writes.insert(key, outcome);
        if is_over {
            break;
        }
    }
    writes
}

/// A put whose value can be told from every other one's.
pub(crate) fn put(key: &[u8], bytes: usize) -> PutRequest {
    let key = Bytes::copy_from_slice(key);
    PutRequest { value: value_of(&key, bytes), key, ..PutRequest::default() }
}

fn value_of(key: &[u8], bytes: usize) -> Bytes {
    // Nothing that could be compressed: files are to get large.
    let seed =
        key.iter().fold(0u64, |seed, byte| seed.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    let mut rng = Rng::new(seed);
    let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes());
    words.flatten().take(bytes).collect()
}

/// Writes one key, for as long as it is refused.
pub(crate) async fn put_at_last(
    endpoint: &str,
    key: &str,
    deadline: Duration,
) -> Result<(), Status> {
    let mut rpc = Rpc::connect(endpoint).await.expect("connect");
    let end = tokio::time::Instant::now() + deadline;
    loop {
        match rpc.kv.put(put(key.as_bytes(), 100)).await {
            Ok(_) => return Ok(()),
            Err(status) if tokio::time::Instant::now() >= end => return Err(status),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// That what a server holds agrees with what its clients were told.
pub(crate) async fn assert_kept(endpoint: &str, writes: &Writes, what: &str) {
    let found = everything(endpoint).await;
    for (key, outcome) in writes {
        let name = String::from_utf8_lossy(key);
        match (outcome, found.get(key)) {
            (Outcome::Acknowledged, None) => panic!("{what}: {name} was acknowledged and is lost"),
            (Outcome::Refused(_), Some(_)) => panic!("{what}: {name} was refused and came back"),
            (_, Some(value)) => {
                let expected = value_of(key, value.len());
                assert!(*value == expected, "{what}: {name} has another value");
            }
            _ => {}
        }
    }
}

async fn everything(endpoint: &str) -> BTreeMap<Vec<u8>, Bytes> {
    let mut rpc = Rpc::connect(endpoint).await.expect("connect");
    let mut found = BTreeMap::new();
    let mut from = vec![0];
    loop {
        let request = RangeRequest {
            key: from.clone().into(),
            range_end: vec![0].into(),
            limit: PAGE,
            ..RangeRequest::default()
        };
        let page = rpc.kv.range(request).await.expect("read everything").into_inner();
        let Some(last) = page.kvs.last() else { return found };
        from = last.key.to_vec();
        from.push(0);
        found.extend(page.kvs.into_iter().map(|kv| (kv.key.to_vec(), kv.value)));
        if !page.more {
            return found;
        }
    }
}
