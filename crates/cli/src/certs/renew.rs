//! `t4 certs renew`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use t4_tls_config::{Authority, Existing, KeyType, Renewal};

use super::{PairFiles, SignerArgs, days, key_type, read};

#[derive(Debug, clap::Args)]
pub(super) struct RenewArgs {
    /// The certificates; the CA's own may be one. Each keeps its names and purposes, and its key
    /// unless --new-key is given
    #[arg(value_name = "CERT", required = true)]
    certs: Vec<PathBuf>,

    /// How many days they are valid from now [default: as many as before]
    #[arg(long = "days", value_name = "N", value_parser = days)]
    validity: Option<Duration>,

    /// Make a new key of this kind too, beside the certificate (m1.crt: m1.key)
    #[arg(
        long,
        value_name = "KIND",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "ecdsa-p256",
        value_parser = key_type
    )]
    new_key: Option<KeyType>,

    #[command(flatten)]
    signer: SignerArgs,
}

impl RenewArgs {
    pub(super) fn run(self, now: SystemTime, out: &mut dyn Write) -> anyhow::Result<()> {
        let authority = self.signer.load(now)?;
        for cert in &self.certs {
            self.renew(cert, &authority, now, out)?;
        }
        Ok(())
    }

    fn renew(
        &self,
        cert: &Path,
        authority: &Authority,
        now: SystemTime,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let old = read(cert)?;
        let issued = if old == read(&self.signer.ca)? {
            authority.renew_itself(cert, self.validity, now)?
        } else {
            let renewal = Renewal { validity: self.validity, new_key: self.new_key };
            authority.renew(cert, &old, renewal, now)?
        };
        let files = PairFiles {
            cert: cert.to_owned(),
            key: cert.with_extension("key"),
            existing: Existing::Replace,
        };
        let asked = self.validity.and_then(|validity| now.checked_add(validity));
        files.write(&issued, asked, out)
    }
}
