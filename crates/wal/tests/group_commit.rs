//! One sync for all callers, in order, and only true reports.

mod workload;

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, Sender, channel};

use t4_kv_types::LogIndex;
use t4_wal::{Call, Durable, Event, GroupCommit, MemoryDir, Ticket, Wal, WalError};
use workload::{config, entry, open};

/// A commit thread that waits after each event until the test continues it.
struct Stepped {
    commit: GroupCommit,
    events: Receiver<Event>,
    go_on: Sender<()>,
}

fn stepped(dir: &MemoryDir) -> Stepped {
    let (wal, _) = Wal::open(dir.clone(), config(), LogIndex(0)).expect("open");
    let (report, events) = channel();
    let (go_on, wait) = channel();
    let on_event = move |event| {
        report.send(event).expect("the test listens");
        // An error means that the test has ended, so there is nothing to wait
        // for.
        let _ = wait.recv();
    };
    Stepped { commit: GroupCommit::spawn(wal, on_event).expect("a thread"), events, go_on }
}

impl Stepped {
    /// The next event. The thread waits in it until the next call.
    fn event(&self) -> Event {
        self.events.recv().expect("an event")
    }

    fn go_on(&self) {
        self.go_on.send(()).expect("the thread waits");
    }

    fn append(&self, from: u64, count: u64, bytes: usize) -> Ticket {
        let payload = vec![b'p'; bytes];
        let entries = (from..from + count).map(|index| entry(index, 1, payload.clone()));
        self.commit.append(entries.collect())
    }
}

