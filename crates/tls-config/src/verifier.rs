//! The verification callbacks that rustls calls during a handshake, for the
//! certificates of clients and of servers. Uses [`crate::chain`],
//! [`crate::names`] and [`crate::revocation`]; the caller checks the peer's
//! address ([`crate::san`]), because that needs DNS.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};
use webpki::EndEntityCert;

use crate::certificate::{Certificate, SerialNumber, parse};
use crate::chain::{self, ChainError, Uncritical};
use crate::identity::PeerIdentity;
use crate::moment::from_unix;
use crate::names::{AllowedNames, NameRefused};
use crate::purpose::Purpose;
use crate::revocation::Revoked;
use crate::roots::Roots;
use crate::signature::{VerifyingKey, algorithms};

/// Why a peer's certificate was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It does not lead to a root, or not now. Go's words.
    #[error("tls: failed to verify certificate: {0}")]
    Chain(#[from] ChainError),
    /// It was revoked. etcd's words.
    #[error("transport: certificate serial {0} revoked")]
    Revoked(SerialNumber),
    /// Its names are not allowed.
    #[error(transparent)]
    Name(#[from] NameRefused),
}

impl Refusal {
    /// Determines the alert that is sent to the peer; Go sends
    /// `bad_certificate` for names, which etcd's page shows.
    fn alert(&self) -> CertificateError {
        match self {
            Refusal::Chain(error) => error.alert(),
            Refusal::Revoked(_) => CertificateError::Revoked,
            Refusal::Name(_) => CertificateError::NotValidForName,
        }
    }
}

/// A rejection and the certificate's claims, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) claimed: Option<PeerIdentity>,
    pub(crate) reason: Refusal,
}

tokio::task_local! {
    /// Passes a rejection from a verifier to the handshake that runs it. rustls
    /// carries only the kind of error to the caller, because the kind
    /// determines the alert; the log also needs the names in the certificate,
    /// and after a failure the connection is gone.
    pub(crate) static REFUSED: Arc<Mutex<Option<Refused>>>;
}

fn refuse(reason: Refusal, leaf: &CertificateDer<'_>) -> Error {
    let alert = reason.alert();
    let claimed = Certificate::from_der(leaf).ok().map(PeerIdentity::claimed);
    // Outside of our handshakes nobody reads it.
    let _ = REFUSED.try_with(|slot| *slot.lock() = Some(Refused { claimed, reason }));
    Error::InvalidCertificate(alert)
}

/// Verifies clients' certificates.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    roots: Roots,
    hints: Vec<DistinguishedName>,
    revoked: Revoked,
    allowed: AllowedNames,
}

impl ClientVerifier {
    pub(crate) fn new(roots: Roots, revoked: Revoked, allowed: AllowedNames) -> Self {
        ClientVerifier { hints: roots.hints(), roots, revoked, allowed }
    }

    /// Verifies a chain, and returns its owner.
    pub(crate) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<PeerIdentity, Refusal> {
        chain::verify(leaf, intermediates, &self.roots, Purpose::Client, now)?;
        let found = self.revoked.find(std::slice::from_ref(leaf));
        if let Some(serial) = found.or_else(|| self.revoked.find(intermediates)) {
            return Err(Refusal::Revoked(serial));
        }
        let certificate = Certificate::from_der(leaf).map_err(ChainError::from)?;
        let mut identity = PeerIdentity::claimed(certificate);
        self.allowed.check(&identity)?;
        identity.verified = true;
        Ok(identity)
    }

    /// The owner of a chain that [`ClientVerifier::check`] has verified.
    pub(crate) fn already_verified(&self, leaf: &CertificateDer<'_>) -> PeerIdentity {
        // A verified certificate can be parsed; if it cannot, the owner is
        // unknown.
        Certificate::from_der(leaf).map_or(PeerIdentity::ANONYMOUS, |certificate| PeerIdentity {
            verified: true,
            ..PeerIdentity::claimed(certificate)
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.check(end_entity, intermediates, from_unix(now)) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(reason) => Err(refuse(reason, end_entity)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Verifies servers' certificates. Without roots it trusts every certificate,
/// but still requires that the server has its key.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) roots: Option<Roots>,
}

impl ServerVerifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let Some(roots) = &self.roots else { return Ok(()) };
        chain::verify(leaf, intermediates, roots, Purpose::Server, now)
            .map_err(|error| refuse(Refusal::Chain(error), leaf))?;
        // webpki does not parse version 1 here, which is no loss: without names it
        // cannot match.
        let leaf = Uncritical::of(leaf);
        let named = EndEntityCert::try_from(leaf.shown())
            .and_then(|leaf| leaf.verify_is_valid_for_subject_name(name));
        named.map_err(|error| Error::InvalidCertificate(other_name(error)))
    }
}

fn other_name(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertNotValidForName(context) => CertificateError::NotValidForNameContext {
            expected: context.expected,
            presented: context.presented,
        },
        _ => CertificateError::NotValidForName,
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, server_name, from_unix(now))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Whether the owner of `cert` signed this handshake. rustls uses webpki's
/// parser; for certificates that webpki does not parse, the key is extracted
/// here.
fn tls12_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if is_parsed_by_webpki(cert) {
        return rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms());
    }
    let x509 = parse(cert).map_err(|_| bad_encoding())?;
    let key = VerifyingKey::of(x509.public_key()).ok_or_else(bad_encoding)?;
    if !algorithms().supported_schemes().contains(&dss.scheme) {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    if !key.signed_tls12(message, dss) {
        return Err(Error::InvalidCertificate(CertificateError::BadSignature));
    }
    Ok(HandshakeSignatureValid::assertion())
}

fn tls13_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if is_parsed_by_webpki(cert) {
        return rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms());
    }
    let x509 = parse(cert).map_err(|_| bad_encoding())?;
    let key = SubjectPublicKeyInfoDer::from(x509.public_key().raw);
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, dss, &algorithms())
}

/// False for version 1, and for critical extensions that [`crate::chain`]
/// handles.
fn is_parsed_by_webpki(cert: &CertificateDer<'_>) -> bool {
    use webpki::Error::{UnsupportedCertVersion, UnsupportedCriticalExtension};
    !matches!(
        EndEntityCert::try_from(cert),
        Err(UnsupportedCertVersion | UnsupportedCriticalExtension)
    )
}

fn bad_encoding() -> Error {
    Error::InvalidCertificate(CertificateError::BadEncoding)
}
