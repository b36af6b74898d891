//! etcdctl over a socket of the file system: the forms of its address that
//! `docs/compatibility.md` has.

use std::path::PathBuf;
use std::process::{Command, Output};

use t4_testkit::{EtcdDistro, T4, T4Options, free_port};

use crate::{stderr, stdout};

/// A server's socket. Its path has to be short, so it is not in the server's
/// directory, and whoever kills the server must remove it.
struct Socket {
    dir: PathBuf,
    name: String,
}

impl Socket {
    fn new() -> Socket {
        // Nobody else has the port, so nobody else has the name.
        Socket { dir: std::env::temp_dir(), name: format!("t4-cli-{}", free_port()) }
    }

    /// etcdctl in the directory of the socket.
    fn etcdctl(&self, endpoint: &str, args: &[&str]) -> Output {
        let etcdctl = EtcdDistro::find().expect("etcdctl").etcdctl();
        let mut command = Command::new(etcdctl);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCDCTL_") {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.dir).arg("--endpoints").arg(endpoint).args(args);
        command.output().expect("start etcdctl")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.dir.join(&self.name));
    }
}

#[test]
fn etcdctl_puts_and_gets_over_a_socket_that_it_names_without_a_slash() {
    let socket = Socket::new();
    let path = socket.dir.join(&socket.name);
    let path = path.to_str().expect("UTF-8");
    let flags = vec![format!("--listen=unix://{path}")];
    let _t4 = T4::start(T4Options { flags, ..T4Options::default() }).expect("start");

    for form in ["unix:", "unix://"] {
        let endpoint = format!("{form}{}", socket.name);
        let put = socket.etcdctl(&endpoint, &["put", "form", form]);
        assert_eq!(stdout(&put), "OK\n", "{endpoint}: {}", stderr(&put));
        let got = socket.etcdctl(&endpoint, &["get", "form", "--print-value-only"]);
        assert_eq!(stdout(&got), format!("{form}\n"), "{endpoint}: {}", stderr(&got));
    }
    // Up to 3.5.9 a client sends the path as the name of the host, which it is
    // not, and the HTTP/2 library refuses the request. Whoever sees this fail,
    // because it no longer does, takes the row out of the page.
    for endpoint in [format!("unix://{path}"), format!("unix:./{}", socket.name)] {
        let refused = socket.etcdctl(&endpoint, &["put", "form", "path"]);
        let told = stderr(&refused);
        assert!(told.contains("RST_STREAM with error code: PROTOCOL_ERROR"), "{endpoint}: {told}");
    }
}
