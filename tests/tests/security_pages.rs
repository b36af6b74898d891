//! Every command of the security pages of T4 and etcd, and of our own: the
//! scripts that `docs/security.md` links to, run so that they cannot rot. And
//! every block of our pages for operators, exactly as it is shown. What is
//! checked is in the scripts themselves.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use t4_testkit::{EtcdDistro, Program, Scratch, free_port, t4_binary, workspace_root};

/// It makes RSA keys of 4096 bits, as the page does, which takes its time.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs a script of `tests/security`; panics with what it said if it fails.
fn run(script: &str) {
    run_with(script, &[]);
}

fn run_with(script: &str, pages: &[&str]) {
    let path: PathBuf = workspace_root().join("tests/security").join(script);
    let scratch = Scratch::new("security-pages").expect("scratch");
    let mut command = Command::new("bash");
    command.arg(&path).arg(t4_binary().expect("a t4"));
    command.arg(EtcdDistro::find().expect("etcdctl").etcdctl()).env("TMPDIR", scratch.path());
    command.args(pages.iter().map(|page| workspace_root().join(page)));
    for port in ["CLIENT_PORT", "PEER_PORT", "METRICS_PORT"] {
        command.env(port, free_port().to_string());
    }
    let mut program = Program::start(script, command, &scratch.join("log")).expect("start");
    if let Err(error) = program.wait_for_line("steps, as the pages say", DEADLINE) {
        panic!("{error:#}\n\nall of it:\n{}", program.log().join("\n"));
    }
    assert!(program.wait(DEADLINE).expect("it ends").success());
}

#[test]
fn tls_is_as_the_pages_have_it() {
    run("examples.sh");
}

#[test]
fn tls_is_as_our_own_page_has_it() {
    run("page.sh");
}

#[test]
fn users_and_roles_are_as_the_page_has_them() {
    run("auth.sh");
}

#[test]
fn the_readme_runs_as_it_is_shown() {
    run_with("pages.sh", &["README.md"]);
}

#[test]
fn the_page_for_operators_runs_as_it_is_shown() {
    run_with("pages.sh", &["docs/operations.md"]);
}

#[test]
fn the_page_about_security_runs_as_it_is_shown() {
    run_with("pages.sh", &["docs/security.md"]);
}

#[test]
fn a_container_may_be_as_the_page_says() {
    run("containers.sh");
}
