//! The keys of one method, from PEM files to signatures.
//!
//! Which files are taken follows etcd (its JWT library's parsers): private keys
//! as PKCS#1, PKCS#8 and SEC1, public keys as SubjectPublicKeyInfo, PKCS#1 and
//! certificate; of the HS methods the bytes of the private key's file.

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ParsedPublicKey,
    RsaEncoding, RsaKeyPair, VerificationAlgorithm,
};
use aws_lc_rs::{digest, hmac};
use pem::Pem;

use super::ReadFile;
use super::certificate;
use super::method::Method;
use crate::token_provider::JwtOptions;

/// Why keys were not taken into use: fix the flag or the file. At the start that
/// is the end; at a reload the old keys stay in force. Equal errors are equal
/// values, so that a caller that asks repeatedly can report it once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("auth: invalid auth options: cannot read {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Neither key is given, or the secret of an HS method is empty.
    #[error("auth: missing key data: give {needed} for {method}")]
    Missing {
        /// The configured method.
        method: Method,
        /// The options that would do.
        needed: &'static str,
    },
    /// The two keys are not a pair.
    #[error("auth: public and private keys don't match: {} and {}", public.display(), private.display())]
    Mismatch {
        /// The file of `pub-key`.
        public: PathBuf,
        /// The file of `priv-key`.
        private: PathBuf,
    },
    /// No key in this file that fits.
    #[error("auth: invalid key in {}: {reason}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The keys in force.
pub(super) struct KeySet {
    pub(super) method: Method,
    /// None: verify only.
    signer: Option<Signer>,
    verifier: Verifier,
    fingerprint: [u8; 32],
}

enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(Box<hmac::Key>),
}

enum Verifier {
    Public(ParsedPublicKey),
    Hmac(Box<hmac::Key>),
}

/// The bytes of a file, and which one it was.
struct KeyFile<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
}

impl KeySet {
    /// Reads the files, and tries the keys on each other.
    pub(super) fn load(options: &JwtOptions, read: ReadFile) -> Result<KeySet, KeyError> {
        let file = |path| KeyFile::read(path, read);
        let public = options.public_key.as_deref().map(file).transpose()?;
        let private = options.private_key.as_deref().map(file).transpose()?;
        let fingerprint = fingerprint(public.as_ref(), private.as_ref());
        let method = options.method;
        let (signer, verifier) = match Scheme::of(method) {
            Scheme::Secret(algorithm) => secret(method, algorithm, private.as_ref())?,
            Scheme::Pair(scheme) => pair(method, &scheme, public.as_ref(), private.as_ref())?,
        };
        let keys = KeySet { method, signer, verifier, fingerprint };
        keys.try_out(public.as_ref(), private.as_ref())?;
        Ok(keys)
    }

    pub(super) fn can_sign(&self) -> bool {
        self.signer.is_some()
    }

    /// SHA-256 of what the files held.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The signature of `message`; none if there is no private key, an error if
    /// the provider refuses.
    pub(super) fn sign(
        &self,
        message: &[u8],
    ) -> Option<Result<Vec<u8>, aws_lc_rs::error::Unspecified>> {
        self.signer.as_ref().map(|signer| signer.sign(message))
    }

    /// True if `signature` is one of `message` by our key.
    pub(super) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
            Verifier::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }

    /// A signature made by the one key has to hold by the other.
    fn try_out(
        &self,
        public: Option<&KeyFile<'_>>,
        private: Option<&KeyFile<'_>>,
    ) -> Result<(), KeyError> {
        let (Some(signed), Some(private)) = (self.sign(b"a key pair?"), private) else {
            return Ok(());
        };
        let holds = signed.is_ok_and(|signature| self.holds(b"a key pair?", &signature));
        match public {
            _ if holds => Ok(()),
            Some(public) => Err(KeyError::Mismatch {
                public: public.path.to_owned(),
                private: private.path.to_owned(),
            }),
            None => Err(private.not_a(self.method)),
        }
    }
}

