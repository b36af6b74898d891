//! What the write loop says in the log of requests that held it up, in etcd's
//! words: everybody else's writes waited for them.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use t4_kv_types::{OpError, Write};

use crate::apply_times::ApplyOp;
use crate::counters::Counters;
use crate::log_limit::LogLimit;

/// Lines a second, at most.
const LINES_MAX: u32 = 10;
/// How much of a key is shown.
const KEY_BYTES_MAX: usize = 128;

/// Tells of what took longer than expected.
pub(crate) struct SlowApplies {
    expected: Duration,
    limit: LogLimit,
}

impl SlowApplies {
    pub(crate) fn new(expected: Duration) -> Self {
        SlowApplies { expected, limit: LogLimit::per_second(LINES_MAX) }
    }

    /// A request was evaluated, with these writes.
    pub(crate) fn evaluated(
        &self,
        counters: &Counters,
        took: Duration,
        op: ApplyOp,
        error: Option<&OpError>,
        writes: &[Write],
    ) {
        if took > self.expected {
            self.tell(counters, took, "", described(op, writes), error);
        }
    }

    /// A batch was applied.
    pub(crate) fn applied(
        &self,
        counters: &Counters,
        took: Duration,
        requests: usize,
        writes: &[Write],
    ) {
        if took > self.expected {
            let request = format!("requests:{requests} {}", writes_of(writes));
            self.tell(counters, took, "batch ", request, None);
        }
    }

    fn tell(
        &self,
        counters: &Counters,
        took: Duration,
        prefix: &str,
        request: String,
        error: Option<&OpError>,
    ) {
        counters.slow_applies.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = self.limit.admit(Instant::now()) else { return };
        tracing::warn!(
            ?took,
            "expected-duration" = ?self.expected,
            prefix,
            request,
            error = error.map(tracing::field::display),
            suppressed = (suppressed > 0).then_some(suppressed),
            "apply request took too long"
        );
    }
}

/// No values, as everything that may be a secret.
fn described(op: ApplyOp, writes: &[Write]) -> String {
    format!("{} {}", op.name(), writes_of(writes))
}

fn writes_of(writes: &[Write]) -> String {
    let Some(first) = writes.first() else { return "writes:0".to_owned() };
    let bytes: usize = writes.iter().map(write_bytes).sum();
    let key = first.key();
    let shown = key[..key.len().min(KEY_BYTES_MAX)].escape_ascii();
    let cut = if key.len() > KEY_BYTES_MAX { "…" } else { "" };
    format!("writes:{} bytes:{bytes} first_key:\"{shown}{cut}\"", writes.len())
}

/// The bytes of key and value.
pub(crate) fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use t4_kv_types::LeaseId;

    #[test]
    fn keys_are_shown_and_values_are_not() {
        let put = Write::Put {
            key: b"a\"\xff".to_vec().into(),
            value: b"secret".to_vec().into(),
            lease: LeaseId::NONE,
        };
        let delete = Write::Delete { key: b"b".to_vec().into() };
        assert_eq!(
            described(ApplyOp::Txn, &[put, delete]),
            r#"Txn writes:2 bytes:10 first_key:"a\"\xff""#
        );
        assert_eq!(described(ApplyOp::Compaction, &[]), "Compaction writes:0");
        let long = Write::Delete { key: vec![b'k'; 5000].into() };
        assert!(described(ApplyOp::DeleteRange, &[long]).len() < 300);
    }

    #[test]
    fn all_are_counted_and_a_bounded_number_is_told() {
        let (slow, counters) = (SlowApplies::new(Duration::from_millis(1)), Counters::default());
        for _ in 0..100 {
            slow.applied(&counters, Duration::from_secs(1), 1, &[]);
            slow.evaluated(&counters, Duration::from_micros(5), ApplyOp::Put, None, &[]);
        }
        assert_eq!(counters.slow_applies.load(Ordering::Relaxed), 100);
        assert_eq!(slow.limit.admit(Instant::now() + Duration::from_secs(2)), Some(90));
    }
}
