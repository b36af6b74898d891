//! Which clients are accepted, and with which identity.

use std::net::IpAddr;

use t4_tls_config::{
    ClientOptions, KeyType, LeafKind, PairSource, PeerIdentity, Protocol, SelfSigned,
    ServerOptions, TlsVersion,
};

use crate::fixture::{DAY, Shop, load, owned, shake, shake_from};

#[tokio::test]
async fn without_a_ca_nobody_is_asked_who_they_are() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    assert_eq!(shake(&server, &shop.client(None)).await.identity(), PeerIdentity::ANONYMOUS);
    // A certificate that the server did not request is not sent, so it proves
    // nothing.
    let alice = shop.issue("alice", LeafKind::Client, &[]);
    let shaken = shake(&server, &shop.client(Some(alice))).await;
    assert_eq!(shaken.identity(), PeerIdentity::ANONYMOUS);
}

#[tokio::test]
async fn a_verified_client_is_known_by_its_certificate() {
    let shop = Shop::new();
    let server = load(shop.mutual_server());
    let alice = shop.issue("alice", LeafKind::Client, &["alice.example", "10.0.0.7"]);
    let identity = shake(&server, &shop.client(Some(alice))).await.identity();
    assert!(identity.verified);
    assert_eq!(identity.common_name.as_deref(), Some("alice"));
    assert_eq!(identity.dns_names, ["alice.example"]);
    assert_eq!(identity.ip_addresses, [IpAddr::from([10, 0, 0, 7])]);
    assert!(identity.serial.is_some() && identity.not_after.is_some());
}

#[tokio::test]
async fn every_kind_of_key_works_in_both_versions() {
    for key_type in [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Ed25519,
        KeyType::Rsa2048,
    ] {
        let shop = Shop::with_key(key_type);
        let (ca_cert, ca_key) = (shop.read("ca.crt"), shop.read("ca.key"));
        shop.write("own.crt", &ca_cert);
        shop.write("own.key", &ca_key);
        for max_version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let protocol = Protocol { max_version: Some(max_version), ..Protocol::default() };
            let server = load(ServerOptions { protocol: protocol.clone(), ..shop.mutual_server() });
            // Uses the CA's own certificate as the client's: a key of this
            // kind, and a CA as a leaf.
            let pair = Some(shop.pair("own"));
            let client =
                shop.client_with(ClientOptions { pair, protocol, ..ClientOptions::default() });
            let identity = shake(&server, &client).await.identity();
            assert_eq!(identity.common_name.as_deref(), Some("t4-ca"), "{key_type} {max_version}");
        }
    }
}

#[tokio::test]
async fn a_peers_certificate_serves_both_ways() {
    let shop = Shop::new();
    let peer = shop.issue("m1", LeafKind::Peer, &["localhost"]);
    let ca = Some(shop.path("ca.crt"));
    let server = load(ServerOptions { client_ca: ca, ..ServerOptions::new(peer.clone()) });
    let identity = shake(&server, &shop.client(Some(peer))).await.identity();
    assert_eq!(identity.common_name.as_deref(), Some("m1"));
}

#[tokio::test]
async fn clients_need_no_server_name() {
    let shop = Shop::new();
    let server = load(shop.mutual_server());
    let alice = shop.issue("alice", LeafKind::Client, &[]);
    // rustls sends no name for an address.
    let shaken = shake_from(&server, &shop.client(Some(alice)), "127.0.0.1", None).await;
    assert!(shaken.identity().verified);
}

#[tokio::test]
async fn allowed_names_let_their_owners_in() {
    let shop = Shop::new();
    let alice = shop.issue("etcd.local", LeafKind::Client, &["m1.etcd.local", "127.0.0.1"]);
    let client = shop.client(Some(alice));
    for options in [
        ServerOptions { allowed_cns: owned(&["other", "etcd.local"]), ..shop.mutual_server() },
        ServerOptions { allowed_hostnames: owned(&["m1.etcd.local"]), ..shop.mutual_server() },
        ServerOptions { allowed_hostnames: owned(&["x", "127.0.0.1"]), ..shop.mutual_server() },
    ] {
        assert!(shake(&load(options), &client).await.identity().verified);
    }
}

#[tokio::test]
async fn self_signed_peers_find_each_other() {
    let shop = Shop::new();
    let own = SelfSigned {
        cert: shop.path("auto/cert.pem"),
        key: shop.path("auto/key.pem"),
        hosts: owned(&["0.0.0.0", "m1.local"]),
        validity: 365 * DAY,
    };
    let pair = PairSource::SelfSigned(own);
    let server = load(ServerOptions::new(pair.clone()));
    let blind = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    shake(&server, &shop.client_with(blind)).await.identity();
    // A client that has the certificate need not skip verification.
    let ca = Some(shop.path("auto/cert.pem"));
    let seeing = ClientOptions { ca, ..ClientOptions::default() };
    let seeing = t4_tls_config::ClientTls::load(seeing).expect("a client");
    for name in ["localhost", "127.0.0.1", "m1.local"] {
        shake_from(&server, &seeing, name, None).await.identity();
    }
    let stranger = shake_from(&server, &seeing, "m2.local", None).await;
    let told = stranger.client.expect_err("another name");
    assert!(told.contains("m2.local"), "{told}");
}

#[tokio::test]
async fn application_protocols_are_agreed_on() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    for (offered, agreed) in [
        (&["h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&[], None),
    ] {
        let client =
            shop.client_with(ClientOptions { alpn: owned(offered), ..ClientOptions::default() });
        let (near, far) = tokio::io::duplex(65536);
        let (accepted, connected) =
            tokio::join!(server.accept(far, None), client.connect(near, "localhost"));
        let (stream, _) = accepted.expect("accepted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        connected.expect("connected");
    }
}
