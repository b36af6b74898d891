//! Flags about TLS and access control.

use crate::etcd::flag::Kind::{List, Switch, Text, Unsigned};
use crate::etcd::flag::{Flag, honoured};

pub(super) const TLS: &[Flag] = &[
    honoured(
        "cert-file",
        Text,
        "",
        "Certificate that clients are shown, PEM; read again when it changes.",
    ),
    honoured("key-file", Text, "", "Key of --cert-file, PEM, not encrypted."),
    honoured("client-cert-file", Text, "", "Certificate for connections that this server makes."),
    honoured("client-key-file", Text, "", "Key of --client-cert-file."),
    honoured(
        "client-cert-auth",
        Switch,
        "false",
        "Clients need a certificate; where authentication is on, its common name is their user.",
    ),
    honoured(
        "trusted-ca-file",
        Text,
        "",
        "CAs of clients, PEM: clients without a certificate are refused.",
    ),
    honoured("client-crl-file", Text, "", "Certificates of clients that were revoked, PEM or DER."),
    honoured(
        "client-cert-allowed-hostname",
        List,
        "",
        "The certificate of a client must be for one of these hosts.",
    ),
    honoured(
        "auto-tls",
        Switch,
        "false",
        "Show clients a certificate that is made, kept and renewed.",
    ),
    honoured("peer-cert-file", Text, "", "Certificate that peers are shown, PEM."),
    honoured("peer-key-file", Text, "", "Key of --peer-cert-file, PEM, not encrypted."),
    honoured("peer-client-cert-file", Text, "", "Certificate for connections to peers."),
    honoured("peer-client-key-file", Text, "", "Key of --peer-client-cert-file."),
    honoured("peer-client-cert-auth", Switch, "false", "Peers need a certificate."),
    honoured(
        "peer-trusted-ca-file",
        Text,
        "",
        "CAs of peers, PEM: peers without a certificate are refused.",
    ),
    honoured("peer-crl-file", Text, "", "Certificates of peers that were revoked, PEM or DER."),
    honoured(
        "peer-cert-allowed-cn",
        List,
        "",
        "Common names that the certificates of peers may have.",
    ),
    honoured(
        "peer-cert-allowed-hostname",
        List,
        "",
        "Hosts, for one of which a peer's certificate must be.",
    ),
    honoured(
        "peer-auto-tls",
        Switch,
        "false",
        "Show peers a certificate that is made, kept and renewed.",
    ),
    honoured(
        "peer-skip-client-san-verification",
        Switch,
        "false",
        "Do not compare a peer's certificate with its address.",
    ),
    honoured(
        "self-signed-cert-validity",
        Unsigned,
        "1",
        "How long certificates that are made are valid, in years.",
    ),
    honoured(
        "cipher-suites",
        List,
        "",
        "Cipher suites of TLS 1.2, by their IANA names (default: all that are safe).",
    ),
    honoured(
        "tls-min-version",
        Text,
        "TLS1.2",
        "The oldest version that is spoken: TLS1.2 or TLS1.3.",
    ),
    honoured("tls-max-version", Text, "", "The newest version that is spoken (default: TLS1.3)."),
    honoured("cors", List, "*", "Origins that browsers may send requests from; * is all of them."),
    honoured(
        "host-whitelist",
        List,
        "*",
        "Hosts that HTTP requests without TLS may name, against DNS rebinding; * is all of them.",
    ),
];

pub(super) const AUTH: &[Flag] = &[
    honoured(
        "auth-token",
        Text,
        "simple",
        "What tokens are: simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m.",
    ),
    honoured(
        "auth-token-ttl",
        Unsigned,
        "300",
        "Seconds after which a token that is not used expires.",
    ),
    honoured("bcrypt-cost", Unsigned, "10", "How costly hashes of passwords are, from 4 to 31."),
];
