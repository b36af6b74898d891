//! Wait for a condition, never for a duration.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::bail;

const PAUSE: Duration = Duration::from_millis(5);

/// Calls `probe` until it returns a value, and returns that; blocks the thread.
///
/// # Errors
/// When there is none after `deadline`, with the text of `what` and the last
/// reason that the probe gave.
pub fn poll_until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                bail!("{what}: not within {deadline:?}; last seen: {reason:#}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// [`poll_until`] for async probes.
///
/// # Errors
/// Those of [`poll_until`].
pub async fn poll_until_async<T, F>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                bail!("{what}: not within {deadline:?}; last seen: {reason:#}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::bail;

    use super::poll_until;

    #[test]
    fn the_first_value_ends_the_wait() {
        let mut tries = 0;
        let got = poll_until("three tries", Duration::from_secs(10), || {
            tries += 1;
            if tries < 3 { bail!("only {tries}") } else { Ok(tries) }
        });
        assert_eq!(got.expect("value"), 3);
    }

    #[test]
    fn a_missed_deadline_tells_what_was_last_seen() {
        let never: anyhow::Result<()> =
            poll_until("a miracle", Duration::ZERO, || bail!("still nothing"));
        let text = format!("{:#}", never.expect_err("deadline"));
        assert!(text.contains("a miracle") && text.contains("still nothing"), "{text}");
    }
}
