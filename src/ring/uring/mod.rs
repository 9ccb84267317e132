//! The io_uring engine: one ring per worker, made and used on the worker's thread.
//!
//! Not here: the meaning of bytes, and when to do what. Invariants: memory that is lent to the
//! kernel outlives the operation; an operation under way is counted, in its slot and in total; a
//! slot's descriptor is closed only when the kernel holds no operation of it, and nothing but
//! [`Completion::Closed`] is reported of it after [`Driver::close`].

mod accept;
mod batch;
mod buffers;
mod close;
mod completion;
mod connect;
mod door;
mod entry;
mod probe;
mod receive;
mod restrict;
mod rooms;
mod send;
mod setup;
mod token;

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use io_uring::{opcode, squeue, types};

use self::accept::Acceptor;
use self::buffers::Buffers;
use self::completion::Done;
use self::connect::Connector;
use self::entry::{ENTRY_BYTES, Entry, Is, Queue};
use self::rooms::Rooms;
use self::send::Sends;
use self::setup::{Ring, Wait};
use self::token::{Kind, Token};
use crate::address::Address;
use crate::batch::Batch;
use crate::bells::Bells;
use crate::doorbell::Doorbell;
use crate::driver::{Accepting, Completion, Driver, Errno, Figures, Shutdown, TcpInfo};
use crate::entropy::Entropy;
use crate::features::Features;
use crate::gate::Gate;
use crate::listener::Listener;
use crate::machine::kernel_release;
use crate::options::{EngineOptions, ReceiveBuffers, Role};
use crate::refusal::Refusal;
use crate::slot::Slot;
use crate::sys;
use crate::table::Table;

pub use self::probe::probe;

/// Bytes of this engine's tables per slot.
pub const SLOT_BYTES: usize = ENTRY_BYTES;

/// The oldest kernel with everything the engine cannot do without.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Calls that may fail for want of memory before the ring is given up.
const PATIENCE: u32 = 10_000;

/// One worker's io_uring.
pub struct Uring {
    ring: Ring,
    role: Role,
    is_restricted: bool,
    worker: usize,
    bells: Arc<Bells>,
    features: Features,
    entries: Table<Entry>,
    /// Kept from being freed while the kernel may write there.
    buffers: ManuallyDrop<Buffers>,
    /// What one connection may receive before others get their turn.
    share_bytes: u32,
    /// Those that wait to receive again.
    queue: Queue,
    /// Buffers ran out in the last turn.
    is_starved: bool,
    sends: Sends,
    gate: Gate,
    acceptor: Acceptor,
    rooms: Rooms,
    connector: Connector,
    /// Completions seen between turns, in order.
    stash: VecDeque<Done>,
    /// What is to be reported without the kernel having to say anything.
    ready: Vec<Completion>,
    is_woken: bool,
    /// Operations that will still complete.
    under_way: u64,
    batch_mark: u8,
    /// The ring is unusable.
    broken: Option<Errno>,
    now_ns: u64,
    entropy: Entropy,
    figures: Figures,
    /// The ring belongs to the thread that made it.
    not_send: PhantomData<Rc<()>>,
}

impl Uring {
    /// A ring for the calling thread, which is the only one that may use it.
    ///
    /// # Errors
    /// When the kernel has no io_uring, forbids it, or has not what it takes.
    pub fn new(options: EngineOptions) -> Result<Self, Refusal> {
        let release = kernel_release();
        if release < KERNEL_MIN {
            return Err(Refusal::too_old(release));
        }
        let EngineOptions { worker, bells, slots_max, permits, receive_buffers, features, .. } =
            options;
        let (role, peers) = (options.role, options.peers);
        let sizes = receive_buffers.unwrap_or(if features.incremental_buffers {
            ReceiveBuffers::INCREMENTAL
        } else {
            ReceiveBuffers::WHOLE
        });
        if slots_max == 0 || !sizes.is_possible() || worker >= bells.workers() {
            return Err(Refusal::of_options("no slots, no buffers, or no such worker"));
        }
        let refuse = Refusal::of_ring;
        let mut ring = Ring::new(&features).map_err(|errno| refuse("setting up a ring", errno))?;
        ring.submitter()
            .register_files_sparse(slots_max)
            .map_err(|error| refuse("registering the descriptor table", error.into()))?;
        // A shutdown always runs on a helper thread of the kernel; two are enough for all.
        let _ = ring.submitter().register_iowq_max_workers(&mut [2, 2]);
        let buffers = Buffers::register(&ring, sizes, features.incremental_buffers)
            .map_err(|errno| refuse("registering receive buffers", errno))?;
        bells
            .note_ring(worker, ring.descriptor())
            .map_err(|errno| refuse("keeping the ring's descriptor", errno))?;
        let is_restricted = ring.is_disabled() && restrict::restrict(&ring, role).is_ok();
        ring.enable().map_err(|errno| refuse("enabling the ring", errno))?;
        let mut uring = Self {
            ring,
            role,
            is_restricted,
            worker,
            features,
            entries: Table::new(slots_max),
            buffers: ManuallyDrop::new(buffers),
            share_bytes: sizes.share_bytes(),
            queue: Queue::default(),
            is_starved: false,
            sends: Sends::default(),
            gate: Gate::new(worker, Arc::clone(&bells), permits, slots_max),
            bells,
            acceptor: Acceptor::default(),
            rooms: if peers { Rooms::new() } else { Rooms::default() },
            connector: Connector::default(),
            stash: VecDeque::new(),
            ready: Vec::new(),
            is_woken: false,
            under_way: 0,
            batch_mark: 0,
            broken: None,
            now_ns: sys::monotonic_ns(),
            entropy: Entropy::new(),
            figures: Figures::default(),
            not_send: PhantomData,
        };
        if peers {
            uring.gate.plan_singles();
        }
        uring.watch_eventfd();
        Ok(uring)
    }

