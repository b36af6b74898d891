//! One frame: a header of 39 bytes, the payload, a trailer of one byte.
//!
//! The header never crosses a sector boundary, so that a power cut loses all of
//! it or nothing; or, if the write was cut at some byte, at least its last
//! byte, which is never zero. The trailer serves the same purpose for the
//! payload.

use bytes::Bytes;
use t4_kv_types::{Epoch, LogIndex};

use super::{PAYLOAD_BYTES_MAX, SECTOR, sparse};
use crate::entry::Entry;
use crate::error::Damage;

/// The length of a frame's header in bytes.
pub(super) const FRAME_HEADER: u64 = 39;

/// The first and the last byte of a header and the byte after the payload. Each
/// has several bits set, so that none is one flip away from zero.
const START: u8 = 0xb5;
const END: u8 = 0x9d;
const TRAILER: u8 = 0xa5;

/// The payload is stored scrambled, see [`sparse`].
const SCRAMBLED: u8 = 1;

/// The offset of a frame's header if the preceding frame ends at `offset`.
pub(crate) fn frame_start(offset: u64) -> u64 {
    if offset % SECTOR + FRAME_HEADER > SECTOR { offset.next_multiple_of(SECTOR) } else { offset }
}

/// The end of a frame if the preceding frame ends at `offset`.
pub(crate) fn frame_end(offset: u64, payload_bytes: usize) -> u64 {
    frame_start(offset) + FRAME_HEADER + payload_bytes as u64 + 1
}

/// Appends the frame of `entry` to `out`, whose first byte will be written at
/// `base`. `durable` is the highest index known to be synced.
///
/// The caller ensures that the payload does not exceed [`PAYLOAD_BYTES_MAX`].
pub(crate) fn encode_frame(
    out: &mut Vec<u8>,
    base: u64,
    salt: u64,
    entry: &Entry,
    durable: LogIndex,
) {
    let start = frame_start(base + out.len() as u64);
    out.resize((start - base) as usize, 0);
    let body = start + FRAME_HEADER;
    let header_at = out.len();
    out.resize(header_at + FRAME_HEADER as usize, 0);
    let body_at = out.len();
    out.extend_from_slice(&entry.payload);

    let scrambled = sparse::is_sparse(&entry.payload, body);
    if scrambled {
        sparse::scramble(&mut out[body_at..], salt, body);
    }
    let header = FrameHeader {
        scrambled,
        payload_bytes: entry.payload.len() as u32,
        epoch: entry.epoch,
        index: entry.index,
        durable,
        payload_crc: crc32c::crc32c(&out[body_at..]),
    };
    out[header_at..body_at].copy_from_slice(&header.encode(salt, start));
    out.push(TRAILER);
}

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    scrambled: bool,
    payload_bytes: u32,
    pub(crate) epoch: Epoch,
    pub(crate) index: LogIndex,
    /// Every entry up to this one was synced when this frame was written.
    pub(crate) durable: LogIndex,
    /// The checksum of the payload as it is stored.
    payload_crc: u32,
}

/// Why there is no valid frame at a position.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Zeros: the end of the log, or a header that was lost.
    Blank,
    /// A part that a power cut can lose reads as zeros.
    Torn,
    /// The frame continues beyond the available bytes, up to this offset.
    Beyond(u64),
    /// Damage that a power cut cannot cause.
    Damaged(fn(LogIndex) -> Damage),
}

impl FrameHeader {
    fn encode(&self, salt: u64, start: u64) -> [u8; FRAME_HEADER as usize] {
        let mut bytes = [0; FRAME_HEADER as usize];
        bytes[0] = START;
        bytes[1] = if self.scrambled { SCRAMBLED } else { 0 };
        bytes[2..6].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[14..22].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[22..30].copy_from_slice(&self.durable.0.to_le_bytes());
        bytes[30..34].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(&bytes, salt, start);
        bytes[34..38].copy_from_slice(&crc.to_le_bytes());
        bytes[38] = END;
        bytes
    }

    fn decode(bytes: &[u8; FRAME_HEADER as usize], salt: u64, start: u64) -> Result<Self, Fault> {
        if let Some(header) = FrameHeader::decode_sound(bytes, salt, start) {
            return Ok(header);
        }
        if bytes.iter().all(|&byte| byte == 0) {
            Err(Fault::Blank)
        } else if bytes[38] == 0 {
            Err(Fault::Torn)
        } else {
            Err(Fault::Damaged(|index| Damage::FrameHeader { index }))
        }
    }

