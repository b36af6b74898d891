//! TLS versions and cipher suites by the names in etcd's flags, and the only
//! crypto provider of this crate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

use crate::error::TlsError;

/// A protocol version that can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "TLS1.2",
            TlsVersion::Tls13 => "TLS1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = TlsError;

    /// etcd's spellings, and its text for an unknown one (etcd
    /// `client/pkg/tlsutil/versions.go`).
    fn from_str(text: &str) -> Result<Self, TlsError> {
        match text {
            "TLS1.2" => Ok(TlsVersion::Tls12),
            "TLS1.3" => Ok(TlsVersion::Tls13),
            _ => Err(TlsError::Options(format!(
                "unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
            ))),
        }
    }
}

/// Go's two legacy names of the TLS 1.2 CHACHA20 suites.
const LEGACY_NAMES: [(&str, &str); 2] = [
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// The versions and suites that a configuration uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The oldest version. Default TLS 1.2, as etcd's.
    pub min_version: TlsVersion,
    /// The newest; `None`, the default: the newest supported one.
    pub max_version: Option<TlsVersion>,
    /// The TLS 1.2 suites, in order of preference, by their IANA names or Go's.
    /// Default, empty: all supported ones. The TLS 1.3 suites are always all
    /// offered, as in Go: naming them has no effect.
    pub cipher_suites: Vec<String>,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol { min_version: TlsVersion::Tls12, max_version: None, cipher_suites: Vec::new() }
    }
}

impl Protocol {
    /// The versions to offer.
    ///
    /// # Errors
    ///
    /// The oldest is newer than the newest, or suites are given that no enabled
    /// version would use: in etcd's words.
    /// left would use: in etcd's words.
    pub(crate) fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let (min, max) = (self.min_version, self.max_version.unwrap_or(TlsVersion::Tls13));
        if min > max {
            return Err(TlsError::Options(format!(
                "min version ({min}) is greater than max version ({max})"
            )));
        }
        if min == TlsVersion::Tls13 && !self.cipher_suites.is_empty() {
            return Err(TlsError::Options(
                "cipher suites cannot be configured when only TLS1.3 is enabled".to_owned(),
            ));
        }
        let all = [
            (TlsVersion::Tls12, &rustls::version::TLS12),
            (TlsVersion::Tls13, &rustls::version::TLS13),
        ];
        Ok(all.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, v)| v).collect())
    }

    /// The provider, reduced to the configured suites.
    ///
    /// # Errors
    ///
    /// The name of an unsupported suite; or, with TLS 1.3 disabled, no suite
    /// that TLS 1.2 could use.
    pub(crate) fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        // A stable sort keeps rustls's order within each kind, which has the
        // stronger first.
        provider.cipher_suites.sort_by_key(|suite| dearness(suite.suite()));
        if self.cipher_suites.is_empty() {
            return Ok(Arc::new(provider));
        }
        let mut suites: Vec<SupportedCipherSuite> =
            provider.cipher_suites.iter().copied().filter(is_tls13).collect();
        for name in &self.cipher_suites {
            let suite = suite(name.trim())?;
            if !suites.contains(&suite) {
                suites.push(suite);
            }
        }
        if self.max_version == Some(TlsVersion::Tls12) && suites.iter().all(is_tls13) {
            return Err(TlsError::Options(
                "only TLS1.2 is enabled, and none of the cipher suites is one of TLS1.2".to_owned(),
            ));
        }
        provider.cipher_suites = suites;
        Ok(Arc::new(provider))
    }
}

/// The sort key of suites, as in Go: AES-128, then AES-256, then CHACHA20. With
/// SHA-384 hashes, for which processors have no instructions, a handshake costs
/// the server a sixth more (measured), and 128 bits are enough for everybody.
/// Without AES instructions, CHACHA20 comes first.
fn dearness(suite: CipherSuite) -> u8 {
    let aes = if has_aes_instructions() { 0 } else { 3 };
    match suite {
        suite if is_chacha20(suite) => 2,
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => aes,
        _ => aes + 1,
    }
}

fn has_aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Whether a client that offers these, in order of preference, would rather not
/// use AES, because it has no instructions for it.
pub(crate) fn prefers_chacha20(offered: &[CipherSuite]) -> bool {
    let known = |suite: &&CipherSuite| {
        aws_lc_rs::ALL_CIPHER_SUITES.iter().any(|ours| ours.suite() == **suite)
    };
    offered.iter().find(known).is_some_and(|first| is_chacha20(*first))
}