impl Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        Ok(match self {
            Signer::Rsa(key, encoding) => {
                let mut bytes = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut bytes)?;
                bytes
            }
            Signer::Ecdsa(key) => key.sign(&random, message)?.as_ref().to_vec(),
            Signer::Ed25519(key) => key.try_sign(message)?.as_ref().to_vec(),
            Signer::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
        })
    }
}

/// What the crypto provider calls a method.
enum Scheme {
    Secret(hmac::Algorithm),
    Pair(PairScheme),
}

struct PairScheme {
    kind: PairKind,
    verify: &'static dyn VerificationAlgorithm,
}

enum PairKind {
    Rsa(&'static dyn RsaEncoding),
    Ecdsa(&'static EcdsaSigningAlgorithm),
    Ed25519,
}

impl Scheme {
    fn of(method: Method) -> Scheme {
        use signature as s;
        let rsa =
            |encoding, verify| Scheme::Pair(PairScheme { kind: PairKind::Rsa(encoding), verify });
        let ecdsa = |sign, verify| Scheme::Pair(PairScheme { kind: PairKind::Ecdsa(sign), verify });
        match method {
            Method::Rs256 => rsa(&s::RSA_PKCS1_SHA256, &s::RSA_PKCS1_2048_8192_SHA256),
            Method::Rs384 => rsa(&s::RSA_PKCS1_SHA384, &s::RSA_PKCS1_2048_8192_SHA384),
            Method::Rs512 => rsa(&s::RSA_PKCS1_SHA512, &s::RSA_PKCS1_2048_8192_SHA512),
            Method::Ps256 => rsa(&s::RSA_PSS_SHA256, &s::RSA_PSS_2048_8192_SHA256),
            Method::Ps384 => rsa(&s::RSA_PSS_SHA384, &s::RSA_PSS_2048_8192_SHA384),
            Method::Ps512 => rsa(&s::RSA_PSS_SHA512, &s::RSA_PSS_2048_8192_SHA512),
            Method::Es256 => {
                ecdsa(&s::ECDSA_P256_SHA256_FIXED_SIGNING, &s::ECDSA_P256_SHA256_FIXED)
            }
            Method::Es384 => {
                ecdsa(&s::ECDSA_P384_SHA384_FIXED_SIGNING, &s::ECDSA_P384_SHA384_FIXED)
            }
            Method::Es512 => {
                ecdsa(&s::ECDSA_P521_SHA512_FIXED_SIGNING, &s::ECDSA_P521_SHA512_FIXED)
            }
            Method::EdDsa => {
                Scheme::Pair(PairScheme { kind: PairKind::Ed25519, verify: &s::ED25519 })
            }
            Method::Hs256 => Scheme::Secret(hmac::HMAC_SHA256),
            Method::Hs384 => Scheme::Secret(hmac::HMAC_SHA384),
            Method::Hs512 => Scheme::Secret(hmac::HMAC_SHA512),
        }
    }
}

impl PairScheme {
    /// The key in this DER, whatever of the known forms it has.
    fn private(&self, der: &[u8]) -> Option<Signer> {
        match self.kind {
            PairKind::Rsa(encoding) => {
                let key = RsaKeyPair::from_der(der).or_else(|_| RsaKeyPair::from_pkcs8(der));
                key.ok().map(|key| Signer::Rsa(key, encoding))
            }
            PairKind::Ecdsa(algorithm) => {
                EcdsaKeyPair::from_private_key_der(algorithm, der).ok().map(Signer::Ecdsa)
            }
            PairKind::Ed25519 => Ed25519KeyPair::from_pkcs8(der).ok().map(Signer::Ed25519),
        }
    }

    fn public(&self, der: &[u8]) -> Option<ParsedPublicKey> {
        let key = ParsedPublicKey::new(self.verify, der).ok()?;
        if matches!(self.kind, PairKind::Rsa(_)) {
            // The provider looks at the size of an RSA key when it verifies; this
            // type does at once.
            PublicEncryptingKey::from_der(key.as_der().ok()?.as_ref()).ok()?;
        }
        Some(key)
    }

    fn public_of(&self, signer: &Signer) -> Option<ParsedPublicKey> {
        match signer {
            Signer::Rsa(key, _) => self.public(key.public_key().as_ref()),
            Signer::Ecdsa(key) => self.public(key.public_key().as_ref()),
            Signer::Ed25519(key) => self.public(key.public_key().as_ref()),
            Signer::Hmac(_) => None,
        }
    }
}

fn secret(
    method: Method,
    algorithm: hmac::Algorithm,
    private: Option<&KeyFile<'_>>,
) -> Result<(Option<Signer>, Verifier), KeyError> {
    let bytes = private.map(|file| file.bytes.as_slice()).filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or(KeyError::Missing {
        method,
        needed: "a priv-key file that is not empty, the secret,",
    })?;
    let key = Box::new(hmac::Key::new(algorithm, bytes));
    Ok((Some(Signer::Hmac(key.clone())), Verifier::Hmac(key)))
}

fn pair(
    method: Method,
    scheme: &PairScheme,
    public: Option<&KeyFile<'_>>,
    private: Option<&KeyFile<'_>>,
) -> Result<(Option<Signer>, Verifier), KeyError> {
    let signer = private.map(|file| file.private(method, scheme)).transpose()?;
    let verifier = match (public, private, &signer) {
        (Some(file), _, _) => file.public(method, scheme)?,
        (None, Some(file), Some(signer)) => {
            scheme.public_of(signer).ok_or_else(|| file.not_a(method))?
        }
        _ => return Err(KeyError::Missing { method, needed: "priv-key, pub-key or both" }),
    };
    Ok((signer, Verifier::Public(verifier)))
}

impl KeyFile<'_> {
    fn read(path: &Path, read: ReadFile) -> Result<KeyFile<'_>, KeyError> {
        let unreadable = |error: std::io::Error| KeyError::Unreadable {
            file: path.to_owned(),
            reason: error.to_string(),
        };
        Ok(KeyFile { path, bytes: read(path).map_err(unreadable)? })
    }

