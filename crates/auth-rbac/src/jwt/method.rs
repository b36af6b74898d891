//! The signature methods of RFC 7518 and RFC 8037 that etcd offers.

use std::fmt;

/// How tokens are signed (`sign-method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 7518")]
pub enum Method {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 13] = [
        Method::Rs256,
        Method::Rs384,
        Method::Rs512,
        Method::Ps256,
        Method::Ps384,
        Method::Ps512,
        Method::Es256,
        Method::Es384,
        Method::Es512,
        Method::EdDsa,
        Method::Hs256,
        Method::Hs384,
        Method::Hs512,
    ];

    /// The method of this name, written exactly so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Its name in the `alg` of a token.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Rs256 => "RS256",
            Method::Rs384 => "RS384",
            Method::Rs512 => "RS512",
            Method::Ps256 => "PS256",
            Method::Ps384 => "PS384",
            Method::Ps512 => "PS512",
            Method::Es256 => "ES256",
            Method::Es384 => "ES384",
            Method::Es512 => "ES512",
            Method::EdDsa => "EdDSA",
            Method::Hs256 => "HS256",
            Method::Hs384 => "HS384",
            Method::Hs512 => "HS512",
        }
    }

    /// All names, for the text of an error.
    pub(crate) fn names() -> String {
        Method::ALL.map(Method::name).join(", ")
    }

    /// The kind of key that it needs, for the text of an error.
    pub(super) fn key_kind(self) -> &'static str {
        match self {
            Method::Rs256 | Method::Rs384 | Method::Rs512 => "an RSA key of 2048 to 8192 bits",
            Method::Ps256 | Method::Ps384 | Method::Ps512 => "an RSA key of 2048 to 8192 bits",
            Method::Es256 => "an ECDSA key on P-256",
            Method::Es384 => "an ECDSA key on P-384",
            Method::Es512 => "an ECDSA key on P-521",
            Method::EdDsa => "an Ed25519 key",
            Method::Hs256 | Method::Hs384 | Method::Hs512 => "a secret",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
