//! Revoked certificates.

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use t4_tls_config::{
    FileFault, LeafKind, PairSource, RevocationList, ServerOptions, ServerTls, TlsError,
};

use crate::fixture::{Shop, load, shake};

/// The list of a shop's CA with the certificate of `revoked` on it: PEM, DER.
pub(crate) fn list(shop: &Shop, revoked: &[&str]) -> (String, Vec<u8>) {
    let entry = |name: &&str| {
        let der = CertificateDer::from_pem_file(shop.path(&format!("{name}.crt"))).expect("cert");
        let (_, x509) = x509_parser::parse_x509_certificate(&der).expect("parsed");
        RevokedCertParams {
            serial_number: SerialNumber::from_slice(x509.raw_serial()),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        // Long expired: dates are ignored.
        next_update: date_time_ymd(2026, 1, 2),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let key = rcgen::KeyPair::from_pem(&shop.read("ca.key")).expect("key");
    let issuer = Issuer::from_ca_cert_pem(&shop.read("ca.crt"), key).expect("issuer");
    let list = params.signed_by(&issuer).expect("a list");
    (list.pem().expect("PEM"), list.der().to_vec())
}

fn server(shop: &Shop, crl: &str) -> Result<ServerTls, TlsError> {
    let crl = Some(shop.path(crl));
    ServerTls::load(ServerOptions { crl, ..shop.mutual_server() })
}

#[tokio::test]
async fn who_is_on_the_list_is_out() {
    let shop = Shop::new();
    let pair = |name| shop.issue(name, LeafKind::Client, &[]);
    let (alice, bob) = (pair("alice"), pair("bob"));
    let (pem, der) = list(&shop, &["bob"]);
    shop.write("crl.pem", &pem);
    std::fs::write(shop.path("crl.der"), &der).expect("written");
    let serial = t4_tls_config::certificates_in(&shop.path("bob.crt")).expect("cert").remove(0);
    for crl in ["crl.pem", "crl.der"] {
        let server = server(&shop, crl).expect("a server");
        assert!(shake(&server, &shop.client(Some(alice.clone()))).await.identity().verified);
        let shaken = shake(&server, &shop.client(Some(bob.clone()))).await;
        let heard = shaken.client.clone().expect_err("let in");
        assert!(heard.contains("CertificateRevoked"), "{heard}");
        let text = format!("transport: certificate serial {} revoked", serial.serial);
        assert_eq!(shaken.rejection().error, text);
    }
}

#[tokio::test]
async fn the_same_serial_of_another_issuer_is_not_on_the_list() {
    let shop = Shop::new();
    let carol = shop.issue("carol", LeafKind::Client, &[]);
    let (pem, _) = list(&shop, &["carol"]);
    shop.write("crl.pem", &pem);
    // A second CA of another name issues a certificate with carol's serial.
    let der = CertificateDer::from_pem_file(shop.path("carol.crt")).expect("cert");
    let (_, x509) = x509_parser::parse_x509_certificate(&der).expect("parsed");
    let ca_key = rcgen::KeyPair::generate().expect("key");
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("a CA").pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("key");
    let mut leaf = rcgen::CertificateParams::default();
    leaf.serial_number = Some(SerialNumber::from_slice(x509.raw_serial()));
    let leaf = leaf.signed_by(&key, &issuer).expect("a leaf");
    shop.write("twin.crt", &leaf.pem());
    shop.write("twin.key", &key.serialize_pem());
    shop.write("cas.crt", &format!("{}{ca_pem}", shop.read("ca.crt")));

    let server = load(ServerOptions {
        client_ca: Some(shop.path("cas.crt")),
        crl: Some(shop.path("crl.pem")),
        ..shop.mutual_server()
    });
    assert!(shake(&server, &shop.client(Some(shop.pair("twin")))).await.identity().verified);
    assert!(shake(&server, &shop.client(Some(carol))).await.server.is_err());
}

#[tokio::test]
async fn a_revoked_certificate_of_the_chain_counts() {
    let shop = Shop::new();
    // A revoked intermediate CA of ours, and a leaf below it.
    let root_key = rcgen::KeyPair::from_pem(&shop.read("ca.key")).expect("key");
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "deep-ca");
    shop.write("ca.crt", &root.self_signed(&root_key).expect("a CA").pem());
    let root = Issuer::new(root, root_key);
    let middle_key = rcgen::KeyPair::generate().expect("key");
    let mut middle = rcgen::CertificateParams::default();
    middle.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    middle.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    let middle_pem = middle.signed_by(&middle_key, &root).expect("a CA").pem();
    shop.write("middle.crt", &middle_pem);
    let middle = Issuer::new(middle, middle_key);
    let key = rcgen::KeyPair::generate().expect("key");
    let leaf = rcgen::CertificateParams::default().signed_by(&key, &middle).expect("a leaf");
    shop.write("leaf.crt", &format!("{}{middle_pem}", leaf.pem()));
    shop.write("leaf.key", &key.serialize_pem());

    let pair = rcgen_server(&shop);
    let options =
        ServerOptions { client_ca: Some(shop.path("ca.crt")), ..ServerOptions::new(pair) };
    let client = shop.client(Some(shop.pair("leaf")));
    assert!(shake(&load(options.clone()), &client).await.identity().verified);
    let (pem, _) = list(&shop, &["middle"]);
    let crl = Some(shop.write("crl.pem", &pem));
    let rejection = shake(&load(ServerOptions { crl, ..options }), &client).await.rejection();
    assert!(rejection.error.starts_with("transport: certificate serial "), "{rejection:?}");
}

/// A server's pair from the CA that is in `ca.crt` now.
fn rcgen_server(shop: &Shop) -> PairSource {
    let key = rcgen::KeyPair::from_pem(&shop.read("ca.key")).expect("key");
    let issuer = Issuer::from_ca_cert_pem(&shop.read("ca.crt"), key).expect("issuer");
    let key = rcgen::KeyPair::generate().expect("key");
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("params");
    shop.write("server.crt", &params.signed_by(&key, &issuer).expect("a leaf").pem());
    shop.write("server.key", &key.serialize_pem());
    shop.pair("server")
}

#[test]
fn lists_that_are_none_or_forged() {
    let (shop, other) = (Shop::new(), Shop::new());
    shop.issue("alice", LeafKind::Client, &[]);
    other.issue("alice", LeafKind::Client, &[]);
    // The same CA name with another key.
    shop.write("crl", &list(&other, &["alice"]).0);
    let fault = |result: Result<ServerTls, TlsError>| match result {
        Err(TlsError::File { fault, path }) => {
            assert_eq!(path, shop.path("crl"));
            fault
        }
        other => panic!("{other:?}"),
    };
    assert!(matches!(fault(server(&shop, "crl")), FileFault::CrlSignature { .. }));
    shop.write("crl", "nothing of the kind");
    assert!(matches!(fault(server(&shop, "crl")), FileFault::Missing(_)));
    let (_, mut der) = list(&shop, &["alice"]);
    let last = der.len() - 1;
    der[last] ^= 1;
    std::fs::write(shop.path("crl"), &der).expect("written");
    assert!(matches!(fault(server(&shop, "crl")), FileFault::CrlSignature { .. }));
    der.truncate(last);
    std::fs::write(shop.path("crl"), &der).expect("written");
    assert!(matches!(fault(server(&shop, "crl")), FileFault::Malformed(..)));
    std::fs::remove_file(shop.path("crl")).expect("removed");
    assert!(matches!(server(&shop, "crl"), Err(TlsError::Io { .. })));
}

#[test]
fn a_list_says_who_and_until_when() {
    let shop = Shop::new();
    shop.issue("alice", LeafKind::Client, &[]);
    let (_, der) = list(&shop, &["alice"]);
    let read = RevocationList::from_der(&der).expect("readable");
    assert_eq!((read.issuer.as_str(), read.serials.len()), ("CN=t4-ca", 1));
    assert!(read.next_update.is_some());
}