fn is_chacha20(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

fn is_tls13(suite: &SupportedCipherSuite) -> bool {
    suite.tls13().is_some()
}

/// The suite with a given name.
fn suite(name: &str) -> Result<SupportedCipherSuite, TlsError> {
    let legacy = LEGACY_NAMES.iter().find(|(legacy, _)| *legacy == name);
    let iana = legacy.map_or(name, |(_, iana)| iana);
    let found = aws_lc_rs::ALL_CIPHER_SUITES.iter().find(|s| iana_name(s.suite()) == iana);
    found.copied().ok_or_else(|| {
        TlsError::Options(format!(
            "unexpected TLS cipher suite {name:?} (must be one of: {})",
            cipher_suite_names().join(", ")
        ))
    })
}

/// The names of all supported suites, TLS 1.3's first.
pub fn cipher_suite_names() -> Vec<String> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(|suite| iana_name(suite.suite())).collect()
}

/// The name in IANA's registry, which Go's constants use too; rustls prefixes
/// the TLS 1.3 suites with `TLS13_`.
fn iana_name(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

/// Makes aws-lc-rs the provider of this process for every crate that uses
/// rustls without naming one (HTTP clients, for example). Later calls do
/// nothing.
pub fn install_crypto_provider() {
    // The error means that there already is one; only ours is linked.
    let _ = aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(protocol: &Protocol) -> Vec<String> {
        let provider = protocol.provider().unwrap();
        provider.cipher_suites.iter().map(|suite| iana_name(suite.suite())).collect()
    }

    fn wrong<T>(result: Result<T, TlsError>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn versions_have_etcds_texts() {
        assert_eq!("TLS1.2".parse::<TlsVersion>().unwrap(), TlsVersion::Tls12);
        assert_eq!(
            wrong("TLS1.1".parse::<TlsVersion>()),
            "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"
        );
        let backwards = Protocol {
            min_version: TlsVersion::Tls13,
            max_version: Some(TlsVersion::Tls12),
            ..Protocol::default()
        };
        assert!(wrong(backwards.versions()).contains("min version (TLS1.3) is greater than"));
    }

    #[test]
    fn suites_need_a_version_that_uses_them() {
        let suites = vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()];
        let only13 = Protocol {
            min_version: TlsVersion::Tls13,
            cipher_suites: suites,
            ..Protocol::default()
        };
        assert_eq!(
            wrong(only13.versions()),
            "cipher suites cannot be configured when only TLS1.3 is enabled"
        );
        let only12 = Protocol {
            max_version: Some(TlsVersion::Tls12),
            cipher_suites: vec!["TLS_AES_128_GCM_SHA256".to_owned()],
            ..Protocol::default()
        };
        assert!(wrong(only12.provider()).contains("none of the cipher suites"));
    }

    #[test]
    fn suites_go_by_iana_and_go_names() {
        let protocol = Protocol {
            cipher_suites: [
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Protocol::default()
        };
        assert_eq!(
            names(&protocol)[3..],
            [
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            ]
        );
        assert_eq!(names(&Protocol::default()).len(), 9);
    }

    #[test]
    fn the_cheap_suite_comes_first() {
        let names = names(&Protocol::default());
        let place = |name| names.iter().position(|one| one == name).unwrap();
        assert!(place("TLS_AES_128_GCM_SHA256") < place("TLS_AES_256_GCM_SHA384"));
        let chacha = place("TLS_CHACHA20_POLY1305_SHA256");
        assert_eq!(place("TLS_AES_256_GCM_SHA384") < chacha, has_aes_instructions());
    }

    #[test]
    fn clients_without_aes_are_known_by_what_they_want_most() {
        let [aes, chacha] =
            [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];
        let unknown = CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA;
        assert!(prefers_chacha20(&[unknown, chacha, aes]));
        assert!(!prefers_chacha20(&[unknown, aes, chacha]));
        assert!(!prefers_chacha20(&[unknown]));
    }

    #[test]
    fn a_suite_that_is_not_there_is_refused_by_name() {
        for name in
            ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "nonsense", ""]
        {
            let protocol = Protocol { cipher_suites: vec![name.to_owned()], ..Protocol::default() };
            let text = wrong(protocol.provider());
            assert!(text.starts_with("unexpected TLS cipher suite"), "{text}");
            assert!(text.contains(&format!("{name:?}")), "{text}");
            assert!(text.contains("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"), "{text}");
        }
    }
}
