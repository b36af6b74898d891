//! `t4 run`: a server, from settings to shutdown.

mod check;
mod effective;
mod exposure;
mod flags;
pub(crate) mod notice;
mod ready;
pub(crate) mod security;
mod settings;
mod signals;
mod summary;
mod supervisor;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use t4_node::Closed;
use t4_server::Server;

pub(crate) use exposure::FlagNames;
pub(crate) use flags::{RunCommand, flag_names};
pub(crate) use security::TlsVersion;
pub(crate) use settings::security::{BCRYPT_COSTS, SELF_SIGNED_YEARS_MAX};
pub(crate) use settings::{
    DATA_DIR, KEEPALIVE_MIN, NEVER, PROGRESS_INTERVAL_MIN, REQUEST_BYTES_MAX, Settings,
};

use exposure::Exposure;
use notice::Notices;
use signals::{Asked, Signals};

/// Serves until a signal or a fatal error. The server has threads of its own;
/// this one only waits.
pub(crate) fn run(RunCommand { check, args }: RunCommand) -> anyhow::Result<ExitCode> {
    let environment = |name: &str| std::env::var_os(name);
    let (settings, found) = Settings::resolve_with_origins(args, &environment, &host_name())?;
    if check {
        return check::check(settings, &found, &unknown_variables());
    }
    start(settings, &unknown_variables(), FlagNames::T4)
}

/// Runs a server with resolved settings; `notices` are about those settings,
/// which were given by `flags`.
pub(crate) fn start(
    settings: Settings,
    notices: &Notices,
    flags: FlagNames,
) -> anyhow::Result<ExitCode> {
    crate::logging::start(&settings.logging)?;
    notices.log();
    settings.security.notices().log();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(serve(settings, flags));
    // A start that a signal interrupted may still be reading the disk: do not
    // wait for it.
    runtime.shutdown_background();
    code
}

async fn serve(settings: Settings, flags: FlagNames) -> anyhow::Result<ExitCode> {
    let Settings { node, mut server, security, logging } = settings;
    // Before our own certificates would be created in it.
    t4_node::Contents::of(&node.data_dir)?;
    let asks_for_certificates = security.client.asks_for_certificates();
    let needs_users = server.auth.required;
    let quota_bytes = node.quota_bytes;
    server.security = security.clone().for_server(&node, &server)?;
    t4_tls_config::install_crypto_provider();
    // Before the start, which may take a while, so that a signal can interrupt
    // it.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        etcd_api = t4_server::ETCD_VERSION,
        data_dir = %node.data_dir.display(),
        name = node.name,
        "starting"
    );
    let server = tokio::select! {
        started = Server::start(node, server) => started?,
        signal = signals.end() => {
            tracing::info!(%signal, "asked to stop before the start was done");
            return Ok(ExitCode::SUCCESS);
        }
    };
    summary::tell(&server, &security, quota_bytes);
    let exposure = Exposure {
        client: server.client_addresses(),
        metrics: server.metrics_addresses(),
        asks_for_certificates,
        has_users: needs_users || server.node().auth_is_on(),
        flags,
    };
    if let Some(warning) = exposure.warning() {
        tracing::warn!("{warning}");
    }
    ready::tell(logging.format, server.client_addresses(), server.metrics_addresses());
    supervisor::tell(supervisor::State::Ready);
    let stopping = Arc::new(AtomicBool::new(false));
    let ended = loop {
        tokio::select! {
            closed = server.closed() => break Err(closed),
            asked = signals.next() => match asked {
                Asked::Reload => reload(&server, &stopping),
                Asked::End(signal) => break Ok(signal),
            },
        }
    };
    let closed = match ended {
        Err(closed) => closed,
        Ok(signal) => {
            tracing::info!(%signal, "draining; a second signal ends it at once");
            stopping.store(true, Ordering::SeqCst);
            supervisor::tell(supervisor::State::Stopping);
            tokio::select! {
                closed = server.stop() => closed,
                signal = signals.end() => {
                    tracing::warn!(%signal, "ending at once");
                    return Ok(ExitCode::from(signal.exit_code()));
                }
            }
        }
    };
    match closed {
        Closed::Stopped => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Closed::Fatal(why) => {
            tracing::error!(why, "the node cannot go on; what it acknowledged is on the disk");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Reloads the files, and notifies the supervisor when that is done. Runs in
/// the background: the files may be where reading is slow.
fn reload(server: &Server, stopping: &Arc<AtomicBool>) {
    supervisor::tell(supervisor::State::Reloading);
    let reload = server.reload_files();
    if reload.is_nothing() {
        tracing::info!("asked to reload, and there is nothing to: no TLS, no keys of tokens");
    } else {
        tracing::info!("asked to reload: reading all files of TLS and of tokens' keys anew");
    }
    let stopping = stopping.clone();
    tokio::task::spawn_blocking(move || {
        reload.wait();
        // The last notification wins: a stopping server must not report ready
        // again.
        if !stopping.load(Ordering::SeqCst) {
            supervisor::tell(supervisor::State::Ready);
        }
    });
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Warns of misspelled variables, which would be ignored silently. Kubernetes
/// sets variables for a service named t4; those are not meant for us.
fn unknown_variables() -> Notices {
    let mut notices = Notices::default();
    let known: Vec<String> =
        flag_names().iter().map(|flag| crate::sources::variable(flag)).collect();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("T4_") && !known.iter().any(|it| it == name) && !is_of_kubernetes(name)
        {
            notices.warn(name, "this environment variable is not known and has no effect");
        }
    }
    notices
}

pub(crate) fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

#[cfg(test)]
mod tests {
    use super::is_of_kubernetes;

    #[test]
    fn what_kubernetes_sets_is_told_apart() {
        for theirs in
            ["T4_SERVICE_HOST", "T4_SERVICE_PORT_GRPC", "T4_PORT", "T4_PORT_3379_TCP_ADDR"]
        {
            assert!(is_of_kubernetes(theirs), "{theirs}");
        }
        assert!(!is_of_kubernetes("T4_LISTN"));
        for flag in crate::run::flag_names() {
            assert!(!is_of_kubernetes(&crate::sources::variable(&flag)), "{flag}");
        }
    }
}
