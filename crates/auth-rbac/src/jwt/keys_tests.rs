//! The examples of RFC 7515 (appendix A) and RFC 8037 (appendix A.4), and what is
//! no certificate.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The keys of a method from the bytes of two files.
fn keys(method: Method, public: Option<&[u8]>, private: Option<&[u8]>) -> KeySet {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: Option<&[u8]>| {
        let path = directory.path().join(name);
        bytes.map(|bytes| std::fs::write(&path, bytes).unwrap()).map(|()| path)
    };
    let options = JwtOptions {
        method,
        public_key: file("pub", public),
        private_key: file("priv", private),
        ttl: crate::token_provider::JWT_TTL_DEFAULT,
    };
    KeySet::load(&options, |path| std::fs::read(path)).unwrap()
}

/// A public key: the DER before the key itself, then the key.
fn public(method: Method, prefix: &str, key: &[&str]) -> KeySet {
    let mut der = STANDARD.decode(prefix).unwrap();
    key.iter().for_each(|part| der.extend(decode(part)));
    let pem = pem::encode(&Pem::new("PUBLIC KEY", der));
    keys(method, Some(pem.as_bytes()), None)
}

/// True for the token, and for no neighbour of it.
fn holds_exactly(keys: &KeySet, token: &str) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = decode(signature);
    assert!(keys.holds(message.as_bytes(), &signature));
    for bit in 0..signature.len() * 8 {
        let mut other = signature.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!keys.holds(message.as_bytes(), &other), "bit {bit}");
    }
    assert!(!keys.holds(message.as_bytes(), &signature[1..]));
    assert!(!keys.holds(message.as_bytes(), &[]));
    assert!(!keys.holds(format!("{message}A").as_bytes(), &signature));
}

#[test]
fn rfc_7515_a1_hs256() {
    let secret = decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let keys = keys(Method::Hs256, None, Some(&secret));
    assert!(keys.can_sign());
    holds_exactly(
        &keys,
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
         .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
         .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    );
}

#[test]
fn rfc_7515_a3_es256() {
    let keys = public(
        Method::Es256,
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
        &[
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        ],
    );
    assert!(!keys.can_sign());
    holds_exactly(
        &keys,
        "eyJhbGciOiJFUzI1NiJ9\
         .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
         .DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
}

#[test]
fn rfc_8037_a4_eddsa() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let keys = public(Method::EdDsa, "MCowBQYDK2VwAyEA", &[x]);
    holds_exactly(
        &keys,
        "eyJhbGciOiJFZERTQSJ9\
         .RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc\
         .hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
}

#[test]
fn a_damaged_certificate_never_panics() {
    let pem = include_bytes!("../../tests/fixtures/jwt/p256.crt");
    let der = pem::parse(pem).unwrap().into_contents();
    let key = certificate::public_key(&der).unwrap().to_vec();
    for length in 0..der.len() {
        // What is cut off behind the key is not looked at, so the outer length
        // is what refuses.
        assert_eq!(certificate::public_key(&der[..length]), None, "{length}");
    }
    for at in 0..der.len() {
        for value in [0x00, 0x30, 0x7f, 0x80, 0x81, 0x84, 0x88, 0xff] {
            let mut bytes = der.clone();
            bytes[at] = value;
            let _ = certificate::public_key(&bytes);
        }
    }
    assert_eq!(certificate::public_key(&der), Some(&key[..]));
    assert_eq!(certificate::public_key(&key), None, "a bare key is no certificate");
}
