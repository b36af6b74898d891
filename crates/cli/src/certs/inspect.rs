//! `t4 certs inspect`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use t4_tls_config::{Certificate, Utc, certificates_in};

#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// PEM files with one certificate or more
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A certificate, in JSON.
#[derive(Serialize)]
struct Shown<'a> {
    file: String,
    subject: &'a str,
    issuer: &'a str,
    common_name: Option<&'a str>,
    dns_names: &'a [String],
    ip_addresses: Vec<String>,
    /// Hexadecimal.
    serial: String,
    not_before: String,
    not_after: String,
    status: &'static str,
    ca: bool,
    for_servers: bool,
    for_clients: bool,
    key: &'a str,
    version: u32,
    sha256: String,
}

impl<'a> Shown<'a> {
    fn new(file: &Path, certificate: &'a Certificate, now: SystemTime) -> Self {
        let hex = certificate.fingerprint.iter().map(|byte| format!("{byte:02x}"));
        Shown {
            file: file.display().to_string(),
            subject: &certificate.subject,
            issuer: &certificate.issuer,
            common_name: certificate.common_name.as_deref(),
            dns_names: &certificate.dns_names,
            ip_addresses: certificate.ip_addresses.iter().map(ToString::to_string).collect(),
            serial: certificate.serial.to_string(),
            not_before: Utc(certificate.not_before).to_string(),
            not_after: Utc(certificate.not_after).to_string(),
            status: status(certificate, now),
            ca: certificate.is_ca,
            for_servers: certificate.purposes.server,
            for_clients: certificate.purposes.client,
            key: &certificate.key,
            version: certificate.version,
            sha256: hex.collect(),
        }
    }
}

impl InspectArgs {
    pub(super) fn run(self, now: SystemTime, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut first = true;
        for file in &self.files {
            for certificate in certificates_in(file)? {
                if self.json {
                    let shown = Shown::new(file, &certificate, now);
                    writeln!(out, "{}", serde_json::to_string(&shown)?)?;
                    continue;
                }
                let gap = if first { "" } else { "\n" };
                first = false;
                let status = status(&certificate, now);
                let file = file.display();
                writeln!(out, "{gap}file         {file}\nstatus       {status}\n{certificate}")?;
            }
        }
        Ok(())
    }
}

/// Whether the certificate is within its dates. `t4 certs verify` decides whether
/// it is trusted.
fn status(certificate: &Certificate, now: SystemTime) -> &'static str {
    if now > certificate.not_after {
        "EXPIRED"
    } else if now < certificate.not_before {
        "NOT YET VALID"
    } else {
        "in force"
    }
}
