//! The whole chain is replaced repeatedly under clients that never stop: no
//! handshake fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use t4_tls_config::{ClientOptions, ClientTls, LeafKind, Outcome, Reload, ServerTls};

use crate::fixture::{Shop, load, shake};

const CLIENTS: usize = 8;
const ROTATIONS: usize = 10;

/// A client's files, and the number of handshakes it has done.
struct Visitor {
    tls: ClientTls,
    done: AtomicU64,
}

async fn visit(server: ServerTls, visitor: Arc<Visitor>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let shaken = shake(&server, &visitor.tls).await;
        let identity = shaken.identity();
        assert_eq!(identity.common_name.as_deref(), Some("member"));
        visitor.done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until every client has begun and completed a handshake after this
/// call.
async fn settle(visitors: &[Arc<Visitor>]) {
    let counts = || visitors.iter().map(|v| v.done.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let before = counts();
    while !counts().iter().zip(&before).all(|(now, before)| *now >= before + 2) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_costs_no_handshake() {
    let shop = Shop::new();
    let pair = shop.issue("member", LeafKind::Peer, &["localhost"]);
    let ca = shop.path("ca.crt");
    let server = load(t4_tls_config::ServerOptions {
        client_ca: Some(ca.clone()),
        ..t4_tls_config::ServerOptions::new(pair.clone())
    });
    let visitors: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let pair = Some(pair.clone());
            let tls = shop.client_with(ClientOptions { pair, ..ClientOptions::default() });
            Arc::new(Visitor { tls, done: AtomicU64::new(0) })
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = visitors
        .iter()
        .map(|v| tokio::spawn(visit(server.clone(), Arc::clone(v), Arc::clone(&stop))))
        .collect();

    let look = || {
        let now = SystemTime::now();
        assert_eq!(server.look(now, false), Outcome::Reloaded);
        for visitor in &visitors {
            assert_eq!(visitor.tls.look(now, false), Outcome::Reloaded);
        }
    };
    let mut old = shop.read("ca.crt");
    for _ in 0..ROTATIONS {
        let next = Shop::new();
        next.issue("member", LeafKind::Peer, &["localhost"]);
        let new = next.read("ca.crt");
        // All sides first trust both CAs, then present the new certificates,
        // then drop the old CA; a step ends when nobody is still in the
        // previous one.
        shop.write("ca.crt", &format!("{old}{new}"));
        look();
        settle(&visitors).await;
        shop.write("member.key", &next.read("member.key"));
        shop.write("member.crt", &next.read("member.crt"));
        look();
        settle(&visitors).await;
        shop.write("ca.crt", &new);
        look();
        settle(&visitors).await;
        old = new;
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("no handshake failed");
    }
    assert_eq!(server.stats().reloads, 3 * ROTATIONS as u64);
}
