//! `t4 certs verify`.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use t4_tls_config::{Question, Utc, examine};

use super::issue::Kind;
use crate::usage::UsageError;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1: at least one would not be believed; standard error says why.")]
pub(super) struct VerifyArgs {
    /// The certificates, PEM; behind each, in the same file, those between it and the CA
    #[arg(value_name = "CERT", required = true)]
    certs: Vec<PathBuf>,

    /// The CAs that the other side believes, PEM
    #[arg(long, value_name = "FILE", default_value = "ca.crt")]
    ca: PathBuf,

    /// The key that must be the certificate's, PEM; for one certificate
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// What it must be good for [default: whatever it says that it is for]
    #[arg(long = "for", value_name = "USE", value_enum)]
    kind: Option<Kind>,

    /// A name or address that clients connect to, which must be in it; repeat it, or separate
    /// several with commas
    #[arg(long = "host", value_name = "NAME", value_delimiter = ',')]
    hosts: Vec<String>,
}

impl VerifyArgs {
    pub(super) fn run(self, now: SystemTime, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.key.is_some() && self.certs.len() > 1 {
            let why = "--key is the key of one certificate: give one".to_owned();
            return Err(UsageError::Combination { why }.into());
        }
        let mut refused = None;
        for cert in &self.certs {
            let question = Question {
                certificate: cert,
                key: self.key.as_deref(),
                ca: &self.ca,
                kind: self.kind.map(Kind::leaf),
                hosts: &self.hosts,
            };
            match examine(&question, now) {
                Ok(found) => {
                    let until = Utc(found.not_after);
                    writeln!(out, "{}: OK, {}, until {until}", cert.display(), found.subject)?;
                }
                // All certificates are checked; the last error is the command's.
                Err(error) => {
                    if let Some(before) = refused.replace(error) {
                        eprintln!("t4: {before}");
                    }
                }
            }
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }
}
