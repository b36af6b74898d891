//! `t4 certs init-ca`.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use t4_tls_config::{Authority, CaRequest, KeyType};

use super::{PairFiles, days, key_type};

#[derive(Debug, clap::Args)]
pub(super) struct InitCaArgs {
    /// The directory that ca.crt and ca.key are written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// The CA's name
    #[arg(long, value_name = "NAME", default_value = "t4-ca")]
    common_name: String,

    /// The organization that the CA belongs to
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,

    /// How many days it is valid
    #[arg(long = "days", value_name = "N", default_value = "3650", value_parser = days)]
    validity: Duration,

    /// The kind of its key: ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, rsa-2048 or rsa-4096
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256", value_parser = key_type)]
    key_type: KeyType,

    /// Replace a CA that exists already: the certificates that it issued are worthless then
    #[arg(long)]
    force: bool,
}

impl InitCaArgs {
    pub(super) fn run(self, now: SystemTime, out: &mut dyn Write) -> anyhow::Result<()> {
        let files = PairFiles::new(&self.dir, "ca", self.force)?;
        files.check()?;
        let request = CaRequest {
            common_name: self.common_name,
            organization: self.organization,
            validity: self.validity,
            key_type: self.key_type,
        };
        let (_, issued) = Authority::create(&request, now)?;
        files.write(&issued, None, out)
    }
}
