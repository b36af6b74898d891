//! etcdctl's commands about users and roles, and its others as a user: what
//! they print must be what they print against etcd.

use t4_testkit::{Etcd, EtcdOptions};
use t4_tests::etcdctl::Ctl;

use crate::t4;

#[test]
fn etcdctl_sees_no_difference() {
    let etcd = Etcd::start(EtcdOptions {
        fsync: false,
        flags: vec!["--bcrypt-cost".into(), "4".into()],
        ..EtcdOptions::default()
    })
    .expect("start etcd");
    let t4 = t4(&[]);
    let [want, got] = [etcd.endpoint(), t4.endpoint()].map(|endpoint| {
        let mut ctl = Ctl::new(endpoint).expect("etcdctl");
        before(&mut ctl);
        enabled(&mut ctl);
        after(&mut ctl);
        ctl.transcript
    });
    assert_eq!(want.len(), got.len());
    let differences: Vec<String> = want
        .iter()
        .zip(&got)
        .filter(|(want, got)| want != got)
        .map(|(want, got)| {
            format!("etcdctl {}\n--- etcd\n{}\n--- t4\n{}", want.command, want.said, got.said)
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn before(ctl: &mut Ctl) {
    ctl.ok("auth status");
    ctl.ok("auth disable");
    ctl.ok("user list");
    ctl.ok("role list");
    ctl.ok("user add root:rootpw");
    ctl.fails("user add root:again");
    ctl.run("user add alice --interactive=false", "alicepw\n");
    ctl.ok("user add bob:bobpw");
    ctl.ok("user add cert --no-password");
    ctl.ok("role add config-reader");
    ctl.fails("role add config-reader");
    ctl.ok("role grant-permission config-reader read /config/ --prefix");
    ctl.ok("role add writer");
    ctl.ok("role grant-permission writer readwrite /data/ /data0");
    ctl.ok("role grant-permission writer write one");
    ctl.ok("role grant-permission writer read z --from-key");
    ctl.fails("role grant-permission writer nonsense k");
    ctl.fails("role grant-permission none read k");
    ctl.ok("role get writer");
    ctl.ok("role get writer -w json");
    ctl.ok("role get config-reader");
    ctl.fails("role get none");
    ctl.ok("role revoke-permission writer one");
    ctl.fails("role revoke-permission writer one");
    ctl.ok("user grant-role alice config-reader");
    ctl.ok("user grant-role bob writer");
    ctl.fails("user grant-role bob none");
    ctl.fails("user grant-role none writer");
    ctl.ok("user get bob");
    ctl.ok("user get bob --detail");
    ctl.fails("user get none");
    ctl.ok("user list -w json");
    ctl.ok("role list -w json");
    ctl.ok("put /config/a 1");
    ctl.ok("put /data/a 1");
    // Makes the role root, and gives it to the user.
    ctl.ok("auth enable");
}

fn enabled(ctl: &mut Ctl) {
    ctl.fails("auth status --user alice:wrong");
    for stranger in ["get /config/a", "put x y", "del x", "user list", "auth disable"] {
        ctl.fails(stranger);
    }
    let alice = "--user alice:alicepw";
    ctl.ok(&format!("get /config/a {alice}"));
    ctl.ok(&format!("get /config/ --prefix {alice}"));
    for denied in [
        "get /data/a",
        "get /config/ --from-key",
        "get / --prefix",
        "put /config/a 2",
        "del /config/a",
        "user list",
        "user add eve:x",
        "user get bob",
        "role list",
        "role get writer",
        "role grant-permission config-reader readwrite /",
        "user grant-role alice root",
        "auth disable",
        "watch /data/a",
    ] {
        ctl.run(&format!("{denied} {alice}"), "");
    }
    ctl.ok(&format!("user get alice {alice}"));
    ctl.ok(&format!("role get config-reader {alice}"));
    let bob = "--user bob --password bobpw";
    ctl.ok(&format!("put /data/b 2 {bob}"));
    ctl.ok(&format!("get /data/ --prefix --keys-only {bob}"));
    ctl.ok(&format!("put /data/b 3 --prev-kv {bob}"));
    ctl.ok(&format!("del /data/b {bob}"));
    ctl.fails(&format!("put /config/a 3 {bob}"));
    ctl.fails("get /data/a --user cert:anything");
    ctl.fails("get /data/a --user none:anything");

    let root = "--user root:rootpw";
    for command in [
        "auth status",
        "auth enable",
        "user list",
        "get / --prefix",
        "put anything 1",
        "user add dora:x",
        "user delete dora",
        "role revoke-permission writer /data/ /data0",
        "role get writer",
    ] {
        ctl.ok(&format!("{command} {root}"));
    }
    ctl.fails(&format!("get /data/a {bob}"));
    ctl.fails(&format!("user delete root {root}"));
    ctl.fails(&format!("user revoke-role root root {root}"));
    ctl.fails(&format!("role delete root {root}"));
    ctl.run(&format!("user passwd alice --interactive=false {root}"), "new\n");
    ctl.fails(&format!("get /config/a {alice}"));
    ctl.ok("get /config/a --user alice:new");
    ctl.ok(&format!("user revoke-role alice config-reader {root}"));
    ctl.fails("get /config/a --user alice:new");
    ctl.ok(&format!("role delete writer {root}"));
    ctl.ok(&format!("user get bob {root}"));
    ctl.ok(&format!("user delete bob {root}"));
    ctl.fails(&format!("get z {bob}"));
    ctl.ok(&format!("auth disable {root}"));
}

fn after(ctl: &mut Ctl) {
    ctl.ok("auth status");
    ctl.ok("get / --prefix");
    ctl.ok("user list");
    ctl.ok("user delete alice");
    ctl.ok("role delete config-reader");
}

/// T4's page: `--auth-enabled`, and what is served until then.
#[test]
fn keys_wait_until_authentication_is_enabled() {
    let t4 = t4(&["--auth-enabled", "--token-ttl", "3600"]);
    let mut ctl = Ctl::new(t4.endpoint()).expect("etcdctl");
    for command in ["get a", "put a 1", "lease grant 10", "compact 1"] {
        ctl.fails(command);
        let said = &ctl.transcript.last().expect("a step").said;
        assert!(said.contains("no keys are served until authentication is enabled"), "{said}");
    }
    ctl.ok("user add root:pw");
    ctl.ok("auth enable");
    ctl.fails("get a");
    ctl.ok("put a 1 --user root:pw");
    assert_eq!(ctl.ok("get a --print-value-only --user root:pw"), "1\n");
}

/// A watch ends when its permission goes, and etcdctl with it.
#[test]
fn etcdctl_is_told_that_its_watch_ends() {
    let t4 = t4(&[]);
    let mut ctl = Ctl::new(t4.endpoint()).expect("etcdctl");
    for command in [
        "user add root:pw",
        "user add alice:pw",
        "role add r",
        "role grant-permission r read a",
        "user grant-role alice r",
        "auth enable",
    ] {
        ctl.ok(command);
    }
    ctl.ok("put a told --user root:pw");
    let mut watch = ctl.begin("watch a --rev 1 --user alice:pw");
    watch.see("told\n");
    ctl.ok("user revoke-role alice r --user root:pw");
    ctl.finish(watch);
    let said = &ctl.transcript.last().expect("a step").said;
    assert!(said.contains("watch is canceled by the server"), "{said}");
}

#[test]
fn signed_tokens_log_etcdctl_in() {
    let fixture = |name: &str| {
        let dir = t4_testkit::workspace_root().join("crates/auth-rbac/tests/fixtures/jwt");
        dir.join(name).display().to_string()
    };
    let tokens = format!(
        "jwt,sign-method=ES256,pub-key={},priv-key={},ttl=10m",
        fixture("p256.pub"),
        fixture("p256-pkcs8.key")
    );
    let t4 = t4(&["--auth-token", &tokens]);
    let mut ctl = Ctl::new(t4.endpoint()).expect("etcdctl");
    ctl.ok("user add root:pw");
    ctl.ok("auth enable");
    ctl.ok("put a 1 --user root:pw");
    ctl.ok("role add r --user root:pw");
    ctl.ok("get a --user root:pw");
    ctl.fails("get a --user root:wrong");
}
