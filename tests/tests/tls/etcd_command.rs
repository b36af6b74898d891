//! `t4 etcd`, and the binary under the name `etcd`: the command lines of etcd's
//! pages, its environment and its config file.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use t4_testkit::{Program, Scratch, free_port, t4_binary};

use crate::authority::{Authority, CLIENT, Pair, SERVER};
use crate::tools::Client;
use crate::{DEADLINE, READY, flag};

/// An `etcd` that is a link to t4, in a directory of its own.
pub(crate) struct Etcd {
    pub(crate) scratch: Scratch,
}

impl Etcd {
    pub(crate) fn new() -> Etcd {
        let scratch = Scratch::new("etcd").expect("scratch");
        symlink(t4_binary().expect("a t4"), scratch.join("etcd")).expect("link");
        Etcd { scratch }
    }

    /// It, run in its directory, without variables of ours or etcd's.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.scratch.join("etcd"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("ETCD_") || name.starts_with("T4_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.scratch.path());
        command
    }

    fn serve(&self, command: Command) -> Program {
        let program = Program::start("etcd", command, &self.scratch.join("log")).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        program
    }
}

fn pair_flags(pair: &Pair) -> [String; 2] {
    [flag("cert-file", &pair.cert), flag("key-file", &pair.key)]
}

// Example 1 and 2 of the page, with the v3 API in place of v2's.
#[test]
fn the_examples_of_the_transport_security_page() {
    let ca = Authority::new("etcd-ca");
    let server = ca.issue("server", Some(SERVER));
    let client = ca.issue("client", Some(CLIENT));
    let url = format!("https://127.0.0.1:{}", free_port());
    let trusting = Client::trusting(&ca.own.cert);

    let etcd = Etcd::new();
    let mut first = etcd.command();
    first.args(["--name", "infra0", "--data-dir", "infra0"]).args(pair_flags(&server));
    first.arg(format!("--advertise-client-urls={url}")).arg(format!("--listen-client-urls={url}"));
    let program = etcd.serve(first);
    assert!(etcd.scratch.join("infra0").is_dir());
    let version = format!("{url}/version");
    assert!(trusting.curl(&[&version]).well().contains("etcdserver"));
    assert_eq!(trusting.etcdctl(&url, &["put", "foo", "bar"]).well(), "OK\n");
    let members = trusting.etcdctl(&url, &["member", "list"]).well();
    assert!(members.contains("infra0") && members.contains(&url), "{members}");
    drop(program);

    let mut second = etcd.command();
    second.args(["--name", "infra0", "--data-dir", "infra0", "--client-cert-auth"]);
    second.arg(flag("trusted-ca-file", &ca.own.cert)).args(pair_flags(&server));
    second.args(["--advertise-client-urls", &url, "--listen-client-urls", &url]);
    let _program = etcd.serve(second);
    trusting.curl(&[&version]).refused("alert");
    assert!(trusting.showing(&client).curl(&["-L", &version]).well().contains("etcdserver"));
    assert_eq!(trusting.showing(&client).etcdctl(&url, &["get", "foo"]).well(), "foo\nbar\n");
}

// Example 4: encryption without authentication.
#[test]
fn auto_tls_needs_no_files() {
    let etcd = Etcd::new();
    let url = format!("https://127.0.0.1:{}", free_port());
    let mut command = etcd.command();
    command.args(["--name", "infra1", "--data-dir", "infra1", "--auto-tls", "--peer-auto-tls"]);
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["-initial-advertise-peer-urls=https://127.0.0.1:2380"]);
    command.args(["-listen-peer-urls", "https://127.0.0.1:2380"]);
    command.args(["--initial-cluster", "infra1=https://127.0.0.1:2380"]);
    let _program = etcd.serve(command);
    let health = format!("{url}/health");
    Client::default().curl(&[&health]).refused("certificate");
    assert!(Client::default().curl(&["-k", &health]).well().contains("true"));
    for made in ["client/cert.pem", "client/key.pem", "peer/cert.pem", "peer/key.pem"] {
        assert!(etcd.scratch.join("infra1/fixtures").join(made).is_file(), "{made}");
    }
}

#[test]
fn variables_and_flags_together() {
    let ca = Authority::new("etcd-ca");
    let server = ca.issue("server", Some(SERVER));
    let etcd = Etcd::new();
    let [plain, secure] = [free_port(), free_port()];
    let urls = format!("http://127.0.0.1:{plain},https://127.0.0.1:{secure}");
    let mut command = etcd.command();
    command
        .env("ETCD_NAME", "from-environment")
        .env("ETCD_CERT_FILE", &server.cert)
        .env("ETCD_KEY_FILE", &server.key)
        .env("ETCD_LISTEN_CLIENT_URLS", &urls)
        .env("ETCD_HEARTBEAT_INTERVAL", "100")
        .env("ETCD_DATA_DRI", "misspelled")
        .env("ETCD_ELECTION_TIMEOUT", "")
        .args(["-advertise-client-urls", &urls, "--log-format", "console"]);
    let program = etcd.serve(command);
    assert!(etcd.scratch.join("from-environment.etcd").is_dir(), "the default directory");
    Client::default().curl(&[&format!("http://127.0.0.1:{plain}/version")]).well();
    let secure = format!("https://127.0.0.1:{secure}/version");
    Client::trusting(&ca.own.cert).curl(&[&secure]).well();
    let log = program.log().join("\n");
    assert_eq!(log.matches("--heartbeat-interval has no effect here").count(), 1, "{log}");
    assert!(
        log.contains("unrecognized environment variable\t{\"setting\": \"ETCD_DATA_DRI\"}"),
        "{log}"
    );
    let ignoring = format!("ignoring key and cert files for http://127.0.0.1:{plain}");
    assert!(log.contains(&ignoring), "{log}");
    assert!(!log.contains("election-timeout"), "an empty variable is unset: {log}");
}

