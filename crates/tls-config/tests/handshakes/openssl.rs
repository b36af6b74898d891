//! The real openssl, which these tests require: they fail without it, with a
//! message.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use t4_tls_config::{PeerIdentity, Rejection, ServerTls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Runs a script from the pages in a directory, unchanged except for names.
pub(crate) fn sh(dir: &Path, script: &str) -> Output {
    let missing = "bash and openssl are not installed, and these tests need them";
    Command::new("openssl").arg("version").output().expect(missing);
    let script = format!("set -euo pipefail\n{script}");
    let done = Command::new("bash").current_dir(dir).args(["-c", &script]).output();
    let done = done.expect(missing);
    assert!(
        done.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    done
}

/// The result of `openssl s_client` with these arguments against a server.
pub(crate) struct Visit {
    pub(crate) server: Result<PeerIdentity, Rejection>,
    /// openssl's output, on both streams.
    pub(crate) said: String,
    pub(crate) succeeded: bool,
}

/// Connects once; the server says goodbye to accepted clients.
pub(crate) async fn s_client(server: &ServerTls, dir: &Path, arguments: &[&str]) -> Visit {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut command = Command::new("openssl");
    command
        .current_dir(dir)
        .args(["s_client", "-connect", &address, "-CAfile", "ca.crt", "-verify_return_error"])
        .args(arguments)
        .stdin(Stdio::null());
    let client = tokio::task::spawn_blocking(move || {
        command.output().expect("openssl is not installed, and this test needs it")
    });
    let (io, remote) = listener.accept().await.expect("a connection");
    let server = match server.accept(io, Some(remote)).await {
        Ok((mut stream, identity)) => {
            // s_client exits at the end of its input, maybe before this
            // arrives.
            let _ = stream.write_all(b"goodbye\n").await;
            let _ = stream.shutdown().await;
            Ok(identity)
        }
        Err(rejection) => Err(rejection),
    };
    let output = client.await.expect("openssl ran");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Visit { server, said, succeeded: output.status.success() }
}
