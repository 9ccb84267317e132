//! A scripted end of a connection: a client that a test drives byte by byte.
//!
//! Not here: any driver. Invariant: what it was told to send goes out in order, as the connection
//! has room; what it received waits until it is taken.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::driver::Errno;

use super::socket::{Read, SocketId};
use super::world::{Attempt, World};

#[derive(Debug)]
pub(super) struct Peer {
    socket: SocketId,
    unsent: Vec<u8>,
    received: Vec<u8>,
    fin_wanted: bool,
    reading: bool,
    ended: Option<Result<(), Errno>>,
    connected: bool,
}

impl Peer {
    pub(super) fn next_ns(&self, world: &World) -> u64 {
        if self.ended.is_some() {
            return u64::MAX;
        }
        if !self.connected {
            return match world.attempts.get(&self.socket.0) {
                Some(&Attempt::Over { at_ns, .. }) => at_ns,
                _ => u64::MAX,
            };
        }
        if self.reading { world.sockets[self.socket.0].readable_at_ns() } else { u64::MAX }
    }
}

impl World {
    /// Moves the bytes of peer `index`, as far as they go.
    pub(super) fn pump(&mut self, index: usize) {
        let id = self.peers[index].socket;
        if !self.peers[index].connected {
            match self.attempts.get(&id.0) {
                Some(&Attempt::Over { at_ns, result }) if at_ns <= self.now_ns => {
                    self.attempts.remove(&id.0);
                    self.peers[index].connected = result.is_ok();
                    self.peers[index].ended = result.err().map(Err);
                }
                _ => {}
            }
        }
        if !self.peers[index].connected {
            return;
        }
        let unsent = std::mem::take(&mut self.peers[index].unsent);
        let sent = if unsent.is_empty() { Ok(0) } else { self.write(id, &unsent) };
        // A broken connection shows when it is read.
        self.peers[index].unsent = unsent[sent.unwrap_or(unsent.len())..].to_vec();
        if self.peers[index].fin_wanted && self.peers[index].unsent.is_empty() {
            self.peers[index].fin_wanted = false;
            self.shut_write(id);
        }
        while self.peers[index].reading && self.peers[index].ended.is_none() {
            let now_ns = self.now_ns;
            match self.socket(id).read(now_ns, usize::MAX) {
                Read::Bytes(bytes) => {
                    self.log.note(now_ns, "peer got", id.0 as u64, bytes.len() as u64);
                    self.log.note_bytes(&bytes);
                    self.peers[index].received.extend(bytes);
                }
                Read::Ended(result) => {
                    self.log.note(now_ns, "peer ended", id.0 as u64, u64::from(result.is_err()));
                    self.peers[index].ended = Some(result);
                }
                Read::Nothing => break,
            }
        }
    }
}

/// A scripted client. It reads all that arrives, unless told not to.
#[derive(Clone)]
pub struct RawPeer {
    world: Rc<RefCell<World>>,
    index: usize,
}

impl RawPeer {
    pub(super) fn new(world: &Rc<RefCell<World>>, socket: SocketId) -> Self {
        let peers = &mut world.borrow_mut().peers;
        peers.push(Peer {
            socket,
            unsent: Vec::new(),
            received: Vec::new(),
            fin_wanted: false,
            reading: true,
            ended: None,
            connected: false,
        });
        Self { world: Rc::clone(world), index: peers.len() - 1 }
    }

    fn pumped<T>(&self, look: impl FnOnce(&mut Peer) -> T) -> T {
        let world = &mut *self.world.borrow_mut();
        world.pump(self.index);
        look(&mut world.peers[self.index])
    }

    /// Sends `bytes` after all that was sent before, as the connection has room.
    pub fn send(&self, bytes: &[u8]) {
        self.pumped(|peer| peer.unsent.extend_from_slice(bytes));
        self.pumped(|_| {});
    }

    /// Bytes that the connection had no room for yet.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.pumped(|peer| peer.unsent.len())
    }

    /// Takes what has arrived.
    #[must_use]
    pub fn take_received(&self) -> Vec<u8> {
        self.pumped(|peer| std::mem::take(&mut peer.received))
    }

    /// Looks at what has arrived and was not taken.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.pumped(|peer| peer.received.clone())
    }

    /// Sends FIN after the bytes given before; goes on reading.
    pub fn fin(&self) {
        self.pumped(|peer| peer.fin_wanted = true);
        self.pumped(|_| {});
    }

    /// Breaks the connection at once with RST.
    pub fn reset(&self) {
        self.pumped(|peer| peer.ended = Some(Err(Errno(libc::ECONNABORTED))));
        let world = &mut *self.world.borrow_mut();
        let socket = world.peers[self.index].socket;
        world.close(socket, true);
    }

    /// Leaves what arrives in the kernel's buffers, which fill up.
    pub fn stop_reading(&self) {
        self.pumped(|peer| peer.reading = false);
    }

    /// Reads again.
    pub fn start_reading(&self) {
        self.pumped(|peer| peer.reading = true);
        self.pumped(|_| {});
    }

    /// Whether the connection is made.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.pumped(|peer| peer.connected)
    }

    /// Whether nothing more will arrive.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ending().is_some()
    }

    /// How receiving ended: `Ok` with FIN, else the error of reading or connecting.
    #[must_use]
    pub fn ending(&self) -> Option<Result<(), Errno>> {
        self.pumped(|peer| peer.ended)
    }
}

impl fmt::Debug for RawPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPeer({})", self.index)
    }
}
