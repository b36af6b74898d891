//! The log lines of a start, once it serves: what an operator who reads the log
//! of yesterday's incident needs to know about the server.

use t4_server::{ListenAddress, Server};

use super::security::Security;

/// Logs the summary.
pub(crate) fn tell(server: &Server, security: &Security, quota_bytes: Option<u64>) {
    let (node, clients) = (server.node(), server.client_addresses());
    let status = node.status();
    tracing::info!(
        client = shown(clients),
        metrics = shown(server.metrics_addresses()),
        tls = tls(clients, security),
        auth = if node.auth_is_on() { "on" } else { "off" },
        quota_bytes = quota_bytes.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string()),
        cluster_id = format!("{:x}", node.cluster_id().0),
        member_id = format!("{:x}", node.member_id().0),
        revision = status.revision.0,
        keys = status.keys,
        alarms = status.alarms.len(),
        "serving"
    );
}

fn shown(addresses: &[ListenAddress]) -> String {
    if addresses.is_empty() {
        return "off".to_owned();
    }
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// How client connections are protected.
fn tls(clients: &[ListenAddress], security: &Security) -> &'static str {
    let (over_tls, plain): (Vec<&ListenAddress>, Vec<_>) =
        clients.iter().partition(|address| address.tls);
    let asks_for_certificates = security.client.cert_auth || security.client.ca.is_some();
    match (over_tls.is_empty(), plain.is_empty(), asks_for_certificates) {
        (true, ..) => "off",
        (false, true, true) => "on, client certificates required",
        (false, true, false) => "on",
        (false, false, _) => "on some addresses",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_protects_connections() {
        let of = |texts: &[&str]| -> Vec<ListenAddress> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let plain = of(&["http://127.0.0.1:1"]);
        let secure = of(&["https://127.0.0.1:1", "https://[::1]:1"]);
        let mixed = of(&["http://127.0.0.1:1", "https://127.0.0.1:2"]);
        let mut security = Security::default();
        assert_eq!(tls(&plain, &security), "off");
        assert_eq!(tls(&secure, &security), "on");
        assert_eq!(tls(&mixed, &security), "on some addresses");
        security.client.cert_auth = true;
        assert_eq!(tls(&secure, &security), "on, client certificates required");
        assert_eq!((shown(&[]), shown(&plain)), ("off".into(), "http://127.0.0.1:1".into()));
    }
}
