//! `t4 certs issue`.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use t4_tls_config::{KeyType, LeafKind, LeafRequest};

use super::{PairFiles, SignerArgs, days, key_type};
use crate::usage::UsageError;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Shown to clients by a server
    Server,
    /// Shown to a server by a client: its common name is the user's
    Client,
    /// Shown by the members of a cluster to each other, both ways
    Peer,
}

impl Kind {
    pub(super) fn leaf(self) -> LeafKind {
        match self {
            Kind::Server => LeafKind::Server,
            Kind::Client => LeafKind::Client,
            Kind::Peer => LeafKind::Peer,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct IssueArgs {
    /// What the certificate is for
    #[arg(value_enum)]
    kind: Kind,

    /// A DNS name or IP address that clients connect to; repeat it, or separate several with
    /// commas. Servers and peers need at least one
    #[arg(long = "san", value_name = "NAME", value_delimiter = ',')]
    sans: Vec<String>,

    /// The common name; for a client, the user's name [default: the first --san]
    #[arg(long, value_name = "NAME")]
    common_name: Option<String>,

    /// The organization that the owner belongs to
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,

    /// How many days it is valid, at most until its CA expires
    #[arg(long = "days", value_name = "N", default_value = "365", value_parser = days)]
    validity: Duration,

    /// The kind of its key: ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, rsa-2048 or rsa-4096
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256", value_parser = key_type)]
    key_type: KeyType,

    /// The directory that the two files are written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// The files' name, without .crt and .key [default: server, client or peer]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    signer: SignerArgs,

    /// Replace files that exist already
    #[arg(long)]
    force: bool,
}

impl IssueArgs {
    pub(super) fn run(self, now: SystemTime, out: &mut dyn Write) -> anyhow::Result<()> {
        let wrong = |why: &str| UsageError::Combination { why: why.to_owned() };
        if self.sans.is_empty() && self.kind != Kind::Client {
            return Err(wrong(
                "--san is missing: give the names that are connected to, for example --san localhost,127.0.0.1",
            )
            .into());
        }
        let common_name = self.common_name.or_else(|| self.sans.first().cloned());
        let common_name =
            common_name.ok_or_else(|| wrong("--common-name is missing: give the user's name"))?;
        let named = self.kind.to_possible_value();
        let kind = named.as_ref().map_or("server", |kind| kind.get_name());
        let name = self.name.as_deref().unwrap_or(kind);
        let files = PairFiles::new(&self.dir, name, self.force)?;
        files.check()?;
        let request = LeafRequest {
            kind: self.kind.leaf(),
            common_name,
            organization: self.organization,
            sans: self.sans,
            validity: self.validity,
            key_type: self.key_type,
        };
        let asked = now.checked_add(request.validity);
        files.write(&self.signer.load(now)?.issue(&request, now)?, asked, out)
    }
}
