//! The network between everything in a simulated run: time, chance, sockets, ports.
//!
//! Not here: what a driver's user sees (`kernel.rs`). Invariant: nothing in here is ordered by
//! anything but indices and the seed, so one seed gives one run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::address::Address;
use crate::driver::Errno;

use super::SimOptions;
use super::kernel::Kernel;
use super::log::Log;
use super::peer::Peer;
use super::random::Random;
use super::socket::{Socket, SocketId};

/// Index of a listener in the world.
pub(super) type ListenerId = usize;

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) queue: VecDeque<SocketId>,
    /// Whether new connections may be given to it.
    pub(super) joined: bool,
    pub(super) closed: bool,
}

/// What became of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Underway,
    Over { at_ns: u64, result: Result<(), Errno> },
}

#[derive(Debug)]
struct Syn {
    socket: SocketId,
    address: Address,
    /// Where it comes from, if the test says so.
    source: Option<SocketAddr>,
    at_ns: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now_ns: u64,
    pub(super) random: Random,
    pub(super) options: SimOptions,
    pub(super) healed: bool,
    pub(super) sockets: Vec<Socket>,
    /// By the index of the connecting socket.
    pub(super) attempts: BTreeMap<usize, Attempt>,
    pub(super) listeners: Vec<Listening>,
    pub(super) kernels: Vec<Kernel>,
    pub(super) peers: Vec<Peer>,
    pub(super) alarms: BTreeSet<u64>,
    pub(super) log: Log,
    ports: BTreeMap<Address, Vec<ListenerId>>,
    syns: Vec<Syn>,
    source_port: u16,
}

impl World {
    pub(super) fn new(seed: u64, options: SimOptions) -> Self {
        Self {
            now_ns: options.start_ns,
            random: Random::new(seed),
            options,
            healed: false,
            sockets: Vec::new(),
            attempts: BTreeMap::new(),
            listeners: Vec::new(),
            kernels: Vec::new(),
            peers: Vec::new(),
            alarms: BTreeSet::new(),
            log: Log::new(),
            ports: BTreeMap::new(),
            syns: Vec::new(),
            source_port: 1024,
        }
    }

    /// Whether a fault of this probability happens now.
    pub(super) fn fault(&mut self, probability: f64) -> bool {
        !self.healed && probability > 0.0 && self.random.chance(probability)
    }

    /// A moment from now at which something that takes time is done.
    pub(super) fn later_ns(&mut self) -> u64 {
        let base = self.options.latency_ns / 2 + self.random.below(self.options.latency_ns.max(1));
        let delays = self.options.faults.delays;
        let extra = if self.fault(delays) { self.delay_ns() } else { 0 };
        self.now_ns.saturating_add(base).saturating_add(extra)
    }

    /// A delay of any length up to the longest.
    pub(super) fn delay_ns(&mut self) -> u64 {
        1 + self.random.below(self.options.faults.delay_ns_max.max(1))
    }

    /// A part of `count`, one at least, if this fault happens; else all.
    pub(super) fn cut(&mut self, probability: f64, count: usize) -> usize {
        if count <= 1 || !self.fault(probability) {
            return count;
        }
        // Half of the cuts are tiny: one byte is the case that finds mistakes.
        let most = if self.random.below(2) == 0 { 3.min(count - 1) } else { count - 1 };
        1 + self.random.index(most)
    }

    pub(super) fn socket(&mut self, id: SocketId) -> &mut Socket {
        &mut self.sockets[id.0]
    }

    pub(super) fn bind(&mut self, address: Address) -> ListenerId {
        let id = self.listeners.len();
        let queue = VecDeque::new();
        self.listeners.push(Listening { queue, joined: true, closed: false });
        self.ports.entry(address).or_default().push(id);
        id
    }

    /// Begins a connection to `address`.
    pub(super) fn connect(&mut self, address: Address, source: Option<SocketAddr>) -> SocketId {
        let id = SocketId(self.sockets.len());
        let capacity = self.capacity_bytes();
        // Its other end is made when the attempt arrives; until then it is its own.
        self.sockets.push(Socket::new(id, None, capacity));
        self.attempts.insert(id.0, Attempt::Underway);
        let at_ns = self.later_ns();
        self.syns.push(Syn { socket: id, address, source, at_ns });
        self.log.note(self.now_ns, "connect", id.0 as u64, 0);
        id
    }

    fn capacity_bytes(&mut self) -> usize {
        let small = self.options.faults.small_buffers;
        let whole = self.options.socket_bytes;
        if self.fault(small) { (1 + self.random.index(300)).min(whole) } else { whole }
    }

    /// Lets everything happen whose time has come and that waits for nobody.
    pub(super) fn settle(&mut self) {
        let now_ns = self.now_ns;
        let mut position = 0;
        while position < self.syns.len() {
            if self.syns[position].at_ns <= now_ns {
                let syn = self.syns.remove(position);
                self.answer(syn);
            } else {
                position += 1;
            }
        }
        self.alarms = self.alarms.split_off(&(now_ns + 1));
        for index in 0..self.peers.len() {
            self.pump(index);
        }
    }

