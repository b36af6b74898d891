//! What the metrics tell of TLS.

use std::time::{Duration, SystemTime};

use t4_tls_config::ReloadStats;

use crate::exposition::Exposition;
use crate::tls::Observed;

/// Writes it, if there is TLS at all.
pub(crate) fn render(out: &mut Exposition, observed: &Observed) {
    if observed.followed.is_empty() {
        return;
    }
    handshakes(out, observed);
    certificates(out, &observed.followed);
    reloads(out, &observed.followed);
}

fn handshakes(out: &mut Exposition, observed: &Observed) {
    let help = "TLS handshakes that were done.";
    out.single("t4_tls_handshakes_total", "counter", help, observed.done);
    let help = "TLS handshakes under way.";
    out.single("t4_tls_handshakes_in_progress", "gauge", help, observed.under_way);
    let name = "t4_tls_handshake_failures_total";
    out.metric(name, "counter", "TLS connections that were rejected, by why.");
    for (kind, count) in &observed.rejected {
        out.sample(name, &[("reason", kind)], count);
    }
}

fn certificates(out: &mut Exposition, followed: &[(String, ReloadStats)]) {
    let name = "t4_tls_certificate_expiry_timestamp_seconds";
    out.metric(name, "gauge", "When each certificate in force expires, in Unix time.");
    let mut seen = Vec::new();
    for (listener, stats) in followed {
        for loaded in &stats.certificates {
            let serial = loaded.certificate.serial.to_string();
            let path = loaded.path.as_ref().map(|path| path.display().to_string());
            let labels = [
                ("listener", listener.as_str()),
                ("role", loaded.role.as_str()),
                ("serial", serial.as_str()),
                ("subject", loaded.certificate.subject.as_str()),
                ("path", path.as_deref().unwrap_or_default()),
            ];
            // A bundle may hold a certificate twice; a sample must be there once.
            let key = labels.map(|(_, value)| value.to_owned());
            if !seen.contains(&key) {
                out.sample(name, &labels, seconds(Some(loaded.certificate.not_after)));
                seen.push(key);
            }
        }
    }
}

fn reloads(out: &mut Exposition, followed: &[(String, ReloadStats)]) {
    type Value = fn(&ReloadStats) -> u64;
    let metrics: [(&str, &str, &str, Value); 5] = [
        (
            "t4_tls_reloads_total",
            "counter",
            "How often changed files were put in force.",
            |stats| stats.reloads,
        ),
        (
            "t4_tls_reload_failures_total",
            "counter",
            "How often changed files were bad, so that the old ones stayed in force.",
            |stats| stats.failures,
        ),
        (
            "t4_tls_reload_failing",
            "gauge",
            "Whether the files are bad now, and older ones in force.",
            |stats| u64::from(stats.failing.is_some()),
        ),
        (
            "t4_tls_last_reload_timestamp_seconds",
            "gauge",
            "When changed files were last put in force, in Unix time; 0: not since the start.",
            |stats| seconds(stats.last_reload),
        ),
        (
            "t4_tls_last_reload_failure_timestamp_seconds",
            "gauge",
            "When changed files were last bad, in Unix time; 0: not since the start.",
            |stats| seconds(stats.last_failure),
        ),
    ];
    for (name, kind, help, value) in metrics {
        out.metric(name, kind, help);
        for (listener, stats) in followed {
            out.sample(name, &[("listener", listener)], value(stats));
        }
    }
}

/// Unix time; 0 for never, and for what was before.
fn seconds(at: Option<SystemTime>) -> u64 {
    let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since: Duration| since.as_secs())
}
