//! Tells systemd, if it started us with `Type=notify`, when we are ready and
//! when we stop (reference: `sd_notify(3)`): a unit that waits for us then
//! waits until we serve.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What a supervisor can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Requests are served.
    Ready,
    /// A stop has begun.
    Stopping,
}

/// Tells the supervisor that the environment names, if it does. A supervisor
/// that cannot be told is a line in the log, and no reason to stop.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?socket, "the supervisor cannot be told");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let message: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    // `@` stands for the zero byte of an abstract name.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)?;
    Ok(())
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