    /// A connection attempt has reached its port.
    fn answer(&mut self, mut syn: Syn) {
        if self.sockets[syn.socket.0].closed {
            self.attempts.remove(&syn.socket.0);
            return;
        }
        let open: Vec<ListenerId> = self.ports.get(&syn.address).map_or_else(Vec::new, |group| {
            group.iter().copied().filter(|&id| !self.listeners[id].closed).collect()
        });
        let joined = open.iter().copied().filter(|&id| self.listeners[id].joined);
        let mut choice: Vec<ListenerId> = joined.collect();
        if choice.is_empty() {
            // Nobody has room: the port still answers, and the queue waits.
            choice = open;
        }
        let at_ns = self.later_ns();
        if choice.is_empty() {
            let result = Err(Errno(libc::ECONNREFUSED));
            self.attempts.insert(syn.socket.0, Attempt::Over { at_ns, result });
            self.log.note(self.now_ns, "refused", syn.socket.0 as u64, 0);
            return;
        }
        let listener = choice[self.random.index(choice.len())];
        if self.listeners[listener].queue.len() >= self.options.backlog {
            // The kernel drops the SYN, and the client tries again a second later.
            syn.at_ns = self.now_ns + 1_000_000_000;
            self.syns.push(syn);
            return;
        }
        let accepted = self.pair(&syn);
        self.listeners[listener].queue.push_back(accepted);
        self.attempts.insert(syn.socket.0, Attempt::Over { at_ns, result: Ok(()) });
        self.log.note(self.now_ns, "queued", syn.socket.0 as u64, listener as u64);
    }

    /// Makes the accepting end of a connection.
    fn pair(&mut self, syn: &Syn) -> SocketId {
        let connecting = syn.socket;
        let id = SocketId(self.sockets.len());
        self.source_port = self.source_port.checked_add(1).unwrap_or(1024);
        let mut source = syn.source.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        if source.port() == 0 {
            source.set_port(self.source_port);
        }
        // Who comes by a file has no address.
        let source = syn.address.tcp().map(|_| source);
        let capacity = self.capacity_bytes();
        let mut accepted = Socket::new(connecting, source, capacity);
        accepted.reset_forgets = self.random.below(2) == 0;
        self.sockets.push(accepted);
        self.sockets[connecting.0].reset_forgets = self.random.below(2) == 0;
        self.sockets[connecting.0].other = id;
        id
    }

    /// Hands `bytes` to the socket: how many it took.
    pub(super) fn write(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, Errno> {
        let now_ns = self.now_ns;
        let socket = self.socket(id);
        socket.settle(now_ns);
        if socket.failed.is_some() || socket.write_shut || socket.closed {
            return Err(Errno(libc::EPIPE));
        }
        let other = socket.other;
        if self.sockets[other.0].closed {
            // Taken, lost, and answered with RST.
            let at_ns = self.later_ns();
            self.socket(id).deliver_reset(at_ns);
            return Ok(bytes.len());
        }
        let room = self.sockets[other.0].room_bytes().min(bytes.len());
        if room == 0 {
            // Nothing happens, and nothing is noted: a run with nothing else to do lets time pass.
            return Ok(0);
        }
        let faults = (self.options.faults.resets, self.options.faults.short_sends);
        if self.fault(faults.0) {
            let count = self.random.index(room + 1);
            self.deliver(other, &bytes[..count]);
            self.sever(id);
            return Ok(count);
        }
        let count = self.cut(faults.1, room);
        self.deliver(other, &bytes[..count]);
        Ok(count)
    }

    fn deliver(&mut self, to: SocketId, bytes: &[u8]) {
        let at_ns = self.later_ns();
        self.socket(to).deliver(at_ns, bytes);
        self.log.note(self.now_ns, "bytes to", to.0 as u64, bytes.len() as u64);
    }

    /// Breaks the connection in the middle: both ends learn of it, each in its time.
    pub(super) fn sever(&mut self, id: SocketId) {
        for end in [id, self.sockets[id.0].other] {
            let at_ns = self.later_ns();
            self.socket(end).deliver_reset(at_ns);
        }
        self.log.note(self.now_ns, "severed", id.0 as u64, 0);
    }

    /// FIN after what was written.
    pub(super) fn shut_write(&mut self, id: SocketId) {
        let socket = self.socket(id);
        if socket.write_shut || socket.failed.is_some() {
            return;
        }
        socket.write_shut = true;
        let other = socket.other;
        if other != id {
            let at_ns = self.later_ns();
            self.socket(other).deliver_fin(at_ns);
        }
        self.log.note(self.now_ns, "fin from", id.0 as u64, 0);
    }

    /// Closes one end. As with the kernel, bytes that nobody read turn the FIN into a RST.
    pub(super) fn close(&mut self, id: SocketId, abortive: bool) {
        let socket = self.socket(id);
        if socket.closed {
            return;
        }
        let other = socket.other;
        let resets = (abortive || socket.has_unread()) && other != id;
        if resets {
            let at_ns = self.later_ns();
            self.socket(other).deliver_reset(at_ns);
        } else {
            self.shut_write(id);
        }
        let socket = self.socket(id);
        socket.shut_read();
        socket.closed = true;
        self.log.note(self.now_ns, "close", id.0 as u64, u64::from(resets));
    }

    /// Closes a listener; what is queued is reset.
    pub(super) fn unbind(&mut self, id: ListenerId) {
        self.listeners[id].joined = false;
        self.listeners[id].closed = true;
        for socket in std::mem::take(&mut self.listeners[id].queue) {
            self.close(socket, true);
        }
    }

    /// The earliest moment after now at which something can happen.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let syns = self.syns.iter().map(|syn| syn.at_ns);
        let kernels = self.kernels.iter().map(|kernel| kernel.next_ns(self));
        let peers = self.peers.iter().map(|peer| peer.next_ns(self));
        let alarms = self.alarms.iter().copied();
        let all = syns.chain(kernels).chain(peers).chain(alarms);
        all.filter(|&at_ns| at_ns > self.now_ns && at_ns < u64::MAX).min()
    }
}
