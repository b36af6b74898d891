//! The text of a token: three parts in base64, a header, the claims, a signature
//! over both (the compact form of RFC 7515).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::keys::KeySet;

/// No longer token is looked at; gRPC stops headers at about this size too.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `username`.
    pub user: String,
    /// `revision`: of the auth store when the token was made.
    pub revision: u64,
    /// `exp`. None if it has no end, which those that we make have.
    pub expires_at: Option<SystemTime>,
}

/// Why a token was refused. To the client all are one, an invalid token; this is
/// for the log. It never holds the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not three parts of base64 with JSON in them, or too long.
    #[error("not a JSON Web Token: {what}")]
    Malformed {
        /// The part that is wrong.
        what: &'static str,
    },
    /// Its `alg` is not the configured method.
    #[error("signed by another method than the configured one")]
    WrongMethod,
    /// The signature is not by our key, or not over these parts.
    #[error("the signature does not hold")]
    BadSignature,
    /// Its `exp` has come.
    #[error("expired")]
    Expired,
    /// Its `nbf` is still to come.
    #[error("not valid yet")]
    NotYetValid,
    /// A claim that is needed is not there, or of the wrong type.
    #[error("the claim {claim} is missing or of the wrong type")]
    BadClaim {
        /// Its name.
        claim: &'static str,
    },
}

/// Why no token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There is a public key alone; get tokens where the private key is.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// The crypto provider refused. The keys were tried when they were loaded, so
    /// a person must look.
    #[error("the crypto provider did not sign the token")]
    Provider,
}

pub(super) fn sign(
    keys: &KeySet,
    now: SystemTime,
    ttl: Duration,
    user: &str,
    revision: u64,
) -> Result<String, SignError> {
    let expires = since_1970(now).saturating_add(ttl).as_secs();
    let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, keys.method);
    // serde_json's map is sorted by name, as the one of Go is.
    let claims = json!({ "exp": expires, "revision": revision, "username": user }).to_string();
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = match keys.sign(token.as_bytes()) {
        None => return Err(SignError::VerifyOnly),
        Some(signed) => signed.map_err(|_| SignError::Provider)?,
    };
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The fields of a header that matter. Whatever else there is (`typ`, `kid`, a
/// `jwk` that asks to be trusted) is not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood (RFC 7515, section 4.1.11): we know none.
    crit: Option<Value>,
}

pub(super) fn verify(keys: &KeySet, now: SystemTime, token: &str) -> Result<Claims, TokenRefused> {
    let malformed = |what| TokenRefused::Malformed { what };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(malformed("too long"));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(malformed("parts"))?;
    let (header, claims) = message.split_once('.').ok_or(malformed("parts"))?;
    check_header(keys, header)?;
    // A fourth part would make the claims no base64.
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed("signature"))?;
    if !keys.holds(message.as_bytes(), &signature) {
        return Err(TokenRefused::BadSignature);
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| malformed("claims"))?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| malformed("claims"))?;
    read_claims(&claims, now)
}

fn check_header(keys: &KeySet, header: &str) -> Result<(), TokenRefused> {
    let malformed = TokenRefused::Malformed { what: "header" };
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed)?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| malformed)?;
    if header.crit.is_some() {
        return Err(malformed);
    }
    if header.alg == keys.method.name() { Ok(()) } else { Err(TokenRefused::WrongMethod) }
}

fn read_claims(claims: &Value, now: SystemTime) -> Result<Claims, TokenRefused> {
    let now = since_1970(now).as_secs_f64();
    let expires = seconds(claims, "exp")?;
    if expires.is_some_and(|expires| now >= expires) {
        return Err(TokenRefused::Expired);
    }
    if seconds(claims, "nbf")?.is_some_and(|from| now < from) {
        return Err(TokenRefused::NotYetValid);
    }
    let user = claims.get("username").and_then(Value::as_str);
    let revision = claims.get("revision").and_then(whole);
    let later = |seconds| SystemTime::UNIX_EPOCH.checked_add(seconds);
    Ok(Claims {
        user: user.ok_or(TokenRefused::BadClaim { claim: "username" })?.to_owned(),
        revision: revision.ok_or(TokenRefused::BadClaim { claim: "revision" })?,
        // An end that no clock can show is none.
        expires_at: expires.and_then(|s| Duration::try_from_secs_f64(s).ok()).and_then(later),
    })
}

/// A moment in seconds since 1970. It may be missing, as in etcd, where whoever
/// makes the tokens decides that; but not be anything else.
fn seconds(claims: &Value, claim: &'static str) -> Result<Option<f64>, TokenRefused> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(TokenRefused::BadClaim { claim }),
    }
}

/// A revision. Some makers of tokens write whole numbers as `7.0` or `7e0`.
fn whole(value: &Value) -> Option<u64> {
    let float = || {
        let number = value.as_f64().filter(|n| n.fract() == 0.0)?;
        // Above 2^53 a float does not say which number it means.
        (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
    };
    value.as_u64().or_else(float)
}

/// A clock before 1970 is at 1970.
fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
