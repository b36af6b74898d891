//! What rustls asks while it shakes hands: is this client's, is this server's
//! certificate to be believed. Decides by [`crate::chain`], [`crate::names`] and
//! [`crate::revocation`]; where the peer may connect from ([`crate::san`]) is
//! left to the caller, because it needs DNS.

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

/// Why a peer's certificate was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It leads to no root, or not now. Go's words.
    #[error("tls: failed to verify certificate: {0}")]
    Chain(#[from] ChainError),
    /// It was taken back. etcd's words.
    #[error("transport: certificate serial {0} revoked")]
    Revoked(SerialNumber),
    /// It is of somebody who is not allowed.
    #[error(transparent)]
    Name(#[from] NameRefused),
}

impl Refusal {
    /// What decides the alert that the peer is sent; Go sends `bad_certificate`
    /// for names, which is what etcd's page shows.
    fn alert(&self) -> CertificateError {
        match self {
            Refusal::Chain(error) => error.alert(),
            Refusal::Revoked(_) => CertificateError::Revoked,
            Refusal::Name(_) => CertificateError::NotValidForName,
        }
    }
}

/// A refusal and whose certificate it was, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) claimed: Option<PeerIdentity>,
    pub(crate) reason: Refusal,
}

tokio::task_local! {
    /// Where a verifier leaves what it refused for the handshake that runs it.
    /// rustls carries only the kind of error to the caller, because the kind
    /// decides the alert; the log wants the names in the certificate too, and
    /// after a failure the connection is gone.
    pub(crate) static REFUSED: Arc<Mutex<Option<Refused>>>;
}

fn refuse(reason: Refusal, leaf: &CertificateDer<'_>) -> Error {
    let alert = reason.alert();
    let claimed = Certificate::from_der(leaf).ok().map(PeerIdentity::claimed);
    // Outside of a handshake of ours nobody asks.
    let _ = REFUSED.try_with(|slot| *slot.lock() = Some(Refused { claimed, reason }));
    Error::InvalidCertificate(alert)
}

/// Decides about clients' certificates.
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

    /// Who the chain's owner is, if it is to be believed now.
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

    /// Who the owner of a chain is that [`ClientVerifier::check`] has believed.
    pub(crate) fn already_verified(&self, leaf: &CertificateDer<'_>) -> PeerIdentity {
        // What was believed can be parsed; if not, nobody is told who it is.
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

/// Decides about servers' certificates. Without roots it believes every one,
/// but still that the server has the key of the one that it shows.
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
        // A certificate of version 1 has no names, so that it has no name of a
        // server is no loss.
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

/// Whether the owner of `cert` signed this handshake. rustls parses by webpki;
/// for what webpki does not parse, the key is taken out here.
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

/// Not so: version 1, and critical extensions that [`crate::chain`] handles.
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
