//! `t4 run --check`: would it start? Nothing is opened, created or listened on,
//! so it can run beside a running server.

use std::io::Write;
use std::process::ExitCode;

use t4_node::Contents;

use super::effective;
use super::notice::Notices;
use super::settings::Settings;
use crate::sources::Found;

/// Prints the effective settings, and what a start with them would do.
pub(super) fn check(
    settings: Settings,
    found: &[Found],
    notices: &Notices,
) -> anyhow::Result<ExitCode> {
    crate::logging::start(&settings.logging)?;
    let mut out = std::io::stdout().lock();
    out.write_all(effective::text(&settings, found).as_bytes())?;
    out.flush()?;
    notices.log();
    settings.security.notices().log();
    let Settings { node, mut server, security, .. } = settings;
    let makes_certificates = security.client.makes() || security.peer.makes();
    server.security = security.for_server(&node, &server)?;
    t4_tls_config::install_crypto_provider();
    t4_server::check(&server)?;
    let dir = node.data_dir.display();
    let state = match Contents::usable(&node.data_dir)? {
        Contents::Fresh => "is new",
        Contents::InUse => "has data",
    };
    let made = match makes_certificates {
        true => "; certificates that are made at the start were not looked at",
        false => "",
    };
    eprintln!(
        "t4: the settings are sound, and their files can be used; the data directory {dir} \
         {state}{made}. Not checked: whether the addresses are free, and the data itself"
    );
    Ok(ExitCode::SUCCESS)
}