    fn decode_sound(
        bytes: &[u8; FRAME_HEADER as usize],
        salt: u64,
        start: u64,
    ) -> Option<FrameHeader> {
        // The marks first: they are cheap, and the search for frames after a
        // tear tries every byte.
        if bytes[0] != START || bytes[38] != END || bytes[1] & !SCRAMBLED != 0 {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if u32_at(34) != header_crc(bytes, salt, start) {
            return None;
        }
        Some(FrameHeader {
            scrambled: bytes[1] == SCRAMBLED,
            payload_bytes: u32_at(2),
            epoch: Epoch(u64_at(6)),
            index: LogIndex(u64_at(14)),
            durable: LogIndex(u64_at(22)),
            payload_crc: u32_at(30),
        })
    }
}

/// Covers the segment's salt, the frame's offset and the header up to the
/// checksum.
fn header_crc(bytes: &[u8; FRAME_HEADER as usize], salt: u64, start: u64) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&salt.to_le_bytes());
    place[8..].copy_from_slice(&start.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), &bytes[..34])
}

/// A part of a segment, as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Frames<'a> {
    /// The bytes.
    pub(crate) bytes: &'a [u8],
    /// The offset of the bytes in the file.
    pub(crate) base: u64,
    /// The segment's salt.
    pub(crate) salt: u64,
}

/// A sound frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    /// The end of the preceding frame.
    pub(crate) previous_end: u64,
    /// The start of its header; there may be zeros between the two.
    pub(crate) start: u64,
    /// The first byte after it.
    pub(crate) end: u64,
    stored: &'a [u8],
    salt: u64,
}

impl<'a> Frames<'a> {
    /// The frame after the one that ends at `offset`.
    pub(crate) fn at(&self, offset: u64) -> Result<Frame<'a>, Fault> {
        let start = frame_start(offset);
        let padding = self.slice(offset, start)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(Fault::Damaged(|index| Damage::Padding { index }));
        }
        let frame = self.starting_at(start)?;
        Ok(Frame { previous_end: offset, ..frame })
    }

    /// The frame whose header begins at `start`.
    fn starting_at(&self, start: u64) -> Result<Frame<'a>, Fault> {
        let body = start + FRAME_HEADER;
        let (header, _) =
            self.slice(start, body)?.split_first_chunk().ok_or(Fault::Beyond(body))?;
        let header = FrameHeader::decode(header, self.salt, start)?;
        if header.payload_bytes as usize > PAYLOAD_BYTES_MAX {
            return Err(Fault::Damaged(|index| Damage::FrameLength { index }));
        }
        let trailer_at = body + u64::from(header.payload_bytes);
        let stored = self.slice(body, trailer_at + 1)?;
        let Some((&trailer, stored)) = stored.split_last() else {
            return Err(Fault::Beyond(trailer_at + 1));
        };
        if trailer == TRAILER && crc32c::crc32c(stored) == header.payload_crc {
            let end = trailer_at + 1;
            return Ok(Frame { header, previous_end: start, start, end, stored, salt: self.salt });
        }
        if trailer == 0 || sparse::has_blank_sector(stored, body) {
            Err(Fault::Torn)
        } else {
            Err(Fault::Damaged(|index| Damage::FrameBody { index }))
        }
    }

    /// The first frame header found at `from` or later, with its offset,
    /// whether or not its payload is whole.
    pub(crate) fn find_header(&self, from: u64) -> Option<(u64, FrameHeader)> {
        let skip = usize::try_from(from.checked_sub(self.base)?).ok()?;
        let windows = self.bytes.get(skip..)?.windows(FRAME_HEADER as usize);
        (from..).zip(windows).filter(|(_, window)| window[0] == START).find_map(|(at, window)| {
            let bytes = window.first_chunk()?;
            Some((at, FrameHeader::decode_sound(bytes, self.salt, at)?))
        })
    }

    fn slice(&self, from: u64, to: u64) -> Result<&'a [u8], Fault> {
        let at = |offset: u64| offset.checked_sub(self.base).and_then(|at| at.try_into().ok());
        let range = at(from).zip(at(to));
        range
            .and_then(|(from, to): (usize, usize)| self.bytes.get(from..to))
            .ok_or(Fault::Beyond(to))
    }
}

