//! The first 16 bytes of each of our files: a magic, the format number and a
//! checksum of both. They stay the same in every later format, so that an old
//! version can distinguish a newer file from a damaged one.

use crate::FormatError;

/// The length of a preamble in bytes.
pub(crate) const LEN: usize = 16;

/// The preamble of `format`.
pub(crate) fn encode(magic: &[u8; 8], format: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(magic);
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks that `bytes` start with a preamble of a format up to `known`.
pub(crate) fn check(bytes: &[u8], magic: &[u8; 8], known: u32) -> Result<(), FormatError> {
    const DAMAGED: FormatError = FormatError::Damaged("the first 16 bytes are damaged");
    let Some((head, _)) = bytes.split_first_chunk::<LEN>() else {
        return Err(FormatError::Damaged("it is cut short"));
    };
    let format = head[8..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    let as_written = encode(magic, format);
    if *head == as_written {
        return match format {
            0 => Err(DAMAGED),
            found if found > known => Err(FormatError::Newer { found, known }),
            _ => Ok(()),
        };
    }
    // A file of ours with a flipped bit has either the magic or the rest intact.
    if head[..8] == *magic || head[8..] == as_written[8..] {
        Err(DAMAGED)
    } else {
        Err(FormatError::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"T4TEST\r\n";

    #[test]
    fn tells_what_it_found() {
        let ours = encode(MAGIC, 1);
        assert_eq!(check(&ours, MAGIC, 1), Ok(()));
        let newer = FormatError::Newer { found: 7, known: 1 };
        assert_eq!(check(&encode(MAGIC, 7), MAGIC, 1), Err(newer));
        assert_eq!(check(b"#!/bin/sh\necho hello\n", MAGIC, 1), Err(FormatError::Foreign));
        for damaged in [&ours[..15], &encode(MAGIC, 0), b""] {
            assert!(matches!(check(damaged, MAGIC, 1), Err(FormatError::Damaged(_))));
        }
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        for bit in 0..LEN * 8 {
            let mut bytes = encode(MAGIC, 1);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = check(&bytes, MAGIC, 1);
            assert!(matches!(found, Err(FormatError::Damaged(_))), "bit {bit}: {found:?}");
        }
    }
}
