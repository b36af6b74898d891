//! Whether two servers answered the same.

use super::answer::Answer;
use super::op::Op;
use crate::allowed;

/// `None` when the subject answered as it should; else what the reference and
/// the subject answered, after [`allowed::settle`] took out what may differ.
#[must_use]
pub fn compare(op: &Op, reference: &Answer, subject: &Answer) -> Option<(Answer, Answer)> {
    let (mut want, mut got) = (reference.clone(), subject.clone());
    allowed::settle(op, &mut want, &mut got);
    let missing = want.is_missing() || got.is_missing();
    (missing || want != got).then_some((want, got))
}
