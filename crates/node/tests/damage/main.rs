//! A data directory that was damaged gives right data, or an error that names
//! the file: never other data, never less, never silence. And verifying it
//! finds every change.
//!
//! `T4_SEED` repeats a run, `T4_CASE` one case of it, `T4_CASES` sets how many
//! there are.

mod lost;
mod mutation;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mutation::{Files, Random, is_slack, is_wal, mutate, used};
use t4_auth_rbac::{Command, PasswordHash, ROOT};
use t4_kv_types::{
    AlarmKind, DeleteRangeRequest, KeyRange, KeyValue, LeaseId, OpError, PutRequest, RangeRequest,
    Revision,
};
use t4_node::watch_hub::CancelReason;
use t4_node::{Config, FaultKind, Node, Offline, OpenError, WatchMessage, WatchSpec, verify};

const DEADLINE: Duration = Duration::from_secs(30);
const KEYS: u64 = 30;

fn config(dir: &Path) -> Config {
    Config {
        log_segment_bytes: 8 << 10,
        seal_bytes: 24 << 10,
        cache_bytes: 16 << 10,
        ..Config::new(dir)
    }
}

fn put(key: String, value: Vec<u8>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

/// Segments that are compressed and some that are not, log segments, a
/// compaction, leases and users; and the same somewhat earlier.
async fn make(dir: &Path) -> (Files, Files) {
    let mut random = Random::new(4);
    let mut older = Files::new();
    for round in 0..4u32 {
        let node = Node::open(config(dir)).await.expect("open");
        if round == 0 {
            set_up(&node).await;
        }
        for n in 0..70u32 {
            let value = match n % 10 {
                0 => format!("{n} ").repeat(80).into_bytes(),
                _ => (0..600).map(|_| random.next() as u8).collect(),
            };
            let key = format!("k/{:02}", random.next() % KEYS);
            node.put(put(key.clone(), value)).await.expect("put");
            if n % 20 == 19 {
                let range = KeyRange::single(key);
                let delete = DeleteRangeRequest { range, prev_kv: false };
                node.delete_range(delete).await.expect("delete");
            }
        }
        if round == 1 {
            let at = Revision(node.revision().0 - 40);
            node.compact(at, true).await.expect("compact");
        }
        node.stop().await;
        if round == 2 {
            older = mutation::read(dir);
        }
    }
    (mutation::read(dir), older)
}

async fn set_up(node: &Node) {
    for id in [7, 77] {
        node.lease_grant(LeaseId(id), 1_000_000).await.expect("grant");
        let request = put(format!("leased/{id}"), b"attached".to_vec());
        node.put(PutRequest { lease: LeaseId(id), ..request }).await.expect("put");
    }
    let password = Some(PasswordHash("$2a$04$hash-of-root".into()));
    for command in [
        Command::UserAdd { name: ROOT.into(), no_password: false, password },
        Command::UserGrantRole { user: ROOT.into(), role: ROOT.into() },
        Command::RoleAdd { name: "app".into() },
    ] {
        node.auth_command(command).await.expect("auth");
    }
}

type Events = Vec<(Revision, Vec<u8>, Vec<u8>)>;

/// What clients can see of a directory.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    revision: Revision,
    compacted: Option<Revision>,
    /// By revision: all keys.
    pages: BTreeMap<Revision, Vec<KeyValue>>,
    events: Events,
    leases: Vec<LeaseId>,
    auth_revision: u64,
}

/// The revisions that are looked at.
fn looked_at(revision: Revision, compacted: Option<Revision>) -> Vec<Revision> {
    let oldest = compacted.unwrap_or(Revision(1));
    vec![oldest, Revision((oldest.0 + revision.0) / 2), revision]
}

