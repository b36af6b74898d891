//! The parts of a certificate that are carried over into its renewal. Parts
//! that cannot be carried over are an error; they are not dropped.

use std::path::Path;
use std::time::Duration;

use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::certificate::{Certificate, parse};
use crate::error::{FileFault, PemKind, TlsError};
use crate::making::BACKDATED;
use crate::pem;

/// The certificate being renewed.
pub(super) struct Old {
    /// Names and purposes.
    pub(super) params: CertificateParams,
    /// Its public key.
    pub(super) key: SubjectPublicKeyInfo,
    /// Its original validity.
    pub(super) validity: Duration,
    /// Its issuer: for errors, and in the form that verifiers compare.
    pub(super) issuer: String,
    pub(super) issuer_der: Vec<u8>,
}

impl Old {
    /// The first certificate of a PEM file.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Self, TlsError> {
        let chain = pem::certificates(path, bytes)?;
        let old =
            chain.first().map_or(Err(malformed(path, "it is empty")), |der| Self::of(path, der))?;
        Ok(old)
    }

    pub(super) fn of(path: &Path, der: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let x509 = parse(der).map_err(|error| malformed(path, &error.0))?;
        let facts = Certificate::of(&x509).map_err(|error| malformed(path, &error.0))?;
        let mut params = CertificateParams::default();
        let lost = |what: &str| {
            malformed(path, &format!("{what} cannot be carried over: issue a new certificate"))
        };
        params.distinguished_name =
            name(x509.subject()).ok_or_else(|| lost("the form of its subject"))?;
        params.subject_alt_names =
            alternative_names(&x509).ok_or_else(|| lost("an alternative name"))?;
        let usage = x509.extended_key_usage().ok().flatten();
        params.extended_key_usages = usage.map_or(Vec::new(), |usage| purposes(usage.value));
        let key = SubjectPublicKeyInfo::from_der(x509.public_key().raw)
            .map_err(|_| lost("its kind of key"))?;
        // Our certificates are backdated; without this correction each renewal
        // would be longer than the last.
        let life = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
        let validity = life.checked_sub(BACKDATED).unwrap_or(life);
        let issuer_der = x509.issuer().as_raw().to_vec();
        Ok(Old { params, key, validity, issuer: facts.issuer, issuer_der })
    }
}

fn malformed(path: &Path, why: &str) -> TlsError {
    TlsError::file(path, FileFault::Malformed(PemKind::Certificate, why.to_owned()))
}

fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<ExtendedKeyUsagePurpose> {
    let known = [
        (usage.any, ExtendedKeyUsagePurpose::Any),
        (usage.server_auth, ExtendedKeyUsagePurpose::ServerAuth),
        (usage.client_auth, ExtendedKeyUsagePurpose::ClientAuth),
        (usage.code_signing, ExtendedKeyUsagePurpose::CodeSigning),
        (usage.email_protection, ExtendedKeyUsagePurpose::EmailProtection),
        (usage.time_stamping, ExtendedKeyUsagePurpose::TimeStamping),
        (usage.ocsp_signing, ExtendedKeyUsagePurpose::OcspSigning),
    ];
    let other = usage.other.iter().filter_map(|oid| Some(oid.iter()?.collect()));
    let known = known.into_iter().filter(|(given, _)| *given).map(|(_, purpose)| purpose);
    known.chain(other.map(ExtendedKeyUsagePurpose::Other)).collect()
}

fn alternative_names(x509: &X509Certificate<'_>) -> Option<Vec<SanType>> {
    let extension = x509.subject_alternative_name().ok()?;
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    names.map(alternative_name).collect()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<SanType> {
    let text = |text: &str| Ia5String::try_from(text).ok();
    match name {
        GeneralName::DNSName(name) => text(name).map(SanType::DnsName),
        GeneralName::RFC822Name(name) => text(name).map(SanType::Rfc822Name),
        GeneralName::URI(name) => text(name).map(SanType::URI),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| SanType::IpAddress(b.into())),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| SanType::IpAddress(b.into())),
        },
        _ => None,
    }
}

/// The name, attribute by attribute. `None`: an attribute is duplicated, or its
/// string type is unknown.
fn name(old: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut new = DistinguishedName::new();
    for attribute in old.iter_attributes() {
        let kind: Vec<u64> = attribute.attr_type().iter()?.collect();
        let kind = DnType::from_oid(&kind);
        if new.get(&kind).is_some() {
            return None;
        }
        new.push(kind, value(attribute)?);
    }
    Some(new)
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<DnValue> {
    let value = attribute.attr_value();
    let text = std::str::from_utf8(value.data);
    Some(match value.header.tag() {
        Tag::Utf8String => DnValue::Utf8String(text.ok()?.to_owned()),
        Tag::PrintableString => {
            DnValue::PrintableString(PrintableString::try_from(text.ok()?).ok()?)
        }
        Tag::Ia5String => DnValue::Ia5String(Ia5String::try_from(text.ok()?).ok()?),
        Tag::T61String => DnValue::TeletexString(TeletexString::try_from(text.ok()?).ok()?),
        Tag::BmpString => DnValue::BmpString(BmpString::from_utf16be(value.data.to_vec()).ok()?),
        _ => return None,
    })
}
