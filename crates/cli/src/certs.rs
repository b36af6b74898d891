//! `t4 certs`: a small certificate authority for trying TLS without openssl. Files are PEM,
//! keys have mode 0600, and files are replaced only with `--force`.
//!
//! `t4-tls-config` makes the certificates.

mod init_ca;
mod inspect;
mod issue;
mod renew;
#[cfg(test)]
mod tests;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Subcommand;
use t4_tls_config::{Authority, Existing, Issued, KeyType, Secrecy, TlsError, Utc, write_file};

use crate::usage::UsageError;

#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    command: Certs,
}

#[derive(Debug, Subcommand)]
enum Certs {
    /// Makes a CA: ca.crt, which everyone may have, and ca.key, which nobody else may
    InitCa(init_ca::InitCaArgs),
    /// Issues a certificate and its key for a server, a client or a peer
    Issue(issue::IssueArgs),
    /// Issues certificates again, with new dates, in the place of the old ones
    Renew(renew::RenewArgs),
    /// Shows what the certificates of PEM files say, and which have expired
    Inspect(inspect::InspectArgs),
    /// Verifies certificates as a handshake does: chain, dates, use, key and names
    Verify(verify::VerifyArgs),
}

pub(crate) fn run(args: CertsArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let now = SystemTime::now();
    match args.command {
        Certs::InitCa(args) => args.run(now, &mut out)?,
        Certs::Issue(args) => args.run(now, &mut out)?,
        Certs::Renew(args) => args.run(now, &mut out)?,
        Certs::Inspect(args) => args.run(now, &mut out)?,
        Certs::Verify(args) => args.run(now, &mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Which CA signs.
#[derive(Debug, clap::Args)]
struct SignerArgs {
    /// The CA's certificate
    #[arg(long, value_name = "FILE", default_value = "ca.crt")]
    ca: PathBuf,

    /// The CA's private key
    #[arg(long, value_name = "FILE", default_value = "ca.key")]
    ca_key: PathBuf,
}

impl SignerArgs {
    fn load(&self, now: SystemTime) -> anyhow::Result<Authority> {
        let hint = "the CA (make one with t4 certs init-ca, or name yours with --ca and --ca-key)";
        let cert = read(&self.ca).context(hint)?;
        let key = read(&self.ca_key).context(hint)?;
        Ok(Authority::load((&self.ca, &cert), (&self.ca_key, &key), now)?)
    }
}

/// Where a new pair is written, and whether it may replace files.
struct PairFiles {
    cert: PathBuf,
    key: PathBuf,
    existing: Existing,
}

impl PairFiles {
    /// # Errors
    /// The name contains a directory: it names files, and `--dir` the directory.
    fn new(dir: &Path, name: &str, force: bool) -> Result<Self, UsageError> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(UsageError::Combination {
                why: format!(
                    "--name {name:?} is not the name of a file: give one without a path, and the directory with --dir"
                ),
            });
        }
        let existing = if force { Existing::Replace } else { Existing::Keep };
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        Ok(PairFiles { cert, key, existing })
    }

    /// Fails if a write would replace a file without `--force`: before a key is made, and
    /// before either file is written.
    fn check(&self) -> anyhow::Result<()> {
        for path in [&self.cert, &self.key] {
            if self.existing == Existing::Keep && path.symlink_metadata().is_ok() {
                anyhow::bail!("{}: it exists already; --force replaces it", path.display());
            }
        }
        Ok(())
    }

    /// Prints the files' names, and the certificate's expiry on standard error.
    fn write(
        &self,
        issued: &Issued,
        asked: Option<SystemTime>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        // The key first: a certificate without its key is useless.
        if let Some(key) = &issued.key {
            write_file(&self.key, key, Secrecy::Private, self.existing)?;
            writeln!(out, "{}", self.key.display())?;
        }
        write_file(&self.cert, &issued.certificate, Secrecy::Public, self.existing)?;
        writeln!(out, "{}", self.cert.display())?;
        if let Some(made) = t4_tls_config::certificates_in(&self.cert)?.first() {
            eprintln!("t4: {}", validity_note(&self.cert, made.not_after, asked));
        }
        Ok(())
    }
}

/// The expiry of a certificate, and a note if it is earlier than `asked`.
fn validity_note(cert: &Path, not_after: SystemTime, asked: Option<SystemTime>) -> String {
    // Certificates have a resolution of one second.
    let short = asked.is_some_and(|asked| asked > not_after + Duration::from_secs(1));
    let aside =
        if short { ", which is the end of its CA and earlier than was asked for" } else { "" };
    format!("{} is valid until {}{aside}", cert.display(), Utc(not_after))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// A duration in days, as in openssl's `-days`.
fn days(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(0) | Err(_) => Err("a number of days from 1 is needed".to_owned()),
        Ok(days) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
    }
}

fn key_type(text: &str) -> Result<KeyType, String> {
    text.parse().map_err(|error: TlsError| error.to_string())
}
