//! The flags of `t4 run` about TLS and who may do what. T4's names where it
//! has some, etcd's for the rest.

const TLS: &str = "TLS";
const ACCESS: &str = "Access";

/// See [`RunArgs`](super::RunArgs).
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SecurityArgs {
    /// Certificate that clients are shown, PEM; addresses without a scheme in --listen then
    /// speak TLS. It is read again when it changes
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) client_tls_cert: Option<String>,

    /// Key of --client-tls-cert, PEM, not encrypted
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) client_tls_key: Option<String>,

    /// CAs that sign the certificates of clients, PEM: clients without one are refused
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) client_tls_ca: Option<String>,

    /// Clients need a certificate, and where authentication is on, its common name is their
    /// user name unless they bring a token [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = TLS
    )]
    pub(crate) client_cert_auth: Option<String>,

    /// Certificates of clients that were revoked, PEM or DER
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) client_crl_file: Option<String>,

    /// The certificate of a client must be for one of these hosts; repeatable
    #[arg(long, value_name = "HOST", help_heading = TLS)]
    pub(crate) client_cert_allowed_hostname: Vec<String>,

    /// Show clients a certificate that is made, kept in the data directory, and renewed
    /// [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = TLS
    )]
    pub(crate) auto_tls: Option<String>,

    /// CAs that sign the certificates of peers, PEM
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) peer_tls_ca: Option<String>,

    /// Certificate that peers are shown, PEM; peers speak TLS1.3
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) peer_tls_cert: Option<String>,

    /// Key of --peer-tls-cert, PEM, not encrypted
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) peer_tls_key: Option<String>,

    /// Certificates of peers that were revoked, PEM or DER
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) peer_crl_file: Option<String>,

    /// The certificate of a peer must have one of these common names; repeatable
    #[arg(long, value_name = "NAME", help_heading = TLS)]
    pub(crate) peer_cert_allowed_cn: Vec<String>,

    /// The certificate of a peer must be for one of these hosts; repeatable
    #[arg(long, value_name = "HOST", help_heading = TLS)]
    pub(crate) peer_cert_allowed_hostname: Vec<String>,

    /// Show peers a certificate that is made, kept in the data directory, and renewed; nobody
    /// verifies it [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = TLS
    )]
    pub(crate) peer_auto_tls: Option<String>,

    /// Do not compare the certificate of a peer with its address [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = TLS
    )]
    pub(crate) peer_skip_client_san_verification: Option<String>,

    /// How long the certificates of --auto-tls and --peer-auto-tls are valid, in years
    /// [default: 1]
    #[arg(long, value_name = "YEARS", allow_negative_numbers = true, help_heading = TLS)]
    pub(crate) self_signed_cert_validity: Option<String>,

    /// The oldest version of TLS that is spoken: TLS1.2 or TLS1.3 [default: TLS1.2]
    #[arg(long, value_name = "VERSION", help_heading = TLS)]
    pub(crate) tls_min_version: Option<String>,

    /// The newest version of TLS that is spoken: TLS1.2 or TLS1.3 [default: TLS1.3]
    #[arg(long, value_name = "VERSION", help_heading = TLS)]
    pub(crate) tls_max_version: Option<String>,

    /// Cipher suites of TLS 1.2 that are spoken, by their IANA names; repeatable
    /// [default: all that are safe]
    #[arg(long, value_name = "NAME", help_heading = TLS)]
    pub(crate) cipher_suites: Vec<String>,

    /// Refuse all keys to everybody until authentication is enabled (`auth enable`)
    /// [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = ACCESS
    )]
    pub(crate) auth_enabled: Option<String>,

    /// Seconds after which a token that is not used expires [default: 300]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, help_heading = ACCESS)]
    pub(crate) token_ttl: Option<String>,

    /// What tokens are: simple, or jwt with its options, such as
    /// jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m; empty: there are none
    /// [default: simple]
    #[arg(long, value_name = "KIND", help_heading = ACCESS)]
    pub(crate) auth_token: Option<String>,

    /// How costly hashes of passwords are: 4 to 31, each step doubles it [default: 10]
    #[arg(long, value_name = "COST", allow_negative_numbers = true, help_heading = ACCESS)]
    pub(crate) bcrypt_cost: Option<String>,

    /// Hosts that HTTP requests without TLS may name, against DNS rebinding; repeatable, * is
    /// all of them [default: *]
    #[arg(long, value_name = "HOST", help_heading = ACCESS)]
    pub(crate) host_whitelist: Vec<String>,

    /// Origins that browsers may send requests from; repeatable, * is all of them [default: *]
    #[arg(long, value_name = "ORIGIN", help_heading = ACCESS)]
    pub(crate) cors: Vec<String>,
}
