//! Log lines about slow calls, in etcd's words, which people and scripts look for:
//! never with a value, and at a bounded rate.
//!
//! `shown`: the text of a request.

mod shown;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use t4_node::{Counters, LogLimit};
use tonic::Status;

use crate::caller::Caller;
use crate::config::ApiConfig;
use crate::method::Method;
use crate::wire::FRAME_HEADER_BYTES;

pub(crate) use shown::can_be_shown;

/// Lines a second, at most.
const LINES_MAX: u32 = 10;

/// Logs calls that took longer than expected.
#[derive(Debug)]
pub(crate) struct SlowCalls {
    /// What a read may take.
    read_max: Duration,
    /// What any unary call may take.
    call_max: Duration,
    limit: LogLimit,
}

/// A call that has ended.
pub(crate) struct Ended<'a> {
    pub(crate) method: Method,
    pub(crate) took: Duration,
    /// The bytes of the request; empty if they are not to be shown.
    pub(crate) request: Bytes,
    /// The frame of the response.
    pub(crate) result: Result<&'a Bytes, &'a Status>,
    pub(crate) caller: &'a Caller,
}

impl Ended<'_> {
    fn request_text(&self) -> String {
        shown::request(self.method, &self.request)
    }

    fn response_bytes(&self) -> usize {
        self.result.map_or(0, |frame| frame.len().saturating_sub(FRAME_HEADER_BYTES))
    }
}

impl SlowCalls {
    pub(crate) fn new(config: &ApiConfig) -> Self {
        SlowCalls {
            read_max: config.warning_apply_duration,
            call_max: config.warning_unary_request_duration,
            limit: LogLimit::per_second(LINES_MAX),
        }
    }

    /// Whether there may be something to log.
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        took > self.read_max || took > self.call_max
    }

    /// Logs a call that may have been slow. `only_reads`: it is a transaction that
    /// only reads.
    pub(crate) fn tell(&self, call: &Ended<'_>, only_reads: bool, counters: &Counters) {
        let prefix = match call.method {
            Method::Range => Some("read-only range "),
            Method::Txn if only_reads => Some("read-only txn "),
            _ => None,
        };
        if let Some(prefix) = prefix
            && call.took > self.read_max
        {
            counters.slow_applies.fetch_add(1, Ordering::Relaxed);
            self.tell_read(call, prefix);
        }
        if call.took > self.call_max {
            self.tell_call(call);
        }
    }

    fn tell_read(&self, call: &Ended<'_>, prefix: &str) {
        let Some(suppressed) = self.limit.admit(Instant::now()) else { return };
        tracing::warn!(
            took = ?call.took,
            "expected-duration" = ?self.read_max,
            prefix,
            request = call.request_text(),
            response = format!("size:{}", call.response_bytes()),
            error = call.result.err().map(Status::message),
            suppressed = (suppressed > 0).then_some(suppressed),
            "apply request took too long"
        );
    }

    fn tell_call(&self, call: &Ended<'_>) {
        let Some(suppressed) = self.limit.admit(Instant::now()) else { return };
        let remote = match call.caller.address {
            Some(address) => address.to_string(),
            None => "local".to_owned(),
        };
        tracing::warn!(
            "time spent" = ?call.took,
            remote,
            "response type" = format!("/{}/{}", call.method.service(), call.method.name()),
            "request size" = call.request.len(),
            "response size" = call.response_bytes(),
            "request content" = call.request_text(),
            error = call.result.err().map(Status::message),
            suppressed = (suppressed > 0).then_some(suppressed),
            "request stats"
        );
    }
}
