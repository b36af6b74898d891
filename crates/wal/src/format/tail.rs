//! What is behind the last sound frame: nothing, a torn write, or damage.

use t4_kv_types::LogIndex;

use super::frame::{Fault, Frames, frame_start};
use crate::error::{Damage, Found};

/// What is behind the last sound frame of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Zeros.
    Clean,
    /// One bit is set among zeros, at this byte. A torn write leaves more, so
    /// the disk has flipped it; it changes no entry.
    Stray {
        /// The byte.
        offset: u64,
    },
    /// A write that did not reach the disk whole, and was never synced.
    Torn {
        /// Where it begins.
        offset: u64,
        /// The first byte behind what there is of it.
        end: u64,
    },
}

/// Judges what begins at `offset`, where the frame of `expected` should be and
/// `fault` is. `whole` reaches to the end of the file.
///
/// It is a tear only if the frame itself can have been torn, and no frame
/// behind it says that it had been synced. Frames behind it that do not say so
/// were in the same unsynced writes: a disk may keep a later sector and lose
/// an earlier one.
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
        Fault::Beyond(_) if whole.has_room_for_header(offset) => {
            return Err(Found::new(offset, Damage::FrameLength { index: expected }));
        }
        Fault::Beyond(_) => return Err(Found::new(offset, Damage::AfterEnd)),
        Fault::Blank | Fault::Torn => {}
    }
    let own = frame_start(offset);
    let mut from = offset;
    while let Some((at, header)) = whole.find_header(from) {
        // The torn frame's own header counts too: it cannot prove anything
        // against itself, because nothing is synced before it is written.
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
