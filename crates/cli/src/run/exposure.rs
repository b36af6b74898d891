//! Warns of addresses that are open to other machines, and says how to protect
//! them. The defaults are for a container behind a network policy, and for a
//! first try; elsewhere they must not go unmentioned.

use t4_server::{ListenAddress, SocketAddress};

/// The settings that control access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposure<'a> {
    /// Where clients connect.
    pub(super) client: &'a [ListenAddress],
    /// Where metrics are served.
    pub(super) metrics: &'a [ListenAddress],
    /// Whether clients must show a certificate over TLS.
    pub(super) asks_for_certificates: bool,
    /// Whether access to keys requires a user.
    pub(super) has_users: bool,
    pub(super) flags: FlagNames,
}

/// The flags that protect an open address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagNames {
    /// Those of `t4 run`.
    T4,
    /// Those of etcd.
    Etcd,
}

impl FlagNames {
    fn loopback(self) -> &'static str {
        match self {
            FlagNames::T4 => "--listen 127.0.0.1:PORT",
            FlagNames::Etcd => "--listen-client-urls http://127.0.0.1:PORT",
        }
    }

    fn tls(self) -> &'static str {
        match self {
            FlagNames::T4 => "--client-tls-cert and --client-tls-key",
            FlagNames::Etcd => "--cert-file and --key-file, with https:// URLs",
        }
    }

    fn certificates(self) -> &'static str {
        match self {
            FlagNames::T4 => "--client-tls-ca",
            FlagNames::Etcd => "--client-cert-auth and --trusted-ca-file",
        }
    }

    fn metrics(self) -> &'static str {
        match self {
            FlagNames::T4 => "--metrics-addr",
            FlagNames::Etcd => "--listen-metrics-urls",
        }
    }
}

impl Exposure<'_> {
    /// The warning, or `None` if only this machine can connect, or if
    /// connections are encrypted and clients are authenticated.
    pub(super) fn warning(&self) -> Option<String> {
        let reachable = |address: &&ListenAddress| match &address.socket {
            SocketAddress::Tcp(socket) => !socket.ip().to_canonical().is_loopback(),
            SocketAddress::Unix(_) => false,
        };
        let open: Vec<&ListenAddress> = self.client.iter().filter(reachable).collect();
        let in_plain_text = open.iter().any(|address| !address.tls);
        // Clients on plain text are not asked for a certificate.
        let knows_clients = self.has_users || (self.asks_for_certificates && !in_plain_text);
        if open.is_empty() || (knows_clients && !in_plain_text) {
            return None;
        }
        let mut what = vec![];
        let mut remedies = vec![format!("{} for this machine alone", self.flags.loopback())];
        if in_plain_text {
            what.push("in plain text");
            remedies.push(format!("{} for TLS", self.flags.tls()));
        }
        if !knows_clients {
            what.push("without client certificates");
            what.push("without users");
            remedies.push(format!("{} for client certificates", self.flags.certificates()));
            remedies.push("`etcdctl user add root` and `etcdctl auth enable` for users".to_owned());
        }
        let result = match (knows_clients, in_plain_text) {
            (false, true) => "whoever reaches it can read and change every key, and read along",
            (false, false) => "whoever reaches it can read and change every key",
            (true, _) => "whoever is on the way can read keys, passwords and tokens",
        };
        let metrics: Vec<&ListenAddress> =
            self.metrics.iter().filter(reachable).filter(|address| !address.tls).collect();
        let also = match metrics.is_empty() {
            true => String::new(),
            false => {
                format!("; metrics are open on {} ({})", joined(&metrics), self.flags.metrics())
            }
        };
        Some(format!(
            "OPEN TO OTHER MACHINES: clients are served on {} {}: {result}{also}. To close it: {}. \
             See docs/security.md",
            joined(&open),
            what.join(", "),
            remedies.join("; ")
        ))
    }
}

fn joined(addresses: &[&ListenAddress]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<ListenAddress> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn warning(client: &[&str], asks_for_certificates: bool, has_users: bool) -> Option<String> {
        let (client, metrics) = (addresses(client), addresses(&["0.0.0.0:9090"]));
        let flags = FlagNames::T4;
        let exposure = Exposure {
            client: &client,
            metrics: &metrics,
            asks_for_certificates,
            has_users,
            flags,
        };
        exposure.warning()
    }

    #[test]
    fn nothing_is_said_where_only_this_machine_comes() {
        for local in [&["127.0.0.1:1"][..], &["unix:///s", "[::1]:1"], &["[::ffff:127.0.0.1]:1"]] {
            assert_eq!(warning(local, false, false), None, "{local:?}");
        }
    }

    #[test]
    fn what_is_open_is_named_with_what_closes_it() {
        let told = warning(&["127.0.0.1:1", "0.0.0.0:3379"], false, false).expect("a warning");
        for words in [
            "served on http://0.0.0.0:3379 in plain text, without client certificates, without users",
            "read and change every key",
            "metrics are open on http://0.0.0.0:9090 (--metrics-addr)",
            "--listen 127.0.0.1:PORT",
            "--client-tls-cert",
            "--client-tls-ca",
            "auth enable",
        ] {
            assert!(told.contains(words), "{words} in {told}");
        }
        let told = warning(&["https://0.0.0.0:1"], false, false).expect("a warning");
        assert!(!told.contains("plain text") && !told.contains("--client-tls-cert"), "{told}");
        assert!(told.contains("without users"), "{told}");
        let told = warning(&["0.0.0.0:1"], false, true).expect("a warning");
        assert!(told.contains("passwords") && !told.contains("without users"), "{told}");
    }

    #[test]
    fn what_is_closed_is_not() {
        assert_eq!(warning(&["https://0.0.0.0:1"], true, false), None);
        assert_eq!(warning(&["https://0.0.0.0:1"], false, true), None);
        // Certificates are requested over TLS only.
        let both = warning(&["https://0.0.0.0:1", "http://0.0.0.0:2"], true, false);
        assert!(both.expect("a warning").contains("without users"));
    }

    #[test]
    fn etcds_flags_are_named_to_those_who_use_them() {
        let client = addresses(&["0.0.0.0:2379"]);
        let exposure = Exposure {
            client: &client,
            metrics: &[],
            asks_for_certificates: false,
            has_users: false,
            flags: FlagNames::Etcd,
        };
        let told = exposure.warning().expect("a warning");
        assert!(
            told.contains("--listen-client-urls") && told.contains("--trusted-ca-file"),
            "{told}"
        );
        assert!(!told.contains("metrics"), "{told}");
    }
}
