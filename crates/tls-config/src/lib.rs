//! PEM files in, live rustls configurations out. The only crate that uses rustls, webpki,
//! x509-parser and rcgen.
//!
//! * [`ServerTls`], [`ClientTls`]: configurations that follow their files, and the handshakes made
//!   with them. [`PeerIdentity`]: the verified peer; [`Rejection`]: why a peer was rejected.
//! * [`Reloader`]: checks the files for changes; [`ReloadStats`]: the results.
//! * [`SelfSigned`]: self-signed certificates that are created and renewed. [`Authority`]: a small
//!   CA. [`examine`]: checks a certificate before use.
//! * [`looks_like_tls`]: TLS and plain text on one port.
//! * [`Certificate`], [`RevocationList`]: the contents of such files.
//! * [`read_regular_file`]: reads a file without waiting for a writer.
//!
//! # Invariants
//!
//! * A configuration in force was checked as a whole: no mismatched pair, no CA that is not one, no
//!   revocation list that its CA did not sign.
//! * A connection keeps the configuration that it began with; the next one gets the newest valid
//!   one. No session is resumed.
//! * Every certificate is verified by webpki or, if webpki rejects it only for its form
//!   (`chain::lenient`), by the same rules.
//! * Data from strangers costs bounded memory, a bounded number of signatures and at most
//!   [`HANDSHAKE_LIMIT`], and none of it is kept when a handshake fails.
//! * aws-lc-rs is the only crypto provider.
//!
//! # Modules
//!
//! `server`, `client`: options, configurations, handshakes. `verifier`: rustls's callbacks; decided
//! by `chain` (and `chain/lenient`), `roots`, `purpose`, `revocation`, `names`; afterwards by
//! `san`, with `resolver`. `rejection`, `identity`: the results. `live`, `file_set`, `reloader`,
//! `expiry`: following files. `regular_file`, `pem`, `certificate`, `key_pair`, `signature`,
//! `moment`: reading. `making`, `self_signed`, `authority`, `write_file`: writing. `examination`:
//! verification without a handshake. `versions`: TLS versions and cipher suites.
//!
//! # Non-goals
//!
//! Sockets, flags, metrics, HTTP; the rights of a common name.
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
