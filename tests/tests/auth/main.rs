//! Users, roles and tokens of the real binary: with etcdctl beside a real etcd,
//! random requests of several users to both, restarts, guesses, and what must not be
//! found anywhere.

mod commands;
mod differential;
mod guessing;
mod hidden;
mod restart;
mod session;

use t4_testkit::{PairFiles, T4, T4Options};

/// A t4 whose passwords are cheap to hash.
fn t4(flags: &[&str]) -> T4 {
    t4_that_shows(None, flags)
}

/// The same, with passwords that cost this much to hash.
fn t4_with_cost(cost: &str) -> T4 {
    let flags = vec!["--bcrypt-cost".to_owned(), cost.to_owned()];
    T4::start(T4Options { flags, ..T4Options::default() }).expect("start t4")
}

/// The first, with TLS if it has a certificate to show.
fn t4_that_shows(tls: Option<PairFiles>, flags: &[&str]) -> T4 {
    let flags = ["--bcrypt-cost", "4"].iter().chain(flags).map(|&it| it.into()).collect();
    T4::start(T4Options { tls, flags, ..T4Options::default() }).expect("start t4")
}
