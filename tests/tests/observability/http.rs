//! What is served by HTTP beside the metrics, beside a real etcd.

use t4_testkit::{Etcd, EtcdOptions, T4, T4Options};

use crate::http_get;

/// The status and the content type of an answer, and its body.
fn parts(answer: &str) -> (String, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().expect("a status").to_owned();
    let of_type = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
    };
    (status, lines.find_map(of_type).expect("a content type"), body.to_owned())
}

#[test]
fn health_has_etcds_content_type() {
    let etcd = Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("etcd");
    let t4 = T4::start(T4Options::default()).expect("start");
    for path in ["/health", "/health?serializable=true", "/version"] {
        let (theirs, ours) = (http_get(etcd.endpoint(), path), http_get(t4.endpoint(), path));
        let (theirs, ours) = (parts(&theirs), parts(&ours));
        assert_eq!((ours.0, ours.1), (theirs.0, theirs.1), "{path}");
    }
}

#[test]
fn debug_vars_has_what_etcds_has() {
    let etcd = Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("etcd");
    let t4 = T4::start(T4Options::default()).expect("start");
    let theirs = http_get(etcd.endpoint(), "/debug/vars");
    let ours = http_get(t4.endpoint(), "/debug/vars");
    let (theirs, ours) = (parts(&theirs), parts(&ours));
    assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1));
    for name in ["\"cmdline\": [", "\"file_descriptor_limit\": ", "\"memstats\": {\"", "\"Sys\":"] {
        assert!(theirs.2.contains(name), "{name}: {}", theirs.2);
        assert!(ours.2.contains(name), "{name}: {}", ours.2);
    }
    let data = t4.data_dir().display().to_string();
    assert!(ours.2.contains(&format!("\"--data-dir\",\"{data}\"")), "{}", ours.2);
    // As etcd: not beside the clients' port.
    let beside = parts(&http_get(t4.metrics_endpoint(), "/debug/vars"));
    assert!(beside.0.contains(" 404 "), "{}", beside.0);
}
