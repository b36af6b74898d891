//! The programs that the pages use: curl, openssl s_client, etcdctl.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use t4_testkit::EtcdDistro;

use crate::authority::{Pair, openssl};

/// What a program that has ended left.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    /// Both outputs.
    pub(crate) text: String,
}

impl Said {
    fn of(command: &mut Command) -> Said {
        let output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("this suite needs {command:?}: {error}"));
        let text = [output.stdout, output.stderr].concat();
        Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Panics unless it has ended well; gives its output.
    pub(crate) fn well(self) -> String {
        assert!(self.ok, "{}", self.text);
        self.text
    }

    /// Panics unless it has failed and said this.
    pub(crate) fn refused(self, why: &str) {
        assert!(!self.ok && self.text.contains(why), "{why:?} in {self:?}");
    }
}

/// Who connects, and whom they trust.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Client<'a> {
    pub(crate) ca: Option<&'a Path>,
    pub(crate) pair: Option<&'a Pair>,
}

impl<'a> Client<'a> {
    pub(crate) fn trusting(ca: &'a Path) -> Self {
        Client { ca: Some(ca), pair: None }
    }

    pub(crate) fn showing(self, pair: &'a Pair) -> Self {
        Client { pair: Some(pair), ..self }
    }

    /// `curl` with more arguments; the URL is one of them.
    pub(crate) fn curl(self, args: &[&str]) -> Said {
        let mut curl = Command::new("curl");
        // `-q`, which has to come first: not the settings of the user's own.
        curl.args(["-q", "-sS", "--max-time", "30", "--noproxy", "*"]);
        if let Some(ca) = self.ca {
            curl.arg("--cacert").arg(ca);
        }
        if let Some(pair) = self.pair {
            curl.arg("--cert").arg(&pair.cert).arg("--key").arg(&pair.key);
        }
        Said::of(curl.args(args))
    }

    /// `etcdctl` 3.5.1 at an endpoint with a scheme.
    pub(crate) fn etcdctl(self, endpoint: &str, args: &[&str]) -> Said {
        let distro = EtcdDistro::find().expect("etcdctl");
        let mut etcdctl = Command::new(distro.etcdctl());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCDCTL_") {
                etcdctl.env_remove(name);
            }
        }
        etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "--dial-timeout=10s"]);
        etcdctl.arg("--command-timeout=10s");
        if let Some(ca) = self.ca {
            etcdctl.arg("--cacert").arg(ca);
        }
        if let Some(pair) = self.pair {
            etcdctl.arg("--cert").arg(&pair.cert).arg("--key").arg(&pair.key);
        }
        Said::of(etcdctl.args(args))
    }

    /// `openssl s_client` with more arguments; what it tells of the handshake.
    pub(crate) fn s_client(self, address: &str, args: &[&str]) -> Said {
        Said::of(self.s_client_command(address).args(args))
    }

    fn s_client_command(self, address: &str) -> Command {
        let mut command = openssl(&["s_client", "-connect", address]);
        if let Some(ca) = self.ca {
            command.arg("-verify_return_error").arg("-CAfile").arg(ca);
        }
        if let Some(pair) = self.pair {
            command.arg("-cert").arg(&pair.cert).arg("-key").arg(&pair.key);
        }
        command
    }

    /// A connection that stays open between requests.
    pub(crate) fn connect(self, address: &str) -> OpenConnection {
        let mut command = self.s_client_command(address);
        command.args(["-quiet", "-no_ign_eof"]).stderr(Stdio::null());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("openssl");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        OpenConnection { child, requests, answers }
    }
}

/// An `openssl s_client` that speaks HTTP/1.1. Ended when dropped.
pub(crate) struct OpenConnection {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl OpenConnection {
    /// Asks for a path, and gives the status line of the answer.
    pub(crate) fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.requests.write_all(request.as_bytes()).expect("the connection is open");
        let status = self.line();
        let mut length = 0;
        loop {
            let line = self.line().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.answers.read_exact(&mut body).expect("a body");
        status
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert!(!line.is_empty(), "the connection was closed");
        line.trim_end().to_owned()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
