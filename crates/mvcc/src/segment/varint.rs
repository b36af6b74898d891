//! Variable-length integers: seven bits per byte, lowest first.

/// Appends `value`.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed value; values near 0 are short.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value << 1 ^ value >> 63) as u64);
}

/// Takes a value off the front; `None` if it is truncated or too big.
pub(super) fn take(from: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = from.split_first()?;
    if first < 0x80 {
        *from = rest;
        return Some(first.into());
    }
    take_long(from)
}

fn take_long(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (place, &byte) in from.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if place == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * place);
        if byte < 0x80 {
            *from = &from[place + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes a signed value off the front.
pub(super) fn take_signed(from: &mut &[u8]) -> Option<i64> {
    let value = take(from)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Takes a value of at most 32 bits off the front.
pub(super) fn take_u32(from: &mut &[u8]) -> Option<u32> {
    take(from)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_there_and_back() {
        let values = [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let mut bytes = Vec::new();
        values.iter().for_each(|&value| put(&mut bytes, value));
        let signed = [0, -1, 1, i64::MIN, i64::MAX, -64, 64];
        signed.iter().for_each(|&value| put_signed(&mut bytes, value));
        let mut rest = bytes.as_slice();
        for value in values {
            assert_eq!(take(&mut rest), Some(value));
        }
        for value in signed {
            assert_eq!(take_signed(&mut rest), Some(value));
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn nonsense_is_none() {
        assert_eq!(take(&mut &[][..]), None);
        assert_eq!(take(&mut &[0x80][..]), None);
        assert_eq!(take(&mut &[0xff; 11][..]), None);
        assert_eq!(take(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
        assert_eq!(take_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]), None);
    }
}
