//! Ports for servers under test.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

// Below the range that Linux hands to outgoing connections (32768 and up):
// the port of a server that is being restarted must not be taken by a client.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that nobody listens on. No two calls in one process
/// give the same one, until thousands have been given out.
///
/// # Panics
/// When no port of the range is free.
#[must_use]
pub fn free_port() -> u16 {
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Processes start at different places, so that two suites that run at
        // once seldom look at the same port.
        let place = std::process::id().wrapping_mul(613).wrapping_add(step) % COUNT;
        let port = u16::try_from(FIRST + place).expect("the range is below 65536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {FIRST}..{}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use super::free_port;

    #[test]
    fn ports_are_free_and_different() {
        let (one, two) = (free_port(), free_port());
        assert_ne!(one, two);
        let held = std::net::TcpListener::bind(("127.0.0.1", one)).expect("free");
        assert_eq!(held.local_addr().expect("address").port(), one);
    }
}
