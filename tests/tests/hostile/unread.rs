//! Bodies that never come and answers that nobody reads, from many clients at
//! once: all of it within one bound, under which others are served.

use std::time::Duration;

use anyhow::ensure;
use h2::client::ResponseFuture;
use t4_proto::etcdserverpb::RangeRequest;
use t4_testkit::{Metrics, Rpc, T4, poll_until_async};
use tokio::task::JoinSet;
use tonic::Code;

use crate::bystander::Bystander;
use crate::raw::{RawConnection, framed, read};
use crate::server::{Target, Transport};
use crate::{DEADLINE, MIB, assert_log_is_calm, get, get_prefix, put, t4_over};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";

/// What the server may keep of unread answers, by its flag. As much again is for
/// what is being made, and for the allocator.
const HELD: u64 = 128 * MIB;
const HELD_FLAG: &str = "--client-memory-bytes=134217728";

const VALUES: usize = 64;
const VALUE_BYTES: usize = 512 << 10;

async fn store_values(rpc: &mut Rpc) {
    for key in 0..VALUES {
        rpc.kv.put(put(&format!("v/{key:03}"), vec![7; VALUE_BYTES])).await.expect("put");
    }
}

/// 32 MiB.
fn all_values() -> RangeRequest {
    get_prefix("v/")
}

/// Lists that are begun and not read. They go with their connection.
async fn unread(target: &Target, path: &str, calls: usize) -> (RawConnection, Vec<ResponseFuture>) {
    let raw = RawConnection::open(target).await;
    let mut lists = Vec::new();
    for _ in 0..calls {
        lists.push(raw.send(path, &[], framed(&all_values())).await);
    }
    (raw, lists)
}

fn sample(t4: &T4, name: &str) -> u64 {
    Metrics::read(t4.metrics_endpoint()).expect("metrics").sample(name).expect("the sample")
}

async fn wait_for(t4: &T4, name: &str, least: u64) {
    let found = poll_until_async(name, DEADLINE, || async {
        let found = Metrics::read(t4.metrics_endpoint())?.sample(name);
        ensure!(found >= Some(least), "{name} is {found:?}");
        Ok(())
    });
    found.await.expect(name);
}

over_both_transports! {
    unread_lists_of_many_are_bounded_in_all,
    unread_streams_of_many_are_bounded_in_all,
    paused_streams_hold_up_no_other,
    announced_bodies_cost_nothing,
    unfinished_requests_are_bounded,
}

async fn unread_lists_of_many_are_bounded_in_all(transport: Transport) {
    const CONNECTIONS: usize = 24;
    let (mut t4, target) = t4_over(transport, &[HELD_FLAG]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    store_values(&mut rpc).await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        crowd.push(unread(&target, RANGE, 2).await);
    }
    // Those that come too late wait. They would have 1.5 GiB.
    wait_for(&t4, "t4_client_memory_waits_total", CONNECTIONS as u64 / 2).await;
    bystander.assert_served("unread lists").await;
    let held = sample(&t4, "t4_client_memory_bytes");
    assert!(held <= HELD + HELD / 2, "{held} B are held");
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB, {} MiB held", before / MIB, peak / MIB, held / MIB);
    assert!(peak <= before + 3 * HELD, "{before} B, then {peak} B");

    // A list that is within the share is served meanwhile.
    let few = RangeRequest { limit: 2, ..all_values() };
    let found = rpc.kv.range(few).await.expect("a list of somebody else").into_inner();
    assert_eq!(found.kvs.len(), 2);
    // When the crowd has gone, everything is.
    drop(crowd);
    let reader = RawConnection::open(&target).await;
    let answer = tokio::time::timeout(DEADLINE, reader.call(RANGE, &[], framed(&all_values())));
    let answer = answer.await.expect("in time").expect("an answer");
    assert_eq!(answer.status, Some((Code::Ok, String::new())));
    assert_log_is_calm(&mut t4, 0);
}

