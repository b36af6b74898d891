//! The metrics, beside those of a real etcd and those of a newer one that were
//! written down.

use std::collections::{BTreeMap, BTreeSet};

use t4_proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, PutRequest};
use t4_testkit::{Etcd, EtcdOptions, Metrics, Rpc, T4, T4Options};

use crate::page::{self, Page};
use crate::{EtcdCommand, get, http_get, put, runtime, use_everything};

/// What etcd 3.7.3 serves, alone in its cluster: name, type, labels, bounds.
const OF_ETCD_3_7_3: &str = include_str!("etcd-3.7.3-metrics.txt");

/// What is not here, by the beginning of its name, and why.
const WITHOUT_MEANING: &[(&str, &str)] = &[
    ("go_", "there is no Go runtime"),
    ("promhttp_", "Go's Prometheus client counts its own scrapes"),
    ("etcd_grpc_proxy_", "there is no proxy"),
    ("etcd_snap_", "there are no raft snapshots"),
    ("etcd_debugging_snap_", "there are no raft snapshots"),
    ("etcd_debugging_disk_backend_commit_", "parts of a commit of bbolt"),
    ("etcd_debugging_mvcc_db_compaction_pause_", "a compaction pauses nothing on the disk"),
    ("etcd_debugging_server_watch_send_loop_", "parts of etcd's loop"),
    ("etcd_debugging_store_reads_total", "the v2 store"),
    ("etcd_debugging_store_writes_total", "the v2 store"),
    ("etcd_debugging_store_watch", "the v2 store"),
    ("etcd_server_lease_checkpoint", "leases are not checkpointed"),
    ("etcd_debugging_mvcc_put_total", "an old name of etcd_mvcc_put_total"),
    ("etcd_debugging_mvcc_delete_total", "an old name of etcd_mvcc_delete_total"),
    ("etcd_debugging_mvcc_txn_total", "an old name of etcd_mvcc_txn_total"),
    ("etcd_debugging_mvcc_range_total", "an old name of etcd_mvcc_range_total"),
    ("grpc_proxy_", "there is no proxy"),
];

/// What a metric has to be.
#[derive(Debug, PartialEq)]
struct Form {
    kind: String,
    labels: BTreeSet<String>,
    bounds: BTreeSet<String>,
}

fn forms(page: &Page) -> BTreeMap<String, Form> {
    let owned = |all: BTreeSet<&str>| all.into_iter().map(str::to_owned).collect();
    let form = |(name, family): (&String, &page::Family)| {
        let form = Form {
            kind: family.kind.clone(),
            labels: owned(family.label_names()),
            bounds: owned(family.bounds()),
        };
        (name.clone(), form)
    };
    page.iter().map(form).collect()
}

/// The list that was written down: `name type {label,label} bound,bound`.
fn listed(text: &str) -> BTreeMap<String, Form> {
    let set = |text: &str| -> BTreeSet<String> {
        text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let form = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, kind, labels, bounds) = (word(), word(), word(), word());
        let labels = set(labels.trim_matches(['{', '}']));
        (name.to_owned(), Form { kind: kind.to_owned(), labels, bounds: set(bounds) })
    };
    text.lines().map(form).collect()
}

fn differences(etcds: &BTreeMap<String, Form>, ours: &BTreeMap<String, Form>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, theirs) in etcds {
        if WITHOUT_MEANING.iter().any(|(beginning, _)| name.starts_with(beginning)) {
            continue;
        }
        match ours.get(name) {
            None => found.push(format!("{name} is missing")),
            Some(ours) if ours != theirs => {
                found.push(format!("{name}: {ours:?}, etcd: {theirs:?}"));
            }
            Some(_) => {}
        }
    }
    found
}

fn served(endpoint: &str) -> Page {
    let answer = http_get(endpoint, "/metrics");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    page::read(body).unwrap_or_else(|wrong| panic!("{endpoint}: {wrong}"))
}

#[test]
fn each_metric_of_etcd_has_its_name_type_labels_and_bounds() {
    let runtime = runtime();
    let t4 = EtcdCommand::start(&["--metrics=extensive"]);
    runtime.block_on(use_everything(&t4.endpoint));
    assert!(http_get(&t4.endpoint, "/readyz").contains(" 200 OK"));
    let ours = forms(&served(&t4.endpoint));
    let found = differences(&listed(OF_ETCD_3_7_3), &ours);
    assert!(found.is_empty(), "beside etcd 3.7.3:\n{}", found.join("\n"));
    assert!(!differences(&listed("etcd_new gauge {}"), &ours).is_empty(), "it can fail");
}

