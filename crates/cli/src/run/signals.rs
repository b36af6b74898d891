//! The signals that stop a server, and the one that makes it reload its files.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

/// A signal repeated this soon is the same one: `timeout` sends it to the
/// process and to its group.
const ECHO: Duration = Duration::from_millis(100);

/// A signal that asks the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// From an orchestrator.
    Terminate,
    /// From a keyboard.
    Interrupt,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    End(Signal),
    /// SIGHUP.
    Reload,
}

impl Signal {
    /// The exit code that a shell reports for a process killed by this signal.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
        })
    }
}

/// Receives signals from the moment it is created.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    echoes: Echoes,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            echoes: Echoes::default(),
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        loop {
            let signal = tokio::select! {
                _ = self.terminate.recv() => Signal::Terminate,
                _ = self.interrupt.recv() => Signal::Interrupt,
                _ = self.hangup.recv() => return Asked::Reload,
            };
            if self.echoes.is_new(signal, Instant::now()) {
                return Asked::End(signal);
            }
        }
    }

    /// Waits for the next signal to stop: while a server starts or stops there
    /// is nothing to reload.
    pub(crate) async fn end(&mut self) -> Signal {
        loop {
            if let Asked::End(signal) = self.next().await {
                return signal;
            }
        }
    }
}

/// Distinguishes a new signal from an echo of the previous one.
#[derive(Debug, Default)]
struct Echoes {
    last: Option<(Signal, Instant)>,
}

impl Echoes {
    fn is_new(&mut self, signal: Signal, now: Instant) -> bool {
        let is_echo = |(last, at): (Signal, Instant)| {
            last == signal && now.saturating_duration_since(at) < ECHO
        };
        if self.last.is_some_and(is_echo) {
            return false;
        }
        self.last = Some((signal, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_within_a_moment_is_one() {
        let (mut echoes, begin) = (Echoes::default(), Instant::now());
        let mut is_new =
            |signal, millis| echoes.is_new(signal, begin + Duration::from_millis(millis));
        assert!(is_new(Signal::Terminate, 0));
        assert!(!is_new(Signal::Terminate, 0) && !is_new(Signal::Terminate, 99));
        assert!(is_new(Signal::Terminate, 100), "counted from the one that was taken");
        assert!(is_new(Signal::Interrupt, 101), "another signal is another wish");
    }
}
