//! Notifies systemd, if it started us with `Type=notify` or `notify-reload`,
//! when we are ready, reload our files, and stop (reference: `sd_notify(3)`):
//! units that wait for us then wait until we serve.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A state to report to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Requests are served; any reload has finished.
    Ready,
    /// Files are being reloaded; `Ready` follows.
    Reloading,
    /// A stop has begun.
    Stopping,
}

/// Notifies the supervisor that the environment names, if there is one. A
/// failure is logged and is no reason to stop.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?socket, "the supervisor cannot be told");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let message = match state {
        State::Ready => "READY=1".to_owned(),
        // The time distinguishes this reload from an earlier one.
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()),
        State::Stopping => "STOPPING=1".to_owned(),
    };
    // `@` stands for the leading zero byte of an abstract name.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

/// The clock that systemd compares with, in microseconds.
fn monotonic_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("a message");
        buffer[..length].to_vec()
    }

    #[test]
    fn a_socket_with_a_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        send(path.as_os_str(), State::Ready).expect("sent");
        assert_eq!(received(&socket), b"READY=1");
        let before = monotonic_us();
        send(path.as_os_str(), State::Reloading).expect("sent");
        let told = String::from_utf8(received(&socket)).expect("text");
        let at = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("as systemd has it");
        let at: i64 = at.parse().expect("a number");
        assert!((before..=monotonic_us()).contains(&at), "{at}");
        send(path.as_os_str(), State::Stopping).expect("sent");
        assert_eq!(received(&socket), b"STOPPING=1");
    }

    #[test]
    fn an_abstract_socket() {
        let name = format!("t4-cli-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bind");
        send(OsStr::new(&format!("@{name}")), State::Ready).expect("sent");
        assert_eq!(received(&socket), b"READY=1");
    }

    #[test]
    fn nobody_there_is_an_error_and_no_more() {
        assert!(send(OsStr::new("/nowhere/notify"), State::Ready).is_err());
    }
}
