//! `grpc-timeout`: how long the client waits.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tonic::Status;

use crate::errors::ApiError;

/// The duration in a `grpc-timeout`: up to eight digits and a unit.
pub(crate) fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// What `work` gives, unless the client's time is over first. The time counts
/// from the first wait: work that does not wait needs no timer. Less than a
/// microsecond is over before anything is begun.
///
/// Work that is given up has been dropped where it waited; what it had
/// submitted to the node by then takes effect all the same.
///
/// The work is pinned by the caller, as a future that is passed on by value is
/// copied.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    mut work: Pin<&mut impl Future<Output = Result<T, Status>>>,
) -> Result<T, Status> {
    let Some(timeout) = timeout else { return work.await };
    if timeout.as_micros() == 0 {
        return Err(ApiError::ContextDeadlineExceeded.status());
    }
    let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    if let Poll::Ready(result) = first {
        return result;
    }
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::ContextDeadlineExceeded.status()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        assert_eq!(parse_timeout(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_timeout(b"3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse_timeout(b"99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse_timeout(b"1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_timeout(b"7u"), Some(Duration::from_micros(7)));
        assert_eq!(parse_timeout(b"0n"), Some(Duration::ZERO));
        for wrong in [&b""[..], b"S", b"1", b"123456789S", b"-1S", b"1s", b"1 S", b"1x"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong:?}");
        }
    }

    use std::pin::pin;

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_too_long_is_given_up() {
        let second = Some(Duration::from_secs(1));
        let quick = within(second, pin!(async { Ok(1) })).await.unwrap();
        assert_eq!(quick, 1);
        let work = async {
            tokio::time::sleep(Duration::from_millis(999)).await;
            Ok(2)
        };
        assert_eq!(within(second, pin!(work)).await.unwrap(), 2);
        let late = within::<()>(second, pin!(std::future::pending())).await.unwrap_err();
        assert_eq!(late.message(), "context deadline exceeded");
    }
}
