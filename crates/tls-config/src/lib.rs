//! PEM files in, live rustls configurations out: the only door to rustls,
//! webpki, x509-parser and rcgen.
//!
//! * [`ServerTls`], [`ClientTls`]: configurations that follow their files, and
//!   the handshakes made with them. [`PeerIdentity`]: who is at the other end;
//!   [`Rejection`]: why somebody is not.
//! * [`Reloader`]: looks at the files; [`ReloadStats`]: what came of it.
//! * [`SelfSigned`]: certificates that are made and renewed here. [`Authority`]: a
//!   small CA. [`examine`]: whether a certificate would do.
//! * [`looks_like_tls`]: TLS and plain text on one port.
//! * [`Certificate`], [`RevocationList`]: what such files say.
//! * [`read_regular_file`]: reads a file without waiting for whoever writes it.
//!
//! # Invariants
//!
//! * What is in force was checked as a whole: no pair that does not match, no
//!   CA that is none, no revocation list that its CA did not sign.
//! * A connection keeps the configuration that it began with; the next one gets
//!   the newest good one. No session is resumed.
//! * Every certificate is verified by webpki, or, where its form alone is what
//!   webpki refuses (`chain::lenient`), by the same rules.
//! * What strangers send costs bounded memory, bounded signatures and
//!   [`HANDSHAKE_LIMIT`], and nothing of it is kept when they fail.
//! * aws-lc-rs is the only provider of cryptography.
//!
//! # Map
//!
//! `server`, `client`: options, configurations, handshakes. `verifier`: what
//! rustls asks; decided by `chain` (and `chain/lenient`), `roots`, `purpose`,
//! `revocation`, `names`; `san` afterwards, with `resolver`. `rejection`,
//! `identity`: what comes out. `live`, `file_set`, `reloader`, `expiry`: following
//! files. `regular_file`, `pem`, `certificate`, `key_pair`, `signature`, `moment`: reading. `making`,
//! `self_signed`, `authority`, `write_file`: writing. `examination`: verifying without a handshake. `versions`: TLS versions and cipher suites.
//!
//! # Left to others
//!
//! Sockets, flags, metrics, HTTP; what a common name may do.
#![doc = include_str!("../README.md")]

mod authority;
mod certificate;
mod chain;
mod client;
mod error;
mod examination;
mod expiry;
mod file_set;
mod identity;
mod key_pair;
mod live;
mod making;
mod moment;
mod names;
mod pem;
mod purpose;
mod regular_file;
mod rejection;
mod reloader;
mod resolver;
mod revocation;
mod roots;
mod san;
mod self_signed;
mod server;
mod signature;
mod sniff;
mod verifier;
mod versions;
mod write_file;

pub use authority::{Authority, CaRequest, Issued, LeafKind, LeafRequest, Renewal};
pub use certificate::{Certificate, MalformedCertificate, SerialNumber, certificates_in};
pub use client::{ClientOptions, ClientStream, ClientTls};
pub use error::{FileFault, PemKind, TlsError};
pub use examination::{Question, examine};
pub use identity::PeerIdentity;
pub use live::{Outcome, ReloadStats};
pub use making::KeyType;
pub use moment::Utc;
pub use purpose::Purposes;
pub use regular_file::read_regular_file;
pub use rejection::{Rejection, RejectionKind};
pub use reloader::{LOOK_INTERVAL, Reload, Reloader, Reloading};
pub use resolver::{LookUp, Resolver, SystemResolver};
pub use revocation::RevocationList;
pub use roots::{LoadedCertificate, Role};
pub use san::{SanRefused, check_remote_san};
pub use self_signed::SelfSigned;
pub use server::{HANDSHAKE_LIMIT, PairSource, ServerOptions, ServerStream, ServerTls};
pub use sniff::looks_like_tls;
pub use versions::{Protocol, TlsVersion, cipher_suite_names, install_crypto_provider};
pub use write_file::{Existing, Secrecy, write_file};
