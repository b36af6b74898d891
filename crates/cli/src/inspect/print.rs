//! How keys, values and events are printed.

use std::fmt::{self, Write as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use t4_kv_types::{Event, EventKind, KeyValue, LeaseId};

/// Bytes for people: UTF-8 unchanged, on one line. Invisible characters, those
/// that change how others are displayed, and backslashes are escaped.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() || is_unseen(c) => write!(f, "{}", c.escape_default())?,
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

/// Invisible characters: a key with one looks like another key, and characters
/// that change the writing direction make the rest of the line look like
/// something else ("Trojan Source"). These are Unicode's default-ignorable
/// characters, its line separators, and all spaces except U+0020.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// A lease for people, in the format of etcd's tools.
pub(super) struct Lease(pub(super) LeaseId);

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` honours the requested column width.
        if self.0.is_some() { f.pad(&format!("{:016x}", self.0.0)) } else { f.pad("-") }
    }
}

/// A key-value with etcd's field names.
#[derive(Serialize)]
pub(super) struct KeyValueJson {
    key: String,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    /// Omitted if it was not read.
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

/// An event with etcd's field names.
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
    fn what_cannot_be_seen_or_turns_the_line_is_escaped() {
        for c in ('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain('\u{200b}'..='\u{200f}')
            .chain(['\u{feff}', '\u{2060}', '\u{ad}', '\u{2028}', '\u{e0041}', '\u{85}', '\u{7f}'])
        {
            let shown = Text(format!("rtl{c}abc").as_bytes()).to_string();
            assert_eq!(shown, format!("rtl\\u{{{:x}}}abc", u32::from(c)));
        }
        let seen = "Grüße, 世界 שלום 🙂 a b";
        assert_eq!(Text(seen.as_bytes()).to_string(), seen);
    }

    #[test]
    fn leases() {
        assert_eq!(Lease(LeaseId::NONE).to_string(), "-");
        assert_eq!(Lease(LeaseId(0x1f)).to_string(), "000000000000001f");
        assert_eq!(format!("{:>4}|", Lease(LeaseId::NONE)), "   -|");
    }
}
