//! Where reads run, and when they end.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use t4_kv_types::{KeyRange, LeaseId, Write};
use t4_mvcc::{Config, Store};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// `count` keys with values of so many bytes.
fn reads_of(count: usize, value_bytes: usize) -> (Reads, Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(Config::new(dir.path())).unwrap();
    let value = Bytes::from(vec![7; value_bytes]);
    let put = |number: usize| Write::Put {
        key: Bytes::from(format!("{number:06}")),
        value: value.clone(),
        lease: LeaseId::NONE,
    };
    let (next, writes) = (store.revision().next(), (0..count).map(put).collect::<Vec<_>>());
    store.apply(next, &writes);
    store.publish(next);
    (Reads::new(store.reader(), Damage::unheard()), store, dir)
}

fn all() -> RangeRequest {
    RangeRequest::new(KeyRange::all())
}

fn thread(_: RangeResult) -> ThreadId {
    std::thread::current().id()
}

/// One key, a thousand, and one large one are answered where they are asked for;
/// what is large in bytes or in keys is made elsewhere.
#[tokio::test]
async fn large_answers_are_made_elsewhere() {
    let here = std::thread::current().id();
    for (keys, bytes, limit, is_here) in [
        (1, 100, 0, true),
        (1, 700_000, 0, true),
        (1_000, 100, 0, true),
        (50_000, 100, 1_000, true),
        (20, 100_000, 0, false),
        (50_000, 0, 0, false),
    ] {
        let (reads, _store, _dir) = reads_of(keys, bytes);
        let request = RangeRequest { limit, ..all() };
        let made = reads.range(&request, ANSWER_BYTES_MAX, &thread).await.unwrap();
        assert_eq!(made == here, is_here, "{keys} keys of {bytes} bytes, limit {limit}");
    }
    let write = |kvs| (kvs, 7);
    let kvs = vec![KeyValue { value: vec![0; INLINE_WORK_MAX].into(), ..Default::default() }];
    let (reads, _store, _dir) = reads_of(1, 1);
    for (kvs, is_here) in [(vec![KeyValue::default(); 1_000], true), (kvs, false)] {
        let heavy = is_heavy(&kvs);
        let made = reads.answer(write(kvs), heavy, |_| std::thread::current().id());
        assert_eq!(made.await.unwrap() == here, is_here);
    }
}

#[tokio::test]
async fn what_is_over_the_bound_is_refused() {
    let (reads, _store, _dir) = reads_of(100, 100_000);
    let make = |result: RangeResult| result.kvs.len();
    let refused = reads.range(&all(), 5_000_000, &make).await;
    assert_eq!(refused, Err(OpError::AnswerTooLarge));
    let few = RangeRequest { limit: 10, ..all() };
    assert_eq!(reads.range(&few, 5_000_000, &make).await, Ok(10));
}

const LIMIT: Limit = Limit::Bytes(1);

/// Polls a future once; it is not done.
fn begin(future: std::pin::Pin<&mut impl Future>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(future.poll(&mut cx), Poll::Pending));
}

#[tokio::test]
async fn a_read_under_way_ends_when_its_caller_goes() {
    let (reads, _store, _dir) = reads_of(1, 1);
    let (begun, has_begun) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    {
        let read = move |_: &Reader, budget: &Budget<'_>| {
            begun.send(()).unwrap();
            let long = std::time::Instant::now();
            while budget.still_wanted().is_ok() && long.elapsed() < DEADLINE {
                std::thread::yield_now();
            }
            ended.send(budget.still_wanted().is_err()).unwrap();
            budget.still_wanted()
        };
        let mut future =
            pin!(reads.block(&reads.large, LIMIT, read, |()| panic!("nobody wants it")));
        begin(future.as_mut());
        has_begun.recv_timeout(DEADLINE).unwrap();
    }
    assert_eq!(has_ended.recv_timeout(DEADLINE), Ok(true));
}

#[tokio::test]
async fn a_read_that_waits_is_never_begun_when_its_caller_goes() {
    let (reads, _store, _dir) = reads_of(1, 1);
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let busy: Vec<_> = (0..WAITING_READS_MAX)
        .map(|_| {
            let (reads, held) = (reads.clone(), held.clone());
            let read = move |_: &Reader, _: &Budget<'_>| {
                let _ = held.lock().unwrap().recv();
                Ok(())
            };
            tokio::spawn(async move { reads.block(&reads.waiting, LIMIT, read, |()| ()).await })
        })
        .collect();
    while reads.waiting.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    {
        let read = |_: &Reader, _: &Budget<'_>| -> Result<(), ReadError> { panic!("it is gone") };
        let mut future = pin!(reads.block(&reads.waiting, LIMIT, read, |()| ()));
        begin(future.as_mut());
    }
    drop(release);
    for one in busy {
        one.await.unwrap().unwrap().unwrap();
    }
    reads.block(&reads.waiting, LIMIT, |_, _| Ok(()), |()| ()).await.unwrap().unwrap();
}