    fn private(&self, method: Method, scheme: &PairScheme) -> Result<Signer, KeyError> {
        let block = self.first_of(&["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])?;
        scheme.private(block.contents()).ok_or_else(|| self.not_a(method))
    }

    fn public(&self, method: Method, scheme: &PairScheme) -> Result<ParsedPublicKey, KeyError> {
        let block = self.first_of(&["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"])?;
        let der = match block.tag() {
            "CERTIFICATE" => certificate::public_key(block.contents()),
            _ => Some(block.contents()),
        };
        der.and_then(|der| scheme.public(der)).ok_or_else(|| self.not_a(method))
    }

    /// The first PEM block of one of these kinds. Others, such as the `EC
    /// PARAMETERS` that openssl writes before a key, are passed over.
    fn first_of(&self, kinds: &[&str]) -> Result<Pem, KeyError> {
        let blocks = pem::parse_many(&self.bytes)
            .map_err(|error| self.invalid(format!("not PEM: {error}")))?;
        let found: Vec<String> = blocks.iter().map(|block| block.tag().to_owned()).collect();
        let encrypted = |block: &Pem| {
            block.tag() == "ENCRYPTED PRIVATE KEY"
                || block.headers().get("Proc-Type").is_some_and(|v| v.contains("ENCRYPTED"))
        };
        if blocks.iter().any(encrypted) {
            let reason = "the key is encrypted; store it without a passphrase";
            return Err(self.invalid(reason.to_owned()));
        }
        blocks.into_iter().find(|block| kinds.contains(&block.tag())).ok_or_else(|| {
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            self.invalid(format!("no PEM block of {} in it, but {found}", kinds.join(", ")))
        })
    }

    fn not_a(&self, method: Method) -> KeyError {
        self.invalid(format!("{method} needs {}, and this is none", method.key_kind()))
    }

    fn invalid(&self, reason: String) -> KeyError {
        KeyError::Invalid { file: self.path.to_owned(), reason }
    }
}

fn fingerprint(public: Option<&KeyFile<'_>>, private: Option<&KeyFile<'_>>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for file in [public, private] {
        let bytes = file.map_or(&[][..], |file| &file.bytes);
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