/// The outcome of everything that can be asked; what is damaged is left out of
/// `Seen`, and its errors are returned.
async fn ask(node: &Node) -> (Seen, Vec<String>) {
    let mut damaged = Vec::new();
    let mut seen = Seen {
        revision: node.revision(),
        compacted: node.status().compacted,
        leases: node.leases().await.expect("leases"),
        auth_revision: node.auth().revision(),
        ..Seen::default()
    };
    for at in looked_at(seen.revision, seen.compacted) {
        let mut request = RangeRequest::new(KeyRange::all());
        request.revision = at;
        match node.range(request).await {
            Ok(found) => drop(seen.pages.insert(at, found.kvs)),
            Err(error) => damaged.push(is_damage(error)),
        }
        // One by one too: another way to the same records.
        for n in 0..KEYS {
            let key = format!("k/{n:02}");
            let mut request = RangeRequest::new(KeyRange::single(key.clone()));
            request.revision = at;
            match (node.range(request).await, seen.pages.get(&at)) {
                (Ok(one), Some(page)) => {
                    assert!(one.kvs.iter().all(|kv| page.contains(kv)), "{key} at {at}");
                }
                (Ok(one), None) => {
                    assert!(one.kvs.iter().all(|kv| kv.key == key), "another key than {key}");
                }
                (Err(error), _) => damaged.push(is_damage(error)),
            }
        }
    }
    match node.hash_kv(Revision(0)).await {
        Ok(_) => {}
        Err(error) => damaged.push(is_damage(error)),
    }
    match watch(node, seen.compacted.unwrap_or(Revision(0)).next(), seen.revision).await {
        Ok(events) => seen.events = events,
        Err(error) => damaged.push(error),
    }
    (seen, damaged)
}

fn is_damage(error: OpError) -> String {
    match error {
        OpError::Damaged(what) => what,
        other => panic!("damage is told as {other:?}"),
    }
}