impl Frame<'_> {
    /// The entry, with a copy of the payload.
    pub(crate) fn entry(&self) -> Entry {
        let payload = if self.header.scrambled {
            let mut payload = self.stored.to_vec();
            sparse::scramble(&mut payload, self.salt, self.start + FRAME_HEADER);
            payload.into()
        } else {
            Bytes::copy_from_slice(self.stored)
        };
        Entry { epoch: self.header.epoch, index: self.header.index, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 0x0123_4567_89ab_cdef;

    fn entry(index: u64, payload: Vec<u8>) -> Entry {
        Entry { epoch: Epoch(5), index: LogIndex(index), payload: payload.into() }
    }

    fn encoded(base: u64, payload: Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame(&mut out, base, SALT, &entry(9, payload), LogIndex(8));
        out
    }

    fn frames(bytes: &[u8], base: u64) -> Frames<'_> {
        Frames { bytes, base, salt: SALT }
    }

    #[test]
    fn headers_never_cross_a_sector() {
        for offset in 4096..4096 + 2 * SECTOR {
            let start = frame_start(offset);
            assert!(start >= offset && start < offset + FRAME_HEADER);
            assert_eq!(start / SECTOR, (start + FRAME_HEADER - 1) / SECTOR, "{offset}");
            assert_eq!(frame_start(start), start);
        }
    }

    #[test]
    fn round_trip_at_every_place_in_a_sector() {
        for base in 4096..4096 + SECTOR {
            for payload in [vec![], b"hello".to_vec(), vec![0; 2000]] {
                let bytes = encoded(base, payload.clone());
                let frame = frames(&bytes, base).at(base).expect("sound");
                assert_eq!(frame.entry(), entry(9, payload.clone()));
                assert_eq!(frame.header.durable, LogIndex(8));
                assert_eq!(frame.end, base + bytes.len() as u64);
                assert_eq!(frame.end, frame_end(base, payload.len()));
            }
        }
    }

    #[test]
    fn another_place_or_another_salt_is_damage() {
        let bytes = encoded(4096, b"hello".to_vec());
        assert!(matches!(frames(&bytes, 4097).at(4097), Err(Fault::Damaged(_))));
        let other = Frames { bytes: &bytes, base: 4096, salt: SALT ^ 1 };
        assert!(matches!(other.at(4096), Err(Fault::Damaged(_))));
    }

    #[test]
    fn every_flipped_bit_is_damage_and_never_a_tear() {
        let mut one_bit = vec![0; 1600];
        one_bit[700] = 4;
        for payload in
            [vec![], vec![1], vec![0; 1600], one_bit, (0..=255).cycle().take(1300).collect()]
        {
            for base in [4096, 4096 + 480, 4096 + 500, 4096 + 473] {
                let bytes = encoded(base, payload.clone());
                for bit in 0..bytes.len() * 8 {
                    let mut flipped = bytes.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    // Room for a length that reads higher than it is.
                    let got = frames(&flipped, base).at(base);
                    assert!(matches!(got, Err(Fault::Damaged(_))), "{base} {bit}: {got:?}");
                }
            }
        }
    }

    #[test]
    fn every_prefix_is_a_tear_or_blank() {
        for base in [4096, 4096 + 480] {
            let whole = encoded(base, (1..=200).cycle().take(1300).collect());
            for cut in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[cut..].fill(0);
                let got = frames(&bytes, base).at(base);
                assert!(matches!(got, Err(Fault::Blank | Fault::Torn)), "{base} {cut}: {got:?}");
            }
        }
    }

    #[test]
    fn every_set_of_lost_sectors_is_a_tear_or_blank() {
        for payload in [vec![0; 1700], (0..=255).cycle().take(1700).collect::<Vec<u8>>()] {
            for base in 4096..4096 + SECTOR {
                let whole = encoded(base, payload.clone());
                let first = base / SECTOR;
                let sectors = (base + whole.len() as u64).div_ceil(SECTOR) - first;
                for lost in 1u32..1 << sectors {
                    let mut bytes = whole.clone();
                    for (at, byte) in bytes.iter_mut().enumerate() {
                        let sector = (base + at as u64) / SECTOR - first;
                        if lost & (1 << sector) != 0 {
                            *byte = 0;
                        }
                    }
                    if bytes == whole {
                        continue; // only padding was lost
                    }
                    let got = frames(&bytes, base).at(base);
                    assert!(matches!(got, Err(Fault::Blank | Fault::Torn)), "{base} {lost:b}");
                }
            }
        }
    }
}