async fn unread_streams_of_many_are_bounded_in_all(transport: Transport) {
    const CONNECTIONS: usize = 10;
    const STREAMS: usize = 40;
    let (mut t4, target) = t4_over(transport, &[HELD_FLAG]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    store_values(&mut rpc).await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        crowd.push(unread(&target, RANGE_STREAM, STREAMS).await);
    }
    wait_for(&t4, "t4_client_memory_waits_total", CONNECTIONS as u64).await;
    bystander.assert_served("unread streams").await;
    let held = sample(&t4, "t4_client_memory_bytes");
    assert!(held <= HELD + HELD / 2, "{held} B are held");
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB, {} MiB held", before / MIB, peak / MIB, held / MIB);
    assert!(peak <= before + 3 * HELD, "{before} B, then {peak} B");

    // A stream that is paused holds up no other call of its connection.
    let (raw, lists) = crowd.pop().expect("a crowd");
    let found = raw.call(RANGE, &[], framed(&get("by"))).await.expect("an answer");
    assert_eq!(found.status, Some((Code::Ok, String::new())));
    // Those that are read at last are whole, whatever the others do.
    let mut readers = JoinSet::new();
    for list in lists {
        readers.spawn(tokio::time::timeout(DEADLINE, read(list)));
    }
    while let Some(answer) = readers.join_next().await {
        let answer = answer.expect("a reader").expect("in time");
        let answer = answer.expect("the connection is open");
        assert_eq!(answer.status, Some((Code::Ok, String::new())));
        assert!(answer.body.len() > VALUES * VALUE_BYTES, "{} B", answer.body.len());
    }
    assert_log_is_calm(&mut t4, 0);
}

/// However many streams of a connection are not read, another one is.
async fn paused_streams_hold_up_no_other(transport: Transport) {
    let (mut t4, target) = t4_over(transport, &[]);
    let mut rpc = target.rpc().await;
    store_values(&mut rpc).await;
    let (raw, paused) = unread(&target, RANGE_STREAM, 8).await;
    let mut begun = Vec::new();
    for stream in paused {
        begun.push(stream.await.expect("an answer"));
    }
    let read = raw.call(RANGE_STREAM, &[], framed(&all_values()));
    let answer = tokio::time::timeout(DEADLINE, read).await.expect("in time").expect("an answer");
    assert_eq!(answer.status, Some((Code::Ok, String::new())));
    assert!(answer.body.len() > VALUES * VALUE_BYTES, "{} B", answer.body.len());
    assert_log_is_calm(&mut t4, 0);
}

/// What a message says of its length costs nothing.
async fn announced_bodies_cost_nothing(transport: Transport) {
    const STREAMS: u64 = 4_000;
    const STREAM_BYTES_MAX: u64 = 16 << 10;
    let (mut t4, target) = t4_over(transport, &[]);
    let memory = t4.memory();
    Bystander::begin(&target).await.assert_served("quiet").await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let raw = RawConnection::open(&target).await;
    let announced = [&[0][..], &1_500_000_u32.to_be_bytes(), &[7; 10]].concat();
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        let (response, mut request) = raw.begin(PUT, &[]).await;
        request.send_data(announced.clone().into(), false).expect("the stream is open");
        open.push((response, request));
    }
    // All of it was read: this comes behind it.
    let found = raw.call(RANGE, &[], framed(&get("by"))).await.expect("an answer");
    assert_eq!(found.status, Some((Code::Ok, String::new())));
    bystander.assert_served("announced bodies").await;
    let peak = memory.peak();
    println!("{} KiB a stream", peak.saturating_sub(before) / STREAMS / 1024);
    assert!(peak <= before + STREAMS * STREAM_BYTES_MAX, "{before} B, then {peak} B");
    assert_log_is_calm(&mut t4, 0);
}

/// What has come of requests that are not ended counts, and beyond the share
/// the call is refused. The connection goes on.
async fn unfinished_requests_are_bounded(transport: Transport) {
    const STREAMS: usize = 600;
    const SENT: usize = 500_000;
    let (mut t4, target) = t4_over(transport, &[HELD_FLAG]);
    let memory = t4.memory();
    Bystander::begin(&target).await.assert_served("quiet").await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let raw = RawConnection::open(&target).await;
    let begun = [&[0][..], &1_500_000_u32.to_be_bytes(), &vec![7; SENT]].concat();
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        let (response, mut request) = raw.begin(PUT, &[]).await;
        request.send_data(begun.clone().into(), false).expect("the stream is open");
        open.push((response, request));
    }
    wait_for(&t4, "t4_client_memory_refusals_total", STREAMS as u64 / 4).await;
    let found = raw.call(PUT, &[], framed(&put("k", vec![1]))).await.expect("an answer");
    assert_eq!(found.status, Some((Code::Ok, String::new())));
    bystander.assert_served("unfinished requests").await;
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak <= before + 2 * HELD, "{before} B, then {peak} B");

    let (mut refused, mut waiting) = (0, 0);
    for (response, request) in open {
        match tokio::time::timeout(Duration::ZERO, response).await {
            Ok(response) => {
                let answer = read(std::future::ready(response)).await.expect("an answer");
                assert_eq!(answer.status.expect("a status").0, Code::ResourceExhausted);
                refused += 1;
            }
            Err(_) => waiting += 1,
        }
        drop(request);
    }
    println!("{refused} refused, {waiting} still waiting for the rest");
    assert!(refused >= STREAMS / 4 && waiting > 0, "{refused} and {waiting}");
    assert_log_is_calm(&mut t4, 0);
}
