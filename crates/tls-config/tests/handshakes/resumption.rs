//! Sessions are resumed, and never past what the certificate is worth.

use std::time::SystemTime;

use rustls::HandshakeKind;
use t4_tls_config::{
    ClientOptions, ClientTls, LeafKind, Outcome, Protocol, Rejection, Reload, ServerOptions,
    ServerTls, TlsVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::fixture::{Shop, load};
use crate::revocation::list;

/// A handshake whose session the client can use again, and of which kind it was.
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
        // The ticket comes before the words; read to the end to have it.
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
async fn a_resumed_client_is_the_same_client_until_it_is_revoked() {
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
        let first = visit(&server, &client).await.expect("let in");
        assert!(matches!(first, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest));
        let second = visit(&server, &client).await.expect("let in");
        assert_eq!(second, HandshakeKind::Resumed, "{version}");

        shop.write("crl.pem", &list(&shop, &["bob", "alice"]).0);
        assert_eq!(server.look(SystemTime::now(), false), Outcome::Reloaded);
        let rejection = visit(&server, &client).await.expect_err("let in by an old session");
        assert!(rejection.error.ends_with("revoked"), "{rejection:?}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_ca() {
    let (shop, next) = (Shop::new(), Shop::new());
    let server = load(shop.mutual_server());
    let client = shop.client(Some(shop.issue("alice", LeafKind::Client, &[])));
    visit(&server, &client).await.expect("let in");
    assert_eq!(visit(&server, &client).await.expect("let in"), HandshakeKind::Resumed);
    shop.write("ca.crt", &next.read("ca.crt"));
    assert_eq!(server.look(SystemTime::now(), false), Outcome::Reloaded);
    let rejection = visit(&server, &client).await.expect_err("let in by an old session");
    assert!(rejection.error.ends_with("signed by unknown authority"), "{rejection:?}");
}
