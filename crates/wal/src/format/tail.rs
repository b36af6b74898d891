//! What follows the last sound frame: nothing, a torn write, or damage.

use t4_kv_types::LogIndex;

use super::frame::{Fault, Frames, frame_start};
use crate::error::{Damage, Found};

/// What follows the last sound frame of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Zeros.
    Clean,
    /// One bit is set among zeros, at this byte. A torn write leaves more, so
    /// the disk has flipped it; no entry is affected.
    Stray {
        /// The byte.
        offset: u64,
    },
    /// A write that only partly reached the disk, and was never synced.
    Torn {
        /// Where it begins.
        offset: u64,
        /// The first byte after its remains.
        end: u64,
    },
}

/// Judges the bytes at `offset`, where the frame of `expected` should be and
/// `fault` was found. `whole` extends to the end of the file.
///
/// It is a tear only if the frame itself can have been torn, and no later frame
/// says that it had been synced. Later frames that do not say so belong to the
/// same unsynced writes: a disk may keep a later sector and lose an earlier
/// one.
pub(super) fn judge_tail(
    whole: Frames<'_>,
    offset: u64,
    expected: LogIndex,
    fault: &Fault,
) -> Result<Tail, Found> {
    let rest = usize::try_from(offset - whole.base).ok().and_then(|at| whole.bytes.get(at..));
    let rest = rest.unwrap_or_default();
    match few_bits(rest) {
        FewBits::None => return Ok(Tail::Clean),
        FewBits::One { at } => return Ok(Tail::Stray { offset: offset + at as u64 }),
        FewBits::More => {}
    }
    match fault {
        Fault::Damaged(what) => return Err(Found::new(offset, what(expected))),
        Fault::Beyond(_) => {
            return Err(Found::new(offset, Damage::FrameLength { index: expected }));
        }
        Fault::Blank | Fault::Torn => {}
    }
    let own = frame_start(offset);
    let mut from = offset;
    while let Some((at, header)) = whole.find_header(from) {
        // The torn frame's own header counts too: it cannot be evidence against
        // itself, because nothing is synced before it is written.
        if header.durable >= expected {
            let what = Damage::DurableLost { lost: expected, witness: header.index };
            return Err(Found::new(offset, what));
        }
        if header.index < expected || (header.index == expected && at != own) {
            return Err(Found::new(at, Damage::Order { expected, found: header.index }));
        }
        from = at + 1;
    }
    let used = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    Ok(Tail::Torn { offset, end: offset + used as u64 })
}

enum FewBits {
    None,
    One { at: usize },
    More,
}

fn few_bits(bytes: &[u8]) -> FewBits {
    let Some(at) = bytes.iter().position(|&byte| byte != 0) else {
        return FewBits::None;
    };
    let alone = bytes[at].is_power_of_two() && bytes[at + 1..].iter().all(|&byte| byte == 0);
    if alone { FewBits::One { at } } else { FewBits::More }
}

#[cfg(test)]
mod tests {
    use t4_kv_types::Epoch;

    use super::*;
    use crate::entry::Entry;
    use crate::format::frame::encode_frame;

    const SALT: u64 = 77;

    /// A segment whose last frame ends at 4096, with a lost sector and then a
    /// sound frame.
    fn image(index: u64, durable: u64) -> Vec<u8> {
        let mut image = vec![0; 4096 + 512];
        let payload = vec![1; 100].into();
        let entry = Entry { epoch: Epoch(1), index: LogIndex(index), payload };
        encode_frame(&mut image, 0, SALT, &entry, LogIndex(durable));
        image.resize(8192, 0);
        image
    }

    fn judge(image: &[u8]) -> Result<Tail, Found> {
        let whole = Frames { bytes: image, base: 0, salt: SALT };
        let fault = whole.at(4096).expect_err("no frame");
        judge_tail(whole, 4096, LogIndex(10), &fault)
    }

    #[test]
    fn frames_of_the_same_unsynced_writes_are_part_of_the_tear() {
        let end = 4096 + 512 + 39 + 100 + 1;
        assert_eq!(judge(&image(12, 9)), Ok(Tail::Torn { offset: 4096, end }));
    }

    #[test]
    fn a_frame_that_vouches_for_the_lost_one_is_proof_of_damage() {
        let what = Damage::DurableLost { lost: LogIndex(10), witness: LogIndex(12) };
        assert_eq!(judge(&image(12, 10)), Err(Found::new(4096, what)));
    }

    #[test]
    fn a_frame_that_belongs_before_or_here_is_damage() {
        for index in [9, 10] {
            let what = Damage::Order { expected: LogIndex(10), found: LogIndex(index) };
            assert_eq!(judge(&image(index, 8)), Err(Found::new(4096 + 512, what)));
        }
    }

    #[test]
    fn zeros_and_single_bits() {
        let mut image = vec![0; 8192];
        assert_eq!(judge(&image), Ok(Tail::Clean));
        image[8000] = 8;
        assert_eq!(judge(&image), Ok(Tail::Stray { offset: 8000 }));
        image[8000] = 9;
        assert_eq!(judge(&image), Ok(Tail::Torn { offset: 4096, end: 8001 }));
    }

    #[test]
    fn a_sound_frame_that_leaves_the_file_is_damage() {
        let image = image(10, 9);
        let whole = Frames { bytes: &image[..4700], base: 0, salt: SALT };
        let fault = whole.at(4608).expect_err("cut off");
        let got = judge_tail(whole, 4608, LogIndex(10), &fault);
        let what = Damage::FrameLength { index: LogIndex(10) };
        assert_eq!(got, Err(Found::new(4608, what)));
    }
}
