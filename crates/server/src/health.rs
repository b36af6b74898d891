//! Is it well: etcd's `/health`, `/livez`, `/readyz`, and T4's `/healthz`
//! (reference: etcd's `etcdhttp/health.go`).

use http::{Response, StatusCode};
use t4_kv_types::{AlarmKind, KeyRange, RangeRequest};
use t4_node::Node;

use crate::body::{PLAIN, ResponseBody, text};
use crate::metrics::Metrics;

/// Which set of checks is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// The process should not be restarted.
    Live,
    /// Clients may be sent here.
    Ready,
}

impl Checks {
    /// The label `type` of the metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Checks::Live => "livez",
            Checks::Ready => "readyz",
        }
    }

    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Checks::Live => &["serializable_read"],
            // `disk` is T4's own.
            Checks::Ready => &[
                "data_corruption",
                "serializable_read",
                "linearizable_read",
                "non_learner",
                "disk",
            ],
        }
    }
}

/// `/health`: the old check.
pub(crate) async fn health(node: &Node, metrics: &Metrics, query: &str) -> Response<ResponseBody> {
    let reason = unhealthy(node, query).await;
    metrics.health(reason.is_none());
    match reason {
        // Not as JSON: etcd leaves the type to be guessed, and Go guesses so.
        None => text(StatusCode::OK, PLAIN, r#"{"health":"true","reason":""}"#),
        Some(reason) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            PLAIN,
            format!("{{\"health\":\"false\",\"reason\":{}}}\n", quoted(&reason)),
        ),
    }
}

async fn unhealthy(node: &Node, query: &str) -> Option<String> {
    let excluded = values(query, "exclude");
    for (_, kind) in node.alarms() {
        let name = alarm_name(kind);
        if !excluded.iter().any(|excluded| excluded == name) {
            return Some(format!("ALARM {name}"));
        }
    }
    let serializable = values(query, "serializable").iter().any(|value| value == "true");
    if !serializable && node.status().leader.0 == 0 {
        return Some("RAFT NO LEADER".to_owned());
    }
    read(node, serializable).await.err().map(|error| format!("RANGE ERROR:{error}"))
}

/// All checks of a set.
pub(crate) async fn all(
    node: &Node,
    metrics: &Metrics,
    checks: Checks,
    query: &str,
) -> Response<ResponseBody> {
    let excluded = values(query, "exclude");
    let mut chosen = checks.names().to_vec();
    chosen.retain(|name| !excluded.iter().any(|excluded| excluded == name));
    let verbose = query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="));
    report(node, metrics, checks, chosen, verbose).await
}

/// One check of a set.
pub(crate) async fn one(
    node: &Node,
    metrics: &Metrics,
    checks: Checks,
    check: &str,
) -> Response<ResponseBody> {
    match checks.names().iter().copied().find(|name| *name == check) {
        Some(name) => report(node, metrics, checks, vec![name], false).await,
        None => text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n"),
    }
}

async fn report(
    node: &Node,
    metrics: &Metrics,
    checks: Checks,
    names: Vec<&'static str>,
    verbose: bool,
) -> Response<ResponseBody> {
    let mut lines = String::new();
    let mut failed = false;
    for name in names {
        let outcome = run(node, name).await;
        metrics.health_check(checks, name, outcome.is_ok());
        match outcome {
            Ok(()) => lines += &format!("[+]{name} ok\n"),
            Err(why) => {
                failed = true;
                lines += &format!("[-]{name} failed: {why}\n");
            }
        }
    }
    if failed {
        return text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, lines);
    }
    let shown = if verbose { lines } else { String::new() };
    text(StatusCode::OK, PLAIN, shown + "ok\n")
}

async fn run(node: &Node, check: &str) -> Result<(), String> {
    match check {
        "data_corruption" => {
            let corrupt = node.alarms().iter().any(|(_, kind)| *kind == AlarmKind::Corrupt);
            if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
        }
        "disk" => node.refuses_writes().map_or(Ok(()), |why| Err(why.to_string())),
        "serializable_read" => read(node, true).await,
        "linearizable_read" => read(node, false).await,
        // Nobody is one yet: a replica leads alone.
        _ => Ok(()),
    }
}

async fn read(node: &Node, serializable: bool) -> Result<(), String> {
    let mut request = RangeRequest::new(KeyRange::all());
    request.limit = 1;
    // From the index: whether a value can be read is not what is asked.
    request.keys_only = true;
    request.serializable = serializable;
    node.on_own_authority().range(request).await.map(drop).map_err(|error| error.to_string())
}

/// `/healthz` of the metrics port: the process runs.
pub(crate) fn healthz(_: &Node) -> Response<ResponseBody> {
    text(StatusCode::OK, PLAIN, "ok\n")
}

/// `/healthz/leader` of the metrics port: this replica leads.
pub(crate) fn leader(node: &Node) -> Response<ResponseBody> {
    if node.status().leader == node.member_id() {
        text(StatusCode::OK, PLAIN, "ok\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not the leader\n")
    }
}

pub(crate) fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

/// The values of a query parameter that can be repeated.
fn values(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|part| part.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use t4_kv_types::{OpError, PutRequest};
    use t4_node::Config;

    use super::*;

    /// A directory of which every value is sealed and damaged: whoever reads one is
    /// refused. The footer of a segment begins with the end of its blocks.
    async fn damaged_directory(dir: &Path) {
        let node = Node::open(Config { seal_bytes: 4 << 10, ..Config::new(dir) }).await.unwrap();
        for n in 0..8u8 {
            let (key, value) = (vec![b'k', n].into(), vec![n; 1 << 20].into());
            node.put(PutRequest { key, value, ..Default::default() }).await.unwrap();
        }
        node.stop().await;
        for entry in std::fs::read_dir(dir.join("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "seg") {
                let mut bytes = std::fs::read(&path).unwrap();
                let footer = bytes.len() - 84;
                let end = u64::from_le_bytes(bytes[footer..footer + 8].try_into().unwrap());
                (20..end as usize).step_by(64).for_each(|at| bytes[at] ^= 0x55);
                std::fs::write(&path, bytes).unwrap();
            }
        }
    }

    /// A probe is asked every few seconds: it must not cost what the first value of
    /// the store happens to cost, and it is not there to find damage.
    #[tokio::test]
    async fn probes_read_no_value() {
        let dir = tempfile::tempdir().unwrap();
        damaged_directory(dir.path()).await;
        let node = Node::open(Config::new(dir.path())).await.unwrap();
        for query in ["", "serializable=true"] {
            assert_eq!(unhealthy(&node, query).await, None, "{query:?}");
        }
        for check in Checks::Ready.names() {
            assert_eq!(run(&node, check).await, Ok(()), "{check}");
        }
        // To read the value would have been noticed.
        let mut first = RangeRequest::new(KeyRange::all());
        first.limit = 1;
        let read = node.range(first).await;
        assert!(matches!(read, Err(OpError::Damaged(_))), "{read:?}");
        node.stop().await;
    }

    #[test]
    fn queries() {
        assert_eq!(values("exclude=a&x=1&exclude=b", "exclude"), ["a", "b"]);
        assert!(values("", "exclude").is_empty());
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
