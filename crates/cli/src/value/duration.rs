//! Durations in Go's syntax, because etcd's flags use it: `1h30m`, `1.5s`,
//! `300ms`; and days, `7d`, which Go does not have.

use std::time::Duration;

/// A duration that is not negative. It needs a unit, except for 0.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| "use a duration such as 10s, 1h30m, 7d or 500ms".to_owned())
}

/// Whole seconds, as a number or as a duration.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
    let whole = |duration: &Duration| duration.subsec_nanos() == 0;
    let in_range = |duration: &Duration| (1..=u32::MAX.into()).contains(&duration.as_secs());
    let duration = number.or_else(|| parse(text).filter(whole)).filter(in_range);
    duration.ok_or_else(|| {
        format!("use a whole number of seconds from 1 to {}, or a duration such as 5m", u32::MAX)
    })
}

fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (part, left) = split_part(rest)?;
        total = total.checked_add(part)?;
        rest = left;
    }
    // Go's durations have 63 bits of nanoseconds: 292 years.
    let nanos = u64::try_from(total).ok().filter(|nanos| i64::try_from(*nanos).is_ok())?;
    Some(Duration::from_nanos(nanos))
}

/// The nanoseconds of the first number and unit, and the rest of the text.
fn split_part(text: &str) -> Option<(u128, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(unit_at);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 24 * 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some((whole.checked_mul(unit)?.checked_add(fraction_of(unit, fraction)?)?, rest))
}

/// `0.fraction` units, rounded down.
fn fraction_of(unit: u128, fraction: &str) -> Option<u128> {
    // Later digits are worth less than a nanosecond.
    let digits = &fraction[..fraction.len().min(15)];
    if fraction.contains('.') {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    let value: u128 = digits.parse().ok()?;
    Some(value * unit / 10u128.pow(digits.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("300ms", 300_000_000),
            ("1us2ns", 1_002),
            ("1µs", 1_000),
            ("1m0.25s", 60_250_000_000),
            ("0.000000001s", 1),
            ("7d", 604_800_000_000_000),
            ("1d12h", 129_600_000_000_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_and_negative_ones() {
        let wrong = [
            "",
            "5",
            "s",
            ".s",
            "1..5s",
            "1.2.3s",
            "-1s",
            "1 s",
            "1x",
            "1h-5m",
            "10w",
            "+",
            "99999999999h",
            "9223372036854775808ns",
            "1h30",
            "0x10s",
            "१s",
        ];
        for text in wrong {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("9223372036854775807ns").is_ok());
    }

    #[test]
    fn seconds_are_a_number_or_a_duration() {
        for (text, expected) in
            [("300", 300), ("5m", 300), ("1d", 86_400), ("4294967295", u32::MAX.into())]
        {
            assert_eq!(seconds(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        for wrong in ["", "0", "0s", "-1", "1.5", "1.5s", "200000d", "x"] {
            assert!(seconds(wrong).expect_err(wrong).contains("such as 5m"), "{wrong}");
        }
    }
}
