//! How long things took: of the node, and of calls.

use t4_etcd_api::{
    GrpcStats, HANDLING_BOUNDS, LatencySnapshot, Method, RANGE_BOUNDS, REQUEST_BOUNDS,
};
use t4_node::{HistogramSnapshot, Node};

use crate::exposition::Exposition;
use crate::metrics::method_labels;

/// What the disk, the write loop and the background took.
pub(crate) fn node(out: &mut Exposition, node: &Node) {
    let times = &node.counters().times;
    for (name, help, histogram) in [
        (
            "etcd_disk_wal_fsync_duration_seconds",
            "How long the log's fsyncs took.",
            &times.log_fsync,
        ),
        (
            "etcd_disk_wal_write_duration_seconds",
            "How long the log's writes took, before their fsyncs.",
            &times.log_write,
        ),
        (
            "etcd_disk_backend_commit_duration_seconds",
            "How long a batch of writes took to be durable and applied.",
            &times.commit,
        ),
        (
            "etcd_disk_backend_defrag_duration_seconds",
            "How long collections of mostly dead segments took; no reply waits for one.",
            &times.collect,
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "How long snapshots took; this version takes none.",
            &times.snapshot,
        ),
        ("t4_seal_duration_seconds", "How long seals took; no reply waits for one.", &times.seal),
        (
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
            "How long steps of compaction passes took, for which reads may wait.",
            &times.compaction_step,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
            "How long compaction passes took; no reply waits for one.",
            &times.compaction,
        ),
        (
            "etcd_mvcc_hash_duration_seconds",
            "How long hashes of the key space as it is took.",
            &times.hash,
        ),
        (
            "etcd_mvcc_hash_rev_duration_seconds",
            "How long hashes of the key space at a revision took.",
            &times.hash_at_revision,
        ),
        (
            "etcd_debugging_lease_ttl_total",
            "The times to live of granted leases, in seconds.",
            &times.lease_ttl,
        ),
    ] {
        out.metric(name, "histogram", help);
        histogram_of(out, name, &[], histogram.snapshot());
    }
    let name = "etcd_server_apply_duration_seconds";
    out.metric(name, "histogram", "How long requests took to be evaluated on the newest state.");
    for (op, success, snapshot) in times.apply.snapshots() {
        let labels = [("op", op), ("success", truth(success)), ("version", "v3")];
        histogram_of(out, name, &labels, snapshot);
    }
}

/// What calls took. `every_method`: also those that nobody has called.
pub(crate) fn calls(out: &mut Exposition, stats: &GrpcStats, every_method: bool) {
    let name = "grpc_server_handling_seconds";
    out.metric(name, "histogram", "How long calls took, from when the request was read.");
    for method in Method::ALL {
        let stats = stats.of(*method);
        let failed = stats.failed.snapshot(HANDLING_BOUNDS);
        let both = stats.succeeded.snapshot(HANDLING_BOUNDS).and(&failed);
        if every_method || both.count > 0 {
            latency(out, name, &method_labels(*method), both);
        }
    }
    requests(out, stats);
    let name = "etcd_server_range_duration_seconds";
    out.metric(name, "histogram", "How long ranges took, with the encoding of the answer.");
    let ranges = stats.of(Method::Range);
    for (success, latencies) in [(true, &ranges.succeeded), (false, &ranges.failed)] {
        let snapshot = latencies.snapshot(RANGE_BOUNDS);
        if success || snapshot.count > 0 {
            latency(out, name, &[("success", truth(success))], snapshot);
        }
    }
}

fn requests(out: &mut Exposition, stats: &GrpcStats) {
    let name = "etcd_server_request_duration_seconds";
    out.metric(name, "histogram", "How long requests took, by type.");
    let read_only = &stats.read_only_txns;
    let of_methods = Method::ALL.iter().filter_map(|method| {
        let kind = request_type(*method)?;
        // Those that only read have a type of their own.
        let without = (*method == Method::Txn).then_some(read_only);
        Some((kind, stats.of(*method), without))
    });
    for (kind, stats, without) in of_methods.chain([("ReadonlyTxn", read_only, None)]) {
        for success in [true, false] {
            let of = |stats: &t4_etcd_api::MethodStats| {
                let latencies = if success { &stats.succeeded } else { &stats.failed };
                latencies.snapshot(REQUEST_BOUNDS)
            };
            let mut snapshot = of(stats);
            if let Some(without) = without {
                snapshot = snapshot.without(&of(without));
            }
            if snapshot.count > 0 {
                latency(out, name, &[("success", truth(success)), ("type", kind)], snapshot);
            }
        }
    }
}

/// etcd's names for the requests that it times.
fn request_type(method: Method) -> Option<&'static str> {
    Some(match method {
        Method::Range => "Range",
        Method::Put => "Put",
        Method::DeleteRange => "DeleteRange",
        Method::Txn => "Txn",
        Method::Compact => "Compaction",
        Method::LeaseGrant => "LeaseGrant",
        Method::LeaseRevoke => "LeaseRevoke",
        Method::Alarm => "Alarm",
        Method::Authenticate => "Authenticate",
        Method::AuthEnable => "AuthEnable",
        Method::AuthDisable => "AuthDisable",
        Method::AuthStatus => "AuthStatus",
        Method::UserAdd => "AuthUserAdd",
        Method::UserGet => "AuthUserGet",
        Method::UserList => "AuthUserList",
        Method::UserDelete => "AuthUserDelete",
        Method::UserChangePassword => "AuthUserChangePassword",
        Method::UserGrantRole => "AuthUserGrantRole",
        Method::UserRevokeRole => "AuthUserRevokeRole",
        Method::RoleAdd => "AuthRoleAdd",
        Method::RoleGet => "AuthRoleGet",
        Method::RoleList => "AuthRoleList",
        Method::RoleDelete => "AuthRoleDelete",
        Method::RoleGrantPermission => "AuthRoleGrantPermission",
        Method::RoleRevokePermission => "AuthRoleRevokePermission",
        _ => return None,
    })
}

fn histogram_of(
    out: &mut Exposition,
    name: &str,
    labels: &[(&str, &str)],
    snapshot: HistogramSnapshot,
) {
    out.histogram(name, labels, snapshot.cumulative, snapshot.count, snapshot.sum);
}

fn latency(out: &mut Exposition, name: &str, labels: &[(&str, &str)], snapshot: LatencySnapshot) {
    out.histogram(name, labels, snapshot.cumulative, snapshot.count, snapshot.sum_s);
}

fn truth(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}
