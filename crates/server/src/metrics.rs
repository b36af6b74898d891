//! What is counted, under the names that etcd's and T4's dashboards read
//! (reference: etcd's metrics list; for operators, `docs/operations.md`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use t4_etcd_api::{ClientMemory, ETCD_VERSION, GrpcStats, LoginStats, Method, Services};
use t4_kv_types::AlarmKind;
use t4_node::{Node, Shortage};
use tonic::Code;

use crate::client_metrics;
use crate::config::{Config, Feature};
use crate::exposition::Exposition;
use crate::health::{Checks, alarm_name};
use crate::http2::Http2Stats;
use crate::latency_metrics;
use crate::places::{Occupancy, Places};
use crate::process::Process;
use crate::tls::Tls;
use crate::tls_metrics;

/// The counters of a server that are not the node's.
pub(crate) struct Metrics {
    grpc: Arc<GrpcStats>,
    logins: Arc<LoginStats>,
    tls: Arc<Tls>,
    /// Empty until it is served.
    places: Arc<OnceLock<Arc<Places>>>,
    /// Also of methods that nobody has called.
    every_handling_time: bool,
    features: Vec<Feature>,
    client_memory: Arc<ClientMemory>,
    http2: Arc<Http2Stats>,
    health_success: AtomicU64,
    health_failures: AtomicU64,
    /// By (set, check): how often it passed, how often not, how it was last.
    checks: Mutex<BTreeMap<(&'static str, &'static str), CheckCount>>,
}

#[derive(Default)]
struct CheckCount {
    passed: u64,
    failed: u64,
    last: bool,
}

impl Metrics {
    pub(crate) fn new(
        services: &Services,
        tls: Arc<Tls>,
        http2: Arc<Http2Stats>,
        places: Arc<OnceLock<Arc<Places>>>,
        config: &Config,
    ) -> Self {
        Metrics {
            grpc: services.stats().clone(),
            logins: services.login_stats().clone(),
            tls,
            places,
            every_handling_time: config.extensive_metrics,
            features: config.features.clone(),
            client_memory: services.client_memory().clone(),
            http2,
            health_success: AtomicU64::new(0),
            health_failures: AtomicU64::new(0),
            checks: Mutex::default(),
        }
    }

