//! Chains that must be rejected whatever their bytes; handshakes with real
//! chains are in `tests/handshakes`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SigningKey};
use rustls::pki_types::CertificateDer;

use super::{ChainError, verify};
use crate::certificate::parse;
use crate::purpose::Purpose;
use crate::roots::Roots;

mod policies;

const DAY: Duration = Duration::from_secs(86_400);

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str) -> (Issuer<'static, KeyPair>, Roots) {
    let key = KeyPair::generate().expect("a key");
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("a CA").pem();
    let roots = Roots::from_pem(Path::new("ca.crt"), pem.as_bytes(), SystemTime::now());
    (Issuer::new(params, key), roots.expect("roots"))
}

/// A length in DER, in the long form where required.
fn length(bytes: usize) -> Vec<u8> {
    match u8::try_from(bytes) {
        Ok(short) if short < 0x80 => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => {
            let [.., high, low] = bytes.to_be_bytes();
            vec![0x82, high, low]
        }
    }
}

fn sequence(content: &[u8]) -> Vec<u8> {
    [&[0x30], length(content.len()).as_slice(), content].concat()
}

/// A version 1 certificate: rcgen makes version 3, whose first field is the
/// version and whose last are the extensions; without both it is version 1.
fn version_1(name: &str, issuer: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let third = named(name).signed_by(&key, issuer).expect("a leaf");
    let x509 = parse(third.der()).expect("parsed");
    let tbs = x509.tbs_certificate.as_ref();
    let end = x509.public_key().raw.as_ptr() as usize - tbs.as_ptr() as usize
        + x509.public_key().raw.len();
    let version = [0xa0, 3, 2, 1, 2];
    let start = tbs.windows(5).position(|window| window == version).expect("a version") + 5;
    let tbs = sequence(&tbs[start..end]);
    // ecdsa-with-SHA256, the algorithm of rcgen's default key.
    let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let signature = issuer.key().sign(&tbs).expect("signed");
    let bits = [&[3][..], &length(signature.len() + 1), &[0], &signature].concat();
    CertificateDer::from(sequence(&[&tbs[..], &algorithm, &bits].concat()))
}

#[test]
fn every_bit_of_a_version_1_certificate_counts() {
    let (issuer, roots) = ca("ca");
    let leaf = version_1("alice", &issuer);
    let now = SystemTime::now();
    let check = |der: &CertificateDer<'_>| verify(der, &[], &roots, Purpose::Client, now);
    assert_eq!(parse(&leaf).expect("parsed").version().0, 0);
    assert_eq!(check(&leaf), Ok(()));
    let bytes = leaf.as_ref();
    for bit in 0..bytes.len() * 8 {
        let mut bent = bytes.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&CertificateDer::from(bent)).is_err(), "bit {bit} does not count");
    }
    for cut in 0..bytes.len() {
        assert!(check(&CertificateDer::from(bytes[..cut].to_vec())).is_err());
    }
    let longer = [bytes, &[0]].concat();
    assert!(check(&CertificateDer::from(longer)).is_err());
}

#[test]
fn many_issuers_of_one_name_cost_a_bounded_number_of_signatures() {
    let (issuer, roots) = ca("ca");
    let (liar, _) = ca("middle");
    let leaf = version_1("alice", &liar);
    // A hundred intermediates that could each be the issuer, and none is.
    let mut middle = named("middle");
    middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let others: Vec<_> = (0..100)
        .map(|_| {
            let key = KeyPair::generate().expect("a key");
            CertificateDer::from(middle.signed_by(&key, &issuer).expect("a CA"))
        })
        .collect();
    let check = |chain: &[CertificateDer<'_>]| {
        verify(&leaf, chain, &roots, Purpose::Client, SystemTime::now())
    };
    assert_eq!(check(&others), Err(ChainError::UnknownAuthority));
    // The right one is found among a few, but not after too many.
    let right = CertificateDer::from(middle.signed_by(liar.key(), &issuer).expect("a CA"));
    let among = |before: usize| {
        let chain: Vec<_> = others[..before].iter().cloned().chain([right.clone()]).collect();
        check(&chain)
    };
    assert_eq!(among(10), Ok(()));
    assert_eq!(among(99), Err(ChainError::UnknownAuthority));
}

#[test]
fn a_root_out_of_its_time_vouches_for_nobody() {
    let key = KeyPair::generate().expect("a key");
    let mut params = named("ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let now = SystemTime::now();
    params.not_after = (now + 10 * DAY).into();
    let pem = params.self_signed(&key).expect("a CA").pem();
    let roots = Roots::from_pem(Path::new("ca.crt"), pem.as_bytes(), now).expect("roots");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateDer::from(named("alice").signed_by(&key, &issuer).expect("a leaf"));
    for leaf in [leaf, version_1("alice", &issuer)] {
        let at = |at| verify(&leaf, &[], &roots, Purpose::Client, at);
        assert_eq!(at(now), Ok(()));
        assert_eq!(at(now + 11 * DAY), Err(ChainError::UnknownAuthority));
    }
}

#[test]
fn a_self_signed_leaf_is_believed_itself_and_nothing_below_it() {
    let key = KeyPair::generate().expect("a key");
    let params = named("pinned");
    let own = params.self_signed(&key).expect("a certificate");
    let now = SystemTime::now();
    let roots = Roots::from_pem(Path::new("ca.crt"), own.pem().as_bytes(), now).expect("roots");
    let check = |der: &CertificateDer<'_>| verify(der, &[], &roots, Purpose::Client, now);
    assert_eq!(check(own.der()), Ok(()));
    let issuer = Issuer::new(params, key);
    assert!(check(&version_1("below", &issuer)).is_err());
    let key = KeyPair::generate().expect("a key");
    let below = named("below").signed_by(&key, &issuer).expect("a leaf");
    assert!(check(below.der()).is_err());
}
