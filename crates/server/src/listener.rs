//! Bound sockets, and the tasks that accept on them.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::address::{ListenAddress, SocketAddress};
use crate::connection::Port;
use crate::error::StartError;
use crate::front::Purpose;
use crate::places::{Place, Places};
use crate::shard::Shard;
use crate::socket::Accepted;

/// Connections that the kernel completes before they are accepted, at most.
const BACKLOG: i32 = 4096;
/// The mode of Unix sockets: only the owner (and root) may connect, whatever the umask.
const SOCKET_MODE: u32 = 0o600;
/// How long accepting rests after an error.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound socket.
pub(crate) struct Listener {
    socket: Bound,
    /// Where, with the port that the system chose if it was 0.
    address: SocketAddress,
    pub(crate) plan: Plan,
}

/// One socket to be bound. Two addresses that differ in TLS only share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    socket: SocketAddress,
    pub(crate) purpose: Purpose,
    /// Whether plain text is spoken.
    pub(crate) plain: bool,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
}

/// The sockets for `addresses`, in their order.
pub(crate) fn plan(addresses: &[ListenAddress], purpose: Purpose) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for ListenAddress { socket, tls } in addresses {
        let at = plans.iter().position(|plan| plan.socket == *socket).unwrap_or(plans.len());
        if at == plans.len() {
            plans.push(Plan { socket: socket.clone(), purpose, plain: false, tls: false });
        }
        plans[at].tls |= tls;
        plans[at].plain |= !tls;
    }
    plans
}

enum Bound {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// A Unix socket's file; removed at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(crate) fn bind(plan: Plan, reuse_port: bool) -> Result<Self, StartError> {
        let failed = |source| {
            let address = ListenAddress { socket: plan.socket.clone(), tls: !plan.plain };
            StartError::Bind { address: address.to_string(), source }
        };
        let (socket, address) = match &plan.socket {
            SocketAddress::Tcp(wanted) => {
                let listener = bind_tcp(*wanted, reuse_port).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                (Bound::Tcp(listener), SocketAddress::Tcp(bound))
            }
            SocketAddress::Unix(path) => {
                remove_stale(path).map_err(failed)?;
                let listener = bind_unix(path).map_err(failed)?;
                let file = SocketFile(path.clone());
                (Bound::Unix { listener, _file: file }, plan.socket.clone())
            }
        };
        Ok(Listener { socket, address, plan })
    }

    /// Where it is, in each way in which it is spoken there.
    pub(crate) fn addresses(&self) -> Vec<ListenAddress> {
        let ways = [(self.plan.plain, false), (self.plan.tls, true)];
        let spoken = ways.into_iter().filter(|(spoken, _)| *spoken);
        spoken.map(|(_, tls)| ListenAddress { socket: self.address.clone(), tls }).collect()
    }

    /// Accepts, while there are places, until `drain` turns true.
    pub(crate) async fn accept(
        self,
        port: Arc<Port>,
        shards: Arc<Vec<Shard>>,
        places: Arc<Places>,
        mut drain: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = async {
                places.wait_for_room(port.purpose).await;
                self.socket.accept().await
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                _ = drain.wait_for(|drain| *drain) => return,
            };
            match accepted {
                Ok(connection) => self.dispatch(&shards, connection, &port, places.take()).await,
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// To the shard with the fewest connections.
    async fn dispatch(
        &self,
        shards: &[Shard],
        connection: Accepted,
        port: &Arc<Port>,
        place: Place,
    ) {
        let Some(shard) = shards.iter().min_by_key(|shard| shard.load()) else { return };
        if !shard.hand_over(connection, port.clone(), place).await {
            tracing::debug!(address = %self.address, "a connection came while the server stops");
        }
    }
}

impl Bound {
    async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Bound::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                Accepted::Tcp(stream.into_std()?, remote)
            }
            Bound::Unix { listener, .. } => Accepted::Unix(listener.accept().await?.0.into_std()?),
        })
    }
}

fn bind_tcp(address: std::net::SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the last run to be
    // forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before it has a name: the name takes its mode from here, so that there is
    // no moment in which others can connect.
    let mode = rustix::fs::Mode::from_raw_mode(SOCKET_MODE);
    rustix::fs::fchmod(&socket, mode)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // What a umask took from the owner.
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE));
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// Removes the socket file that a killed process left behind; anything that
/// answers, or is no socket, stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("a file of that name exists and is not a socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(_) => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_of_one_address_share_its_socket() {
        let addresses = ["http://127.0.0.1:1", "https://127.0.0.1:2", "https://127.0.0.1:1"];
        let addresses = addresses.map(|text| text.parse().expect("an address"));
        let shown: Vec<_> = plan(&addresses, Purpose::Client)
            .iter()
            .map(|plan| (plan.socket.to_string(), plan.plain, plan.tls))
            .collect();
        let expected =
            [("127.0.0.1:1".to_owned(), true, true), ("127.0.0.1:2".to_owned(), false, true)];
        assert_eq!(shown, expected);
    }
}
