//! The seam between a worker and the kernel: what can be asked, and what comes back.
//!
//! Not here: any engine, and any meaning of the bytes. Invariant: the trait is sound without
//! trusting its caller. Memory that is only borrowed never reaches the kernel beyond the call,
//! and a [`Slot`] of an old generation does nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::address::Address;
use crate::batch::Batch;
use crate::doorbell::Doorbell;
use crate::pool::Lease;
use crate::slot::Slot;

/// An error number of the kernel, positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// Which directions of a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// FIN after the last byte sent; receiving goes on.
    Write,
    /// Both directions at once.
    Both,
}

/// What a worker wants of its listeners, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// Accept while there is room.
    On,
    /// Leave the port's group and accept nothing; the queue stays.
    Paused,
    /// Leave the port's group, accept what is already queued, close the listeners, then report
    /// [`Completion::AcceptEnded`], once. Final.
    Ended,
}

/// What the kernel did. Plain data; a worker handles it after the engine has let go of its queues.
#[derive(Debug)]
pub enum Completion {
    /// A client was accepted. Receiving is off until [`Driver::receive`].
    Accepted {
        /// The new connection.
        slot: Slot,
        /// Which listener it came to, in the order of the [`Driver::listen`] calls.
        listener: u16,
        /// Its address, if the engine was made to tell. Unix sockets have none.
        peer: Option<SocketAddr>,
    },
    /// A [`Driver::connect`] ended. On `Err` the slot must still be closed.
    Connected {
        /// The connection asked for.
        slot: Slot,
        /// Whether the peer answered.
        result: Result<(), Errno>,
    },
    /// Bytes arrived; never empty.
    Received {
        /// Their connection.
        slot: Slot,
        /// The bytes, lent until dropped. All leases are to be dropped before the next turn.
        lease: Lease,
    },
    /// Nothing more will be received: the peer sent FIN (`Ok`), or the connection failed.
    Ended {
        /// The connection.
        slot: Slot,
        /// `Ok` for FIN.
        result: Result<(), Errno>,
    },
    /// A waiting [`Driver::send`] is over: all bytes are with the kernel, or the connection failed.
    Sent {
        /// The connection.
        slot: Slot,
        /// `Ok` when every byte was taken.
        result: Result<(), Errno>,
    },
    /// The kernel holds nothing of this slot any more; its index may return with a new generation.
    Closed {
        /// The connection that was.
        slot: Slot,
    },
    /// A doorbell rang: another worker or thread has news.
    Woken,
    /// Every listener's queue is answered and the listeners are closed.
    AcceptEnded,
}

/// What an engine counts about itself since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Turns taken.
    pub turns: u64,
    /// Completions handed to the worker.
    pub completions: u64,
    /// System calls made to submit or wait.
    pub enters: u64,
    /// Receives that found no buffer and were paused.
    pub buffers_exhausted: u64,
    /// Times the completion queue was seen overflowing.
    pub queue_overflows: u64,
    /// Multishot operations armed again after they ended by themselves.
    pub rearms: u64,
    /// Sends of batches handed to the kernel.
    pub batch_sends: u64,
    /// Sends of batches that came back with bytes left.
    pub batch_failures: u64,
    /// Accepts put off because descriptors or memory ran short.
    pub accept_backoffs: u64,
}

/// What the kernel counted of one TCP connection since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Payload bytes that left, those sent again too.
    pub bytes_sent: u64,
    /// Payload bytes that arrived in order.
    pub bytes_received: u64,
    /// Segments that left: with payload, bare acknowledgements, SYN and FIN.
    pub segments_sent: u32,
    /// Segments that arrived.
    pub segments_received: u32,
    /// Segments sent again.
    pub segments_retransmitted: u32,
    /// Whether each segment carries timestamps (12 bytes of options).
    pub has_timestamps: bool,
}

/// One worker's kernel. Made on the thread that uses it.
///
/// Calls only queue work; [`Driver::turn`] hands it over and brings back what was done.
/// [`Driver::batch`] alone acts at once.
pub trait Driver {
    /// What this engine listens on.
    type Listener;

    /// Takes a listener, and may be called again for others before the first connection;
    /// accepting begins with [`Driver::accept`].
    ///
    /// # Errors
    /// The kernel's refusal; `EINVAL` of a driver that connects, has connections already, or has
    /// had listeners.
    fn listen(&mut self, listener: Self::Listener) -> Result<(), Errno>;

    /// Says what is wanted of the listeners.
    fn accept(&mut self, accepting: Accepting);

    /// Opens a connection to `address`, bound to `source` first if given.
    ///
    /// # Errors
    /// `ENFILE` when the table is full; `EINVAL` of a driver that listens; what the kernel says of
    /// socket and bind.
    fn connect(&mut self, address: &Address, source: Option<IpAddr>) -> Result<Slot, Errno>;

    /// Turns receiving on or off. After "off", bytes already on their way may still be reported.
    fn receive(&mut self, slot: Slot, on: bool);

    /// Sends all of `bytes`, waiting for the socket as long as it takes; reported by
    /// [`Completion::Sent`]. One at a time per slot.
    ///
    /// # Panics
    /// When an earlier send of the slot is not yet over.
    fn send(&mut self, slot: Slot, bytes: Bytes);

    /// Sends everything in `batch` now, without waiting for any socket. On return the kernel holds
    /// none of its memory, and [`Batch::take_failures`] gives what was not taken whole.
    ///
    /// A send beside a waiting [`Driver::send`] of the same slot comes back untouched, as from a
    /// full socket; one to a slot that is closed or gone with `ECANCELED`; one after
    /// [`Driver::shutdown`] of writing with `EPIPE`. (*sim* panics where a worker should have
    /// known better.)
    fn batch(&mut self, batch: &mut Batch);

    /// Ends a direction of the connection, after whatever was handed over before.
    fn shutdown(&mut self, slot: Slot, how: Shutdown);

    /// Ends the connection: shuts it down both ways, waits until the kernel has given back every
    /// operation, closes, reports [`Completion::Closed`]. Nothing else is reported of the slot
    /// from here on.
    fn close(&mut self, slot: Slot);

    /// Rings another worker's bell.
    fn wake(&mut self, worker: usize);

    /// A bell that any thread may ring to wake this worker.
    fn doorbell(&self) -> Doorbell;

    /// Hands queued work to the kernel, waits until something completes or the clock reaches
    /// `deadline_ns` (a time in the past: does not wait; `u64::MAX`: no deadline), reads the
    /// clock once, and appends what completed.
    ///
    /// # Errors
    /// Only what leaves the engine unusable.
    fn turn(&mut self, deadline_ns: u64, completions: &mut Vec<Completion>) -> Result<(), Errno>;

    /// Keeps every `nth` connection opened from here on within sight of [`Driver::tcp_info`]; 0:
    /// none. Each costs an engine that has no descriptors of its own one of the process's.
    fn watch_every(&mut self, nth: u32) {
        let _ = nth;
    }

    /// What the kernel counted of a connection; `None` where it is not TCP, not within sight, or
    /// the kernel does not tell.
    fn tcp_info(&self, slot: Slot) -> Option<TcpInfo> {
        let _ = slot;
        None
    }

    /// The time of this turn, in nanoseconds of the monotonic clock.
    fn now_ns(&self) -> u64;

    /// The time right now, read from the clock.
    fn clock_ns(&self) -> u64;

    /// Fills `bytes` with unpredictable bytes (with the seed's, in `sim`).
    fn entropy(&mut self, bytes: &mut [u8]);

    /// What the engine counted so far.
    fn figures(&self) -> Figures;
}