fn durable(event: Event) -> Durable {
    match event {
        Event::Durable(durable) => durable,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_sync_covers_everything_that_was_queued_meanwhile() {
    let dir = MemoryDir::new();
    let stepped = stepped(&dir);
    stepped.append(1, 1, 10);
    let first = durable(stepped.event());
    assert_eq!((first.index, first.entries), (LogIndex(1), 1));
    for index in 2..=41 {
        stepped.append(index, 1, 10);
    }
    assert_eq!(stepped.commit.queued_bytes(), 400);
    stepped.go_on();
    let second = durable(stepped.event());
    assert_eq!((second.index, second.entries), (LogIndex(41), 40));
    assert!(second.bytes > 40 * 50);
    assert_eq!(stepped.commit.queued_bytes(), 0);
    let counters = stepped.commit.counters();
    assert_eq!((counters.syncs, counters.entries), (2, 41));
    stepped.go_on();

    let left = dir.power_cut(&mut |_| 0);
    assert_eq!(open(&left, 0).expect("open").1.len(), 41);
    let wal = stepped.commit.stop().expect("it has not failed");
    assert_eq!(wal.last().1, LogIndex(41));
}

#[test]
fn stopping_and_dropping_write_what_is_queued() {
    for drop_it in [false, true] {
        let dir = MemoryDir::new();
        let stepped = stepped(&dir);
        stepped.append(1, 1, 10);
        stepped.event();
        stepped.append(2, 5, 10);
        stepped.go_on();
        let Stepped { commit, events, go_on } = stepped;
        go_on.send(()).expect("for the second event");
        if drop_it {
            drop(commit);
        } else {
            commit.stop().expect("it has not failed");
        }
        assert_eq!(durable(events.recv().expect("an event")).index, LogIndex(6));
        assert_eq!(open(&dir.power_cut(&mut |_| 0), 0).expect("open").1.len(), 6);
    }
}

#[test]
fn refused_calls_and_those_behind_them_can_be_tried_again() {
    let dir = MemoryDir::new();
    let stepped = stepped(&dir);
    stepped.append(1, 3, 1000);
    durable(stepped.event());
    dir.set_capacity(Some(8192));
    let first = stepped.append(4, 3, 1000);
    let second = stepped.append(7, 1, 10);
    stepped.go_on();

    let refused = |event, ticket, from, through| match event {
        Event::Refused(refused) => {
            assert_eq!(refused.ticket, ticket);
            assert_eq!((refused.from, refused.through), (LogIndex(from), LogIndex(through)));
            assert!(refused.error.is_no_space());
        }
        other => panic!("{other:?}"),
    };
    refused(stepped.event(), first, 4, 6);
    // Queued before the caller is notified: refused, although it would fit.
    let third = stepped.append(8, 1, 10);
    stepped.go_on();
    refused(stepped.event(), second, 7, 7);
    stepped.go_on();
    refused(stepped.event(), third, 8, 8);

    // Again starting with the first one, in a batch with one more of the old
    // ones.
    let fourth = stepped.append(9, 1, 10);
    dir.set_capacity(None);
    stepped.append(4, 1, 10);
    stepped.append(5, 1, 10);
    stepped.go_on();
    refused(stepped.event(), fourth, 9, 9);
    stepped.go_on();
    assert_eq!(durable(stepped.event()).index, LogIndex(5));
    stepped.go_on();
    let (_, entries) = open(&dir.power_cut(&mut |_| 0), 0).expect("open");
    assert_eq!(entries.len(), 5);
    assert_eq!(entries[3].payload.len(), 10, "not the refused one");
}

/// Callers bound what they append; a caller that does not gets an error and
/// loses nothing.
#[test]
fn what_is_too_large_is_refused_and_the_log_goes_on() {
    let dir = MemoryDir::new();
    let stepped = stepped(&dir);
    stepped.append(1, 1, 10);
    durable(stepped.event());
    let ticket = stepped.append(2, 1, (256 << 20) + 1);
    stepped.go_on();
    match stepped.event() {
        Event::Refused(refused) => {
            assert_eq!((refused.ticket, refused.from), (ticket, LogIndex(2)));
            assert!(matches!(*refused.error, WalError::TooLarge { .. }), "{:?}", refused.error);
        }
        other => panic!("{other:?}"),
    }
    stepped.append(2, 1, 10);
    stepped.go_on();
    assert_eq!(durable(stepped.event()).index, LogIndex(2));
    stepped.go_on();
    let (_, entries) = open(&dir.power_cut(&mut |_| 0), 0).expect("open");
    assert_eq!(entries.len(), 2);
}

#[test]
fn a_failed_sync_is_the_last_event() {
    let dir = MemoryDir::new();
    let stepped = stepped(&dir);
    stepped.append(1, 1, 10);
    durable(stepped.event());
    dir.fail(Call::Sync, 0, ErrorKind::Other);
    stepped.append(2, 1, 10);
    stepped.go_on();
    let fatal = stepped.event();
    assert!(matches!(fatal, Event::Fatal(WalError::Io { operation: "sync", .. })), "{fatal:?}");
    stepped.append(3, 1, 10);
    assert_eq!(stepped.commit.queued_bytes(), 0, "nobody would write it");
    stepped.go_on();
    assert!(stepped.commit.stop().is_none());
    assert!(stepped.events.recv().is_err(), "no event follows");
}

#[test]
fn a_hole_is_fatal_unless_something_was_refused() {
    let dir = MemoryDir::new();
    let stepped = stepped(&dir);
    stepped.append(2, 1, 10);
    let fatal = stepped.event();
    assert!(matches!(fatal, Event::Fatal(WalError::OutOfOrder { .. })), "{fatal:?}");
    stepped.go_on();
}

#[test]
fn releasing_and_reading_beside_the_thread() {
    let dir = MemoryDir::new();
    let stepped = stepped(&dir);
    let reader = stepped.commit.reader();
    for index in 1..=8 {
        stepped.append(index, 1, 2000);
        assert_eq!(durable(stepped.event()).index, LogIndex(index));
        assert_eq!(reader.last_index(), LogIndex(index));
        stepped.go_on();
    }
    assert_eq!(reader.read(LogIndex(1), usize::MAX).expect("read").len(), 8);
    stepped.commit.release(LogIndex(5));
    let wal = stepped.commit.stop().expect("it has not failed");
    assert!(wal.first_index() > LogIndex(1) && wal.first_index() <= LogIndex(6));
    assert_eq!(reader.first_index(), wal.first_index());
    let error = reader.read(LogIndex(1), 1).expect_err("released");
    assert!(matches!(error, WalError::Released { .. }), "{error}");
    drop(wal);
    assert_eq!(open(&dir, 5).expect("open").1.len(), 3);
}
