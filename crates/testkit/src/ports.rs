//! Ports for servers under test.
//!
//! A test chooses a port, and another process binds it some time later. So that no other
//! suite chooses the same port in between, each process owns blocks of ports: it owns a
//! block while it listens on the block's first port. The kernel releases the block when
//! the process ends, however it ends, and sees every suite on the machine, whichever
//! directory it runs in.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpSocket;

// Below the range that Linux uses for outgoing connections (32768 and up): a
// client must not take the port of a server that is being restarted.
const FIRST: u16 = 12_000;
const BLOCKS: u16 = 400;
const BLOCK_PORTS: u16 = 50;

static BLOCKS_OF_THIS_PROCESS: Mutex<Blocks> = Mutex::new(Blocks::new());

/// A port of 127.0.0.1 that nothing listens on, and that no other call returns, in this
/// process or in another one that uses this crate, as long as blocks are left: there are
/// enough for hundreds of processes or 19,600 ports.
///
/// # Panics
/// When no port of the range is free.
/// When no port of the range is free.
#[must_use]
pub fn free_port() -> u16 {
    let mut blocks = BLOCKS_OF_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    blocks.next_free().unwrap_or_else(|| {
        panic!("no free port in {FIRST}..{}", FIRST + BLOCKS * BLOCK_PORTS);
    })
}

/// The blocks that a process owns.
struct Blocks {
    /// Listens on the first port of each block. Never accepts.
    owned: Vec<(u16, TcpListener)>,
    /// How many of their ports, in order, were handed out.
    handed_out: usize,
}

impl Blocks {
    const fn new() -> Self {
        Blocks { owned: Vec::new(), handed_out: 0 }
    }

    fn next_free(&mut self) -> Option<u16> {
        let per_block = usize::from(BLOCK_PORTS) - 1;
        // Once every block is taken, the oldest ports of this process are
        // reused.
        for _ in 0..usize::from(BLOCKS) * per_block {
            let all = self.owned.len() * per_block;
            if self.handed_out >= all && !self.claim() {
                self.handed_out = 0;
                if all == 0 {
                    return None;
                }
            }
            let (block, place) = (self.handed_out / per_block, self.handed_out % per_block);
            self.handed_out += 1;
            let port = self.owned[block].0 + 1 + u16::try_from(place).ok()?;
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }

    /// Takes one more block, if there is one.
    fn claim(&mut self) -> bool {
        // Processes start at different offsets, so that they seldom collide.
        let start = std::process::id() % u32::from(BLOCKS);
        let start = u16::try_from(start).unwrap_or_default();
        let found = (0..BLOCKS).find_map(|step| {
            let first = FIRST + (start + step) % BLOCKS * BLOCK_PORTS;
            Some((first, TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?))
        });
        let is_found = found.is_some();
        self.owned.extend(found);
        is_found
    }
}

/// Whether nothing listens there. The check does not listen itself: a copy of a listening
/// socket in a child that is just being started would keep the server from binding; a
/// copy of a merely bound socket does not.
fn is_free(port: u16) -> bool {
    let bind = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    bind().is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

    use super::{BLOCK_PORTS, Blocks, free_port, is_free};

    #[test]
    fn ports_are_free_and_different() {
        let (one, two) = (free_port(), free_port());
        assert_ne!(one, two);
        let held = TcpListener::bind(("127.0.0.1", one)).expect("free");
        assert_eq!(held.local_addr().expect("address").port(), one);
        assert!(!is_free(one) && is_free(two));
    }

    /// Two processes choose concurrently, and bind later.
    #[test]
    fn no_two_processes_choose_the_same_port() {
        let (mut one, mut two) = (Blocks::new(), Blocks::new());
        let mut seen = HashSet::new();
        // More than one block each, so that both must claim further blocks.
        for _ in 0..3 * BLOCK_PORTS {
            for process in [&mut one, &mut two] {
                let port = process.next_free().expect("a port");
                assert!(seen.insert(port), "{port} was chosen twice");
            }
        }
        assert!(one.owned.len() > 3 && two.owned.len() > 3);
        let (first, _) = one.owned[0];
        assert!(TcpListener::bind(("127.0.0.1", first)).is_err(), "it is owned");
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let mut blocks = Blocks::new();
        let port = blocks.next_free().expect("a port");
        let held = TcpListener::bind(("127.0.0.1", port + 1)).expect("the next one");
        assert_eq!(blocks.next_free(), Some(port + 2));
        drop(held);
    }
}