/// An etcd of the other end of what clients meet.
#[test]
fn an_older_etcd_agrees() {
    let runtime = runtime();
    let flags = vec!["--metrics=extensive".to_owned()];
    let etcd = Etcd::start(EtcdOptions { fsync: false, flags, ..EtcdOptions::default() });
    let etcd = etcd.expect("etcd");
    let t4 = EtcdCommand::start(&["--metrics=extensive"]);
    for endpoint in [etcd.endpoint(), &t4.endpoint] {
        runtime.block_on(use_everything(endpoint));
    }
    let (theirs, ours) = (served(etcd.endpoint()), served(&t4.endpoint));
    let (theirs, ours) = (forms(&theirs), forms(&ours));
    assert!(theirs.len() > 80, "{}", theirs.len());
    let mut wrong = Vec::new();
    for (name, theirs) in &theirs {
        // Labels and bounds grow from release to release; 3.7's are compared.
        let is_out = WITHOUT_MEANING.iter().any(|(beginning, _)| name.starts_with(beginning));
        match ours.get(name) {
            _ if is_out => {}
            None => wrong.push(format!("{name} is missing")),
            Some(ours) if ours.kind != theirs.kind => {
                wrong.push(format!("{name}: {}, etcd: {}", ours.kind, theirs.kind));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "beside etcd {}:\n{}", t4_testkit::ETCD_VERSION, wrong.join("\n"));
}

#[test]
fn what_is_measured_is_not_zero() {
    let t4 = T4::start(T4Options::default()).expect("start");
    runtime().block_on(async {
        use_everything(t4.endpoint()).await;
        let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
        for _ in 0..5 {
            rpc.kv.put(put("k", "value")).await.expect("put");
            rpc.kv.range(get("k")).await.expect("range");
        }
        rpc.kv.put(put("", "")).await.expect_err("no key");
    });
    let page = served(t4.metrics_endpoint());
    let count = |name: &str, labels: &[(&str, &str)]| {
        let family = page.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        family.sum(&format!("{name}_count"), labels) as u64
    };
    let handling = |method| count("grpc_server_handling_seconds", &[("grpc_method", method)]);
    assert_eq!((handling("Put"), handling("Range"), handling("Txn")), (7, 6, 2));
    let request = "etcd_server_request_duration_seconds";
    assert_eq!(count(request, &[("type", "Put"), ("success", "true")]), 6);
    assert_eq!(count(request, &[("type", "Put"), ("success", "false")]), 1);
    assert_eq!(count(request, &[("type", "Txn")]), 1);
    assert_eq!(count(request, &[("type", "ReadonlyTxn")]), 1);
    assert_eq!(count("etcd_server_range_duration_seconds", &[("success", "true")]), 6);
    let apply = "etcd_server_apply_duration_seconds";
    let of_puts = [("op", "Put"), ("success", "true"), ("version", "v3")];
    assert_eq!(count(apply, &of_puts), 6);
    for op in ["DeleteRange", "Txn", "Compaction", "LeaseGrant"] {
        assert_eq!(count(apply, &[("op", op), ("success", "true")]), 1, "{op}");
    }
    for name in [
        "etcd_disk_wal_fsync_duration_seconds",
        "etcd_disk_wal_write_duration_seconds",
        "etcd_disk_backend_commit_duration_seconds",
        "etcd_mvcc_hash_duration_seconds",
        "etcd_mvcc_hash_rev_duration_seconds",
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
    ] {
        let sum = page[name].sum(&format!("{name}_sum"), &[]);
        assert!(count(name, &[]) > 0 && sum > 0.0, "{name}: {} in {sum}", count(name, &[]));
    }
    let ttl = "etcd_debugging_lease_ttl_total";
    assert_eq!((count(ttl, &[]), page[ttl].sum(&format!("{ttl}_sum"), &[]) as u64), (1, 100));
    let value = |name: &str| page[name].sum(name, &[]) as u64;
    assert_eq!(value("etcd_debugging_mvcc_total_put_size_in_bytes"), 2 * 2 + 5 * 6);
    assert_eq!(value("t4_build_info"), 1);
    let build = page["t4_build_info"].label_names();
    assert!(build.contains("version") && build.contains("rustc"), "{build:?}");
}

/// Without a flag, methods that nobody calls have no histograms: the page is
/// short, and nothing in it is for ever 0.
#[test]
fn methods_that_were_not_called_have_no_times_unless_asked_for() {
    let name = "grpc_server_handling_seconds";
    for (flags, is_there) in [(Vec::new(), false), (vec!["--metrics=extensive".to_owned()], true)] {
        let t4 = T4::start(T4Options { flags, ..T4Options::default() }).expect("start");
        let page = served(t4.metrics_endpoint());
        let method = |sample: &page::Sample| {
            sample.labels.contains(&("grpc_method".to_owned(), "Put".to_owned()))
        };
        assert_eq!(page[name].samples.iter().any(method), is_there);
        assert_eq!(page[name].kind, "histogram");
    }
}

/// An expiry is counted once, with its keys; a revocation is none, and nothing of it
/// is counted again by the process after a crash.
#[test]
fn leases_that_expire_are_counted_with_their_keys() {
    // Longer than it takes to attach the keys, also on a busy machine.
    const SHORT_S: i64 = 4;
    let mut t4 = T4::start(T4Options::default()).expect("start");
    let runtime = runtime();
    let counts = |t4: &T4| {
        let metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
        [
            "etcd_debugging_server_lease_expired_total",
            "etcd_debugging_store_expires_total",
            "etcd_debugging_lease_revoked_total",
        ]
        .map(|name| metrics.sample(name).expect(name))
    };
    for round in 0..2 {
        assert_eq!(counts(&t4), [0, 0, 0], "round {round}");
        let mut rpc = runtime.block_on(async {
            let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
            for (id, ttl, keys) in [(7, SHORT_S, &["a", "b"][..]), (8, 1000, &["c"])] {
                let request = LeaseGrantRequest { ttl, id };
                rpc.lease.lease_grant(request).await.expect("grant");
                for key in keys {
                    let request = PutRequest { lease: id, ..put(key, "v") };
                    rpc.kv.put(request).await.expect("put");
                }
            }
            rpc.lease.lease_revoke(LeaseRevokeRequest { id: 8 }).await.expect("revoke");
            rpc
        });
        t4_testkit::poll_until("the lease expires", crate::DEADLINE, || {
            let [expired, ..] = counts(&t4);
            anyhow::ensure!(expired > 0, "not yet");
            Ok(())
        })
        .expect("expired");
        // Behind whatever else there might be.
        runtime.block_on(rpc.kv.put(put("after", "v"))).expect("put");
        assert_eq!(counts(&t4), [1, 2, 1], "round {round}");
        t4.kill().expect("kill");
        t4.start_again().expect("start");
    }
}

/// Tools that compute how fragmented a store is divide by the one and subtract
/// the other.
#[test]
fn what_is_in_use_is_more_than_nothing_and_no_more_than_all() {
    let t4 = T4::start(T4Options::default()).expect("start");
    let runtime = runtime();
    let sizes = |t4: &T4| {
        let status = runtime.block_on(async {
            let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
            let request = t4_proto::etcdserverpb::StatusRequest {};
            rpc.maintenance.status(request).await.expect("status").into_inner()
        });
        let metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
        let metric = |name: &str| metrics.sample(name).expect("a number") as i64;
        let (size, in_use) = (status.db_size, status.db_size_in_use);
        assert_eq!(size, metric("etcd_mvcc_db_total_size_in_bytes"));
        assert_eq!(in_use, metric("etcd_mvcc_db_total_size_in_use_in_bytes"));
        assert!(0 < in_use && in_use <= size, "{in_use} of {size}");
        (size, in_use)
    };
    let (empty, _) = sizes(&t4);
    runtime.block_on(async {
        let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
        // What compresses well, and enough of it for a segment file.
        let value = "v".repeat(1 << 20);
        for n in 0..40 {
            rpc.kv.put(put(&format!("k{}", n % 36), &value)).await.expect("put");
        }
    });
    t4_testkit::poll_until("a segment is written", crate::DEADLINE, || {
        let metrics = Metrics::read(t4.metrics_endpoint())?;
        let seals = metrics.sample("t4_seal_duration_seconds_count").unwrap_or(0);
        anyhow::ensure!(seals > 0, "no seal yet");
        Ok(())
    })
    .expect("sealed");
    let (size, in_use) = sizes(&t4);
    assert!(in_use > 36 << 20 && size > empty, "{in_use} of {size}");
    let metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    let on_disk = metrics.sample("t4_disk_bytes").expect("a number") as i64;
    assert!(on_disk < size, "compressed: {on_disk} of {size}");
}
