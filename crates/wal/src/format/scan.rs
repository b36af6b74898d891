//! Scans a whole segment and checks everything in it.

use t4_kv_types::{Epoch, LogIndex};

use super::frame::{Fault, Frame, Frames};
use super::tail::{Tail, judge_tail};
use super::{Closing, HEADER_PAGE, SegmentHeader, Unreadable};
use crate::entry::Entry;
use crate::error::{Damage, Found};

/// What follows a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: its tail may be torn.
    Nothing,
    /// A segment that begins with this entry. A segment is synced before the
    /// next one is created, so this one must be whole.
    Segment(LogIndex),
}

/// The result of scanning a segment.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The last entry; the one before the first if the segment has none.
    pub(crate) last: LogIndex,
    /// Its epoch.
    pub(crate) epoch: Epoch,
    /// The first byte after the last frame.
    pub(crate) end: u64,
    /// The first frame that is not known to have been synced, if any.
    pub(crate) unsynced: Option<u64>,
    /// What follows the last frame.
    pub(crate) tail: Tail,
}

/// Checks every frame of a segment and what follows the last one. `image` is
/// the whole file; `visit` is called with each frame that is sound and in
/// order.
pub(crate) fn scan_segment(
    image: &[u8],
    header: &SegmentHeader,
    next: Next,
    visit: &mut dyn FnMut(&Frame<'_>),
) -> Result<Scan, Found> {
    let whole = Frames { bytes: image, base: 0, salt: header.salt };
    let mut scan = Scan {
        last: LogIndex(header.first.0 - 1),
        epoch: header.epoch,
        end: HEADER_PAGE,
        unsynced: None,
        tail: Tail::Clean,
    };
    // The offsets of the frames that the newest one does not vouch for.
    let mut unsynced = std::collections::VecDeque::new();
    loop {
        let expected = LogIndex(scan.last.0.wrapping_add(1));
        match whole.at(scan.end) {
            Ok(frame) => {
                check_order(&frame, expected, scan.epoch)?;
                if matches!(next, Next::Segment(first) if expected >= first) {
                    return Err(Found::new(scan.end, Damage::AfterEnd));
                }
                unsynced.push_back((frame.header.index, frame.start));
                while unsynced.front().is_some_and(|&(index, _)| index <= frame.header.durable) {
                    unsynced.pop_front();
                }
                visit(&frame);
                scan.take(&frame);
            }
            Err(fault) => {
                scan.tail = match next {
                    Next::Nothing => judge_tail(whole, scan.end, expected, &fault)?,
                    Next::Segment(first) => judge_end(whole, scan.end, expected, first, &fault)?,
                };
                scan.unsynced = unsynced.front().map(|&(_, start)| start);
                return Ok(scan);
            }
        }
    }
}

impl Scan {
    fn take(&mut self, frame: &Frame<'_>) {
        self.last = frame.header.index;
        self.epoch = frame.header.epoch;
        self.end = frame.end;
    }
}

pub(crate) fn check_order(
    frame: &Frame<'_>,
    expected: LogIndex,
    epoch: Epoch,
) -> Result<(), Found> {
    let found = frame.header.index;
    // The highest index is never used, so that the next one always exists.
    if found != expected || expected.0 == 0 || expected.0 == u64::MAX {
        return Err(Found::new(frame.start, Damage::Order { expected, found }));
    }
    if frame.header.epoch < epoch {
        let what = Damage::EpochOrder { index: found, last: epoch, found: frame.header.epoch };
        return Err(Found::new(frame.start, what));
    }
    Ok(())
}

/// Judges what follows the last frame of a segment that has a successor:
/// nothing can be torn here.
fn judge_end(
    whole: Frames<'_>,
    end: u64,
    expected: LogIndex,
    first_of_next: LogIndex,
    fault: &Fault,
) -> Result<Tail, Found> {
    if expected < first_of_next {
        let what = match fault {
            Fault::Damaged(what) => what(expected),
            Fault::Beyond(_) | Fault::Blank | Fault::Torn => {
                Damage::Incomplete { from: expected, through: LogIndex(first_of_next.0 - 1) }
            }
        };
        return Err(Found::new(end, what));
    }
    match judge_tail(whole, end, expected, &Fault::Blank)? {
        Tail::Torn { offset, .. } => Err(Found::new(offset, Damage::AfterEnd)),
        tail => Ok(tail),
    }
}

/// The contents of a segment file.
#[derive(Debug, PartialEq, Eq)]
pub struct SegmentContents {
    /// Its header.
    pub header: SegmentHeader,
    /// What it records about the next segment.
    pub closing: Closing,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// What follows them.
    pub tail: Tail,
}

/// Decodes the bytes of one segment file, as the last segment of a log. Pure;
/// accepts any bytes.
///
/// # Errors
/// Why it cannot be read.
pub fn decode_segment(image: &[u8]) -> Result<SegmentContents, Unreadable> {
    let header = SegmentHeader::decode(image)?;
    check_length(&header, image.len() as u64).map_err(Unreadable::Damaged)?;
    let closing = Closing::decode(image, header.salt).map_err(Unreadable::Damaged)?;
    let mut entries = Vec::new();
    let scan =
        scan_segment(image, &header, Next::Nothing, &mut |frame| entries.push(frame.entry()))
            .map_err(Unreadable::Damaged)?;
    Ok(SegmentContents { header, closing, entries, tail: scan.tail })
}

/// Checks that a file still has the length it was created with.
pub(crate) fn check_length(header: &SegmentHeader, actual: u64) -> Result<(), Found> {
    if header.file_bytes == actual {
        return Ok(());
    }
    Err(Found::new(actual, Damage::FileLength { header: header.file_bytes, actual }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode_frame;

    fn entry(index: u64, epoch: u64) -> Entry {
        Entry { epoch: Epoch(epoch), index: LogIndex(index), payload: vec![1; 50].into() }
    }

    /// A segment that begins with entry 5 after epoch 3, with sound frames.
    fn segment(entries: &[(u64, u64)]) -> Vec<u8> {
        let header = SegmentHeader {
            version: 2,
            salt: 9,
            first: LogIndex(5),
            epoch: Epoch(3),
            previous_salt: 0,
            file_bytes: 8192,
        };
        let mut image = header.encode();
        for &(index, epoch) in entries {
            encode_frame(&mut image, 0, 9, &entry(index, epoch), LogIndex(4));
        }
        image.resize(8192, 0);
        image
    }

    fn damage(entries: &[(u64, u64)]) -> Damage {
        match decode_segment(&segment(entries)) {
            Err(Unreadable::Damaged(found)) => found.what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sound_frames_in_order() {
        let contents = decode_segment(&segment(&[(5, 3), (6, 3), (7, 8)])).expect("sound");
        assert_eq!(contents.entries, [entry(5, 3), entry(6, 3), entry(7, 8)]);
    }

    #[test]
    fn sound_frames_out_of_order_are_damage() {
        let order = |expected, found| Damage::Order {
            expected: LogIndex(expected),
            found: LogIndex(found),
        };
        assert_eq!(damage(&[(4, 3)]), order(5, 4));
        assert_eq!(damage(&[(5, 3), (7, 3)]), order(6, 7));
        assert_eq!(damage(&[(5, 3), (5, 3)]), order(6, 5));
    }

    #[test]
    fn an_epoch_below_the_one_before_is_damage() {
        let order = |index, last, found| Damage::EpochOrder {
            index: LogIndex(index),
            last: Epoch(last),
            found: Epoch(found),
        };
        assert_eq!(damage(&[(5, 2)]), order(5, 3, 2));
        assert_eq!(damage(&[(5, 4), (6, 3)]), order(6, 4, 3));
    }

    #[test]
    fn a_file_of_another_length_is_damage() {
        let mut image = segment(&[(5, 3)]);
        image.push(0);
        let what = Damage::FileLength { header: 8192, actual: 8193 };
        assert_eq!(decode_segment(&image), Err(Unreadable::Damaged(Found::new(8193, what))));
    }
}
