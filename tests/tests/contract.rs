//! Races that a comparison of two servers, one operation after another, never
//! runs into: asked of t4, and of etcd to see that the question is fair.

use std::time::Duration;

use bytes::Bytes;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use t4_testkit::{Etcd, EtcdOptions, Rpc, Seed, T4, T4Options};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const DEADLINE: Duration = Duration::from_secs(20);
const COMMAND: &str = "cargo test -p t4-tests --test contract";

fn t4() -> T4 {
    T4::start(T4Options::default()).expect("start t4")
}

async fn connect(endpoint: &str) -> Rpc {
    Rpc::connect(endpoint).await.expect("connect")
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    }
}

// Puts and gives the new revision.
async fn write(rpc: &mut Rpc, key: &str, value: &str) -> i64 {
    let response = rpc.kv.put(put(key, value)).await.expect("put").into_inner();
    response.header.expect("a header").revision
}

struct Watch {
    /// The stream ends when it is dropped.
    _requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Watch {
    async fn open(rpc: &mut Rpc, create: WatchCreateRequest) -> Watch {
        let (requests, queue) = mpsc::channel(8);
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(request).await.expect("the queue is open");
        let call = rpc.watch.watch(ReceiverStream::new(queue)).await;
        Watch { _requests: requests, responses: call.expect("watch").into_inner() }
    }

    // The next response that holds events, for at most the deadline.
    async fn next_events(&mut self) -> Result<WatchResponse, String> {
        loop {
            match tokio::time::timeout(DEADLINE, self.responses.message()).await {
                Ok(Ok(Some(response))) if response.events.is_empty() => {}
                Ok(Ok(Some(response))) => return Ok(response),
                Ok(other) => return Err(format!("{other:?}")),
                Err(_) => return Err("no event".to_owned()),
            }
        }
    }
}

/// A watch from the next revision on, created while that revision is written:
/// whichever comes first, the watcher sees it.
async fn a_watch_that_races_with_its_first_write(endpoint: &str) {
    let seed = Seed::announce("watch race", COMMAND);
    let mut rng = seed.rng();
    let mut rpc = connect(endpoint).await;
    let mut next = write(&mut rpc, "race/a", "0").await + 1;
    for round in 0..300 {
        let prefix = rng.chance(1, 2);
        let create = WatchCreateRequest {
            key: if prefix { "race/".into() } else { "race/a".into() },
            range_end: if prefix { "race0".into() } else { Bytes::new() },
            start_revision: next,
            ..WatchCreateRequest::default()
        };
        // On connections of their own, so that they really race.
        let (mut watching, mut writing) = (connect(endpoint).await, rpc.clone());
        let yields = rng.below(40);
        let watch = tokio::spawn(async move { Watch::open(&mut watching, create).await });
        let wrote = tokio::spawn(async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            write(&mut writing, "race/a", "x").await
        });
        assert_eq!(wrote.await.expect("the writer"), next);
        let mut watch = watch.await.expect("the watcher");
        let seen = watch.next_events().await;
        let seen = seen.unwrap_or_else(|reason| {
            panic!("seed {seed}, round {round}, prefix {prefix}, revision {next}: {reason}")
        });
        let revisions: Vec<i64> =
            seen.events.iter().filter_map(|e| Some(e.kv.as_ref()?.mod_revision)).collect();
        assert_eq!(revisions, [next], "seed {seed}, round {round}");
        next += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_may_race_with_its_first_write() {
    let t4 = t4();
    a_watch_that_races_with_its_first_write(t4.endpoint()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_may_race_with_its_first_write_on_etcd() {
    let etcd = Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("etcd");
    a_watch_that_races_with_its_first_write(etcd.endpoint()).await;
}
