//! Every command of etcdctl 3.5.1 that needs neither Auth nor Snapshot, against
//! t4 and against etcd: what it prints must be the same.

use t4_testkit::{Etcd, EtcdOptions, T4, T4Options};
use t4_tests::etcdctl::Ctl;

type Scenario = (&'static str, fn(&mut Ctl));

const SCENARIOS: &[Scenario] = &[
    // First, and without leases, whose ids are part of what is hashed.
    ("endpoint and defrag", endpoint),
    ("compaction", compaction),
    ("put, get and del", put_get_del),
    ("every flag of get", get_flags),
    ("output formats", formats),
    ("txn", txn),
    ("watch", watch),
    ("watch -i", watch_interactive),
    ("lease", lease),
    ("lock", lock),
    ("elect", elect),
    ("member and move-leader", members),
    ("alarm", alarm),
    ("make-mirror", make_mirror),
    ("version and mistakes", mistakes),
];

fn etcd() -> Etcd {
    Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("start etcd")
}

// Runs every scenario against both and compares step by step.
fn compare(reference: &str, subject: &str) {
    let mut differences = Vec::new();
    for (name, scenario) in SCENARIOS {
        println!("scenario: {name}");
        let [want, got] = [reference, subject].map(|endpoint| {
            let mut ctl = Ctl::new(endpoint).expect("etcdctl");
            scenario(&mut ctl);
            ctl.transcript
        });
        assert_eq!(want.len(), got.len(), "{name}: a scenario takes the same steps everywhere");
        for (want, got) in want.iter().zip(&got) {
            if want.command != got.command || settled(&want.said) != settled(&got.said) {
                differences.push(format!(
                    "{name}: etcdctl {}\n--- etcd\n{}\n--- t4\n{}\n",
                    want.command, want.said, got.said
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

// A t4 that is alone listens to no peers and has no address for them.
fn settled(said: &str) -> String {
    said.replace("\"PeerURL\" : \"PEER-URL\"\n", "")
        .replace("\"peerURLs\":[\"PEER-URL\"]", "\"peerURLs\":null")
        .replace("\"peerURLs\":null,", "")
        .replace("PEER-URL", "")
        .replace("|  |", "| |")
}

#[test]
fn etcdctl_prints_the_same_with_t4() {
    let (etcd, t4) = (etcd(), T4::start(T4Options::default()).expect("start t4"));
    compare(etcd.endpoint(), t4.endpoint());
}

/// That the scenarios themselves are deterministic.
#[test]
fn etcdctl_prints_the_same_with_two_etcds() {
    let (one, two) = (etcd(), etcd());
    compare(one.endpoint(), two.endpoint());
}

fn put_get_del(ctl: &mut Ctl) {
    assert_eq!(ctl.ok("put kv/a 1"), "OK\n");
    ctl.ok("put kv/a 2 --prev-kv");
    ctl.ok("put kv/b '' --prev-kv");
    ctl.run("put kv/in", "from standard input");
    assert_eq!(ctl.ok("get kv/in"), "kv/in\nfrom standard input\n");
    ctl.ok("put kv/a --ignore-value");
    let lease = ctl.grant(5000, "LEASE-A");
    ctl.ok(&format!("put kv/leased x --lease={lease}"));
    ctl.ok("put kv/leased y --ignore-lease");
    ctl.ok("get kv/leased -w fields");
    ctl.fails("put kv/none --ignore-value");
    ctl.fails("put kv/none x --ignore-lease");
    ctl.fails("put kv/a x --lease=77");
    ctl.fails("put kv/a x --ignore-value");
    ctl.fails("put '' x");
    ctl.ok("get kv --prefix");
    ctl.ok("del kv/b --prev-kv");
    ctl.ok("del kv/none");
    ctl.ok("del kv/a kv/b --prev-kv");
    ctl.ok("put kv/x 1");
    ctl.ok("put kv/y 2");
    ctl.ok("del kv/x --from-key --prev-kv -w json");
    ctl.ok("del kv --prefix");
    ctl.ok("get '' --prefix --keys-only");
    ctl.ok(&format!("lease revoke {lease}"));
}

fn get_flags(ctl: &mut Ctl) {
    for (key, value) in [("g/a", "3"), ("g/b", "1"), ("g/c", "2"), ("g/b", "4"), ("h", "5")] {
        ctl.ok(&format!("put {key} {value}"));
    }
    for flags in [
        "g/a",
        "g/a g/c",
        "g/ --prefix",
        "g/b --from-key",
        "'' --from-key",
        "'' --prefix --limit=2",
        "g/ --prefix --limit=1 -w json",
        "g/ --prefix --keys-only",
        "g/ --prefix --print-value-only",
        "g/ --prefix --count-only -w fields",
        "g/ --prefix --consistency=s",
        "g/ --prefix --rev=0",
        "g/ --prefix --hex",
        "none",
    ] {
        ctl.ok(&format!("get {flags}"));
    }
    for target in ["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"] {
        for order in ["ASCEND", "DESCEND"] {
            ctl.ok(&format!("get g/ --prefix --order={order} --sort-by={target}"));
        }
    }
    ctl.fails("get g/a --rev=1000000");
    ctl.fails("get g/a --consistency=x");
    ctl.fails("get g/a --sort-by=x");
    ctl.fails("get g/ --prefix --from-key");
}

fn formats(ctl: &mut Ctl) {
    for format in ["simple", "json", "fields", "table", "protobuf"] {
        let mut run = |command: &str| {
            // Bytes that are no text hold the ids: the exit code is compared.
            if format == "protobuf" {
                ctl.run(command, "");
                if let Some(step) = ctl.transcript.last_mut() {
                    step.said = step.said.rsplit('[').next().unwrap_or_default().to_owned();
                }
            } else {
                ctl.run(&format!("{command} -w {format}"), "");
            }
        };
        for command in ["put f/a 1", "put f/a 2 --prev-kv", "get f/a", "get f/none"] {
            run(command);
        }
        for command in ["del f/a --prev-kv", "del f/a", "lease list", "member list", "alarm list"] {
            run(command);
        }
    }
}

fn txn(ctl: &mut Ctl) {
    ctl.ok("put t/1 v1");
    let script = "value(\"t/1\") = \"v1\"\nversion(\"t/1\") > \"0\"\n\n\
                  put t/2 \"a new value\"\nget t/1\ndel t/none\n\nget t/2\n\n";
    for flags in ["", "-i", "-w json", "-w fields"] {
        let (_, code) = ctl.run(&format!("txn {flags}"), script);
        assert_eq!(code, 0);
    }
    let taken =
        "mod(\"t/1\") = \"1\"\ncreate(\"t/1\") < \"1\"\n\nput t/3 x\n\nget t/2\ndel t/2\n\n";
    for flags in ["", "-w json", "-w fields"] {
        ctl.run(&format!("txn {flags}"), taken);
    }
    ctl.run("txn", "\nput t/4 1\nput t/4 2\n\n\n");
    ctl.run("txn", "\nget t/1 --rev=100000\n\n\n");
    ctl.ok("get t/ --prefix -w fields");
}

fn watch(ctl: &mut Ctl) {
    ctl.ok("put w/a 0");
    let next = ctl.revision() + 1;
    let mut simple = ctl.begin(&format!("watch w/a --rev={next} --prev-kv"));
    let mut prefix = ctl.begin(&format!("watch w --prefix --rev={next} -w fields"));
    let mut range = ctl.begin(&format!("watch w/a w/c --rev={next} -w json"));
    let mut runs = ctl.begin(&format!("watch w/a --rev={next} -- printenv ETCD_WATCH_VALUE"));
    ctl.ok("put w/a one");
    simple.see("one");
    prefix.see("\"one\"");
    range.see("b25l");
    runs.see("\"one\"");
    ctl.ok("put w/b two");
    prefix.see("\"two\"");
    range.see("dHdv");
    ctl.ok("del w/a");
    simple.see("DELETE");
    prefix.see("DELETE");
    ctl.ok("put w/z last");
    prefix.see("\"last\"");
    ctl.end(simple);
    ctl.end(prefix);
    ctl.end(runs);
    ctl.end(range);
    // Replayed from the past, all at once.
    let mut past = ctl.begin(&format!("watch w --prefix --rev={next} --prev-kv"));
    past.see("last");
    ctl.end(past);
}

fn watch_interactive(ctl: &mut Ctl) {
    ctl.ok("put wi/a 0");
    let mut shell = ctl.begin("watch -i");
    let now = ctl.revision();
    shell.say(&format!("watch wi/a --rev={now}\n"));
    shell.see("wi/a\n0\n");
    ctl.ok("put wi/a one");
    shell.see("one");
    shell.say(&format!("watch wi/b --prev-kv --rev={now} -- printenv ETCD_WATCH_KEY\n"));
    ctl.ok("put wi/b two");
    shell.see("\"wi/b\"");
    shell.say("nonsense\n");
    shell.say("watch\n");
    ctl.finish(shell);
}

fn compaction(ctl: &mut Ctl) {
    for value in 0..5 {
        ctl.ok(&format!("put c/a {value}"));
    }
    let now = ctl.revision();
    ctl.ok(&format!("compaction {}", now - 2));
    ctl.fails(&format!("compaction {}", now - 2));
    ctl.fails(&format!("compaction {}", now + 10));
    ctl.ok(&format!("get c/a --rev={}", now - 2));
    ctl.fails(&format!("get c/a --rev={}", now - 3));
    ctl.fails(&format!("watch c/a --rev={}", now - 3));
    ctl.ok(&format!("compaction {} --physical", now - 1));
    ctl.ok(&format!("endpoint hashkv --rev={now}"));
    ctl.fails("endpoint hashkv --rev=1");
    ctl.fails("endpoint hashkv --rev=1000000");
    ctl.fails("compaction");
    ctl.fails("compaction x");
}

fn lease(ctl: &mut Ctl) {
    let one = ctl.grant(5000, "LEASE-ONE");
    ctl.ok("lease list");
    let two = ctl.grant(6000, "LEASE-TWO");
    // One key: those of a lease come in no order.
    ctl.ok(&format!("put l/a 1 --lease={one}"));
    for command in ["timetolive", "timetolive --keys", "timetolive -w json", "keep-alive --once"] {
        ctl.ok(&format!("lease {command} {one}"));
    }
    ctl.ok(&format!("lease keep-alive --once {one} -w json"));
    let mut alive = ctl.begin(&format!("lease keep-alive {two}"));
    alive.see("keepalived with TTL(6000)");
    ctl.end(alive);
    ctl.ok(&format!("lease revoke {one}"));
    ctl.ok("get l --prefix");
    ctl.ok(&format!("lease timetolive {one}"));
    ctl.ok(&format!("lease timetolive {one} -w json"));
    ctl.fails(&format!("lease keep-alive --once {one}"));
    ctl.ok(&format!("lease keep-alive {one}"));
    ctl.fails(&format!("lease revoke {one}"));
    ctl.ok(&format!("lease revoke {two} -w json"));
    ctl.ok("lease list -w json");
    ctl.ok("lease list -w fields");
    ctl.fails("lease grant 99999999999");
    ctl.fails("lease grant x");
    ctl.fails("lease revoke zz");
}

fn lock(ctl: &mut Ctl) {
    ctl.names.lease_after("lock/");
    let mut holder = ctl.begin("lock lock");
    holder.see("lock/");
    let mut waiter = ctl.begin("lock lock --ttl=60");
    ctl.until("get lock/ --prefix --count-only -w fields", "\"Count\" : 2");
    ctl.end(holder);
    waiter.see("lock/");
    ctl.until("get lock/ --prefix --count-only -w fields", "\"Count\" : 1");
    ctl.end(waiter);
    ctl.ok("get lock/ --prefix");
    ctl.ok("lock lock echo inside");
    ctl.ok("lock lock printenv ETCD_LOCK_KEY");
    ctl.fails("lock lock false");
    ctl.ok("get lock/ --prefix");
    ctl.fails("lock");
}

fn elect(ctl: &mut Ctl) {
    ctl.names.lease_after("elect/");
    let mut listener = ctl.begin("elect -l elect");
    let mut leader = ctl.begin("elect elect first");
    leader.see("first");
    listener.see("first");
    let mut next = ctl.begin("elect elect second");
    ctl.until("get elect/ --prefix --count-only -w fields", "\"Count\" : 2");
    ctl.end(leader);
    next.see("second");
    listener.see("second");
    ctl.end(next);
    ctl.end(listener);
    ctl.ok("get elect/ --prefix");
    ctl.fails("elect");
}

fn members(ctl: &mut Ctl) {
    ctl.ok("member list");
    ctl.ok("member list -w table");
    ctl.ok("member list -w fields");
    ctl.ok("member list --hex -w json");
    ctl.fails("member add x");
    ctl.fails("member add x --peer-urls=nonsense");
    ctl.fails("member remove 123");
    ctl.fails("member remove zz");
    ctl.fails("member promote 123");
    ctl.fails("member update 123 --peer-urls=http://127.0.0.1:1");
    let list = ctl.ok("member list");
    let id = list.split(',').next().expect("an id").to_owned();
    ctl.fails(&format!("member remove {id}"));
    ctl.fails(&format!("member promote {id}"));
    ctl.fails("move-leader 123");
    ctl.ok(&format!("move-leader {id}"));
}

fn endpoint(ctl: &mut Ctl) {
    let version = ctl.version.clone();
    ctl.names.call(&version, "VERSION");
    ctl.ok("put e/a 1");
    for flags in ["", "--cluster", "-w json", "-w fields", "-w table"] {
        ctl.ok(&format!("endpoint health {flags}"));
        ctl.ok(&format!("endpoint hashkv {flags}"));
        ctl.ok(&format!("endpoint status {flags}"));
        // Consensus indices in columns without a name.
        if let Some(step) = ctl.transcript.last_mut() {
            step.said = without_indices(&step.said);
        }
    }
    ctl.ok("defrag");
    ctl.ok("defrag --cluster");
    ctl.ok("get e/a");
}

// Cells that hold but a number: term, index and applied index.
fn without_indices(text: &str) -> String {
    let number = |cell: &str| cell.parse::<u64>().is_ok();
    let blur = |line: &str, mark: &str| -> String {
        let cells = line.split(mark).map(|cell| if number(cell.trim()) { "N" } else { cell });
        cells.collect::<Vec<_>>().join(mark)
    };
    text.lines().map(|line| blur(&blur(line, ", "), " | ") + "\n").collect()
}

fn alarm(ctl: &mut Ctl) {
    ctl.ok("alarm list");
    ctl.raise_no_space();
    ctl.ok("alarm list");
    ctl.ok("alarm list -w json");
    ctl.fails("put al/a 1");
    ctl.fails("lease grant 100");
    ctl.ok("get al/a");
    ctl.ok("del al/a");
    ctl.run("endpoint health", "");
    ctl.ok("alarm disarm");
    ctl.ok("alarm list");
    ctl.ok("put al/a 1");
    ctl.ok("alarm disarm");
}

fn make_mirror(ctl: &mut Ctl) {
    ctl.ok("put from/a 1");
    ctl.ok("put from/b 2");
    let here = ctl.endpoint().to_owned();
    let mirror = ctl.begin(&format!("make-mirror --prefix from/ --dest-prefix to/ {here}"));
    ctl.until("get to/ --prefix", "to/b");
    ctl.ok("put from/c 3");
    ctl.until("get to/ --prefix", "to/c");
    ctl.ok("del from/a");
    ctl.until("get to/ --prefix --count-only -w fields", "\"Count\" : 2");
    ctl.ok("get to/ --prefix");
    ctl.end(mirror);
}

fn mistakes(ctl: &mut Ctl) {
    ctl.ok("version");
    for command in ["get", "put", "put a", "del", "nonsense", "lease grant", "check perf --load=x"]
    {
        ctl.fails(command);
    }
}

/// They measure for a minute. Whether the machine is fast enough is not the
/// question, but that they measure, and count no error.
#[test]
fn the_checks_of_etcdctl_measure_t4() {
    let t4 = T4::start(T4Options::default()).expect("start t4");
    let mut ctl = Ctl::new(t4.endpoint()).expect("etcdctl");
    let (said, _) = ctl.run("check perf --load=s", "");
    for line in ["Throughput", "Slowest request took", "Stddev is"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains("too many errors"), "{said}");
    let said = ctl.ok("check datascale --load=s");
    assert!(said.contains("PASS: Approximate system memory used"), "{said}");
    let left = ctl.ok("get /etcdctl-check --prefix --count-only -w fields");
    assert!(left.contains("\"Count\" : 0"), "{left}");
}
