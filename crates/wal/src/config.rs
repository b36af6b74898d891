//! The options of a log, as plain data.

/// How the log uses its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The size of a segment file in bytes; the default is 64 MiB. Raised to 8
    /// KiB if lower. A batch that does not fit gets its own segment, as large
    /// as it needs. The first segment of a new log is at most 4 MiB, so that a
    /// first start is quick.
    pub segment_bytes: u64,
    /// Whether a background thread prepares the next segment and removes
    /// released ones, so that neither delays an append; on by default.
    /// Otherwise both happen inside the call that needs them, which makes the
    /// order of all disk operations a function of the calls (for simulations).
    pub background: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { segment_bytes: 64 << 20, background: true }
    }
}

/// The size limit of the first segment of a new log, in bytes.
const FIRST_SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// A header page and some space for frames.
const SEGMENT_BYTES_MIN: u64 = 8 << 10;

impl Config {
    /// The size of a new segment that must hold at least `needed` bytes, with
    /// its header.
    pub(crate) fn segment_bytes_for(&self, needed: u64) -> u64 {
        let usual = self.segment_bytes.max(SEGMENT_BYTES_MIN);
        usual.max(needed).next_multiple_of(4096)
    }

    /// The size of the first segment of a new log.
    pub(crate) fn first_segment_bytes(&self) -> u64 {
        let usual = self.segment_bytes.max(SEGMENT_BYTES_MIN);
        usual.min(FIRST_SEGMENT_BYTES_MAX).next_multiple_of(4096)
    }
}
