//! Certificates, CAs and revocation lists that change while the server runs.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use t4_testkit::{Metrics, T4, poll_until};

use crate::authority::{Authority, CLIENT, Pair, SERVER, replace, replace_file, serial_of};
use crate::tools::Client;
use crate::{DEADLINE, flag, shows, started};

/// A copy of a pair, to be replaced.
fn placed(ca: &Authority, pair: &Pair) -> Pair {
    let place = Pair { cert: ca.join("placed.crt"), key: ca.join("placed.key") };
    replace(&place, pair);
    place
}

fn counted(t4: &T4, name: &str) -> u64 {
    let metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    metrics.sample(&format!("{name}{{listener=\"client\"}}")).expect("a metric of TLS")
}

fn wait_for(t4: &T4, name: &str, at_least: u64) {
    poll_until(name, DEADLINE, || match counted(t4, name) {
        count if count >= at_least => Ok(()),
        count => anyhow::bail!("{count}"),
    })
    .expect("counted");
}

fn shown_serial(t4: &T4, client: Client<'_>) -> String {
    let shown = client.s_client(t4.endpoint(), &["-showcerts"]).well();
    let begin = shown.find("-----BEGIN").expect("a certificate");
    let end = shown.find("-----END CERTIFICATE-----").expect("its end");
    let scratch = t4.scratch().join("shown.crt");
    let pem = format!("{}-----END CERTIFICATE-----\n", &shown[begin..end]);
    std::fs::write(&scratch, pem).expect("write");
    serial_of(&scratch)
}

#[test]
fn a_new_certificate_is_shown_and_open_connections_stay() {
    let ca = Authority::new("t4-ca");
    let first = ca.issue("first", Some(SERVER));
    let second = ca.issue("second", Some(SERVER));
    let place = placed(&ca, &first);
    let t4 = started(shows(&place));
    let client = Client::trusting(&ca.own.cert);
    let mut open = client.connect(t4.endpoint());
    assert_eq!(open.get("/version"), "HTTP/1.1 200 OK");
    assert_eq!(shown_serial(&t4, client), serial_of(&first.cert));

    replace(&place, &second);
    wait_for(&t4, "t4_tls_reloads_total", 1);
    assert_eq!(shown_serial(&t4, client), serial_of(&second.cert));
    assert_eq!(open.get("/version"), "HTTP/1.1 200 OK");
    assert_eq!(counted(&t4, "t4_tls_reload_failures_total"), 0);
}

#[test]
fn bad_files_leave_the_good_ones_in_force_and_are_told_once() {
    let ca = Authority::new("t4-ca");
    let first = ca.issue("first", Some(SERVER));
    let other_key = ca.issue("other", Some(SERVER)).key;
    let place = placed(&ca, &first);
    let mut t4 = started(shows(&place));
    let client = Client::trusting(&ca.own.cert);

    // A key of another certificate, and no change of the other file follows.
    replace_file(&place.key, &std::fs::read(&other_key).expect("read"));
    wait_for(&t4, "t4_tls_reload_failures_total", 1);
    assert_eq!(counted(&t4, "t4_tls_reload_failing"), 1);
    assert_eq!(shown_serial(&t4, client), serial_of(&first.cert));

    // It stays so for several looks, and comes right.
    replace_file(&place.key, &std::fs::read(&first.key).expect("read"));
    poll_until("files that are good", DEADLINE, || match counted(&t4, "t4_tls_reload_failing") {
        0 => Ok(()),
        _ => anyhow::bail!("failing"),
    })
    .expect("good again");
    assert_eq!(counted(&t4, "t4_tls_reload_failures_total"), 1);
    let log = t4.program().log().join("\n");
    assert_eq!(log.matches("TLS files not reloaded").count(), 1, "{log}");
    assert!(log.contains("placed.key"), "the file is named: {log}");
}

#[test]
fn a_ca_and_a_revocation_list_take_effect_for_who_connects_then() {
    let ca = Authority::new("t4-ca");
    let next = Authority::new("t4-next-ca");
    let server = ca.issue("t4-server", Some(SERVER));
    let app = ca.issue("app", Some(CLIENT));
    let new_app = next.issue("new-app", Some(CLIENT));
    let bundle = ca.join("clients.crt");
    replace_file(&bundle, &std::fs::read(&ca.own.cert).expect("read"));
    let list = ca.revoke("crl.pem", &[]);
    let mut flags = shows(&server);
    flags.push(flag("client-tls-ca", &bundle));
    flags.push(flag("client-crl-file", &list));
    let t4 = started(flags);
    let version = format!("https://{}/version", t4.endpoint());
    let client = Client::trusting(&ca.own.cert);
    let mut open = client.showing(&app).connect(t4.endpoint());
    assert_eq!(open.get("/version"), "HTTP/1.1 200 OK");
    client.showing(&new_app).curl(&[&version]).refused("alert");

    // Both, while the clients change over.
    replace_file(&bundle, &std::fs::read(ca.bundle_with(&next)).expect("read"));
    wait_for(&t4, "t4_tls_reloads_total", 1);
    client.showing(&app).curl(&[&version]).well();
    client.showing(&new_app).curl(&[&version]).well();

    let revoked = ca.revoke("new-crl.pem", &[&app]);
    replace_file(&list, &std::fs::read(revoked).expect("read"));
    wait_for(&t4, "t4_tls_reloads_total", 2);
    client.showing(&app).curl(&[&version]).refused("alert");
    client.showing(&new_app).curl(&[&version]).well();
    assert_eq!(open.get("/version"), "HTTP/1.1 200 OK", "a connection outlives its CA");
}

