//! Sizes in bytes: a plain number, or one with a unit.

use std::ops::RangeInclusive;

/// The units. `K`, `M` and `G` alone are not accepted: some programs take them
/// as powers of 1000 and others as powers of 1024.
const UNITS: [(&str, u64); 14] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

const FORMS: &str = "a whole number of bytes, or one with a unit such as 64MB (64,000,000) or \
                     64MiB (67,108,864)";

/// A size in a range.
pub(crate) fn size(text: &str, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    match parse(text) {
        Some(bytes) if allowed.contains(&bytes) => Ok(bytes),
        _ => Err(format!("use {FORMS}, from {} to {}", allowed.start(), allowed.end())),
    }
}

/// The quota: 0 is etcd's default, a negative number disables it.
pub(crate) fn quota(text: &str) -> Result<Option<u64>, String> {
    const DEFAULT: u64 = 2 << 30;
    let is_negative = text.parse::<i64>().is_ok_and(|number| number < 0);
    match parse(text).filter(|bytes| i64::try_from(*bytes).is_ok()) {
        _ if is_negative => Ok(None),
        Some(0) => Ok(Some(DEFAULT)),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!("use {FORMS}; 0 is 2 GiB, a negative number is no quota")),
    }
}

fn parse(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units() {
        let any = |text| size(text, 0..=u64::MAX);
        for (text, bytes) in [
            ("0", 0),
            ("1572864", 1_572_864),
            ("64MB", 64_000_000),
            ("64MiB", 64 << 20),
            ("8GB", 8_000_000_000),
            ("8 GiB", 8 << 30),
            ("1Ti", 1 << 40),
            ("2kB", 2_000),
            ("7B", 7),
        ] {
            assert_eq!(any(text), Ok(bytes), "{text}");
        }
        for wrong in
            ["", "-1", "1.5GB", "8G", "8gb", "GB", "8 G B", "99999999999TB", " 8", "8 ", "0x10"]
        {
            assert!(any(wrong).is_err(), "{wrong:?}");
        }
        let told = size("2MiB", 1..=1 << 20).expect_err("too large");
        assert!(told.contains("64MiB") && told.ends_with("from 1 to 1048576"), "{told}");
    }

    #[test]
    fn quotas() {
        assert_eq!(quota("0"), Ok(Some(2_147_483_648)));
        assert_eq!((quota("5"), quota("8GB")), (Ok(Some(5)), Ok(Some(8_000_000_000))));
        assert_eq!(quota("-1"), Ok(None));
        for wrong in ["", "2G", "-1GB", "9223372036854775808"] {
            assert!(quota(wrong).is_err(), "{wrong}");
        }
    }
}