    /// Whether the kernel refuses the ring everything that the engine does not do.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    /// The entry of `slot`, if that is still the same connection and not being closed.
    fn open_entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.tenant(slot).filter(|entry| !entry.is(Is::Closing))
    }

    /// The entry of `slot`, if that is still the same connection.
    fn tenant(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries
            .get_mut(slot.index())
            .filter(|entry| entry.is(Is::Used) && entry.generation == slot.generation())
    }

    /// Queues an operation that will complete (once or more) and counts it.
    ///
    /// # Safety
    /// The memory the operation points at stays valid until it is over.
    unsafe fn start(&mut self, entry: squeue::Entry, token: Token) {
        self.under_way += 1;
        // SAFETY: passed on to the caller.
        unsafe { self.push(&entry.user_data(token.bits())) }
    }

    /// Queues an operation without memory that completes only if it fails.
    fn tell(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.bits()).flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the operations passed here point at no memory.
        unsafe { self.push(&entry) }
    }

    /// # Safety
    /// The memory the operation points at stays valid until it is over.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: passed on to the caller.
        while !unsafe { self.ring.push(entry) } {
            if !self.flush() {
                return;
            }
        }
    }

    /// Hands over everything queued; says whether the kernel took it. If not, the ring is broken
    /// and will not be entered again except to empty it.
    fn flush(&mut self) -> bool {
        for _ in 0..PATIENCE {
            if self.broken.is_some() {
                return false;
            }
            if self.ring.queued() == 0 {
                return true;
            }
            let wait = if self.ring.is_overflowing() { Wait::No } else { Wait::SubmitOnly };
            match self.ring.enter(wait) {
                Ok(()) => {}
                Err(errno) if is_short_of_memory(errno) => {}
                Err(errno) => self.broken = Some(errno),
            }
            if self.ring.queued() > 0 {
                self.stash_completions();
            }
        }
        self.broken = Some(Errno(libc::ENOMEM));
        false
    }

    /// Takes completions out of the queue to make room; the next turn handles them first.
    fn stash_completions(&mut self) {
        while let Some(done) = self.ring.next() {
            self.stash.push_back(done);
        }
    }

    fn watch_eventfd(&mut self) {
        let Some(fd) = self.bells.watched(self.worker) else { return };
        let fd = fd.as_raw_fd();
        let events = u32::from(libc::POLLIN.cast_unsigned());
        let entry = opcode::PollAdd::new(types::Fd(fd), events).multi(true).build();
        // SAFETY: the operation points at no memory.
        unsafe { self.start(entry, Token::plain(Kind::Eventfd)) }
    }

    /// Handles everything that has completed.
    fn process(&mut self, completions: &mut Vec<Completion>) {
        while let Some(done) = self.stash.pop_front() {
            self.complete(done, completions);
        }
        while let Some(done) = self.ring.next() {
            self.complete(done, completions);
        }
        if self.ring.is_overflowing() {
            self.figures.queue_overflows += 1;
        }
        if std::mem::take(&mut self.is_woken) {
            completions.push(Completion::Woken);
        }
    }

    fn complete(&mut self, done: Done, completions: &mut Vec<Completion>) {
        match done.token.kind() {
            Kind::Receive => self.received(done, completions),
            Kind::Send => self.sent(done, completions),
            Kind::AcceptMany | Kind::AcceptOne => self.accepted(done, completions),
            Kind::Watch => self.watched(done),
            Kind::Connect => self.connected(done, completions),
            Kind::Shutdown => self.is_shut_down(done),
            Kind::Close => self.is_closed(done, completions),
            Kind::Cancel => self.cancel_missed(done),
            Kind::CancelAccepts => self.cancel_accepts_missed(done),
            Kind::Eventfd => self.eventfd_rang(done),
            Kind::Rung => self.is_woken = true,
            // The other ring is gone or full; its worker's eventfd always works.
            Kind::Ring => self.bells.ring(done.token.slot().index()),
            Kind::Batch | Kind::Nothing => {}
        }
    }

    fn eventfd_rang(&mut self, done: Done) {
        self.bells.clear(self.worker);
        self.is_woken = true;
        if !done.more {
            self.under_way -= 1;
            self.figures.rearms += 1;
            self.watch_eventfd();
        }
    }

    /// The last completion of one of the slot's operations has come.
    fn let_go(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.under_way -= 1;
        let entry = self.tenant(slot);
        debug_assert!(entry.is_some(), "an operation outlived its connection");
        let entry = entry?;
        entry.held -= 1;
        Some(entry)
    }
}

