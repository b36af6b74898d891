//! Certificates created at run time, and both ends of a handshake.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use t4_tls_config::{
    Authority, CaRequest, ClientOptions, ClientTls, Existing, Issued, KeyType, LeafKind,
    LeafRequest, PairSource, PeerIdentity, Rejection, Renewal, Secrecy, ServerOptions, ServerTls,
    write_file,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
/// Bytes in flight from either end.
const PIPE_BYTES: usize = 64 * 1024;

/// A directory of certificates, and one CA.
pub(crate) struct Shop {
    dir: tempfile::TempDir,
    ca: Authority,
}

impl Shop {
    /// With a CA in `ca.crt` and `ca.key`.
    pub(crate) fn new() -> Self {
        Self::with_key(KeyType::EcdsaP256)
    }

    pub(crate) fn with_key(key_type: KeyType) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let request = CaRequest {
            common_name: "t4-ca".to_owned(),
            organization: None,
            validity: 30 * DAY,
            key_type,
        };
        let (ca, made) = Authority::create(&request, SystemTime::now()).expect("a CA");
        let shop = Shop { dir, ca };
        shop.write("ca.crt", &made.certificate);
        shop.write("ca.key", &made.key.expect("its key"));
        shop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        write_file(&path, text, Secrecy::Private, Existing::Replace).expect("a file");
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// Issues `name.crt` and `name.key`; the common name is `name`.
    pub(crate) fn issue(&self, name: &str, kind: LeafKind, sans: &[&str]) -> PairSource {
        self.issue_at(name, kind, sans, SystemTime::now())
    }

    pub(crate) fn issue_at(
        &self,
        name: &str,
        kind: LeafKind,
        sans: &[&str],
        at: SystemTime,
    ) -> PairSource {
        let request = LeafRequest { sans: owned(sans), ..leaf(kind, name) };
        self.issue_as(&request, at)
    }

    /// Issues the requested certificate, in files named after its common name.
    pub(crate) fn issue_as(&self, request: &LeafRequest, at: SystemTime) -> PairSource {
        let pair = self.ca.issue(request, at).expect("a certificate");
        self.place(&request.common_name, &pair)
    }

    /// Issues `name.crt` again, with a new key, as `new_name.crt`.
    pub(crate) fn renew(&self, name: &str, new_name: &str, new_key: KeyType) -> PairSource {
        let (path, old) = (format!("{name}.crt"), self.read(&format!("{name}.crt")));
        let renewal = Renewal { new_key: Some(new_key), ..Renewal::default() };
        let pair = self.ca.renew(Path::new(&path), old.as_bytes(), renewal, SystemTime::now());
        self.place(new_name, &pair.expect("renewed"))
    }

    fn place(&self, name: &str, pair: &Issued) -> PairSource {
        self.write(&format!("{name}.crt"), &pair.certificate);
        self.write(&format!("{name}.key"), pair.key.as_deref().expect("a new key"));
        self.pair(name)
    }

    pub(crate) fn pair(&self, name: &str) -> PairSource {
        let (cert, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        PairSource::Files { cert, key }
    }

    /// A server for `localhost` and `127.0.0.1` that requests no certificates.
    pub(crate) fn open_server(&self) -> ServerOptions {
        let pair = self.issue("server", LeafKind::Server, &["localhost", "127.0.0.1"]);
        ServerOptions::new(pair)
    }

    /// The same, requiring client certificates from this CA.
    pub(crate) fn mutual_server(&self) -> ServerOptions {
        ServerOptions { client_ca: Some(self.path("ca.crt")), ..self.open_server() }
    }

    /// A client that trusts this CA.
    pub(crate) fn client(&self, pair: Option<PairSource>) -> ClientTls {
        self.client_with(ClientOptions { pair, ..ClientOptions::default() })
    }

    pub(crate) fn client_with(&self, options: ClientOptions) -> ClientTls {
        let ca = (!options.insecure_skip_verify).then(|| self.path("ca.crt"));
        ClientTls::load(ClientOptions { ca, ..options }).expect("a client")
    }
}

/// A request for a certificate valid for one day.
pub(crate) fn leaf(kind: LeafKind, name: &str) -> LeafRequest {
    LeafRequest {
        kind,
        common_name: name.to_owned(),
        organization: None,
        sans: Vec::new(),
        validity: DAY,
        key_type: KeyType::EcdsaP256,
    }
}

pub(crate) fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn load(options: ServerOptions) -> ServerTls {
    ServerTls::load(options).expect("a server")
}

/// The results of one handshake at both ends.
#[derive(Debug)]
pub(crate) struct Shaken {
    pub(crate) server: Result<PeerIdentity, Rejection>,
    /// Whether the client received the server's first bytes.
    pub(crate) client: Result<(), String>,
}

impl Shaken {
    pub(crate) fn identity(self) -> PeerIdentity {
        self.client.expect("the client is content");
        self.server.expect("the server is content")
    }

    /// The rejection that the server logs; the client must have noticed it too.
    pub(crate) fn rejection(self) -> Rejection {
        self.client.expect_err("the client was let in");
        self.server.expect_err("the server let it in")
    }
}

/// Performs a handshake for `localhost` without a remote address.
pub(crate) async fn shake(server: &ServerTls, client: &ClientTls) -> Shaken {
    shake_from(server, client, "localhost", None).await
}

/// Performs a handshake; the server then sends two bytes, so that a TLS 1.3
/// client learns whether it was accepted.
pub(crate) async fn shake_from(
    server: &ServerTls,
    client: &ClientTls,
    name: &str,
    remote: Option<SocketAddr>,
) -> Shaken {
    let (near, far) = duplex(PIPE_BYTES);
    let serve = async {
        let (mut stream, identity) = server.accept(far, remote).await?;
        // The client may be gone if it rejected the server.
        let _ = stream.write_all(b"hi").await;
        let _ = stream.shutdown().await;
        Ok(identity)
    };
    let connect = async {
        let stream = client.connect(near, name).await;
        let mut stream = stream.map_err(|rejection| rejection.error)?;
        let mut words = [0; 2];
        stream.read_exact(&mut words).await.map(drop).map_err(|error| error.to_string())
    };
    let (server, client) = tokio::join!(serve, connect);
    Shaken { server, client }
}
