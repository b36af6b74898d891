//! The recipes of the pages, run by the real openssl: their results must work
//! here as they do with the systems that the pages describe.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use t4_tls_config::{
    ClientOptions, ClientTls, KeyType, LeafKind, LeafRequest, PairSource, Protocol, ServerOptions,
    ServerTls, TlsVersion, certificates_in,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{Shop, leaf, load, owned, shake};
use crate::openssl::{s_client, sh};

/// T4's security page, "Generating test certificates", and the client
/// certificate of "Mutual TLS".
const PAGE: &str = r#"
openssl genrsa -out ca.key 4096
openssl req -new -x509 -days 3650 -key ca.key -out ca.crt -subj "/CN=t4-ca"
openssl genrsa -out server.key 4096
openssl req -new -key server.key -out server.csr -subj "/CN=t4-server"
openssl x509 -req -days 3650 -in server.csr -CA ca.crt -CAkey ca.key \
  -CAcreateserial -out server.crt \
  -extfile <(printf "subjectAltName=DNS:localhost,IP:127.0.0.1")
openssl genrsa -out client.key 4096
openssl req -new -key client.key -out client.csr -subj "/CN=my-app"
openssl x509 -req -days 365 -in client.csr -CA ca.crt -CAkey ca.key \
  -CAcreateserial -out client.crt
"#;

/// A CA with a small key, which openssl generates quickly.
const CA: &str = r#"
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -new -x509 -days 30 -key ca.key -out ca.crt -subj "/CN=t4-ca"
"#;

/// A key and a request for a name, for the CA.
fn request(name: &str) -> String {
    format!(
        "openssl ecparam -name prime256v1 -genkey -noout -out {name}.key\n\
         openssl req -new -key {name}.key -out {name}.csr -subj /CN={name}\n"
    )
}

/// Signs a request as on the page; empty `extensions`: version 1.
fn sign(name: &str, by: &str, extensions: &str) -> String {
    let file = if extensions.is_empty() {
        String::new()
    } else {
        format!("-extfile <(printf \"{extensions}\")")
    };
    format!(
        "openssl x509 -req -days 30 -in {name}.csr -CA {by}.crt -CAkey {by}.key \
         -CAcreateserial -out {name}.crt {file}\n"
    )
}

fn server(shop: &Shop) -> ServerTls {
    let client_ca = Some(shop.path("ca.crt"));
    load(ServerOptions { client_ca, ..ServerOptions::new(shop.pair("server")) })
}

