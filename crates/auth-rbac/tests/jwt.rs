//! Tokens that openssl and Python made, tokens that we make, keys in each form
//! that etcd takes, and everything that must be refused. The fixtures are made by
//! `tests/fixtures/jwt/make.py`.

mod prng;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prng::Prng;
use t4_auth_rbac::jwt::{Claims, JwtKeys, KeyError, Method, SignError, TokenRefused};
use t4_auth_rbac::{JwtOptions, TokenProvider};

const EXPIRES: u64 = 4_102_444_800;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn now() -> SystemTime {
    at(1_800_000_000)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jwt").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap().trim_end().to_owned()
}

fn from_disk(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

fn try_load(method: Method, public: &str, private: &str) -> Result<JwtKeys, KeyError> {
    let path = |name: &str| (!name.is_empty()).then(|| fixture(name));
    let options = JwtOptions {
        method,
        public_key: path(public),
        private_key: path(private),
        ttl: Duration::from_secs(600),
    };
    JwtKeys::load(options, from_disk)
}

fn load(method: Method, public: &str, private: &str) -> JwtKeys {
    try_load(method, public, private)
        .unwrap_or_else(|error| panic!("{method} {public} {private}: {error}"))
}

/// The name of the key of a method, and the forms that its files come in.
fn forms(method: Method) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
    use Method::*;
    match method {
        Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => {
            ("rsa", &["-pkcs8.key", "-pkcs1.key"], &[".pub", "-pkcs1.pub", ".crt"])
        }
        Es256 => ("p256", &["-pkcs8.key", "-sec1.key"], &[".pub", ".crt"]),
        Es384 => ("p384", &["-pkcs8.key", "-sec1.key"], &[".pub", ".crt"]),
        Es512 => ("p521", &["-pkcs8.key", "-sec1.key"], &[".pub", ".crt"]),
        EdDsa => ("ed25519", &["-pkcs8.key"], &[".pub", ".crt"]),
        Hs256 | Hs384 | Hs512 => ("secret", &[""], &[]),
    }
}

/// Private key alone, each public key alone, and each pair.
fn all_keys(method: Method) -> Vec<JwtKeys> {
    let (name, privates, publics) = forms(method);
    let mut all = Vec::new();
    for private in privates {
        let private = format!("{name}{private}");
        all.push(load(method, "", &private));
        for public in publics {
            all.push(load(method, &format!("{name}{public}"), &private));
        }
    }
    all.extend(publics.iter().map(|public| load(method, &format!("{name}{public}"), "")));
    all
}

fn signer(method: Method) -> JwtKeys {
    let (name, privates, _) = forms(method);
    load(method, "", &format!("{name}{}", privates[0]))
}

fn alice() -> Claims {
    Claims { user: "alice".into(), revision: 7, expires_at: Some(at(EXPIRES)) }
}

#[test]
fn tokens_of_another_implementation_are_accepted_with_keys_of_every_form() {
    for method in Method::ALL {
        let token = read(&format!("{method}.jwt"));
        for keys in all_keys(method) {
            assert_eq!(keys.verify(now(), &token), Ok(alice()), "{keys:?}");
        }
    }
}

#[test]
fn ours_are_byte_for_byte_those_of_another_implementation() {
    use Method::*;
    // The methods whose signatures are not random.
    for method in [Rs256, Rs384, Rs512, EdDsa, Hs256, Hs384, Hs512] {
        let token = signer(method).sign(at(EXPIRES - 600), "alice", 7).unwrap();
        assert_eq!(token, read(&format!("{method}.jwt")), "{method}");
    }
}

#[test]
fn what_we_sign_verifies_with_each_form_of_the_key() {
    for method in Method::ALL {
        let token = signer(method).sign(now(), "root \"é\"", u64::MAX).unwrap();
        let expected = Claims {
            user: "root \"é\"".into(),
            revision: u64::MAX,
            expires_at: Some(at(1_800_000_600)),
        };
        for keys in all_keys(method) {
            assert_eq!(keys.verify(now(), &token).as_ref(), Ok(&expected), "{keys:?}");
        }
    }
}

