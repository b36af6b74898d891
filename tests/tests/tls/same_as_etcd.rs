//! What the real etcd 3.5.1 refuses, ours refuses: with the same exit code, and
//! with its words.

use std::process::{Command, Output};

use t4_testkit::{EtcdDistro, Scratch, free_port};

use crate::authority::{Authority, SERVER};
use crate::etcd_command::Etcd;
use crate::flag;

/// Variables of the environment.
type Variables = [(&'static str, &'static str)];

/// Seconds after which a real one that has started after all is ended.
const PATIENCE: &str = "30";

/// The real one, which should not start. Its ports are free ones unless it is
/// told others, so that only `args` and `variables` can be the reason.
fn real(args: &[String], variables: &Variables) -> Output {
    let scratch = Scratch::new("etcd").expect("scratch");
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(EtcdDistro::find().expect("etcd").etcd());
    command.current_dir(scratch.path()).arg("--data-dir=d");
    let told = |part: &str| {
        let variable = part.to_uppercase().replace('-', "_");
        args.iter().any(|arg| arg.contains(part))
            || variables.iter().any(|(name, _)| name.contains(&variable))
    };
    if !told("listen-peer-urls") {
        command.arg(format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()));
    }
    if !told("client-urls") {
        let url = format!("http://127.0.0.1:{}", free_port());
        command.arg(format!("--listen-client-urls={url}"));
        command.arg(format!("--advertise-client-urls={url}"));
    }
    command.args(args).envs(variables.iter().copied()).output().expect("run etcd")
}

fn ours(args: &[String], variables: &Variables) -> Output {
    let etcd = Etcd::new();
    let mut command = etcd.command();
    command.args(args).envs(variables.iter().copied()).output().expect("run t4")
}

/// What the real one gives as its reason: the field of a log line, or the line
/// that Go's flag package prints.
fn reason(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let fields =
        told.lines().rev().filter_map(|line| line.split_once("\"error\":\"")).map(|it| it.1);
    let in_json = fields.filter_map(end_of_json_text).next();
    in_json.unwrap_or_else(|| told.lines().next().unwrap_or_default().to_owned())
}

/// What stands before the quote that ends a JSON text, unescaped.
fn end_of_json_text(rest: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

#[test]
fn refusals_are_the_same() {
    let ca = Authority::new("etcd-ca");
    let server = ca.issue("server", Some(SERVER));
    let pair = [flag("cert-file", &server.cert), flag("key-file", &server.key)];
    let own = |flags: &[&str]| flags.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let urls =
        ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1"];
    let none: &Variables = &[];
    let cases: Vec<(Vec<String>, &Variables)> = vec![
        (own(&["--nonsense"]), none),
        (own(&["---name=a"]), none),
        (own(&["--=a"]), none),
        (own(&["--name"]), none),
        (own(&["--auto-tls=maybe"]), none),
        (own(&["--max-txn-ops=x"]), none),
        (own(&["--max-txn-ops=-1"]), none),
        (own(&["--quota-backend-bytes=2GB"]), none),
        (own(&["--grpc-keepalive-interval=5"]), none),
        (own(&["--listen-client-urls=ftp://127.0.0.1:1"]), none),
        (own(&["--listen-client-urls=http://127.0.0.1"]), none),
        (own(&["--listen-client-urls=http://127.0.0.1:1/path"]), none),
        (own(&["--listen-client-urls=http://127.0.0.1:1"]), none),
        (
            own(&["--listen-client-urls=http://a.example:1", "--advertise-client-urls=http://a:1"]),
            none,
        ),
        (own(&["--listen-metrics-urls=http://a.example:1"]), none),
        (own(&["--initial-advertise-peer-urls=http://:1"]), none),
        (own(&["--heartbeat-interval=500"]), none),
        (own(&["--heartbeat-interval=0"]), none),
        (own(&["--election-timeout=0"]), none),
        (own(&["--election-timeout=50001"]), none),
        (own(&["--auto-compaction-mode=yearly"]), none),
        (own(&["--logger=nothing"]), none),
        (own(&["--log-outputs=default,stderr"]), none),
        (own(&["--name=a", "--initial-cluster=b=http://localhost:2380"]), none),
        (own(&urls), none),
        ([own(&urls), pair.to_vec(), own(&["--cipher-suites=FOO"])].concat(), none),
        ([own(&urls), vec![pair[0].clone()]].concat(), none),
        (own(&["--auth-token=paseto"]), none),
        (own(&["--discovery-srv=a.example", "--initial-cluster=a=http://a:1"]), &[]),
        (Vec::new(), &[("ETCD_MAX_TXN_OPS", "x")]),
        (Vec::new(), &[("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1")]),
    ];
    let mut differences = Vec::new();
    for (args, variables) in cases {
        let (want, got) = (real(&args, variables), ours(&args, variables));
        let (reason, told) = (reason(&want), String::from_utf8_lossy(&got.stderr).into_owned());
        let same_code = want.status.code() == got.status.code();
        if !same_code || !says(&told, &reason) {
            let codes = (want.status.code(), got.status.code());
            differences
                .push(format!("{args:?} {variables:?} {codes:?}\n  etcd: {reason}\n  t4: {told}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Whether a text has another in it. What 3.5.1 said of several bootstrap flags
/// named a flag that 3.6 gave up; the rest of that sentence is the same.
fn says(told: &str, reason: &str) -> bool {
    let words = reason.split(". Choose one of").next().unwrap_or_default();
    told.contains(words)
}
