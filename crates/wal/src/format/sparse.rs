//! Keeps runs of zeros out of the middle of frames.
//!
//! A lost sector reads as zeros. If a payload had a sector of zeros with one
//! bit set, losing that sector would look exactly like a flip of that bit. So a
//! payload with such a sector is stored scrambled: combined by XOR with a
//! stream of pseudo-random bits that depends on the segment's salt and the
//! frame's offset. Ordinary payloads have bits everywhere and are stored as
//! they are.

use super::SECTOR;

/// Whether a payload stored at `offset` fills a whole sector (one without the
/// header or the trailer of the frame) with fewer than two bits set.
pub(super) fn is_sparse(payload: &[u8], offset: u64) -> bool {
    inner_sectors(payload, offset).any(|sector| !has_two_bits(sector))
}

/// Whether one of those sectors is all zeros.
pub(super) fn has_blank_sector(payload: &[u8], offset: u64) -> bool {
    inner_sectors(payload, offset).any(|sector| sector.iter().all(|&byte| byte == 0))
}

/// The sectors that are entirely inside a payload stored at `offset`. The one
/// that ends where the payload ends is inside: the trailer comes after it.
fn inner_sectors(payload: &[u8], offset: u64) -> std::slice::ChunksExact<'_, u8> {
    let lead = (offset.next_multiple_of(SECTOR) - offset) as usize;
    payload.get(lead..).unwrap_or_default().chunks_exact(SECTOR as usize)
}

fn has_two_bits(bytes: &[u8]) -> bool {
    let mut count = 0;
    for byte in bytes {
        count += byte.count_ones();
        if count >= 2 {
            return true;
        }
    }
    false
}

/// Scrambles or, applied again, unscrambles. The chance that 4096 pseudo-random
/// bits leave a sector with fewer than two bits set is below 2^-4000.
pub(super) fn scramble(payload: &mut [u8], salt: u64, offset: u64) {
    let mut state = salt ^ offset.wrapping_mul(0xd134_2543_de82_ef95);
    for word in payload.chunks_mut(8) {
        let bits = next_bits(&mut state).to_le_bytes();
        for (byte, bit) in word.iter_mut().zip(bits) {
            *byte ^= bit;
        }
    }
}

/// One step of splitmix64.
fn next_bits(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_sectors_count() {
        let zeros = vec![0u8; 1023];
        // Starting at byte 1, 511 + 512 bytes: one whole sector.
        assert!(is_sparse(&zeros, 1) && has_blank_sector(&zeros, 1));
        // Starting at byte 513 - 1 = 512, only one whole sector fits too.
        assert!(is_sparse(&zeros, 512));
        assert!(!is_sparse(&zeros[..511], 512));
        assert!(!is_sparse(&zeros[..600], 100), "412 bytes, then 188: no whole sector");
        assert!(!is_sparse(&[], 77));
    }

    #[test]
    fn one_bit_is_sparse_and_two_are_not() {
        let mut payload = vec![0u8; 512];
        payload[100] = 0b1000;
        assert!(is_sparse(&payload, 1024) && !has_blank_sector(&payload, 1024));
        payload[511] = 1;
        assert!(!is_sparse(&payload, 1024));
    }

    #[test]
    fn scrambling_is_its_own_reverse_and_fills() {
        let mut payload = vec![0u8; 5000];
        scramble(&mut payload, 42, 4135);
        assert!(!is_sparse(&payload, 4135));
        scramble(&mut payload, 42, 4135);
        assert_eq!(payload, vec![0u8; 5000]);
    }
}
