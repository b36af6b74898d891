//! TLS of the real binary, as operators meet it: certificates made with
//! openssl, looked at with openssl, curl and etcdctl, from T4's and from etcd's
//! command line.
//!
//! Needs `openssl` and `curl` on the path. A suite that passes because they are
//! missing would be worse than one that fails.

mod access;
mod authority;
mod certificates;
mod etcd_command;
mod protocol;
mod reload;
mod same_as_etcd;
mod tools;
mod wrong_settings;

use std::path::Path;
use std::time::Duration;

use t4_testkit::{T4, T4Options};

use authority::Pair;

const DEADLINE: Duration = Duration::from_secs(60);
const READY: &str = "ready to serve client requests";

/// `--flag=path`.
fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// The flags of T4 for a server's certificate.
fn shows(pair: &Pair) -> Vec<String> {
    vec![flag("client-tls-cert", &pair.cert), flag("client-tls-key", &pair.key)]
}

/// A `t4 run` with these flags; its address has no scheme.
fn started(flags: Vec<String>) -> T4 {
    T4::start(T4Options { flags, ..T4Options::default() }).expect("start t4")
}