fn is_short_of_memory(errno: Errno) -> bool {
    matches!(errno.0, libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS)
}

impl Driver for Uring {
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
        match self.bells.ring_of(worker) {
            Some(ring) if self.features.ring_messages && worker != self.worker => {
                let rung = Token::plain(Kind::Rung).bits();
                let entry = opcode::MsgRingData::new(types::Fd(ring), 0, rung, None).build();
                let number = u32::try_from(worker).expect("workers are few");
                self.tell(entry, Token::numbered(Kind::Ring, number));
            }
            _ => self.bells.ring(worker),
        }
    }

    fn doorbell(&self) -> Doorbell {
        self.bells.bell(self.worker)
    }

    fn turn(&mut self, deadline_ns: u64, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        self.figures.turns += 1;
        let before = completions.len();
        completions.append(&mut self.ready);
        self.buffers.take_back();
        self.arm_waiting();
        self.serve_listeners(completions);
        let retry_at_ns = self.gate.retry_at_ns(self.now_ns).unwrap_or(u64::MAX);
        let until_ns = deadline_ns.min(retry_at_ns);
        let wait =
            if completions.len() > before || !self.stash.is_empty() || until_ns <= self.now_ns {
                Wait::No
            } else if until_ns == u64::MAX {
                Wait::Ever
            } else {
                Wait::Until(until_ns)
            };
        if let Some(errno) = self.broken {
            return Err(errno);
        }
        if let Err(errno) = self.ring.enter(wait)
            && !is_short_of_memory(errno)
        {
            self.broken = Some(errno);
            return Err(errno);
        }
        self.now_ns = sys::monotonic_ns();
        self.process(completions);
        self.figures.completions += (completions.len() - before) as u64;
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn watch_every(&mut self, nth: u32) {
        self.connector.watch_every(nth);
    }

    fn tcp_info(&self, slot: Slot) -> Option<TcpInfo> {
        let entry = self.entries.get(slot.index())?;
        let is_same = entry.is(Is::Used) && entry.generation == slot.generation();
        if is_same && !entry.is(Is::Closing) { self.connector.tcp_info(slot) } else { None }
    }

    fn clock_ns(&self) -> u64 {
        sys::monotonic_ns()
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.entropy.fill(bytes);
    }

    fn figures(&self) -> Figures {
        Figures { enters: self.ring.enters(), ..self.figures }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The bells keep a duplicate of the ring's descriptor, so closing ours ends nothing:
        // whatever the ring holds must be taken from it here.
        if self.quiesce() {
            self.buffers.unregister(&self.ring);
            // SAFETY: dropped once, here, and not used again; the kernel has let go of it.
            unsafe { ManuallyDrop::drop(&mut self.buffers) }
        } else {
            // An operation did not end: its memory is given up rather than freed under it.
            std::mem::take(&mut self.sends).leak();
            std::mem::take(&mut self.rooms).leak();
        }
        let _ = self.ring.submitter().unregister_files();
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("worker", &self.worker)
            .field("used", &self.gate.used())
            .field("under_way", &self.under_way)
            .field("queued", &self.ring.queued())
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}
