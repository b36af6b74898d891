//! Random requests of several users, with authentication on, to t4 and to a
//! real etcd, over TLS: every answer must be the same. All the time root changes
//! users, roles and permissions.
//!
//! `T4_DIFF_OPS` is how many (default 50,000: less than a minute), `T4_SEED` which.
//! Draws reads and writes with every option that rights matter to, transactions
//! within transactions, leases, locks, watches, compactions, logins by right and
//! wrong passwords, and everything that can be asked about users and roles; by
//! root, plain users, strangers, and by whoever shows a token that is not good any
//! more.
//!
//! etcd 3.5.1 lets pass what it has learnt to refuse since ([`old_line`]). There
//! an oracle decides ([`rights`]), which knows of users and roles what `UserGet`
//! and `RoleGet` say, and else nothing: T4 must refuse exactly what it refuses.
//! Where 3.5.1 does check, the oracle itself is held to it.
//!
//! Left out is what waits: more wrong passwords than T4 lets pass at once, and
//! watches of users whose permissions go, which both are T4's own.

mod answer;
mod ask;
mod expected;
mod generate;
mod known;
mod old_line;
mod reference;
mod rights;
mod server;
mod watches;

use std::collections::BTreeMap;

use t4_testkit::{Etcd, EtcdOptions, Scratch, Seed, TestAuthority};
use t4_tls_config::{ClientOptions, ClientTls, KeyType};
use tokio::sync::mpsc;

use self::reference::{Reference, Step};
use self::server::Server;
use crate::t4_that_shows;

const COMMAND: &str = "cargo test -p t4-tests --test auth differential";

/// Users who stay; each one's first password is the name. Others come and go.
const USERS: [&str; 4] = ["root", "alice", "bob", "eve"];
const ROLES: [&str; 3] = ["one", "two", "three"];
/// The ids that leases are granted with.
const LEASES: [i64; 4] = [1, 2, 3, 4];

/// How far the reference may run ahead.
const AHEAD_MAX: usize = 256;

fn count() -> u32 {
    match std::env::var("T4_DIFF_OPS") {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|_| panic!("T4_DIFF_OPS={text:?} is no number"))
        }
        _ => 50_000,
    }
}

/// Draws and asks `count` requests. Gives what was seen.
async fn lead(
    mut reference: Reference,
    count: u32,
    steps: mpsc::Sender<anyhow::Result<Step>>,
) -> BTreeMap<String, u32> {
    for _ in 0..count {
        let step = reference.step().await;
        let is_last = step.is_err();
        if steps.send(step).await.is_err() || is_last {
            break;
        }
    }
    reference.seen
}

/// Asks t4 the same, up to the first difference.
async fn follow(mut subject: Server, mut steps: mpsc::Receiver<anyhow::Result<Step>>, seed: Seed) {
    let mut number = 0;
    while let Some(step) = steps.recv().await {
        let Step { actor, who, ask, want, rights } = match step {
            Ok(step) => step,
            Err(error) => panic!("seed {seed}, request {number}: {error:?}"),
        };
        let got = subject.perform(actor, &ask).await;
        assert_eq!(
            got, want,
            "seed {seed}, request {number}, by {who:?}: {ask:?}\n\
             (left: t4, right: etcd)\n{rights:#?}"
        );
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_answered_as_by_etcd() {
    let seed = Seed::announce("differential with authentication", COMMAND);
    let count = count();
    let scratch = Scratch::new("auth-differential").expect("a directory");
    let ca = TestAuthority::create(&scratch.join("ca"), KeyType::EcdsaP256).expect("a CA");
    let shown = Some(ca.server().expect("a certificate"));
    let trusted = ClientOptions { ca: Some(ca.cert()), ..ClientOptions::default() };
    let tls = ClientTls::load(trusted).expect("the CA's certificate");
    let etcd = Etcd::start(EtcdOptions {
        fsync: false,
        tls: shown.clone(),
        flags: vec!["--bcrypt-cost".into(), "4".into(), "--auth-token-ttl".into(), "3600".into()],
        ..EtcdOptions::default()
    })
    .expect("start etcd");
    let t4 = t4_that_shows(shown, &["--token-ttl", "3600"]);
    let reference = Server::begin(etcd.endpoint(), &tls).await.expect("begin with etcd");
    let subject = Server::begin(t4.endpoint(), &tls).await.expect("begin with t4");
    let (steps, queue) = mpsc::channel(AHEAD_MAX);
    let ahead = tokio::spawn(lead(Reference::new(reference, seed.rng()), count, steps));
    follow(subject, queue, seed).await;
    let seen = ahead.await.expect("the reference's task");
    for (what, times) in &seen {
        println!("{times:>8}  {what}");
    }
    if count >= expected::ENOUGH {
        for expected in expected::EXPECTED {
            assert!(seen.contains_key(*expected), "seed {seed}: never seen: {expected}");
        }
    }
}