#[test]
fn a_token_of_any_other_method_is_refused() {
    for method in Method::ALL {
        let keys = signer(method);
        for other in Method::ALL.into_iter().filter(|other| *other != method) {
            let token = read(&format!("{other}.jwt"));
            assert_eq!(keys.verify(now(), &token), Err(TokenRefused::WrongMethod), "{other}");
        }
    }
}

/// A token with this header and these claims, signed as HS256 with our secret.
fn forge(header: &str, claims: &str) -> String {
    let secret = std::fs::read(fixture("secret")).unwrap();
    forge_with(header, claims.as_bytes(), &secret)
}

fn forge_with(header: &str, claims: &[u8], secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The answer to claims that are signed as they should be.
fn verdict(claims: &str) -> Result<Claims, TokenRefused> {
    signer(Method::Hs256).verify(now(), &forge(HEADER, claims))
}

#[test]
fn confusing_the_method_does_not_help() {
    let claims = r#"{"exp":4102444800,"revision":7,"username":"root"}"#;
    // The classic: the public key, which everybody has, as the secret of HS256.
    let keys = load(Method::Rs256, "rsa.pub", "rsa-pkcs8.key");
    let public = std::fs::read(fixture("rsa.pub")).unwrap();
    for header in [HEADER, r#"{"alg":"RS256","typ":"JWT"}"#] {
        let token = forge_with(header, claims.as_bytes(), &public);
        assert!(keys.verify(now(), &token).is_err(), "{header}");
    }
    // No signature at all, under any spelling.
    for method in Method::ALL {
        let keys = signer(method);
        for alg in ["none", "None", "NONE", "", "hs256", " HS256"] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            let token = forge(&header, claims);
            let unsigned = &token[..=token.rfind('.').unwrap()];
            assert_eq!(keys.verify(now(), &token), Err(TokenRefused::WrongMethod));
            assert_eq!(keys.verify(now(), unsigned), Err(TokenRefused::WrongMethod));
        }
        let named = read(&format!("{method}.jwt"));
        let unsigned = &named[..=named.rfind('.').unwrap()];
        assert_eq!(keys.verify(now(), unsigned), Err(TokenRefused::BadSignature));
    }
    // A key that the token brings along is not looked at; what must be
    // understood is refused.
    let keys = signer(Method::Hs256);
    let jwk = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"kid":"../../x"}"#;
    let theirs = forge_with(jwk, claims.as_bytes(), &[0, 0, 0]);
    assert_eq!(keys.verify(now(), &theirs), Err(TokenRefused::BadSignature));
    assert!(keys.verify(now(), &forge(jwk, claims)).is_ok());
    let crit = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    let refused = keys.verify(now(), &forge(crit, claims));
    assert_eq!(refused, Err(TokenRefused::Malformed { what: "header" }));
    let twice = r#"{"alg":"none","alg":"HS256"}"#;
    let refused = keys.verify(now(), &forge(twice, claims));
    assert_eq!(refused, Err(TokenRefused::Malformed { what: "header" }));
}

#[test]
fn another_key_of_the_same_kind_is_refused() {
    let keys = load(Method::Rs256, "", "rsa-other-pkcs8.key");
    assert_eq!(keys.verify(now(), &read("RS256.jwt")), Err(TokenRefused::BadSignature));
}

#[test]
fn time_ends_a_token_to_the_second() {
    let keys = signer(Method::EdDsa);
    let token = keys.sign(now(), "alice", 7).unwrap();
    let end = now() + Duration::from_secs(600);
    assert!(keys.verify(end - Duration::from_millis(1), &token).is_ok());
    assert_eq!(keys.verify(end, &token), Err(TokenRefused::Expired));
    assert_eq!(keys.verify(at(u32::MAX.into()), &token), Err(TokenRefused::Expired));
    assert!(keys.verify(SystemTime::UNIX_EPOCH, &token).is_ok());
}

