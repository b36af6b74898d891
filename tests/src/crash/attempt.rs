//! One write that a client tried, and what came of it.

use bytes::Bytes;

/// Which client, and its how manieth write. A write that failed is never tried
/// again under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The client.
    pub writer: u32,
    /// Counts the client's writes over all rounds.
    pub number: u32,
}

impl AttemptId {
    /// A value that names this attempt, `filler` bytes longer than it must be.
    #[must_use]
    pub fn value(self, filler: usize) -> Bytes {
        let mut value = format!("{}.{}:", self.writer, self.number).into_bytes();
        value.resize(value.len() + filler, b'.');
        value.into()
    }

    /// The attempt that a value names.
    #[must_use]
    pub fn of_value(value: &[u8]) -> Option<AttemptId> {
        let name = value.split(|byte| *byte == b':').next()?;
        let (writer, number) = std::str::from_utf8(name).ok()?.split_once('.')?;
        Some(AttemptId { writer: writer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// One change of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key gets the value.
    Put(Bytes, Bytes),
    /// The key goes away, if it is there.
    Delete(Bytes),
}

/// What the client knows of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said that it is done, at this revision.
    Acknowledged(i64),
    /// No answer, or an error: it may have happened or may yet.
    Unknown,
}

/// A write: one put, or a transaction of several changes. The first is a put.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its name, which every value in it carries.
    pub id: AttemptId,
    /// What it changes, in order.
    pub changes: Vec<Change>,
    /// When the request was sent, on a clock that counts events of the suite.
    pub began: u64,
    /// When the answer came; `u64::MAX` when none came.
    pub ended: u64,
    /// What the answer was.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::AttemptId;

    #[test]
    fn a_value_names_its_attempt() {
        let id = AttemptId { writer: 7, number: 1234 };
        assert_eq!(AttemptId::of_value(&id.value(0)), Some(id));
        assert_eq!(AttemptId::of_value(&id.value(100)), Some(id));
        assert_eq!(AttemptId::of_value(b"something else"), None);
        assert_eq!(AttemptId::of_value(b""), None);
    }
}
