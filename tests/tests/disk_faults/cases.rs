//! One fault of a running server, from its beginning to the restart after it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use t4_proto::etcdserverpb::{AlarmRequest, AlarmType};
use t4_testkit::{Metrics, Program, Rng, Rpc, Seed, poll_until, poll_until_async};

use crate::injection::{Fault, Injection, is_possible};
use crate::writers::{Outcome, Writers, acknowledged, assert_kept, put_at_last};
use crate::{COMMAND, DEADLINE, Server, assert_no_backtrace};

const WRITERS: usize = 4;
/// What every refusal for want of room says.
pub(crate) const DISK_FULL: &str = "t4: the disk of the data directory is full";
pub(crate) const EXHAUSTED: &str = "t4: the server has no open files or no memory left";

/// What must come of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The server serves on, and takes writes when the fault is over.
    GoesOn,
    /// The same, and while it lasts, writes are refused with this text, which
    /// readiness, metrics and alarms show.
    Refuses(&'static str),
    /// It ends with exit code 1, and says this.
    Stops(&'static str),
}

/// The fault of files of a server, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Its name in its suite.
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    pub(crate) expected: Expected,
}

/// One of these errors.
pub(crate) fn one_of(rng: &mut Rng, errors: &[&'static str]) -> &'static str {
    errors[rng.below(errors.len() as u64) as usize]
}

/// The case that `calls` to `path` fail.
pub(crate) fn case(
    name: &'static str,
    calls: &'static str,
    error: &'static str,
    when: impl Into<String>,
    path: &str,
    expected: Expected,
) -> Case {
    let fault = Fault { calls, error, when: when.into(), paths: vec![path.to_owned()] };
    Case { name, fault, expected }
}

/// Runs cases, each with a server of its own, under writers of values of `bytes`
/// bytes. `cases` gives them for paths that only the server knows. `T4_CASE` is the
/// name of the only one to run.
pub(crate) fn run(suite: &str, bytes: usize, cases: impl Fn(&Server, &mut Rng) -> Vec<Case>) {
    if !is_possible() {
        return;
    }
    let seed = Seed::announce(suite, COMMAND);
    let only = std::env::var("T4_CASE").ok();
    let mut done = BTreeSet::new();
    loop {
        let mut server = Server::start();
        // The same draws each time: only the paths differ.
        let cases = cases(&server, &mut seed.rng());
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len(), "two cases of {suite} have one name");
        let is_next = |case: &Case| {
            only.as_deref().is_none_or(|only| only == case.name) && !done.contains(case.name)
        };
        let Some(case) = cases.into_iter().find(is_next) else { return };
        println!("{suite}: T4_CASE={:?}: {case:?}", case.name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run_one(&mut server, &case, bytes));
        done.insert(case.name);
    }
}

async fn run_one(server: &mut Server, case: &Case, bytes: usize) {
    let what = format!("{case:?}");
    let endpoint = server.endpoint.clone();
    let mut writes = acknowledged(&endpoint, "before", 20, 1000).await;
    let trace = server.scratch.join("trace");
    let injection =
        Injection::begin(server.program.pid(), &case.fault, &trace).expect("attach strace");
    let writers = Writers::start(&endpoint, "during", WRITERS, bytes).await;
    injection.wait_for_one(DEADLINE).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    match case.expected {
        Expected::Stops(told) => {
            // The writers go on until it is gone: some faults show when a segment
            // is needed.
            assert_stops(&mut server.program, told, &what).await;
            writes.extend(writers.stop().await);
            drop(injection);
        }
        Expected::GoesOn => {
            injection.end().expect(&what);
            put_at_last(&endpoint, "after", DEADLINE).await.expect(&what);
            writes.extend(writers.stop().await);
        }
        Expected::Refuses(text) => {
            poll(server, &what, move |metrics| shows_refusal(metrics, text)).await;
            alarm_is(&endpoint, text == DISK_FULL).await;
            let during = writers.stop().await;
            let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(why) if why.starts_with(text));
            assert!(during.values().any(refused), "{what}: none of {} was refused", during.len());
            assert!(!during.values().any(|outcome| *outcome == Outcome::Unknown), "{what}");
            writes.extend(during);
            injection.end().expect(&what);
            // Nobody writes, and yet it is noticed that there is room again.
            poll(server, &what, shows_no_refusal).await;
            alarm_is(&endpoint, false).await;
            put_at_last(&endpoint, "after", DEADLINE).await.expect(&what);
            assert_told_twice(server, &what);
        }
    }
    assert_no_backtrace(&server.program.log(), &what);
    server.start_again();
    assert_kept(&endpoint, &writes, &what).await;
}

