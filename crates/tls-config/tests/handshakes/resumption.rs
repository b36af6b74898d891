//! No session is resumed: every connection is verified in full.

use std::time::SystemTime;

use rustls::HandshakeKind;
use t4_tls_config::{
    ClientOptions, ClientTls, LeafKind, Outcome, Protocol, Rejection, Reload, ServerOptions,
    ServerTls, TlsVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::fixture::{Shop, load};
use crate::revocation::list;

/// A handshake of a client that would resume a session; returns its kind.
async fn visit(server: &ServerTls, client: &ClientTls) -> Result<HandshakeKind, Rejection> {
    let (near, far) = duplex(65536);
    let serve = async {
        let (mut stream, identity) = server.accept(far, None).await?;
        assert_eq!(identity.common_name.as_deref(), Some("alice"));
        stream.write_all(b"hi").await.expect("written");
        stream.shutdown().await.expect("closed");
        Ok(stream.get_ref().1.handshake_kind().expect("done"))
    };
    let connect = async {
        let mut stream = client.connect(near, "localhost").await?;
        // A ticket would arrive before the data.
        let mut words = Vec::new();
        let _ = stream.read_to_end(&mut words).await;
        Ok::<_, Rejection>(())
    };
    let (kind, connected) = tokio::join!(serve, connect);
    let kind = kind?;
    connected?;
    Ok(kind)
}

#[tokio::test]
async fn every_handshake_is_a_whole_one_by_what_holds_then() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let shop = Shop::new();
        let alice = shop.issue("alice", LeafKind::Client, &[]);
        shop.issue("bob", LeafKind::Client, &[]);
        let crl = Some(shop.write("crl.pem", &list(&shop, &["bob"]).0));
        let protocol = Protocol { max_version: Some(version), ..Protocol::default() };
        let server =
            load(ServerOptions { crl, protocol: protocol.clone(), ..shop.mutual_server() });
        let client = shop.client_with(ClientOptions {
            pair: Some(alice),
            protocol,
            ..ClientOptions::default()
        });
        for _ in 0..3 {
            let kind = visit(&server, &client).await.expect("let in");
            assert_eq!(kind, HandshakeKind::Full, "{version}");
        }
        shop.write("crl.pem", &list(&shop, &["bob", "alice"]).0);
        assert_eq!(server.look(SystemTime::now(), false), Outcome::Reloaded);
        let rejection = visit(&server, &client).await.expect_err("let in by an old session");
        assert!(rejection.error.ends_with("revoked"), "{rejection:?}");
    }
}