#[test]
fn claims_are_read_as_etcd_reads_them() {
    let ok = |claims: &str| verdict(claims).unwrap_or_else(|error| panic!("{claims}: {error}"));
    assert_eq!(ok(r#"{"username":"alice","revision":7,"exp":4102444800}"#), alice());
    // Other makers: claims of their own, floats, no end.
    let other = r#"{"username":"alice","revision":7.0,"exp":4102444800.0,"iss":"x","aud":["y"]}"#;
    assert_eq!(ok(other), alice());
    assert_eq!(ok(r#"{"username":"a","revision":7e0}"#).revision, 7);
    assert_eq!(ok(r#"{"username":"","revision":0}"#).expires_at, None);
    assert_eq!(ok(r#"{"username":"a","revision":0,"exp":1e300}"#).expires_at, None);
    assert!(verdict(r#"{"username":"a","revision":1,"nbf":1800000000}"#).is_ok());

    let bad = |claims: &str| verdict(claims).expect_err(claims);
    assert_eq!(bad(r#"{"username":"a","revision":1,"nbf":1800000001}"#), TokenRefused::NotYetValid);
    for exp in ["1800000000", "1799999999.9", "0", "-1", "-1e300"] {
        let claims = format!(r#"{{"username":"a","revision":1,"exp":{exp}}}"#);
        assert_eq!(bad(&claims), TokenRefused::Expired, "{exp}");
    }
    let claim = |claim| TokenRefused::BadClaim { claim };
    assert_eq!(bad(r#"{"revision":1}"#), claim("username"));
    assert_eq!(bad(r#"{"username":7,"revision":1}"#), claim("username"));
    for revision in [r#""7""#, "-1", "1.5", "null", "1e30", "[7]"] {
        let claims = format!(r#"{{"username":"a","revision":{revision}}}"#);
        assert_eq!(bad(&claims), claim("revision"), "{revision}");
    }
    assert_eq!(bad(r#"{"username":"a"}"#), claim("revision"));
    assert_eq!(bad(r#"{"username":"a","revision":1,"exp":"never"}"#), claim("exp"));
    assert_eq!(bad(r#"{"username":"a","revision":1,"exp":null}"#), claim("exp"));
    assert_eq!(bad(r#"{"username":"a","revision":1,"nbf":true}"#), claim("nbf"));
    assert_eq!(bad("[]"), claim("username"));
    for text in ["", "{", "{}x", "\u{feff}{}", r#"{"exp":1e999}"#] {
        assert_eq!(bad(text), TokenRefused::Malformed { what: "claims" }, "{text}");
    }
    let deep = "[".repeat(5_000);
    assert_eq!(bad(&deep), TokenRefused::Malformed { what: "claims" });
}

#[test]
fn what_is_no_token_is_refused() {
    let keys = signer(Method::Hs256);
    let good = read("HS256.jwt");
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let long = "A".repeat(20_000);
    for bad in [
        "",
        ".",
        "..",
        "...",
        "aaa",
        "letterslettersletters.42",
        header,
        &format!("{header}.{claims}"),
        &format!("{header}.{claims}."),
        &format!("{header}.{claims}.{signature}."),
        &format!("{header}.{claims}.{signature}.{signature}"),
        &format!(".{header}.{claims}.{signature}"),
        &format!("{header}..{signature}"),
        &format!(".{claims}.{signature}"),
        &format!("{header}.{claims}.{signature}="),
        &format!("{header}.{claims}. {signature}"),
        &format!(" {good}"),
        &format!("{good}\n"),
        &format!("Bearer {good}"),
        &format!("{header}=.{claims}.{signature}"),
        &format!("{header}.{claims}.{long}"),
        &format!("é.{claims}.{signature}"),
    ] {
        assert!(keys.verify(now(), bad).is_err(), "{bad:?}");
    }
    assert!(keys.verify(now(), &good).is_ok());
}

#[test]
fn any_changed_letter_refuses() {
    let mut prng = Prng::for_test();
    for method in Method::ALL {
        let keys = signer(method);
        let token = read(&format!("{method}.jwt"));
        for _ in 0..150 {
            let mut bytes = token.clone().into_bytes();
            let place = prng.below(bytes.len() as u64) as usize;
            let with = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
                [prng.below(65) as usize];
            if bytes[place] == with {
                continue;
            }
            bytes[place] = with;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(keys.verify(now(), &changed).is_err(), "{method}: {changed}");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut prng = Prng::for_test();
    let keys = signer(Method::Hs256);
    let secret = std::fs::read(fixture("secret")).unwrap();
    for _ in 0..20_000 {
        let mut random =
            |bound| -> Vec<u8> { (0..prng.below(bound)).map(|_| prng.bits() as u8).collect() };
        let text = String::from_utf8_lossy(&random(80)).into_owned();
        assert!(keys.verify(now(), &text).is_err());
        // Behind a signature that holds, so that the claims are read.
        let token = forge_with(HEADER, &random(40), &secret);
        assert!(keys.verify(now(), &token).is_err());
    }
}

#[test]
fn a_public_key_alone_verifies_only() {
    let keys = load(Method::Rs256, "rsa.crt", "");
    assert!(!keys.can_sign());
    let refused = keys.sign(now(), "alice", 7).unwrap_err();
    assert_eq!(refused, SignError::VerifyOnly);
    assert_eq!(refused.to_string(), "auth: token signing attempted with verify-only key");
    assert!(keys.verify(now(), &read("RS256.jwt")).is_ok());
    assert!(load(Method::Rs256, "", "rsa-pkcs8.key").can_sign());
}

fn refusal(method: Method, public: &str, private: &str) -> String {
    let error = try_load(method, public, private).expect_err("it must be refused").to_string();
    error.replace(fixture("").to_str().unwrap(), "")
}

#[test]
fn keys_that_are_no_pair_are_refused() {
    let text = "auth: public and private keys don't match: ";
    for (method, public, private) in [
        (Method::Rs256, "rsa-other.pub", "rsa-pkcs8.key"),
        (Method::Ps512, "rsa.crt", "rsa-other-pkcs1.key"),
    ] {
        assert_eq!(refusal(method, public, private), format!("{text}{public} and {private}"));
    }
    let directory = tempfile::tempdir().unwrap();
    let other = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&other);
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.unwrap().as_ref()));
    std::fs::write(directory.path().join("other"), pem).unwrap();
    let options = JwtOptions {
        method: Method::EdDsa,
        public_key: Some(fixture("ed25519.pub")),
        private_key: Some(directory.path().join("other")),
        ttl: Duration::from_secs(1),
    };
    assert!(matches!(JwtKeys::load(options, from_disk), Err(KeyError::Mismatch { .. })));
}

#[test]
fn keys_that_do_not_fit_are_refused_by_file_and_reason() {
    use Method::*;
    for (method, public, private, expected) in [
        (
            Rs256,
            "",
            "p256-pkcs8.key",
            "p256-pkcs8.key: RS256 needs an RSA key of 2048 to 8192 bits",
        ),
        (Rs256, "", "rsa-1024-pkcs8.key", "rsa-1024-pkcs8.key: RS256 needs an RSA key of 2048"),
        (Ps256, "rsa-1024.crt", "", "rsa-1024.crt: PS256 needs an RSA key of 2048"),
        (Rs512, "rsa-1024-pkcs1.pub", "", "rsa-1024-pkcs1.pub: RS512 needs an RSA key of 2048"),
        (Rs256, "ed25519.pub", "", "ed25519.pub: RS256 needs an RSA key"),
        (Es256, "", "p384-pkcs8.key", "p384-pkcs8.key: ES256 needs an ECDSA key on P-256"),
        (Es384, "", "p256-sec1.key", "p256-sec1.key: ES384 needs an ECDSA key on P-384"),
        (Es512, "p384.crt", "", "p384.crt: ES512 needs an ECDSA key on P-521"),
        (Es256, "rsa.pub", "p256-sec1.key", "rsa.pub: ES256 needs an ECDSA key on P-256"),
        (EdDsa, "", "rsa-pkcs8.key", "rsa-pkcs8.key: EdDSA needs an Ed25519 key"),
        (EdDsa, "p256.crt", "", "p256.crt: EdDSA needs an Ed25519 key"),
        (Rs256, "", "rsa-encrypted-pkcs8.key", "rsa-encrypted-pkcs8.key: the key is encrypted"),
        (Rs256, "", "rsa-encrypted-pkcs1.key", "rsa-encrypted-pkcs1.key: the key is encrypted"),
        (
            Rs256,
            "",
            "rsa.pub",
            "rsa.pub: no PEM block of PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY in it, but PUBLIC KEY",
        ),
        (Rs256, "rsa-pkcs8.key", "", "rsa-pkcs8.key: no PEM block of PUBLIC KEY"),
        (Rs256, "", "secret", "secret: no PEM block of PRIVATE KEY"),
    ] {
        let text = refusal(method, public, private);
        let expected = format!("auth: invalid key in {expected}");
        assert!(text.starts_with(&expected), "{text}\nis not\n{expected}");
    }
    let text = refusal(Rs256, "", "no-such-file");
    assert!(text.starts_with("auth: invalid auth options: cannot read no-such-file: "), "{text}");
    assert!(refusal(Rs256, "", "").starts_with("auth: missing key data: "));
    assert!(refusal(Hs256, "", "").starts_with("auth: missing key data: "));
    // As in etcd a public key is no secret, and is not taken for one.
    assert!(refusal(Hs256, "rsa.pub", "").starts_with("auth: missing key data: "));
}

#[test]
fn an_empty_secret_is_refused() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let text = format!("jwt,sign-method=HS384,priv-key={}", empty.path().display());
    let TokenProvider::Jwt(options) = TokenProvider::parse(&text).unwrap().provider else {
        panic!("it is jwt")
    };
    assert!(matches!(JwtKeys::load(options, from_disk), Err(KeyError::Missing { .. })));
}

#[test]
fn debug_and_errors_show_no_secret() {
    let keys = signer(Method::Hs256);
    let shown = format!("{keys:?}");
    assert!(!shown.contains("a secret of 64 bytes") && shown.contains("Hs256"), "{shown}");
}

#[test]
fn new_key_files_are_taken_into_use_and_bad_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (public, private) = (directory.path().join("pub"), directory.path().join("priv"));
    let put = |from: &str, to: &Path| {
        std::fs::copy(fixture(from), to).unwrap();
    };
    put("rsa.pub", &public);
    put("rsa-pkcs8.key", &private);
    let options = JwtOptions {
        method: Method::Rs256,
        public_key: Some(public.clone()),
        private_key: Some(private.clone()),
        ttl: Duration::from_secs(600),
    };
    let keys = JwtKeys::load(options, from_disk).unwrap();
    assert_eq!(keys.files().collect::<Vec<_>>(), [&public, &private]);
    let old = keys.sign(now(), "alice", 7).unwrap();
    let old_holds = |keys: &JwtKeys| keys.verify(now(), &old).is_ok();
    assert_eq!(keys.reload(), Ok(false));

    // Half of a change: the new private key with the old public key.
    put("rsa-other-pkcs8.key", &private);
    assert!(matches!(keys.reload(), Err(KeyError::Mismatch { .. })));
    // Asked again it says the same, so that the caller can say it once.
    assert_eq!(keys.reload(), keys.reload());
    std::fs::write(&public, "").unwrap();
    assert!(matches!(keys.reload(), Err(KeyError::Invalid { .. })));
    std::fs::remove_file(&public).unwrap();
    assert!(matches!(keys.reload(), Err(KeyError::Unreadable { .. })));
    // Through all of this the old ones were in force.
    assert!(old_holds(&keys));
    assert!(keys.sign(now(), "alice", 7).is_ok());

    put("rsa-other.pub", &public);
    assert_eq!(keys.reload(), Ok(true));
    assert_eq!(keys.reload(), Ok(false));
    assert!(!old_holds(&keys));
    let new = keys.sign(now(), "alice", 7).unwrap();
    assert!(keys.verify(now(), &new).is_ok());
    let other = load(Method::Rs256, "rsa-other.crt", "");
    assert!(other.verify(now(), &new).is_ok());
}