/// It ends by itself, and says why.
pub(crate) async fn assert_stops(program: &mut Program, told: &str, what: &str) {
    let ended = poll_until_async("the server ends", DEADLINE, || {
        let running = program.is_running();
        async move {
            ensure!(!running?, "it runs");
            Ok(())
        }
    });
    ended.await.expect(what);
    let status = program.wait(DEADLINE).expect(what);
    assert_eq!(status.code(), Some(1), "{what}: {}", program.log_tail());
    let line = program.wait_for_line("the node cannot go on", DEADLINE).expect(what);
    assert!(line.contains(told), "{what}: {line}");
}

/// On a thread of its own: the writers share this one.
async fn poll(
    server: &Server,
    what: &str,
    probe: impl Fn(&str) -> anyhow::Result<()> + Send + Copy + 'static,
) {
    let (address, name) = (server.metrics.clone(), what.to_owned());
    let polling =
        tokio::task::spawn_blocking(move || poll_until(&name, DEADLINE, || probe(&address)));
    polling.await.expect("polled").expect("seen");
}

fn shows_refusal(metrics: &str, text: &str) -> anyhow::Result<()> {
    let (status, body) = http(metrics, "/readyz")?;
    let told = text.trim_start_matches("t4: ");
    ensure!(status == 503 && body.contains("[-]disk failed"), "{status}: {body}");
    let full = text == DISK_FULL;
    ensure!(!full || body.contains(told), "{body}");
    let gauges = Metrics::read(metrics)?;
    let gauge = if full { "t4_disk_full" } else { "t4_resources_exhausted" };
    ensure!(gauges.sample(gauge) == Some(1), "{gauge}");
    Ok(())
}

fn shows_no_refusal(metrics: &str) -> anyhow::Result<()> {
    let (status, body) = http(metrics, "/readyz")?;
    ensure!(status == 200, "{status}: {body}");
    let (status, body) = http(metrics, "/health")?;
    ensure!(status == 200, "{status}: {body}");
    let gauges = Metrics::read(metrics)?;
    for gauge in ["t4_disk_full", "t4_resources_exhausted", "t4_no_space"] {
        ensure!(gauges.sample(gauge) == Some(0), "{gauge}");
    }
    Ok(())
}

async fn alarm_is(endpoint: &str, on: bool) {
    let mut rpc = Rpc::connect(endpoint).await.expect("connect");
    let alarms = rpc.maintenance.alarm(AlarmRequest::default()).await.expect("alarms").into_inner();
    let is_on = alarms.alarms.iter().any(|alarm| alarm.alarm() == AlarmType::Nospace);
    assert_eq!(is_on, on, "{alarms:?}");
}

/// The episode's beginning and its end, and no line for each write.
fn assert_told_twice(server: &Server, what: &str) {
    let told = || {
        let mut log = server.program.log();
        log.retain(|line| {
            [" INFO ", " WARN ", " ERROR "].iter().any(|level| line.contains(level))
                && !line.contains("t4 is starting")
                && !line.contains("open to others")
                && line.contains("refused")
        });
        log
    };
    // The lines come by a pipe.
    let both = poll_until(what, DEADLINE, || {
        ensure!(told().len() >= 2, "{:#?}", told());
        Ok(())
    });
    both.expect("the beginning and the end are told");
    let lines = told();
    assert_eq!(lines.len(), 2, "{what}: {lines:#?}");
    assert!(lines[0].contains(" ERROR ") && lines[1].contains(" INFO "), "{what}: {lines:#?}");
}

/// GET over plain HTTP/1.1: the status and the rest.
pub(crate) fn http(address: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer))
}