#[test]
fn sighup_reads_the_files_at_once() {
    let ca = Authority::new("t4-ca");
    let place = placed(&ca, &ca.issue("first", Some(SERVER)));
    let mut t4 = started(shows(&place));
    let hang_up = |t4: &mut T4| {
        let pid = i32::try_from(t4.program().pid()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), Signal::HUP).expect("signal");
    };
    // Nothing has changed: it is read all the same.
    hang_up(&mut t4);
    t4.program().wait_for_line("TLS files reloaded", DEADLINE).expect("told");
    wait_for(&t4, "t4_tls_reloads_total", 1);
    replace_file(&place.cert, b"no certificate");
    hang_up(&mut t4);
    t4.program().wait_for_line("TLS files not reloaded", DEADLINE).expect("told");
    assert!(t4.program().is_running().expect("asked"));

    // Without TLS there is nothing to read, and no reason to end.
    let mut plain = started(Vec::new());
    hang_up(&mut plain);
    plain.program().wait_for_line("there is nothing to", DEADLINE).expect("told");
    assert!(plain.program().is_running().expect("asked"));
}

/// How long the chain is rotated; `T4_LONG=1` makes it the 2 min of the promise,
/// and the clients 32.
fn rotation_time() -> Duration {
    let long = std::env::var_os("T4_LONG").is_some();
    Duration::from_secs(if long { 120 } else { 6 })
}

/// What clients show, and the how-manieth that is.
struct Showing {
    generation: u64,
    pair: Pair,
}

/// How many clients connect meanwhile.
fn clients() -> usize {
    if std::env::var_os("T4_LONG").is_some() { 32 } else { 4 }
}

/// New CA, new leaves, and a bundle of both meanwhile, under clients that
/// connect all the time: none is refused.
#[test]
fn the_whole_chain_can_be_rotated_under_load() {
    let home = Authority::new("home");
    let mut ca = Authority::new("t4-ca");
    let place = placed(&home, &ca.issue("server", Some(SERVER)));
    let [server_trusts, client_trusts] = ["clients.crt", "servers.crt"].map(|name| home.join(name));
    for bundle in [&server_trusts, &client_trusts] {
        replace_file(bundle, &std::fs::read(&ca.own.cert).expect("read"));
    }
    let mut flags = shows(&place);
    flags.push(flag("client-tls-ca", &server_trusts));
    let t4 = started(flags);
    let first = kept(&home, 0, &ca.issue("client", Some(CLIENT)));
    let showing = Mutex::new(Showing { generation: 0, pair: first });
    let stop = AtomicBool::new(false);
    // The generation that each client has connected with last.
    let seen: Vec<AtomicU64> = (0..clients()).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for seen in &seen {
            scope.spawn(|| connect_until(&stop, seen, &t4, &showing, &client_trusts));
        }
        let begun = Instant::now();
        let mut generation = 0;
        while begun.elapsed() < rotation_time() {
            let next = Authority::new("t4-ca");
            let both = std::fs::read(ca.bundle_with(&next)).expect("read");
            let reloads = counted(&t4, "t4_tls_reloads_total");
            replace_file(&client_trusts, &both);
            replace_file(&server_trusts, &both);
            wait_for(&t4, "t4_tls_reloads_total", reloads + 1);
            replace(&place, &next.issue("server", Some(SERVER)));
            wait_for(&t4, "t4_tls_reloads_total", reloads + 2);
            generation += 1;
            let pair = kept(&home, generation, &next.issue("client", Some(CLIENT)));
            *showing.lock().expect("no panic") = Showing { generation, pair };
            let changed_over = poll_until("every client has changed over", DEADLINE, || {
                let seen: Vec<u64> = seen.iter().map(|seen| seen.load(Ordering::SeqCst)).collect();
                anyhow::ensure!(seen.iter().all(|seen| *seen == generation), "{seen:?}");
                Ok(())
            });
            if changed_over.is_err() || stop.load(Ordering::SeqCst) {
                break;
            }
            let alone = std::fs::read(&next.own.cert).expect("read");
            replace_file(&server_trusts, &alone);
            wait_for(&t4, "t4_tls_reloads_total", reloads + 3);
            replace_file(&client_trusts, &alone);
            ca = next;
        }
        // A client that was refused has said so first.
        assert!(!stop.swap(true, Ordering::SeqCst), "a client was refused");
        assert!(generation > 0, "no rotation was done");
        println!("{generation} rotations");
    });
    assert_eq!(counted(&t4, "t4_tls_reload_failures_total"), 0);
}

/// Connects anew, again and again; ends everything when it is refused.
fn connect_until(
    stop: &AtomicBool,
    seen: &AtomicU64,
    t4: &T4,
    showing: &Mutex<Showing>,
    trusts: &Path,
) {
    let version = format!("https://{}/version", t4.endpoint());
    while !stop.load(Ordering::SeqCst) {
        let (generation, pair) = {
            let showing = showing.lock().expect("no panic");
            (showing.generation, showing.pair.clone())
        };
        let said = Client::trusting(trusts).showing(&pair).curl(&[&version]);
        if !said.ok {
            println!("refused: {}", said.text);
            stop.store(true, Ordering::SeqCst);
        }
        seen.store(generation, Ordering::SeqCst);
    }
}

/// A copy of a pair that outlives the directory of its CA.
fn kept(home: &Authority, generation: u64, pair: &Pair) -> Pair {
    let at = |end: &str| home.join(&format!("client-{generation}.{end}"));
    let copy = Pair { cert: at("crt"), key: at("key") };
    replace(&copy, pair);
    copy
}
