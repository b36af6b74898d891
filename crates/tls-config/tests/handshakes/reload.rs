//! Files change under a running server.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use t4_tls_config::{
    LeafKind, Outcome, PairSource, Reload, Reloader, Role, SelfSigned, ServerOptions, ServerTls,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::fixture::{DAY, Shop, load, owned, shake};

fn leaf_serial(server: &ServerTls) -> String {
    let stats = server.stats();
    let leaf = stats.certificates.iter().find(|loaded| loaded.role == Role::Leaf);
    leaf.expect("a leaf").certificate.serial.to_string()
}

#[tokio::test]
async fn a_new_pair_is_in_force_and_old_connections_live() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let before = leaf_serial(&server);
    let (near, far) = duplex(65536);
    let client = shop.client(None);
    let (accepted, connected) =
        tokio::join!(server.accept(far, None), client.connect(near, "localhost"));
    let (mut theirs, mut ours) = (accepted.expect("accepted").0, connected.expect("connected"));

    let now = SystemTime::now();
    assert_eq!(server.look(now, false), Outcome::Unchanged);
    shop.issue("server", LeafKind::Server, &["localhost"]);
    assert_eq!(server.look(now, false), Outcome::Reloaded);
    assert_eq!(server.look(now, false), Outcome::Unchanged);
    assert_ne!(leaf_serial(&server), before);
    shake(&server, &client).await.identity();

    theirs.write_all(b"still here").await.expect("written");
    let mut heard = [0; 10];
    ours.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_told_once() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let (before, now) = (leaf_serial(&server), SystemTime::now());
    let good_key = shop.read("server.key");
    shop.issue("other", LeafKind::Server, &["localhost"]);
    shop.write("server.key", &shop.read("other.key"));
    // A half-finished rotation looks the same: the next check decides.
    assert_eq!(server.look(now, false), Outcome::Unsettled);
    assert_eq!(server.stats().failing, None);
    let Outcome::Failed(error) = server.look(now, false) else { panic!("not told") };
    assert!(error.contains("server.key") && error.contains("not the one"), "{error}");
    assert_eq!(server.look(now, false), Outcome::StillFailing);
    let stats = server.stats();
    assert_eq!((stats.failures, stats.reloads), (1, 0));
    assert_eq!((stats.failing, stats.last_failure), (Some(error), Some(now)));
    assert_eq!(leaf_serial(&server), before);
    shake(&server, &shop.client(None)).await.identity();

    // Another fault is another failure; on request it is reported at once.
    std::fs::remove_file(shop.path("server.key")).expect("removed");
    let Outcome::Failed(error) = server.look(now, true) else { panic!("not told") };
    assert!(error.starts_with("cannot read "), "{error}");
    assert_eq!(server.stats().failures, 2);

    shop.write("server.key", &good_key);
    assert_eq!(server.look(now, false), Outcome::Unchanged);
    assert_eq!(server.stats().failing, None);
}

#[tokio::test]
async fn a_rotation_file_by_file_is_no_failure() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let now = SystemTime::now();
    shop.issue("next", LeafKind::Server, &["localhost"]);
    shop.write("server.crt", &shop.read("next.crt"));
    assert_eq!(server.look(now, false), Outcome::Unsettled);
    shop.write("server.key", &shop.read("next.key"));
    assert_eq!(server.look(now, false), Outcome::Reloaded);
    assert_eq!(server.stats().failures, 0);
}