/// Every event from `from` to `to`, or why the watch was cancelled.
async fn watch(node: &Node, from: Revision, to: Revision) -> Result<Events, String> {
    let stream = node.watch();
    stream.create(None, WatchSpec { start: from, ..WatchSpec::new(KeyRange::all()) });
    let mut events = Events::new();
    while events.last().is_none_or(|(last, ..)| *last < to) {
        let message = tokio::time::timeout(DEADLINE, stream.next()).await;
        match message.expect("a watch over damage is not silent").expect("the stream lives") {
            WatchMessage::Created { .. } => {}
            WatchMessage::Events { batch, .. } => events.extend(batch.events().map(|event| {
                (event.kv.mod_revision, event.kv.key.to_vec(), event.kv.value.to_vec())
            })),
            WatchMessage::Canceled { reason: CancelReason::Damaged(what), .. } => {
                return Err(what.to_string());
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(events)
}

fn names_a_file(told: &str) -> bool {
    const OF_THE_WHOLE: [&str; 3] = ["the log begins at", "the log ends at", "the log is missing"];
    [".wal", ".seg", "MANIFEST", "IDENTITY", "END"].iter().any(|name| told.contains(name))
        || OF_THE_WHOLE.iter().any(|text| told.contains(text))
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    Damaged,
    Right,
}

async fn check(files: &Files, expected: &Seen, may_pass: bool) -> Outcome {
    let scratch = tempfile::tempdir().expect("scratch");
    mutation::write(scratch.path(), files);
    let faults = verify(scratch.path()).expect("verify").faults;
    for fault in &faults {
        assert!(names_a_file(&fault.message), "no file is named: {fault}");
        let file = fault.file.as_deref().unwrap_or_else(|| panic!("no file: {fault:?}"));
        assert!(file.is_relative(), "{fault:?}");
        let missing = fault.kind == FaultKind::Missing;
        assert!(missing || scratch.path().join(file).exists(), "{fault:?}");
    }
    assert!(may_pass || !faults.is_empty(), "verifying finds nothing");
    let looked = Offline::open(scratch.path()).err().map(|error| error.to_string());
    let node = match Node::open(config(scratch.path())).await {
        Ok(node) => node,
        Err(error) => {
            assert!(names_a_file(&error.to_string()), "no file is named: {error}");
            assert!(!faults.is_empty(), "refused, but verifying finds nothing: {error}");
            assert_eq!(looked, Some(error.to_string()), "looking says something else");
            return Outcome::Refused;
        }
    };
    assert_eq!(looked, None, "looking refuses what starts");
    let (seen, damaged) = ask(&node).await;
    assert_eq!(
        (seen.revision, seen.compacted, &seen.leases, seen.auth_revision),
        (expected.revision, expected.compacted, &expected.leases, expected.auth_revision),
        "a start without what was acknowledged"
    );
    for (at, page) in &seen.pages {
        assert!(*page == expected.pages[at], "other data at {at}");
    }
    if damaged.is_empty() {
        assert_eq!(seen.events, expected.events);
    } else {
        assert!(!faults.is_empty(), "verifying does not find {damaged:?}");
        assert!(damaged.iter().all(|told| names_a_file(told)), "{damaged:?}");
        let alarm = (node.member_id(), AlarmKind::Corrupt);
        let raised = async {
            while !node.alarms().contains(&alarm) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(DEADLINE, raised).await.expect("the alarm goes on");
        assert_eq!(node.put(put("k".into(), vec![])).await, Err(OpError::Corrupt));
    }
    node.stop().await;
    if damaged.is_empty() { Outcome::Right } else { Outcome::Damaged }
}

/// Whether a log segment has changed only where nothing was written yet: what
/// is there is cut off as a write that was never acknowledged.
fn differ_behind_the_end(old: &[u8], new: &[u8]) -> bool {
    let used = used(old);
    old.len() == new.len() && old[..used] == new[..used]
}

/// Files whose loss or presence means nothing: what is sealed already, and what
/// nobody names. Without the mark of where the log ended, or with an older one, the
/// log is as good as it is.
fn is_harmless(before: &Files, after: &Files, older: &Files, sealed: u64) -> bool {
    let mark = Path::new("log/END");
    let is_true = |name: &Path| name == mark && after.get(name) == older.get(name);
    let first = |name: &PathBuf| name.file_stem()?.to_str()?.parse::<u64>().ok();
    let wals: Vec<u64> = before.keys().filter(|name| is_wal(name)).filter_map(first).collect();
    let is_sealed = |name: &PathBuf| {
        let next = wals.iter().find(|&&other| first(name).is_some_and(|first| other > first));
        is_wal(name) && next.is_some_and(|next| *next <= sealed + 1)
    };
    let gone: Vec<&PathBuf> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    let lost =
        gone.iter().any(|name| !is_slack(name) && !is_sealed(name) && name.as_path() != mark);
    let newest = before.keys().rfind(|name| is_wal(name));
    let changed = before.iter().any(|(name, old)| {
        let new = after.get(name);
        new.is_some_and(|new| new != old)
            && !is_true(name)
            && !(Some(name) == newest && new.is_some_and(|new| differ_behind_the_end(old, new)))
    });
    let added = after.keys().any(|name| !before.contains_key(name) && is_wal(name));
    !lost && !changed && !added
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_damage_gives_right_data_or_an_error_that_names_the_file() {
    let scratch = tempfile::tempdir().expect("scratch");
    let (files, older) = make(scratch.path()).await;
    let sealed = Offline::open(scratch.path()).expect("sound").sealed().index.0;
    let sound = verify(scratch.path()).expect("verify");
    assert!(sound.faults.is_empty(), "{:?}", sound.faults);
    let count = |ext: &str| {
        files.keys().filter(|name| name.extension().is_some_and(|found| found == ext)).count()
    };
    assert!(count("wal") > 3 && count("seg") > 2, "{:?}", files.keys());

    let node = Node::open(config(scratch.path())).await.expect("open");
    let (expected, damaged) = ask(&node).await;
    assert!(damaged.is_empty() && expected.pages.len() == 3 && !expected.events.is_empty());
    node.stop().await;

    let fresh = getrandom::u64().expect("the operating system gives no randomness") >> 24;
    let (seed, cases) = (number("T4_SEED", fresh), number("T4_CASES", 600));
    let only = std::env::var("T4_CASE").ok().map(|case| case.parse::<u64>().expect("a number"));
    println!("T4_SEED={seed}");
    let mut outcomes = BTreeMap::<Outcome, usize>::new();
    for case in 0..cases {
        if only.is_some_and(|only| only != case) {
            continue;
        }
        let mut random = Random::new(seed << 20 | case);
        let (told, mutated) = loop {
            let mut mutated = files.clone();
            if let Some(told) = mutate(&mut mutated, &older, &mut random) {
                break (told, mutated);
            }
        };
        println!("T4_SEED={seed} T4_CASE={case}: {told}");
        let may_pass = is_harmless(&files, &mutated, &older, sealed);
        *outcomes.entry(check(&mutated, &expected, may_pass).await).or_default() += 1;
    }
    println!("{outcomes:?}");
    if only.is_none() && cases >= 500 {
        let of = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
        assert!(of(Outcome::Refused) > 200 && of(Outcome::Damaged) > 20, "{outcomes:?}");
        assert!(of(Outcome::Right) > 5, "{outcomes:?}");
    }
}

/// A young directory, all of which is in its log.
#[tokio::test]
async fn a_young_directory_without_its_log_does_not_start_empty() {
    let scratch = tempfile::tempdir().expect("scratch");
    let node = Node::open(Config::new(scratch.path())).await.expect("open");
    node.put(put("k".into(), b"v".to_vec())).await.expect("put");
    node.stop().await;
    let log = scratch.path().join("log");
    let names: Vec<PathBuf> =
        std::fs::read_dir(&log).expect("list").map(|e| e.expect("entry").path()).collect();
    names
        .iter()
        .filter(|name| is_wal(name))
        .for_each(|name| std::fs::remove_file(name).expect("there"));
    for lost in ["the segments", "the directory"] {
        let refused = Node::open(Config::new(scratch.path())).await.err().expect("refused");
        assert!(
            matches!(&refused, OpenError::LogLost { path, .. } if *path == log),
            "{lost}: {refused}"
        );
        let looked = Offline::open(scratch.path()).err().expect("refused");
        assert_eq!(looked.to_string(), refused.to_string());
        let faults = verify(scratch.path()).expect("verify").faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        std::fs::remove_dir_all(&log).unwrap_or_default();
    }
}

/// A directory of the release before the closing marks: `crates/node/fixtures`
/// says what is in it.
#[tokio::test]
async fn a_directory_of_the_first_formats_opens_and_gets_its_marks() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-dir-v1");
    let scratch = tempfile::tempdir().expect("scratch");
    mutation::write(scratch.path(), &mutation::read(&fixture));
    let sound = verify(scratch.path()).expect("verify");
    assert!(sound.faults.is_empty(), "{:?}", sound.faults);
    let state = sound.state.expect("sound");
    assert_eq!((state.revision, state.oldest), (Revision(128), Revision(66)));
    assert_eq!((state.keys, state.leases, state.attachments, state.users), (24, 1, 1, 1));

    let node = Node::open(config(scratch.path())).await.expect("open");
    let found = node.range(RangeRequest::new(KeyRange::single("attached"))).await.expect("get");
    assert_eq!((&found.kvs[0].value[..], found.kvs[0].lease), (&b"to 77"[..], LeaseId(77)));
    assert_eq!(node.range(RangeRequest::new(KeyRange::all())).await.expect("all").kvs.len(), 24);
    assert_eq!(node.put(put("new".into(), vec![7; 9000])).await.expect("put").revision.0, 129);
    node.stop().await;

    let mut files = mutation::read(scratch.path());
    let wals: Vec<PathBuf> = files.keys().filter(|name| is_wal(name)).cloned().collect();
    assert!(wals.len() > 3, "{wals:?}");
    for newest in wals[1..].iter().rev() {
        files.remove(newest);
        let copy = tempfile::tempdir().expect("scratch");
        mutation::write(copy.path(), &files);
        let refused = Node::open(config(copy.path())).await.err().expect("refused").to_string();
        let name = newest.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(refused.contains(&name), "{name}: {refused}");
    }
}

/// After a clean stop nothing of the log's end can be taken for a write that a
/// crash cut. After a kill, of what was there at the clean stop before still
/// nothing can, and of what came since, what looks torn is.
#[tokio::test]
async fn the_end_of_the_log_is_missed_after_a_clean_stop_and_may_be_torn_after_a_kill() {
    let mut random = Random::new(number("T4_SEED", 9));
    let scratch = tempfile::tempdir().expect("scratch");
    let config = |dir: &Path| Config::new(dir);
    let write = async |node: &Node, from: u32| {
        for n in from..from + 20 {
            node.put(put(format!("k/{n}"), vec![n as u8; 100])).await.expect("put");
        }
        node.revision()
    };
    let node = Node::open(config(scratch.path())).await.expect("open");
    write(&node, 0).await;
    node.stop().await;
    let stopped = mutation::read(scratch.path());
    let node = Node::open(config(scratch.path())).await.expect("open");
    let (before, newest) = (node.revision(), write(&node, 20).await);
    // What a kill would leave.
    let killed = mutation::read(scratch.path());
    node.stop().await;

    let (mut torn, mut refused) = (0, 0);
    for case in 0..60 {
        let (files, least) = if case % 2 == 0 { (&stopped, None) } else { (&killed, Some(before)) };
        let mut mutated = files.clone();
        let told = mutation::lose_the_end(&mut mutated, &mut random);
        let copy = tempfile::tempdir().expect("scratch");
        mutation::write(copy.path(), &mutated);
        let faults = verify(copy.path()).expect("verify").faults;
        match (Node::open(config(copy.path())).await, least) {
            (Ok(node), Some(least)) => {
                assert!(faults.is_empty(), "{told}: {faults:?}");
                assert!((least..=newest).contains(&node.revision()), "{told}: lost");
                torn += 1;
                node.stop().await;
            }
            (Ok(_), None) => panic!("{told}: it starts"),
            (Err(error), _) => {
                let error = error.to_string();
                assert!(error.contains(".wal") && !faults.is_empty(), "{told}: {error}");
                refused += 1;
            }
        }
    }
    assert!(torn > 3 && refused > 30, "{torn} torn, {refused} refused");
}
