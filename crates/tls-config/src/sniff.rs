//! Distinguishes TLS from plain text by the first bytes, where both share a
//! port.

/// The content type of a handshake record, and the major version of every TLS.
const HANDSHAKE: u8 = 22;
const MAJOR_VERSION: u8 = 3;

/// Whether a connection that begins with these bytes uses TLS; `None`: more
/// bytes are needed.
///
/// No HTTP request begins with the first byte of a TLS handshake, so one byte
/// is enough to recognise plain text and two to recognise TLS.
pub fn looks_like_tls(first_bytes: &[u8]) -> Option<bool> {
    match first_bytes {
        [] | [HANDSHAKE] => None,
        [HANDSHAKE, MAJOR_VERSION, ..] => Some(true),
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_and_http_differ_at_once() {
        assert_eq!(looks_like_tls(b""), None);
        assert_eq!(looks_like_tls(b"\x16"), None);
        assert_eq!(looks_like_tls(b"\x16\x03\x01\x02\x00"), Some(true));
        assert_eq!(looks_like_tls(b"\x16\x05"), Some(false));
        for plain in [&b"P"[..], b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n", b"\x00"] {
            assert_eq!(looks_like_tls(plain), Some(false));
        }
    }
}
