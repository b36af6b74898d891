//! Fewer operations that still show a difference.

use std::future::Future;
use std::time::{Duration, Instant};

use super::op::Op;

/// Leaves out ever smaller parts of `ops` while `fails` still holds of what is
/// left, until nothing more can be left out or `budget` is spent. `fails`
/// replays a sequence on fresh servers.
pub async fn shrink<F, Fut>(ops: Vec<Op>, budget: Duration, mut fails: F) -> Vec<Op>
where
    F: FnMut(Vec<Op>) -> Fut,
    Fut: Future<Output = bool>,
{
    let end = Instant::now() + budget;
    let mut left = shortest_tail(ops, end, &mut fails).await;
    let mut part = left.len().div_ceil(2);
    while part > 0 && Instant::now() < end {
        let mut at = 0;
        let mut progress = false;
        while at < left.len() && Instant::now() < end {
            let mut fewer = left.clone();
            fewer.drain(at..(at + part).min(left.len()));
            if !fewer.is_empty() && fails(fewer.clone()).await {
                left = fewer;
                progress = true;
            } else {
                at += part;
            }
        }
        if part == 1 && !progress {
            break;
        }
        part = if part == 1 { 1 } else { part / 2 };
    }
    left
}

// Most differences need only what came last: look for how little of it.
async fn shortest_tail<F, Fut>(ops: Vec<Op>, end: Instant, fails: &mut F) -> Vec<Op>
where
    F: FnMut(Vec<Op>) -> Fut,
    Fut: Future<Output = bool>,
{
    let mut len = 1;
    while len < ops.len() && Instant::now() < end {
        let tail = ops[ops.len() - len..].to_vec();
        if fails(tail.clone()).await {
            return tail;
        }
        len *= 4;
    }
    ops
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::shrink;
    use crate::differential::Op;

    fn op(id: i64) -> Op {
        Op::LeaseRevoke { id }
    }

    #[tokio::test]
    async fn only_what_the_failure_needs_is_left() {
        let ops: Vec<Op> = (0..300).map(op).collect();
        // Needs 17 before 250, however much is around.
        let fails = |ops: Vec<Op>| async move {
            let place = |id| ops.iter().position(|o| *o == op(id));
            matches!((place(17), place(250)), (Some(a), Some(b)) if a < b)
        };
        let left = shrink(ops, Duration::from_secs(60), fails).await;
        assert_eq!(left, [op(17), op(250)]);
    }

    #[tokio::test]
    async fn without_a_budget_the_sequence_stays_as_it_was() {
        let ops: Vec<Op> = (0..5).map(op).collect();
        let left = shrink(ops.clone(), Duration::ZERO, |_| async { true }).await;
        assert_eq!(left, ops);
    }
}
