//! Certificates, CAs and revocation lists that change while the server runs.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use t4_testkit::{Metrics, T4, poll_until};

use crate::authority::{
    Authority, CLIENT, Pair, SERVER, make_pipe, replace, replace_file, serial_of,
};
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
    t4.program().wait_for_line("TLS files not reloaded", DEADLINE).expect("told");
    let log = t4.program().log().join("\n");
    assert_eq!(log.matches("TLS files not reloaded").count(), 1, "{log}");
    assert!(log.contains("placed.key"), "the file is named: {log}");
}

/// As above, when the bad file is one that would never end.
#[test]
fn a_pipe_holds_up_neither_the_followers_nor_the_end() {
    let ca = Authority::new("t4-ca");
    let (first, second) = (ca.issue("first", Some(SERVER)), ca.issue("second", Some(SERVER)));
    let place = placed(&ca, &first);
    let mut t4 = started(shows(&place));
    let client = Client::trusting(&ca.own.cert);
    let put_pipe = |place: &Path| {
        let pipe = place.with_extension("pipe");
        make_pipe(&pipe);
        std::fs::rename(pipe, place).expect("rename");
    };

    put_pipe(&place.cert);
    wait_for(&t4, "t4_tls_reload_failing", 1);
    assert_eq!(shown_serial(&t4, client), serial_of(&first.cert));
    // To be asked for it does not hold it up either, and nothing is told twice.
    hang_up(&mut t4);
    replace(&place, &second);
    wait_for(&t4, "t4_tls_reloads_total", 1);
    assert_eq!(shown_serial(&t4, client), serial_of(&second.cert));
    let told = "placed.crt: it is a named pipe, not a regular file";
    t4.program().wait_for_line(told, DEADLINE).expect("told");
    let log = t4.program().log().join("\n");
    assert_eq!(log.matches(told).count(), 1, "{log}");
    hang_up(&mut t4);
    wait_for(&t4, "t4_tls_reloads_total", 2);

    put_pipe(&place.key);
    wait_for(&t4, "t4_tls_reload_failing", 1);
    t4.program().terminate().expect("told to end");
    let ended = t4.program().wait(DEADLINE).expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

fn hang_up(t4: &mut T4) {
    let pid = i32::try_from(t4.program().pid()).expect("a pid");
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::HUP).expect("signal");
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
