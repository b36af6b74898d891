//! Two members in two processes, over TCP, with the configurations of a peer
//! port.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use t4_tls_config::{
    ClientOptions, ClientTls, LeafKind, PairSource, Rejection, ServerOptions, ServerTls,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{Shop, owned};

/// The variable with the directory of the second process's files; only that
/// process has it.
const DIRECTORY: &str = "T4_TLS_TEST_DIRECTORY";
/// The prefixes of the lines with its address, and with the result of each
/// connection.
const LISTENS: &str = "listens on ";
const ACCEPTED: &str = "accepted ";
const REJECTED: &str = "rejected ";

/// The other member: reports the result of every connection to its peer port.
/// Run as a process by the tests below.
#[test]
#[ignore = "the second process of the tests of this file, which start it"]
fn other_member() {
    let dir = PathBuf::from(std::env::var_os(DIRECTORY).expect("started by a test of this file"));
    let pair = PairSource::Files { cert: dir.join("m1.crt"), key: dir.join("m1.key") };
    let server = ServerTls::load(ServerOptions {
        client_ca: Some(dir.join("ca.crt")),
        allowed_cns: owned(&["m2", "stray"]),
        check_remote_san: true,
        ..ServerOptions::new(pair)
    });
    let server = server.expect("a peer port");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{LISTENS}{}", listener.local_addr().expect("an address"));
        loop {
            let (io, remote) = listener.accept().await.expect("a connection");
            match server.accept(io, Some(remote)).await {
                Ok((mut stream, peer)) => {
                    stream.write_all(b"hi").await.expect("written");
                    stream.shutdown().await.expect("closed");
                    println!("{ACCEPTED}{}", peer.common_name.unwrap_or_default());
                }
                Err(rejection) => println!("{REJECTED}{rejection}"),
            }
        }
    });
}

/// The second process, killed when dropped.
struct OtherMember {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: SocketAddr,
}

impl OtherMember {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["two_processes::other_member", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = after(&mut lines, LISTENS).parse().expect("an address");
        OtherMember { child, lines, address }
    }

    fn says(&mut self) -> String {
        let said = self.lines.find_map(|line| {
            let line = line.expect("text");
            (line.starts_with(ACCEPTED) || line.starts_with(REJECTED)).then_some(line)
        });
        said.expect("it ended")
    }
}

impl Drop for OtherMember {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn after(lines: &mut impl Iterator<Item = std::io::Result<String>>, word: &str) -> String {
    let found = lines.find_map(|line| {
        let line = line.expect("text");
        line.split_once(word).map(|(_, rest)| rest.to_owned())
    });
    found.expect("it ended before it listened")
}

async fn dial(member: &OtherMember, client: &ClientTls, name: &str) -> Result<(), Rejection> {
    let io = TcpStream::connect(member.address).await.expect("connected");
    let mut stream = client.connect(io, name).await?;
    let mut words = Vec::new();
    let _ = stream.read_to_end(&mut words).await;
    Ok(())
}

#[tokio::test]
async fn members_know_each_other_and_nobody_else() {
    let (shop, stranger) = (Shop::new(), Shop::new());
    shop.issue("m1", LeafKind::Peer, &["127.0.0.1", "m1.local"]);
    let m2 = shop.issue("m2", LeafKind::Peer, &["127.0.0.1"]);
    let m3 = shop.issue("m3", LeafKind::Peer, &["127.0.0.1"]);
    let stray = shop.issue("stray", LeafKind::Peer, &["192.0.2.7"]);
    let mallory = stranger.issue("m2", LeafKind::Peer, &["127.0.0.1"]);
    let mut member = OtherMember::start(shop.dir());

    for (pair, said) in [
        (Some(m2.clone()), "accepted m2"),
        (Some(m3), "rejected CommonName authentication failed"),
        (Some(stray), "rejected x509: certificate is valid for 192.0.2.7, not 127.0.0.1"),
        (
            Some(mallory),
            "rejected tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
        (None, "rejected tls: client didn't provide a certificate"),
    ] {
        let client = shop.client_with(ClientOptions { pair, ..ClientOptions::default() });
        // With TLS 1.3 a rejected client may learn of it after its own part is
        // done.
        let _ = dial(&member, &client, "127.0.0.1").await;
        assert_eq!(member.says(), said);
    }
    // The dialing side verifies, too.
    let m2 = shop.client(Some(m2));
    let wrong = dial(&member, &m2, "m9.local").await.expect_err("another name");
    assert!(wrong.error.contains("m9.local"), "{wrong}");
    assert!(member.says().starts_with("rejected remote error: tls: bad certificate"));
    dial(&member, &m2, "m1.local").await.expect("let in");
    assert_eq!(member.says(), "accepted m2");
}