/// Nobody writes into the pipe: waiting for a writer would never end.
#[tokio::test]
async fn a_pipe_in_the_place_of_any_file_is_a_bad_file() {
    let shop = Shop::new();
    shop.write("crl.pem", &crate::revocation::list(&shop, &[]).0);
    let crl = Some(shop.path("crl.pem"));
    let server = load(ServerOptions { crl, ..shop.mutual_server() });
    let now = SystemTime::now();
    for name in ["server.crt", "server.key", "ca.crt", "crl.pem"] {
        let (path, good) = (shop.path(name), shop.path("good"));
        std::fs::rename(&path, &good).expect("renamed");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        assert_eq!(server.look(now, false), Outcome::Unsettled, "{name}");
        let told =
            format!("cannot read {}: it is a named pipe, not a regular file", path.display());
        assert_eq!(server.look(now, false), Outcome::Failed(told.clone()));
        assert_eq!(server.look(now, false), Outcome::StillFailing, "{name}");
        assert_eq!(server.stats().failing.as_ref(), Some(&told));
        let pair = shop.pair("server");
        let (client_ca, crl) = (Some(shop.path("ca.crt")), Some(shop.path("crl.pem")));
        let start = ServerTls::load(ServerOptions { client_ca, crl, ..ServerOptions::new(pair) });
        assert_eq!(start.expect_err("loaded").to_string(), told);
        std::fs::rename(&good, &path).expect("renamed back");
        assert_eq!(server.look(now, false), Outcome::Unchanged, "{name}");
        assert_eq!(server.stats().failing, None);
    }
    assert_eq!((server.stats().failures, server.stats().reloads), (4, 0));

    // The files that the server creates itself.
    mknodat(CWD, shop.path("cert.pem"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let own = SelfSigned::in_dir(shop.dir(), owned(&["localhost"]), 1).expect("a year");
    let start = ServerTls::load(ServerOptions::new(PairSource::SelfSigned(own)));
    let told = start.expect_err("loaded").to_string();
    assert!(told.contains("cert.pem: it is a named pipe"), "{told}");
}

#[tokio::test]
async fn a_leaf_that_is_not_valid_yet_is_taken_when_it_is() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let now = SystemTime::now();
    shop.issue_at("server", LeafKind::Server, &["localhost"], now + DAY);
    assert_eq!(server.look(now, false), Outcome::Unsettled);
    assert!(matches!(server.look(now, false), Outcome::Failed(_)));
    assert_eq!(server.look(now + DAY, false), Outcome::Reloaded);
}

#[tokio::test]
async fn the_links_of_a_kubernetes_secret_are_followed() {
    let shop = Shop::new();
    shop.issue("server", LeafKind::Server, &["localhost"]);
    let version = |name: &str| {
        let dir = shop.path(name);
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::copy(shop.path("server.crt"), dir.join("tls.crt")).expect("copied");
        std::fs::copy(shop.path("server.key"), dir.join("tls.key")).expect("copied");
    };
    // As in the kubelet: files are links into ..data, which is a link to the
    // newest directory, and only that link is swapped.
    version("..one");
    symlink("..one", shop.path("..data")).expect("a link");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), shop.path(file)).expect("a link");
    }
    let pair = PairSource::Files { cert: shop.path("tls.crt"), key: shop.path("tls.key") };
    let server = load(ServerOptions::new(pair));
    let before = leaf_serial(&server);
    shop.issue("server", LeafKind::Server, &["localhost"]);
    version("..two");
    symlink("..two", shop.path("..next")).expect("a link");
    std::fs::rename(shop.path("..next"), shop.path("..data")).expect("swapped");
    assert_eq!(server.look(SystemTime::now(), false), Outcome::Reloaded);
    assert_ne!(leaf_serial(&server), before);
}

#[tokio::test]
async fn a_new_ca_and_a_new_list_count_at_once() {
    let (shop, other) = (Shop::new(), Shop::new());
    let alice = shop.issue("alice", LeafKind::Client, &[]);
    let bob = other.issue("bob", LeafKind::Client, &[]);
    let crl = Some(shop.write("crl.pem", &crate::revocation::list(&shop, &[]).0));
    let server = load(ServerOptions { crl, ..shop.mutual_server() });
    let (alice, bob) = (shop.client(Some(alice)), shop.client(Some(bob)));
    assert!(shake(&server, &alice).await.server.is_ok());
    assert!(shake(&server, &bob).await.server.is_err());

    let now = SystemTime::now();
    // Both CAs have the same name, so this also covers a CA with a renewed key.
    shop.write("ca2.crt", &format!("{}{}", shop.read("ca.crt"), other.read("ca.crt")));
    std::fs::rename(shop.path("ca2.crt"), shop.path("ca.crt")).expect("renamed");
    assert_eq!(server.look(now, false), Outcome::Reloaded);
    assert!(shake(&server, &alice).await.server.is_ok());
    assert!(shake(&server, &bob).await.server.is_ok());
    let cas = server.stats().certificates.iter().filter(|c| c.role == Role::Ca).count();
    assert_eq!(cas, 2);

    std::fs::write(shop.path("crl.pem"), crate::revocation::list(&other, &["bob"]).0)
        .expect("written");
    assert_eq!(server.look(now, false), Outcome::Reloaded);
    assert!(shake(&server, &bob).await.server.is_err());
}

#[tokio::test]
async fn self_signed_certificates_are_renewed_while_they_serve() {
    let shop = Shop::new();
    let own = SelfSigned::in_dir(shop.dir(), owned(&["localhost"]), 1).expect("a year");
    let server = load(ServerOptions::new(PairSource::SelfSigned(own)));
    let before = leaf_serial(&server);
    let now = SystemTime::now();
    assert_eq!(server.look(now + 300 * DAY, false), Outcome::Unchanged);
    assert_eq!(server.look(now + 350 * DAY, false), Outcome::Reloaded);
    assert_ne!(leaf_serial(&server), before);
}

#[test]
fn the_thread_follows_and_ends() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let reloader = Reloader::new();
    reloader.watch("client", server.clone());
    let reloading = reloader.clone().start(Duration::from_millis(10)).expect("a thread");
    let wait = |reloads: u64| {
        // A change is in force within two checks; the limit only ends a failed
        // test.
        let began = std::time::Instant::now();
        while server.stats().reloads < reloads {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", server.stats());
            std::thread::yield_now();
        }
    };
    shop.issue("server", LeafKind::Server, &["localhost"]);
    wait(1);
    let before = server.stats().reloads;
    reloading.reload_now();
    wait(before + 1);
    let stats = reloader.stats();
    assert_eq!(stats[0].0, "client");
    assert_eq!(stats[0].1.certificates, server.stats().certificates);
    drop(reloading);
}