    pub(crate) fn health(&self, well: bool) {
        let counter = if well { &self.health_success } else { &self.health_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn health_check(&self, checks: Checks, name: &'static str, passed: bool) {
        let mut all = self.checks.lock();
        let count = all.entry((checks.label(), name)).or_default();
        count.last = passed;
        if passed {
            count.passed += 1;
        } else {
            count.failed += 1;
        }
    }

    /// All metrics now, as text.
    pub(crate) fn render(&self, node: &Node) -> String {
        let mut out = Exposition::default();
        self.server(&mut out, node);
        self.storage(&mut out, node);
        latency_metrics::node(&mut out, node);
        latency_metrics::calls(&mut out, &self.grpc, self.every_handling_time);
        leases_and_watches(&mut out, node);
        self.grpc(&mut out);
        t4(&mut out, node);
        self.auth(&mut out, node);
        tls_metrics::render(&mut out, &self.tls.observed());
        self.connections(&mut out);
        client_metrics::render(&mut out, &self.client_memory, &self.http2);
        process(&mut out);
        out.finish()
    }

    fn connections(&self, out: &mut Exposition) {
        let Some(places) = self.places.get() else { return };
        let Occupancy { taken, max, episodes } = places.occupancy();
        out.single("t4_connections", "gauge", "Open connections.", taken);
        let name = "t4_connections_max";
        out.single(name, "gauge", "Connections that the open files allow.", max);
        let name = "t4_connections_held_back_total";
        out.single(name, "counter", "Times that new connections had to wait.", episodes);
    }

    fn server(&self, out: &mut Exposition, node: &Node) {
        let status = node.status();
        let leads = u64::from(status.leader == node.member_id());
        let has_leader = u64::from(status.leader.0 != 0);
        out.single("etcd_server_has_leader", "gauge", "Whether a leader is known.", has_leader);
        out.single("etcd_server_is_leader", "gauge", "Whether this member leads.", leads);
        out.single("etcd_server_is_learner", "gauge", "Whether this member only learns.", 0);
        out.single(
            "etcd_server_leader_changes_seen_total",
            "counter",
            "Changes of the leader seen since the start.",
            has_leader,
        );
        let heartbeats = "etcd_server_heartbeat_send_failures_total";
        out.single(heartbeats, "counter", "Heartbeats that could not be sent.", 0);
        let counters = node.counters();
        let failed = read(&counters.writes_failed);
        let proposals = "etcd_server_proposals_";
        let name = |end: &str| format!("{proposals}{end}");
        out.single(&name("failed_total"), "counter", "Writes that failed.", failed);
        let committed = status.log_index.0;
        out.single(&name("committed_total"), "gauge", "Log entries committed.", committed);
        let applied = status.applied_index.0;
        out.single(&name("applied_total"), "gauge", "Log entries applied.", applied);
        out.single(&name("pending"), "gauge", "Writes waiting to be committed.", status.pending);
        let slow = read(&counters.slow_applies);
        let name = "etcd_server_slow_apply_total";
        out.single(name, "counter", "Requests whose evaluation was slow.", slow);
        let name = "etcd_server_snapshot_apply_in_progress_total";
        out.single(name, "gauge", "Always 0: there are no peers to take one from.", 0);
        for (name, help) in [
            ("etcd_server_slow_read_indexes_total", "Read indexes that were slow."),
            ("etcd_server_read_indexes_failed_total", "Read indexes that failed."),
            ("etcd_server_learner_promote_successes", "Promotions of learners."),
        ] {
            out.single(name, "counter", help, 0);
        }
        out.single(
            "etcd_server_quota_backend_bytes",
            "gauge",
            "The space quota in bytes; 0: none.",
            status.quota_bytes.unwrap_or(0),
        );
        let successes = read(&self.health_success);
        out.single("etcd_server_health_success", "counter", "Health checks passed.", successes);
        let failures = read(&self.health_failures);
        out.single("etcd_server_health_failures", "counter", "Health checks failed.", failures);
        self.identity(out, node);
        self.features(out);
        self.health_checks(out);
    }

    fn identity(&self, out: &mut Exposition, node: &Node) {
        let member = format!("{:x}", node.member_id().0);
        let major_minor = ETCD_VERSION.rsplit_once('.').map_or("", |(version, _)| version);
        let rustc = concat!("T4 ", env!("CARGO_PKG_VERSION"));
        for (name, help, label, value) in [
            ("etcd_server_version", "The version of the API.", "server_version", ETCD_VERSION),
            ("etcd_cluster_version", "The version of the cluster.", "cluster_version", major_minor),
            ("etcd_server_go_version", "What this server is.", "server_go_version", rustc),
            ("etcd_server_id", "The id of this member.", "server_id", &member),
        ] {
            out.metric(name, "gauge", help);
            out.sample(name, &[(label, value)], 1);
        }
        out.metric("etcd_debugging_server_alarms", "gauge", "Alarms that are on.");
        for (id, kind) in node.alarms() {
            let id = format!("{:x}", id.0);
            let labels = [("server_id", id.as_str()), ("alarm_type", alarm_name(kind))];
            out.sample("etcd_debugging_server_alarms", &labels, 1);
        }
        // etcd counts itself, too.
        let name = "etcd_network_known_peers";
        out.metric(name, "gauge", "The members that this one knows of.");
        out.sample(name, &[("Local", &member), ("Remote", &member)], 1);
    }

    fn features(&self, out: &mut Exposition) {
        let name = "etcd_server_feature_enabled";
        if !self.features.is_empty() {
            out.metric(name, "gauge", "Whether a feature gate of etcd was left or switched on.");
        }
        for Feature { name: feature, stage, enabled } in &self.features {
            out.sample(name, &[("name", feature), ("stage", stage)], u64::from(*enabled));
        }
    }

    fn health_checks(&self, out: &mut Exposition) {
        let checks = self.checks.lock();
        out.metric("etcd_server_healthcheck", "gauge", "The last outcome of each check.");
        for ((set, name), count) in checks.iter() {
            let labels = [("type", *set), ("name", *name)];
            out.sample("etcd_server_healthcheck", &labels, u64::from(count.last));
        }
        out.metric("etcd_server_healthchecks_total", "counter", "Outcomes of each check.");
        for ((set, name), count) in checks.iter() {
            for (status, value) in [("success", count.passed), ("error", count.failed)] {
                let labels = [("type", *set), ("name", *name), ("status", status)];
                out.sample("etcd_server_healthchecks_total", &labels, value);
            }
        }
    }

    fn storage(&self, out: &mut Exposition, node: &Node) {
        let (status, counters) = (node.status(), node.counters());
        for (name, help, value) in [
            ("etcd_mvcc_range_total", "Ranges answered.", &counters.ranges),
            ("etcd_mvcc_put_total", "Puts answered.", &counters.puts),
            ("etcd_mvcc_delete_total", "Deletes answered.", &counters.deletes),
            ("etcd_mvcc_txn_total", "Transactions answered.", &counters.txns),
            ("etcd_debugging_mvcc_events_total", "Events made.", &counters.events),
            (
                "etcd_debugging_mvcc_db_compaction_keys_total",
                "Records that collections dropped.",
                &counters.records_collected,
            ),
        ] {
            out.single(name, "counter", help, read(value));
        }
        let compacted = status.compacted.map_or(-1, |at| at.0);
        let compacted_at = read(&counters.compacted_at_s);
        for (name, help, value) in [
            (
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes of the key space that are kept, before compression if that is more.",
                status.size(),
            ),
            (
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes of keys and values that can still be read.",
                status.size_in_use(),
            ),
            ("etcd_mvcc_db_open_read_transactions", "Always 0: reads take no transaction.", 0),
            ("etcd_debugging_mvcc_keys_total", "Keys.", status.keys),
            (
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "Bytes of the keys and values that were put.",
                read(&counters.put_bytes),
            ),
            ("etcd_debugging_mvcc_db_compaction_last", "When, in Unix seconds.", compacted_at),
            ("etcd_disk_wal_write_bytes_total", "Bytes logged.", read(&counters.log_bytes)),
            ("etcd_disk_defrag_inflight", "Always 0: there is nothing to defragment.", 0),
        ] {
            out.single(name, "gauge", help, value);
        }
        let revision = status.revision.0;
        out.single("etcd_debugging_mvcc_current_revision", "gauge", "The revision.", revision);
        let name = "etcd_debugging_mvcc_compact_revision";
        out.single(name, "gauge", "The revision compacted to; -1: none.", compacted);
    }

    fn auth(&self, out: &mut Exposition, node: &Node) {
        let revision = node.auth().revision();
        let name = "etcd_debugging_auth_revision";
        out.single(name, "gauge", "The revision of users and roles.", revision);
        let name = "t4_auth_attempts_total";
        out.metric(name, "counter", "Logins, by what became of them.");
        for (result, count) in [
            ("success", &self.logins.succeeded),
            ("failure", &self.logins.failed),
            ("refused", &self.logins.refused),
        ] {
            out.sample(name, &[("result", result)], read(count));
        }
    }

    fn grpc(&self, out: &mut Exposition) {
        let received = read(&self.grpc.received_bytes);
        let name = "etcd_network_client_grpc_received_bytes_total";
        out.single(name, "counter", "Bytes of requests.", received);
        let sent = read(&self.grpc.sent_bytes);
        let name = "etcd_network_client_grpc_sent_bytes_total";
        out.single(name, "counter", "Bytes of responses.", sent);
        let name = "etcd_network_server_stream_failures_total";
        out.metric(name, "counter", "Streams that failed.");
        for (api, value) in [
            ("watch", &self.grpc.watch_receive_failures),
            ("lease-keepalive", &self.grpc.keep_alive_receive_failures),
        ] {
            out.sample(name, &[("Type", "receive"), ("API", api)], read(value));
        }
        let name = "etcd_server_client_requests_total";
        out.metric(name, "counter", "Calls by kind and version of the client's API.");
        for (version, unary, stream) in self.grpc.client_versions.counts() {
            for (kind, count) in [("unary", unary), ("stream", stream)] {
                out.sample(name, &[("type", kind), ("client_api_version", &version)], count);
            }
        }
        self.grpc_methods(out);
    }

    fn grpc_methods(&self, out: &mut Exposition) {
        out.metric("grpc_server_started_total", "counter", "Calls begun.");
        for method in Method::ALL {
            let value = read(&self.grpc.of(*method).started);
            out.sample("grpc_server_started_total", &method_labels(*method), value);
        }
        out.metric("grpc_server_handled_total", "counter", "Calls ended, by code.");
        for method in Method::ALL {
            for (code, count) in self.grpc.of(*method).handled.iter().enumerate() {
                let mut labels = method_labels(*method).to_vec();
                labels.push(("grpc_code", code_name(Code::from_i32(code as i32))));
                out.sample("grpc_server_handled_total", &labels, read(count));
            }
        }
        out.metric("grpc_server_msg_received_total", "counter", "Messages received.");
        for method in Method::ALL {
            let value = read(&self.grpc.of(*method).received);
            out.sample("grpc_server_msg_received_total", &method_labels(*method), value);
        }
        out.metric("grpc_server_msg_sent_total", "counter", "Messages sent.");
        for method in Method::ALL {
            let value = read(&self.grpc.of(*method).sent);
            out.sample("grpc_server_msg_sent_total", &method_labels(*method), value);
        }
    }
}

/// The labels of the metrics of a method.
pub(crate) fn method_labels(method: Method) -> [(&'static str, &'static str); 3] {
    [
        ("grpc_method", method.name()),
        ("grpc_service", method.service()),
        ("grpc_type", method.kind().label()),
    ]
}

fn leases_and_watches(out: &mut Exposition, node: &Node) {
    let counters = node.counters();
    for (name, help, value) in [
        ("etcd_debugging_lease_granted_total", "Leases granted.", &counters.leases_granted),
        ("etcd_debugging_lease_revoked_total", "Leases revoked.", &counters.leases_revoked),
        ("etcd_debugging_lease_renewed_total", "Leases renewed.", &counters.leases_renewed),
        ("etcd_debugging_server_lease_expired_total", "Leases expired.", &counters.leases_expired),
        (
            "etcd_debugging_store_expires_total",
            "Keys that went with a lease that expired.",
            &counters.keys_expired,
        ),
    ] {
        out.single(name, "counter", help, read(value));
    }
    let watch = node.watch_stats();
    for (name, help, value) in [
        ("etcd_debugging_mvcc_watch_stream_total", "Watch streams.", watch.streams),
        ("etcd_debugging_mvcc_watcher_total", "Watchers.", watch.watchers),
        ("etcd_debugging_mvcc_slow_watcher_total", "Watchers behind.", watch.slow_watchers),
        ("etcd_debugging_mvcc_pending_events_total", "Events queued.", watch.pending_events),
    ] {
        out.single(name, "gauge", help, value);
    }
}

/// The names that T4's own dashboards read.
fn t4(out: &mut Exposition, node: &Node) {
    let (status, counters) = (node.status(), node.counters());
    build_info(out);
    let on_disk = status.bytes_on_disk;
    out.single("t4_disk_bytes", "gauge", "Bytes of the key space as it is stored.", on_disk);
    let quota = status.bytes_in_use;
    out.single("t4_quota_used_bytes", "gauge", "Bytes that count towards the quota.", quota);
    out.metric("t4_writes_total", "counter", "Writes answered, by kind.");
    for (op, value) in
        [("put", &counters.puts), ("delete", &counters.deletes), ("txn", &counters.txns)]
    {
        out.sample("t4_writes_total", &[("op", op)], read(value));
    }
    let failed = read(&counters.writes_failed);
    out.single("t4_write_errors_total", "counter", "Writes that failed.", failed);
    out.single("t4_current_revision", "gauge", "The revision.", status.revision.0);
    let compacted = status.compacted.map_or(-1, |at| at.0);
    out.single("t4_compact_revision", "gauge", "The revision compacted to.", compacted);
    out.metric("t4_role", "gauge", "What this replica is: 1 for its role.");
    for (role, is) in [("leader", status.leader == node.member_id()), ("follower", false)] {
        out.sample("t4_role", &[("role", role)], u64::from(is));
    }
    out.single("t4_epoch", "gauge", "The epoch.", status.epoch.0);
    out.single("t4_watch_active", "gauge", "Watchers.", node.watch_stats().watchers);
    let full = status.alarms.iter().any(|(_, kind)| *kind == AlarmKind::NoSpace);
    out.single("t4_no_space", "gauge", "Whether the space alarm is on.", u64::from(full));
    for (name, help, what) in [
        (
            "t4_disk_full",
            "Whether the disk has no room for what is to be written.",
            Shortage::DiskFull,
        ),
        (
            "t4_resources_exhausted",
            "Whether open files or memory were lacking for what is to be written.",
            Shortage::Exhausted,
        ),
    ] {
        out.single(name, "gauge", help, u64::from(node.lacks(what)));
    }
}

/// What was built, by which compiler, and from which commit if the build was
/// told (the variable `T4_COMMIT`).
fn build_info(out: &mut Exposition) {
    let mut labels = vec![("rustc", env!("T4_RUSTC")), ("version", env!("CARGO_PKG_VERSION"))];
    labels.extend(option_env!("T4_COMMIT").filter(|it| !it.is_empty()).map(|it| ("commit", it)));
    out.metric("t4_build_info", "gauge", "Always 1: what was built, and how.");
    out.sample("t4_build_info", &labels, 1);
}

fn process(out: &mut Exposition) {
    let process = Process::read();
    out.single(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the process in seconds.",
        process.cpu.as_secs_f64(),
    );
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes),
        ("process_open_fds", "Open files.", process.fds_open),
        ("process_max_fds", "Open files, at most.", process.fds_max),
        ("process_threads", "Threads.", process.threads),
        ("os_fd_used", "Open files.", process.fds_open),
        ("os_fd_limit", "Open files, at most.", process.fds_max),
        ("process_virtual_memory_max_bytes", "Virtual memory, at most.", process.virtual_max),
    ] {
        out.single(name, "gauge", help, value);
    }
    if let Some((received, sent)) = process.network {
        for (name, help, value) in [
            ("process_network_receive_bytes_total", "Bytes that came by IP.", received),
            ("process_network_transmit_bytes_total", "Bytes that went by IP.", sent),
        ] {
            out.single(name, "counter", help, value);
        }
    }
    let started = process.started.as_secs_f64();
    out.single("process_start_time_seconds", "gauge", "Start, in Unix time.", started);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The names that Go's gRPC gives the codes.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
