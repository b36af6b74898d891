//! Randomly corrupted files: rejected or read, never a panic.

mod prng;

use std::path::Path;
use std::time::{Duration, SystemTime};

use prng::Prng;
use t4_tls_config::{
    Authority, CaRequest, Certificate, ClientOptions, ClientTls, KeyType, RevocationList,
};

const ROUNDS: usize = 20_000;

fn ca() -> (Vec<u8>, Vec<u8>) {
    let request = CaRequest {
        common_name: "ca".to_owned(),
        organization: Some("noise".to_owned()),
        validity: Duration::from_secs(86_400),
        key_type: KeyType::EcdsaP256,
    };
    let (_, made) = Authority::create(&request, SystemTime::now()).expect("a CA");
    let key = rcgen::KeyPair::from_pem(made.key.as_deref().expect("a key")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&made.certificate, key).expect("an issuer");
    let entry = |serial: u8| rcgen::RevokedCertParams {
        serial_number: rcgen::SerialNumber::from_slice(&[serial]),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: Some(rcgen::RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2027, 1, 1),
        crl_number: rcgen::SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: (1..9).map(entry).collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).expect("a list").der().to_vec();
    (made.certificate.into_bytes(), list)
}

/// Changes, adds, removes or duplicates a few bytes.
fn bend(rng: &mut Prng, from: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len().max(1) as u64) as usize;
        let byte = rng.bits() as u8;
        match rng.below(5) {
            0 if !bytes.is_empty() => bytes[at] = byte,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.insert(at, byte),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

#[test]
fn bent_der_is_refused_or_read() {
    let mut rng = Prng::for_test();
    let (pem, list) = ca();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ca.crt");
    std::fs::write(&path, &pem).expect("written");
    let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem);
    let der = der.expect("a certificate");
    assert!(Certificate::from_der(&der).is_ok());
    assert_eq!(RevocationList::from_der(&list).map(|list| list.serials.len()), Ok(8));
    let mut read = 0;
    for _ in 0..ROUNDS {
        read += usize::from(Certificate::from_der(&bend(&mut rng, &der)).is_ok());
        read += usize::from(RevocationList::from_der(&bend(&mut rng, &list)).is_ok());
    }
    assert!(read > 0, "some bits are free, those of a signature for example");
}

#[test]
fn bent_files_are_refused_by_name_or_read() {
    let mut rng = Prng::for_test();
    let (pem, _) = ca();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ca.crt");
    let load = |path: &Path| {
        let ca = Some(path.to_owned());
        ClientTls::load(ClientOptions { ca, ..ClientOptions::default() })
    };
    let mut refused = 0;
    for _ in 0..ROUNDS / 20 {
        std::fs::write(&path, bend(&mut rng, &pem)).expect("written");
        if let Err(error) = load(&path) {
            assert!(error.to_string().contains("ca.crt"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    std::fs::write(&path, &pem).expect("written");
    load(&path).expect("the file as it was");
}
