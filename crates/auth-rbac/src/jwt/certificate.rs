//! The public key of an X.509 certificate, because etcd takes a certificate for
//! a `pub-key`.
//!
//! Only the bytes are found here. Dates, issuer and purpose are not looked at,
//! in etcd neither: the operator says by the flag that this key is the one.

/// DER tags on the way.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The DER of the SubjectPublicKeyInfo in the DER of a certificate (RFC 5280,
/// section 4.1); none if it is not one.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(content(certificate), SEQUENCE).map(|(e, r)| (content(e), r))?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    // serialNumber, signature, issuer, validity, subject
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    element(rest, SEQUENCE).map(|(key, _)| key)
}

/// The element with this tag at the beginning of `bytes`, header included, and
/// what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    if *bytes.first()? != tag {
        return None;
    }
    let (header, length) = header(bytes)?;
    bytes.split_at_checked(header.checked_add(length)?)
}

/// What an element that [`element`] gave holds.
fn content(element: &[u8]) -> &[u8] {
    header(element).map_or(&[], |(header, _)| &element[header..])
}

/// (bytes of tag and length, length of the content).
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*bytes.get(1)?);
    if first < 0x80 {
        return Some((2, first));
    }
    // The long form: so many bytes of length. More than four are no certificate.
    let count = first - 0x80;
    if !(1..=4).contains(&count) {
        return None;
    }
    let length = bytes.get(2..2 + count)?;
    let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    Some((2 + count, length))
}