#[test]
fn the_config_file_is_all_that_counts() {
    let ca = Authority::new("etcd-ca");
    let server = ca.issue("server", Some(SERVER));
    let client = ca.issue("client", Some(CLIENT));
    let etcd = Etcd::new();
    let [port, metrics] = [free_port(), free_port()];
    let text = format!(
        "name: 'from-file'\ndata-dir: {}\nlisten-client-urls: https://127.0.0.1:{port}\n\
         advertise-client-urls: https://127.0.0.1:{port}\n\
         listen-metrics-urls: http://127.0.0.1:{metrics}\n\
         snapshot-count: 10000\nwal-dir:\nstrict-reconfig-check: false\ndiscovery-fallback: 'proxy'\n\
         grpc-keepalive-timeout: 20000000000\nenable-pprof: true\nlogger: zap\n\
         client-transport-security:\n  cert-file: {}\n  key-file: {}\n  client-cert-auth: true\n\
         \x20 trusted-ca-file: {}\n  auto-tls: false\npeer-transport-security:\n  auto-tls: false\n\
         log-outputs: [stderr, {}]\nauto-compaction-retention: \"1\"\nsomething-new: 1\n",
        etcd.scratch.join("data").display(),
        server.cert.display(),
        server.key.display(),
        ca.own.cert.display(),
        etcd.scratch.join("file.log").display(),
    );
    let file = etcd.scratch.join("etcd.yml");
    fs::write(&file, text).expect("write");
    let mut command = etcd.command();
    command.env("ETCD_CONFIG_FILE", &file).env("ETCD_NAME", "ignored").args(["--name", "ignored"]);
    let program = etcd.serve(command);
    let url = format!("https://127.0.0.1:{port}");
    let trusting = Client::trusting(&ca.own.cert);
    trusting.curl(&[&format!("{url}/version")]).refused("alert");
    let members = trusting.showing(&client).etcdctl(&url, &["member", "list"]).well();
    assert!(members.contains("from-file"), "{members}");
    let url = format!("http://127.0.0.1:{metrics}/health");
    assert!(Client::default().curl(&[&url]).well().contains("true"));
    for log in
        [program.log().join("\n"), fs::read_to_string(etcd.scratch.join("file.log")).expect("read")]
    {
        assert!(
            log.contains("--name is ignored: the settings are those of --config-file"),
            "{log}"
        );
        assert!(log.contains("\"setting\":\"something-new\""), "{log}");
        assert!(log.contains("--snapshot-count has no effect here"), "{log}");
    }
}

#[test]
fn http_can_have_addresses_of_its_own() {
    let etcd = Etcd::new();
    let [grpc, http] = [free_port(), free_port()];
    let grpc = format!("http://127.0.0.1:{grpc}");
    let http = format!("http://127.0.0.1:{http}");
    let mut command = etcd.command();
    command.args(["--listen-client-urls", &grpc, "--advertise-client-urls", &grpc]);
    command.args(["--listen-client-http-urls", &http]);
    let _program = etcd.serve(command);
    let client = Client::default();
    assert_eq!(client.etcdctl(&grpc, &["put", "k", "v"]).well(), "OK\n");
    assert!(client.curl(&[&format!("{http}/version")]).well().contains("etcdserver"));
    let code = client.curl(&["-o", "/dev/null", "-w", "%{http_code}", &format!("{grpc}/version")]);
    assert_ne!(code.well(), "200");
    assert!(!client.etcdctl(&http, &["put", "k", "v"]).ok);
}

#[test]
fn version_and_help_by_both_names() {
    let etcd = Etcd::new();
    let by_name = etcd.command().arg("--version").output().expect("run");
    let mut t4 = Command::new(t4_binary().expect("a t4"));
    let by_command = t4.args(["etcd", "--version"]).output().expect("run");
    assert_eq!(by_name.stdout, by_command.stdout);
    let text = String::from_utf8(by_name.stdout).expect("UTF-8");
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    assert!(text.starts_with("etcd Version: 3."), "{text}");
    assert!(text.ends_with(&format!("Go OS/Arch: linux/{arch}\n")), "{text}");
    for help in ["--help", "-h", "-help"] {
        let output = etcd.command().arg(help).output().expect("run");
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for part in
            ["Usage:", "\nMember:", "--listen-client-urls 'http://localhost:2379'", "\nSecurity:"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
