//! A hundred thousand watchers, which is what a large cluster has.

use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use t4_testkit::{Metrics, poll_until_async};
use tokio::task::JoinSet;

use crate::bystander::Bystander;
use crate::raw::{RawConnection, framed, next_chunk};
use crate::{DEADLINE, MIB, Memory, assert_log_is_calm, connect, t4};

const CONNECTIONS: usize = 10;
const STREAMS: usize = 10;
const WATCHERS: usize = 1_000;
/// Memory of a watcher, with its part of a stream. Measured: see the output.
const WATCHER_BYTES_MAX: u64 = 4 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_watchers_cost_little() {
    let mut t4 = t4(&[]);
    let memory = Memory::of(&mut t4);
    let rpc = connect(t4.endpoint()).await;
    Bystander::begin(&rpc).assert_served("quiet").await;
    memory.begin_peak();
    let before = memory.peak();

    let bystander = Bystander::begin(&rpc);
    let mut streams = JoinSet::new();
    let mut connections = Vec::new();
    for connection in 0..CONNECTIONS {
        let raw = RawConnection::open(t4.endpoint()).await;
        for stream in 0..STREAMS {
            let (response, mut requests) = raw.begin("/etcdserverpb.Watch/Watch", &[]).await;
            for watcher in 0..WATCHERS {
                let key = format!("watched/{connection}/{stream}/{watcher}").into();
                let create = WatchCreateRequest { key, ..Default::default() };
                let union = Some(RequestUnion::CreateRequest(create));
                let request = framed(&WatchRequest { request_union: union });
                requests.send_data(request.into(), false).expect("the stream is open");
            }
            streams.spawn(async move {
                let _open = requests;
                let mut body = response.await.expect("a response").into_body();
                while let Ok(Some(_)) = next_chunk(&mut body).await {}
            });
        }
        connections.push(raw);
    }
    let wanted = (CONNECTIONS * STREAMS * WATCHERS) as u64;
    let there = poll_until_async("all watch", DEADLINE, || async {
        let found =
            Metrics::read(t4.metrics_endpoint())?.sample("etcd_debugging_mvcc_watcher_total");
        anyhow::ensure!(found == Some(wanted), "{found:?} watchers");
        Ok(())
    });
    there.await.expect("watchers");
    bystander.assert_served("watchers").await;
    let more = memory.peak() - before;
    println!("{} B a watcher, {} MiB in all", more / wanted, more / MIB);
    assert!(more <= wanted * WATCHER_BYTES_MAX, "{more} B");
    drop(connections);
    assert_log_is_calm(&mut t4, 0);
}
