//! How keys, values and events are written.

use std::fmt::{self, Write as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use t4_kv_types::{Event, EventKind, KeyValue, LeaseId};

/// Bytes for people: UTF-8 as it is, on one line; what cannot be seen, and a
/// backslash, escaped.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A lease for people: as etcd's tools show it.
pub(super) struct Lease(pub(super) LeaseId);

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` keeps the column that is asked for.
        if self.0.is_some() { f.pad(&format!("{:016x}", self.0.0)) } else { f.pad("-") }
    }
}

/// A key-value with etcd's names of fields.
#[derive(Serialize)]
pub(super) struct KeyValueJson {
    key: String,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    /// Left out where it was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    lease: i64,
}

impl KeyValueJson {
    pub(super) fn new(kv: &KeyValue, value: bool) -> Self {
        KeyValueJson {
            key: STANDARD.encode(&kv.key),
            create_revision: kv.create_revision.0,
            mod_revision: kv.mod_revision.0,
            version: kv.version,
            value: value.then(|| STANDARD.encode(&kv.value)),
            lease: kv.lease.0,
        }
    }
}

/// An event with etcd's names of fields.
#[derive(Serialize)]
pub(super) struct EventJson {
    r#type: &'static str,
    kv: KeyValueJson,
}

impl EventJson {
    pub(super) fn new(event: &Event) -> Self {
        let is_put = event.kind == EventKind::Put;
        EventJson {
            r#type: if is_put { "PUT" } else { "DELETE" },
            kv: KeyValueJson::new(&event.kv, is_put),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_on_one_line_and_can_be_told_apart() {
        assert_eq!(Text("/a/ä ✓".as_bytes()).to_string(), "/a/ä ✓");
        assert_eq!(Text(b"a\\n\n\0\xff\x1b").to_string(), "a\\\\n\\n\\u{0}\\xff\\u{1b}");
    }

    #[test]
    fn leases() {
        assert_eq!(Lease(LeaseId::NONE).to_string(), "-");
        assert_eq!(Lease(LeaseId(0x1f)).to_string(), "000000000000001f");
        assert_eq!(format!("{:>4}|", Lease(LeaseId::NONE)), "   -|");
    }
}