fn client(shop: &Shop, name: &str) -> ClientTls {
    shop.client(Some(shop.pair(name)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_security_pages_certificates() {
    let shop = Shop::new();
    sh(shop.dir(), PAGE);
    let made = certificates_in(&shop.path("client.crt")).expect("readable").remove(0);
    assert_eq!(made.version, 1, "the recipe without extensions makes version 1");
    let server = server(&shop);
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let protocol = Protocol { max_version: Some(version), ..Protocol::default() };
        let pair = Some(shop.pair("client"));
        let client = shop.client_with(ClientOptions { pair, protocol, ..Default::default() });
        let identity = shake(&server, &client).await.identity();
        assert_eq!(identity.common_name.as_deref(), Some("my-app"), "{version}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let own = ["-cert", "client.crt", "-key", "client.key", version];
        let visit = s_client(&server, shop.dir(), &own).await;
        let identity = visit.server.expect("let in");
        assert!(visit.succeeded, "{}", visit.said);
        assert_eq!(identity.common_name.as_deref(), Some("my-app"), "{version}");
        assert!(identity.verified);
        let visit = s_client(&server, shop.dir(), &[version]).await;
        let text = "tls: client didn't provide a certificate";
        assert_eq!(visit.server.expect_err("let in").error, text);
    }
    // A server may also present version 1, to clients that check no names.
    let old = load(ServerOptions::new(shop.pair("client")));
    let visit = s_client(&old, shop.dir(), &[]).await;
    assert!(visit.server.is_ok() && visit.succeeded, "{}", visit.said);
}

#[tokio::test]
async fn version_1_proves_no_more_than_it_should() {
    let (shop, other) = (Shop::new(), Shop::new());
    let script = [CA, &request("server"), &sign("server", "ca", "subjectAltName=DNS:localhost")];
    sh(shop.dir(), &script.concat());
    sh(other.dir(), &[CA, &request("alice"), &sign("alice", "ca", "")].concat());
    let server = server(&shop);
    // A CA of the same name with another key.
    for file in ["alice.crt", "alice.key"] {
        shop.write(file, &other.read(file));
    }
    let refused = |shaken: crate::fixture::Shaken| shaken.rejection().error;
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(refused(shake(&server, &client(&shop, "alice")).await), unknown);

    // A version 1 certificate cannot say that it is a CA, so it is not one: its
    // owner must not be able to issue others, of either version.
    let script = [
        request("middle"),
        sign("middle", "ca", ""),
        request("one"),
        sign("one", "middle", ""),
        request("three"),
        sign("three", "middle", "subjectAltName=DNS:x"),
        "cat middle.crt >> one.crt; cat middle.crt >> three.crt\n".to_owned(),
    ];
    sh(shop.dir(), &script.concat());
    for name in ["one", "three"] {
        assert_eq!(refused(shake(&server, &client(&shop, name)).await), unknown, "{name}");
    }
    // The owner of the intermediate is still identified.
    assert!(shake(&server, &client(&shop, "middle")).await.identity().verified);
}

#[tokio::test]
async fn chains_with_version_1_leaves_follow_the_rules() {
    let shop = Shop::new();
    let ca = "basicConstraints=critical,CA:true\\nkeyUsage=keyCertSign";
    let script = [
        CA.to_owned(),
        request("server"),
        sign("server", "ca", "subjectAltName=DNS:localhost"),
        request("good"),
        sign("good", "ca", ca),
        request("signless"),
        sign("signless", "ca", "basicConstraints=critical,CA:true\\nkeyUsage=digitalSignature"),
        request("short"),
        sign("short", "ca", "basicConstraints=critical,CA:true,pathlen:0"),
        request("deep"),
        sign("deep", "short", ca),
        request("narrow"),
        sign("narrow", "ca", &format!("{ca}\\nnameConstraints=critical,permitted;DNS:x")),
        request("serving"),
        sign("serving", "ca", &format!("{ca}\\nextendedKeyUsage=serverAuth")),
    ];
    sh(shop.dir(), &script.concat());
    let server = server(&shop);
    for (by, chain, let_in) in [
        ("good", "good.crt", true),
        ("short", "short.crt", true),
        ("deep", "deep.crt short.crt", false),
        ("signless", "signless.crt", false),
        // Version 1 has no name that the constraints could apply to.
        ("narrow", "narrow.crt", true),
        ("serving", "serving.crt", false),
    ] {
        let script = [request("leaf"), sign("leaf", by, ""), format!("cat {chain} >> leaf.crt\n")];
        sh(shop.dir(), &script.concat());
        let shaken = shake(&server, &client(&shop, "leaf")).await;
        assert_eq!(shaken.server.is_ok(), let_in, "by {by}: {shaken:?}");
    }
}

/// Extensions that enterprise CAs set and mark critical; with both versions of
/// TLS, because the handshake also extracts the leaf's key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_with_critical_policies() {
    let shop = Shop::new();
    let policies = "certificatePolicies=critical,1.3.6.1.4.1.99999.1";
    let script = [
        CA,
        &request("server"),
        &sign("server", "ca", &format!("subjectAltName=DNS:localhost\\n{policies}")),
        &request("middle"),
        &sign(
            "middle",
            "ca",
            &format!(
                "basicConstraints=critical,CA:TRUE\\n{policies}\\n\
                 policyConstraints=critical,requireExplicitPolicy:0\\n\
                 inhibitAnyPolicy=critical,0"
            ),
        ),
        &request("alice"),
        &sign("alice", "middle", policies),
        &request("mallory"),
        &sign("mallory", "middle", "certificatePolicies=critical,1.3.6.1.4.1.99999.2"),
    ];
    sh(shop.dir(), &script.concat());
    for name in ["alice", "mallory"] {
        let chain = [shop.read(&format!("{name}.crt")), shop.read("middle.crt")].concat();
        shop.write(&format!("{name}.crt"), &chain);
    }
    let server = server(&shop);
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let with = |name: &str| {
            let protocol = Protocol { max_version: Some(version), ..Protocol::default() };
            let pair = Some(shop.pair(name));
            shop.client_with(ClientOptions { pair, protocol, ..Default::default() })
        };
        let identity = shake(&server, &with("alice")).await.identity();
        assert_eq!(identity.common_name.as_deref(), Some("alice"), "{version}");
        // Its CA requires one of its own policies.
        let refused = shake(&server, &with("mallory")).await.rejection().error;
        let unknown = "x509: certificate signed by unknown authority";
        assert!(refused.contains(unknown), "{version}: {refused}");
    }
}

#[tokio::test]
async fn a_root_of_version_1() {
    let shop = Shop::new();
    let script = [
        request("ca"),
        "openssl x509 -req -days 30 -in ca.csr -signkey ca.key -out ca.crt\n".to_owned(),
        request("server"),
        sign("server", "ca", "subjectAltName=DNS:localhost"),
        request("alice"),
        sign("alice", "ca", ""),
    ];
    sh(shop.dir(), &script.concat());
    let root = certificates_in(&shop.path("ca.crt")).expect("readable").remove(0);
    assert_eq!(root.version, 1);
    assert!(shake(&server(&shop), &client(&shop, "alice")).await.identity().verified);
}

/// The page's cert-manager manifests: a self-signed CA, and a leaf without a
/// subject, whose names are therefore critical.
#[tokio::test]
async fn cert_managers_certificates() {
    let shop = Shop::new();
    let usage = "keyUsage=critical,digitalSignature,keyEncipherment";
    let sans = "DNS:localhost,DNS:t4-0.t4-headless.default.svc.cluster.local";
    let script = format!(
        r#"
openssl genrsa -out ca.key 2048
openssl req -new -x509 -days 90 -key ca.key -out ca.crt -subj "/CN=t4-ca" \
  -addext "{usage},keyCertSign"
openssl genrsa -out peer.key 2048
openssl req -new -key peer.key -out peer.csr -subj "/"
openssl x509 -req -days 365 -in peer.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out peer.crt \
  -extfile <(printf "basicConstraints=critical,CA:false\n{usage}\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,{sans}")
cp peer.crt server.crt; cp peer.key server.key
"#
    );
    sh(shop.dir(), &script);
    let identity = shake(&server(&shop), &client(&shop, "peer")).await.identity();
    assert_eq!((identity.common_name, identity.dns_names.len()), (None, 2));
}

/// cfssl's output for the CSRs of etcd's page.
#[tokio::test]
async fn cfssls_certificates() {
    let shop = Shop::new();
    let usage =
        "keyUsage=critical,digitalSignature,keyEncipherment\\nbasicConstraints=critical,CA:false";
    let sans = "DNS:m1.etcd.local,DNS:localhost,IP:127.0.0.1";
    let script = format!(
        r#"
openssl genrsa -out ca.key 2048
openssl req -new -x509 -days 90 -key ca.key -out ca.crt -subj "/C=US/ST=San Francisco/L=CA/O=etcd/CN=ca" \
  -addext "keyUsage=critical,keyCertSign,cRLSign" -addext "basicConstraints=critical,CA:true,pathlen:2"
openssl genrsa -out peer.key 2048
openssl req -new -key peer.key -out peer.csr -subj "/C=US/ST=San Francisco/L=CA/CN=etcd.local"
openssl x509 -req -days 365 -in peer.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out peer.crt \
  -extfile <(printf "{usage}\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={sans}")
cp peer.crt server.crt; cp peer.key server.key
"#
    );
    sh(shop.dir(), &script);
    let client_ca = Some(shop.path("ca.crt"));
    let allowed_cns = owned(&["etcd.local"]);
    let server =
        load(ServerOptions { client_ca, allowed_cns, ..ServerOptions::new(shop.pair("server")) });
    let identity = shake(&server, &client(&shop, "peer")).await.identity();
    assert_eq!(identity.common_name.as_deref(), Some("etcd.local"));
}

/// The FAQ's recipe: `openssl ca` with `-extensions ssl_client`; then its
/// revocation lists, in both formats; and an expired certificate.
#[tokio::test]
async fn the_faqs_ca_and_its_revocations() {
    let shop = Shop::new();
    let config = "[ca]\ndefault_ca=d\n[d]\ndir=.\ndatabase=index.txt\nserial=serial\n\
        crlnumber=crlnumber\nnew_certs_dir=.\ncertificate=ca.crt\nprivate_key=ca.key\n\
        default_md=sha256\ndefault_days=30\ndefault_crl_days=1\nunique_subject=no\n\
        [policy_anything]\ncommonName=supplied\n[ssl_client]\nextendedKeyUsage = clientAuth\n\
        [ssl_server]\nextendedKeyUsage = serverAuth\n";
    shop.write("openssl.cnf", config);
    let issue = |name: &str, more: &str| {
        let request = request(name);
        format!(
            "{request}openssl ca -batch -config openssl.cnf -policy policy_anything {more} \
             -out {name}.crt -infiles {name}.csr\n"
        )
    };
    let script = [
        CA.to_owned(),
        "touch index.txt; echo 1000 > serial; echo 01 > crlnumber\n".to_owned(),
        request("server"),
        sign("server", "ca", "subjectAltName=DNS:localhost"),
        issue("machine", "-extensions ssl_client"),
        issue("wrong", "-extensions ssl_server"),
        issue("gone", "-extensions ssl_client"),
        issue("old", "-startdate 20200101000000Z -enddate 20210101000000Z"),
        "openssl ca -config openssl.cnf -revoke gone.crt\n\
         openssl ca -config openssl.cnf -gencrl -out crl.pem\n\
         openssl crl -in crl.pem -outform der -out crl.der\n"
            .to_owned(),
    ];
    sh(shop.dir(), &script.concat());
    for crl in ["crl.pem", "crl.der"] {
        let server = load(ServerOptions {
            client_ca: Some(shop.path("ca.crt")),
            crl: Some(shop.path(crl)),
            ..ServerOptions::new(shop.pair("server"))
        });
        let machine = shake(&server, &client(&shop, "machine")).await.identity();
        assert_eq!(machine.common_name.as_deref(), Some("machine"));
        let error = |shaken: crate::fixture::Shaken| shaken.rejection().error;
        let gone = error(shake(&server, &client(&shop, "gone")).await);
        assert_eq!(gone, "transport: certificate serial 1002 revoked");
        let wrong = error(shake(&server, &client(&shop, "wrong")).await);
        assert!(wrong.ends_with("incompatible key usage"), "{wrong}");
    }
    // Our own client would not load it; openssl's does.
    let own = ["-cert", "old.crt", "-key", "old.key"];
    let visit = s_client(&server(&shop), shop.dir(), &own).await;
    let old = visit.server.expect_err("let in").error;
    assert!(old.contains("x509: certificate has expired or is not yet valid"), "{old}");
}

#[tokio::test]
async fn keys_in_every_form_that_openssl_writes() {
    let shop = Shop::new();
    let script = [
        CA,
        r#"
openssl genrsa -traditional -out pkcs1.key 2048
openssl genrsa -out pkcs8.key 2048
openssl ecparam -name secp384r1 -genkey -out sec1.key
openssl ecparam -name secp521r1 -genkey -noout -out sec1-bare.key
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec8.key
openssl genpkey -algorithm ed25519 -out ed25519.key
for name in pkcs1 pkcs8 sec1 sec1-bare ec8 ed25519; do
  openssl req -new -key $name.key -out $name.csr -subj /CN=$name
  openssl x509 -req -days 30 -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
    -out $name.crt -extfile <(printf "subjectAltName=DNS:localhost")
done
openssl rsa -aes256 -passout pass:secret -in pkcs1.key -out encrypted8.key
openssl rsa -traditional -aes256 -passout pass:secret -in pkcs1.key -out encrypted1.key
"#,
    ];
    sh(shop.dir(), &script.concat());
    for name in ["pkcs1", "pkcs8", "sec1", "sec1-bare", "ec8", "ed25519"] {
        let client_ca = Some(shop.path("ca.crt"));
        let server = load(ServerOptions { client_ca, ..ServerOptions::new(shop.pair(name)) });
        let identity = shake(&server, &client(&shop, name)).await.identity();
        assert_eq!(identity.common_name.as_deref(), Some(name));
    }
    for name in ["encrypted8.key", "encrypted1.key"] {
        let pair = PairSource::Files { cert: shop.path("pkcs1.crt"), key: shop.path(name) };
        let error = ServerTls::load(ServerOptions::new(pair)).expect_err("loaded").to_string();
        assert!(error.contains(name) && error.contains("is encrypted: decrypt it"), "{error}");
    }
}

#[tokio::test]
async fn what_we_make_loads_in_openssl() {
    let shop = Shop::new();
    for (name, kind) in [("s", LeafKind::Server), ("c", LeafKind::Client), ("p", LeafKind::Peer)] {
        shop.issue(name, kind, &["localhost", "127.0.0.1", "::1", "*.example.com"]);
    }
    let script = r#"
openssl verify -x509_strict -CAfile ca.crt -purpose sslserver -verify_hostname a.example.com s.crt
openssl verify -x509_strict -CAfile ca.crt -purpose sslserver -verify_ip ::1 p.crt
openssl verify -x509_strict -CAfile ca.crt -purpose sslclient c.crt p.crt
! openssl verify -CAfile ca.crt -purpose sslserver c.crt
! openssl verify -CAfile ca.crt -purpose sslclient s.crt
for name in ca s c p; do
  openssl pkey -in $name.key -check -noout
  cmp <(openssl pkey -in $name.key -pubout) <(openssl x509 -in $name.crt -pubkey -noout)
done
"#;
    sh(shop.dir(), script);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_key_that_we_make_loads_in_openssl() {
    for kind in [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Ed25519,
        KeyType::Rsa2048,
        KeyType::Rsa4096,
    ] {
        let shop = Shop::with_key(kind);
        let request = LeafRequest { key_type: kind, ..leaf(LeafKind::Client, "issued") };
        shop.issue_as(&request, SystemTime::now());
        shop.renew("issued", "renewed", kind);
        let script = r#"
openssl verify -x509_strict -CAfile ca.crt -purpose sslclient issued.crt renewed.crt
for name in ca issued renewed; do
  openssl pkey -in $name.key -check -noout
  cmp <(openssl pkey -in $name.key -pubout) <(openssl x509 -in $name.crt -pubkey -noout)
done
"#;
        sh(shop.dir(), script);
        let server = load(shop.mutual_server());
        for name in ["issued", "renewed"] {
            let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
            let visit = s_client(&server, shop.dir(), &["-cert", &cert, "-key", &key]).await;
            let identity = visit.server.unwrap_or_else(|r| panic!("{kind}: {r:?} {}", visit.said));
            assert_eq!(identity.common_name.as_deref(), Some("issued"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suites_and_versions_are_held_against_openssl() {
    let shop = Shop::new();
    sh(
        shop.dir(),
        r#"
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -new -x509 -days 30 -key ca.key -out ca.crt -subj "/CN=t4-ca"
openssl genrsa -out server.key 2048
openssl req -new -key server.key -out server.csr -subj "/CN=t4-server"
openssl x509 -req -days 30 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt \
  -extfile <(printf "subjectAltName=DNS:localhost")
"#,
    );
    // The page's two suites.
    let protocol = Protocol {
        cipher_suites: owned(&[
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ]),
        ..Protocol::default()
    };
    let suites = load(ServerOptions { protocol, ..ServerOptions::new(shop.pair("server")) });
    let visit =
        s_client(&suites, shop.dir(), &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]).await;
    assert!(visit.server.is_ok() && visit.succeeded, "{}", visit.said);
    for wrong in ["ECDHE-RSA-AES128-SHA", "ECDHE-RSA-CHACHA20-POLY1305"] {
        let visit = s_client(&suites, shop.dir(), &["-tls1_2", "-cipher", wrong]).await;
        assert!(visit.server.is_err() && !visit.succeeded, "{wrong}: {}", visit.said);
        assert!(visit.said.contains("handshake failure"), "{}", visit.said);
    }
    let protocol = Protocol { min_version: TlsVersion::Tls13, ..Protocol::default() };
    let newest = load(ServerOptions { protocol, ..ServerOptions::new(shop.pair("server")) });
    let visit = s_client(&newest, shop.dir(), &["-tls1_2"]).await;
    assert!(visit.server.is_err() && visit.said.contains("protocol version"), "{}", visit.said);
    let visit = s_client(&newest, shop.dir(), &["-tls1_3"]).await;
    assert!(visit.server.is_ok() && visit.succeeded, "{}", visit.said);
}

#[tokio::test]
async fn our_clients_shake_hands_with_openssls_server() {
    let shop = Shop::new();
    shop.issue("server", LeafKind::Server, &["localhost"]);
    let alice = shop.issue("alice", LeafKind::Client, &[]);
    let mut server = Command::new("openssl")
        .current_dir(shop.dir())
        .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.crt", "-key", "server.key"])
        .args([
            "-CAfile",
            "ca.crt",
            "-Verify",
            "1",
            "-verify_return_error",
            "-rev",
            "-naccept",
            "1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is not installed, and this test needs it");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let address =
        lines.find_map(|line| line.expect("text").strip_prefix("ACCEPT ").map(str::to_owned));
    let io = tokio::net::TcpStream::connect(address.expect("its address")).await.expect("a server");
    let client = shop.client(Some(alice));
    let mut stream = client.connect(io, "localhost").await.expect("shaken");
    stream.write_all(b"t4 speaks\n").await.expect("written");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"skaeps 4t\n");
    drop(stream);
    server.wait().expect("ended");
}

#[test]
fn the_recipes_certificates_can_be_renewed() {
    use t4_tls_config::{Authority, Renewal};
    let shop = Shop::new();
    let script = [
        CA,
        &request("m1"),
        &sign("m1", "ca", "subjectAltName=DNS:m1,URI:spiffe://t4/m1\\nextendedKeyUsage=serverAuth"),
    ];
    sh(shop.dir(), &script.concat());
    let (cert, key, now) = (shop.path("ca.crt"), shop.path("ca.key"), SystemTime::now());
    let (ca_cert, ca_key) = (shop.read("ca.crt"), shop.read("ca.key"));
    let ca = Authority::load((&cert, ca_cert.as_bytes()), (&key, ca_key.as_bytes()), now);
    let ca = ca.expect("openssl's CA");
    let old = shop.read("m1.crt");
    let new = ca.renew(&shop.path("m1.crt"), old.as_bytes(), Renewal::default(), now);
    shop.write("m1.crt", &new.expect("renewed").certificate);
    let script = "openssl verify -CAfile ca.crt -purpose sslserver -verify_hostname m1 m1.crt\n\
        openssl x509 -in m1.crt -noout -ext subjectAltName | grep -q URI:spiffe://t4/m1\n";
    sh(shop.dir(), script);
    load(ServerOptions::new(shop.pair("m1")));
}
