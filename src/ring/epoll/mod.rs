//! The epoll engine: the completions of [`crate::uring`] made from readiness, for places that
//! block io_uring, and for telling what io_uring buys.
//!
//! Not here: anything a worker could tell the engines apart by, except time. Sockets are watched
//! edge-triggered, once, for everything. Invariant: whoever has bytes to receive and receiving
//! turned on is in the queue, and a turn does not wait while somebody is.

mod accept;
mod entry;
mod memory;
mod receive;
mod send;

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use self::accept::Acceptor;
use self::entry::{ENTRY_BYTES, Entry, Is, Queue};
use self::memory::Memory;
use self::send::Sends;
use crate::address::Address;
use crate::batch::Batch;
use crate::bells::Bells;
use crate::doorbell::Doorbell;
use crate::driver::{Accepting, Completion, Driver, Errno, Figures, Shutdown, TcpInfo};
use crate::entropy::Entropy;
use crate::gate::Gate;
use crate::listener::Listener;
use crate::options::{EngineOptions, ReceiveBuffers, Role};
use crate::refusal::Refusal;
use crate::slot::Slot;
use crate::sys;
use crate::table::Table;

/// Bytes of this engine's tables per slot.
pub const SLOT_BYTES: usize = ENTRY_BYTES;

/// Events taken by one call.
const EVENTS_MAX: usize = 1024;

/// Event data of what is not a connection; slots have 56 bits. A listener's number is in the low
/// bits of its event data.
const EVENT_BELL: u64 = u64::MAX;
const EVENT_LISTENER: u64 = 1 << 63;

