//! Which plain HTTP requests are answered.

use crate::authority::{Authority, SERVER};
use crate::tools::Client;
use crate::{DEADLINE, shows, started};

#[test]
fn hosts_that_are_not_listed_are_refused_over_plain_http_only() {
    let ca = Authority::new("t4-ca");
    let mut flags = shows(&ca.issue("t4-server", Some(SERVER)));
    let port = t4_testkit::free_port();
    flags.push(format!("--listen=http://127.0.0.1:{port}"));
    flags.push("--host-whitelist=t4.example,127.0.0.1".to_owned());
    let mut t4 = started(flags);
    let plain = format!("http://127.0.0.1:{port}/version");
    let client = Client::default();
    assert!(client.curl(&[&plain]).well().contains("etcdserver"));
    assert!(client.curl(&["-H", "Host: t4.example:2379", &plain]).well().contains("etcdserver"));
    let strange = ["-H", "Host: evil.example", "-w", "%{http_code}", &plain];
    let refused = client.curl(&strange).well();
    assert!(refused.ends_with("421"), "{refused}");
    for helpful in ["evil.example", "CVE-2018-5702", "--host-whitelist"] {
        assert!(refused.contains(helpful), "{refused}");
    }
    // A page of that name can send what looks like gRPC, but not on HTTP/2.
    let rpc = format!("http://127.0.0.1:{port}/etcdserverpb.KV/Range");
    let like_grpc = ["-H", "Content-Type: application/grpc", "--data-binary", "x"];
    let asked = [&like_grpc[..], &["--http1.1", "-H", strange[1], "-w", "%{http_code}"], &[&rpc]];
    let refused = client.curl(&asked.concat()).well();
    assert!(refused.ends_with("421"), "{refused}");
    // No more is it gRPC under a name that is known, as in etcd.
    let asked = [&like_grpc[..], &["--http1.1", "-w", "%{http_code}"], &[&rpc]].concat();
    let refused = client.curl(&asked).well();
    assert!(refused.ends_with("404"), "{refused}");
    // Over TLS every name will do, and gRPC is not concerned.
    let secure = format!("https://{}/version", t4.endpoint());
    let trusting = Client::trusting(&ca.own.cert);
    trusting.curl(&["-H", "Host: evil.example", "-f", &secure]).well();
    let by_name = format!("http://localhost:{port}");
    assert_eq!(client.etcdctl(&by_name, &["put", "k", "v"]).well(), "OK\n");
    let told = "rejecting HTTP request to prevent DNS rebinding attacks";
    t4.program().wait_for_line(told, DEADLINE).expect("told");
}

#[test]
fn browsers_are_told_which_origins_may_ask() {
    let allowed = |flags: Vec<String>, origin: &str| {
        let t4 = started(flags);
        let url = format!("http://{}/version", t4.endpoint());
        let origin = format!("Origin: {origin}");
        let said = Client::default().curl(&["-i", "-H", &origin, &url]).well();
        let asked = Client::default().curl(&["-i", "-X", "OPTIONS", "-H", &origin, &url]).well();
        assert!(asked.starts_with("HTTP/1.1 200"), "{asked}");
        let found =
            said.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: "));
        found.map(str::to_owned)
    };
    assert_eq!(allowed(Vec::new(), "https://a.example").as_deref(), Some("*"));
    let some = || vec!["--cors=https://a.example,http://b.example:8080".to_owned()];
    assert_eq!(allowed(some(), "https://a.example").as_deref(), Some("https://a.example"));
    assert_eq!(allowed(some(), "https://c.example"), None);
}