const EPOLLIN: u32 = libc::EPOLLIN.cast_unsigned();
const EDGE: u32 = libc::EPOLLET.cast_unsigned();
const READABLE: u32 =
    (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned();
const HUNG_UP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned();
const WRITABLE: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned();

/// One worker's epoll.
pub struct Epoll {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    worker: usize,
    bells: Arc<Bells>,
    entries: Table<Entry>,
    /// Slots that had a tenant and may have another; those whose end is yet to be reported; and
    /// the first that never had one.
    free: Vec<u32>,
    released: Vec<u32>,
    fresh: u32,
    memory: Memory,
    queue: Queue,
    sends: Sends,
    gate: Gate,
    acceptor: Acceptor,
    /// Clients' addresses are told.
    peers: bool,
    role: Role,
    /// What is to be reported at the next turn.
    ready: Vec<Completion>,
    is_woken: bool,
    batch_mark: u8,
    now_ns: u64,
    entropy: Entropy,
    figures: Figures,
    /// Leases are of this thread, and so is the engine.
    not_send: PhantomData<Rc<()>>,
}

impl Epoll {
    /// An engine for the calling thread.
    ///
    /// # Errors
    /// When descriptors or memory ran short.
    pub fn new(options: EngineOptions) -> Result<Self, Refusal> {
        let EngineOptions { worker, bells, slots_max, permits, receive_buffers, .. } = options;
        let (role, peers) = (options.role, options.peers);
        let sizes = receive_buffers.unwrap_or(ReceiveBuffers::INCREMENTAL);
        if slots_max == 0 || !sizes.is_possible() || worker >= bells.workers() {
            return Err(Refusal::of_options("no slots, no buffers, or no such worker"));
        }
        let epoll =
            sys::epoll_create().map_err(|errno| Refusal::of_epoll("making an epoll", errno))?;
        if let Some(bell) = bells.watched(worker) {
            sys::epoll_add(epoll.as_fd(), bell, EPOLLIN | EDGE, EVENT_BELL)
                .map_err(|errno| Refusal::of_epoll("watching the bell", errno))?;
        }
        let event = libc::epoll_event { events: 0, u64: 0 };
        Ok(Self {
            epoll,
            events: vec![event; EVENTS_MAX].into_boxed_slice(),
            worker,
            entries: Table::new(slots_max),
            free: Vec::new(),
            released: Vec::new(),
            fresh: 0,
            memory: Memory::new(sizes),
            queue: Queue::default(),
            sends: Sends::default(),
            gate: Gate::new(worker, Arc::clone(&bells), permits, slots_max),
            bells,
            acceptor: Acceptor::default(),
            peers,
            role,
            ready: Vec::new(),
            is_woken: false,
            batch_mark: 0,
            now_ns: sys::monotonic_ns(),
            entropy: Entropy::new(),
            figures: Figures::default(),
            not_send: PhantomData,
        })
    }

    /// The entry of `slot`, if that is still the same connection.
    fn tenant(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries
            .get_mut(slot.index())
            .filter(|entry| entry.is(Is::Open) && entry.generation == slot.generation())
    }

    /// Finds a place for a new socket and watches it.
    fn settle(&mut self, socket: OwnedFd) -> Result<Slot, Errno> {
        let index = match self.free.last() {
            Some(index) => *index,
            None if (self.fresh as usize) < self.entries.len() => self.fresh,
            None => return Err(Errno(libc::ENFILE)),
        };
        let entry = &mut self.entries[index as usize];
        let slot = Slot::new(index, entry.generation);
        let events = READABLE | WRITABLE | EDGE;
        sys::epoll_add(self.epoll.as_fd(), socket.as_fd(), events, slot.to_bits())?;
        if self.free.pop().is_none() {
            self.fresh += 1;
        }
        entry.open(socket);
        Ok(slot)
    }

    fn start_connect(&mut self, address: &Address, source: Option<IpAddr>) -> Result<Slot, Errno> {
        if self.role != Role::Connects {
            return Err(Errno(libc::EINVAL));
        }
        let socket = sys::client_socket(address, source, libc::SOCK_NONBLOCK)?;
        let result = sys::connect(socket.as_fd(), address);
        let slot = self.settle(socket)?;
        self.gate.admit_own();
        let entry = &mut self.entries[slot.index()];
        entry.set(Is::Own);
        match result {
            Err(errno) if errno.0 == libc::EINPROGRESS => entry.set(Is::Connecting),
            result => {
                if result.is_err() {
                    entry.set(Is::Ended);
                }
                self.ready.push(Completion::Connected { slot, result });
            }
        }
        Ok(slot)
    }

    fn start_close(&mut self, slot: Slot) {
        let Some(entry) = self.tenant(slot) else { return };
        let (is_own, is_sending, place) = (entry.is(Is::Own), entry.is(Is::Sending), entry.send);
        // Closing the only descriptor also ends the watching; the kernel keeps nothing else.
        drop(entry.vacate());
        if is_sending {
            self.sends.remove(place);
        }
        self.ready.retain(|completion| match completion {
            Completion::Sent { slot: other, .. } | Completion::Connected { slot: other, .. } => {
                *other != slot
            }
            _ => true,
        });
        self.ready.push(Completion::Closed { slot });
        if is_own {
            self.gate.leave_own();
        } else {
            self.gate.leave();
        }
        self.released.push(slot.number());
    }

    /// Waits for events and notes what they say.
    fn collect(&mut self, timeout_ns: Option<u64>) -> Result<(), Errno> {
        self.figures.enters += 1;
        let count = match sys::epoll_wait(self.epoll.as_fd(), &mut self.events, timeout_ns) {
            Ok(count) => count,
            Err(errno) if errno.0 == libc::EINTR => 0,
            Err(errno) => return Err(errno),
        };
        self.now_ns = sys::monotonic_ns();
        for index in 0..count {
            let libc::epoll_event { events, u64: data } = self.events[index];
            match data {
                EVENT_BELL => {
                    self.bells.clear(self.worker);
                    self.is_woken = true;
                }
                bits if bits & EVENT_LISTENER != 0 => {
                    self.acceptor.has_news(bits & !EVENT_LISTENER);
                }
                bits => self.note(Slot::from_bits(bits), events),
            }
        }
        Ok(())
    }

    fn note(&mut self, slot: Slot, events: u32) {
        let Some(entry) = self.tenant(slot) else { return };
        if entry.is(Is::Connecting) {
            if events & WRITABLE == 0 {
                return;
            }
            entry.clear(Is::Connecting);
            let result = entry.socket().map_or(Ok(()), sys::take_socket_error);
            if result.is_err() {
                entry.set(Is::Ended);
            }
            self.ready.push(Completion::Connected { slot, result });
        }
        let entry = &mut self.entries[slot.index()];
        if events & READABLE != 0 {
            entry.set(Is::Readable);
        }
        if events & HUNG_UP != 0 {
            entry.set(Is::HungUp);
        }
        let is_sending = entry.is(Is::Sending) && events & WRITABLE != 0;
        if entry.is_to_receive() {
            self.queue.push(&mut self.entries, slot.number());
        }
        if is_sending {
            self.continue_send(slot);
        }
    }
}

impl Driver for Epoll {
    type Listener = Listener;

    fn listen(&mut self, listener: Listener) -> Result<(), Errno> {
        self.start_listening(listener)
    }

    fn accept(&mut self, accepting: Accepting) {
        self.acceptor.want(accepting);
    }

    fn connect(&mut self, address: &Address, source: Option<IpAddr>) -> Result<Slot, Errno> {
        self.start_connect(address, source)
    }

    fn receive(&mut self, slot: Slot, on: bool) {
        self.set_receiving(slot, on);
    }

    fn send(&mut self, slot: Slot, bytes: Bytes) {
        self.start_send(slot, bytes);
    }

    fn batch(&mut self, batch: &mut Batch) {
        self.send_batch(batch);
    }

    fn shutdown(&mut self, slot: Slot, how: Shutdown) {
        self.start_shutdown(slot, how);
    }

    fn close(&mut self, slot: Slot) {
        self.start_close(slot);
    }

    fn wake(&mut self, worker: usize) {
        self.bells.ring(worker);
    }

    fn doorbell(&self) -> Doorbell {
        self.bells.bell(self.worker)
    }

    fn turn(&mut self, deadline_ns: u64, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        self.figures.turns += 1;
        let before = completions.len();
        completions.append(&mut self.ready);
        self.free.append(&mut self.released);
        self.memory.take_back();
        self.serve_listeners(completions);
        let is_idle = completions.len() == before
            && self.queue.len() == 0
            && !self.acceptor.could_accept(&self.gate, self.now_ns);
        let retry_at_ns = self.gate.retry_at_ns(self.now_ns).unwrap_or(u64::MAX);
        let timeout_ns = match deadline_ns.min(retry_at_ns) {
            _ if !is_idle => Some(0),
            u64::MAX => None,
            until_ns => Some(until_ns.saturating_sub(sys::monotonic_ns())),
        };
        self.collect(timeout_ns)?;
        completions.append(&mut self.ready);
        self.serve_listeners(completions);
        self.receive_queued(completions);
        if std::mem::take(&mut self.is_woken) {
            completions.push(Completion::Woken);
        }
        self.figures.completions += (completions.len() - before) as u64;
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn tcp_info(&self, slot: Slot) -> Option<TcpInfo> {
        let entry = self.entries.get(slot.index())?;
        let is_same = entry.generation == slot.generation();
        sys::tcp_info(entry.socket().filter(|_| is_same)?)
    }

    fn clock_ns(&self) -> u64 {
        sys::monotonic_ns()
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.entropy.fill(bytes);
    }

    fn figures(&self) -> Figures {
        self.figures
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for entry in self.entries.iter_mut().take(self.fresh as usize) {
            drop(entry.vacate());
        }
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll")
            .field("worker", &self.worker)
            .field("used", &self.gate.used())
            .field("to_receive", &self.queue.len())
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}
