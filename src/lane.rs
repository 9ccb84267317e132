//! The way out of one connection: straight into the turn's batch while the socket keeps up,
//! through an outbox of its own once it does not, through TLS where it has that.
//!
//! Not here: the sending (`worker::deliver`). Invariants: bytes leave in the order they were
//! written; while the outbox holds anything, nothing goes to the batch; a connection has at most
//! one send in a batch.

mod sealed;

use bytes::Bytes;
use ringwire_ring::{Batch, Shared, Slot};
use ringwire_transport::{Outbox, Tls};

use sealed::Cork;

use crate::press::Window;

/// What is true of a connection besides its role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The batch has a send for this connection.
    pub(crate) const IN_BATCH: Self = Self(1);
    /// The application wants no further messages for now.
    pub(crate) const PAUSED: Self = Self(1 << 1);
    /// The driver was told to stop receiving.
    pub(crate) const RECEIVE_OFF: Self = Self(1 << 2);
    /// FIN follows the last byte.
    pub(crate) const FIN_AFTER_LAST: Self = Self(1 << 3);
    /// FIN was asked for.
    pub(crate) const FIN_SENT: Self = Self(1 << 4);
    /// The peer sent FIN, or its direction failed.
    pub(crate) const PEER_ENDED: Self = Self(1 << 5);
    /// A ping is out; the next sign of life clears it.
    pub(crate) const PING_SENT: Self = Self(1 << 6);
    /// It publishes faster than the workers pass on.
    pub(crate) const THROTTLED: Self = Self(1 << 7);
    /// A request has begun to arrive and its deadline is set.
    pub(crate) const REQUEST_BEGUN: Self = Self(1 << 8);
    /// The request at hand is HEAD: its answer has no body.
    pub(crate) const HEAD: Self = Self(1 << 9);
    /// A message did not fit under `max_backpressure`: to be closed as a slow consumer.
    pub(crate) const OVERRUN: Self = Self(1 << 10);
    /// The connection's last request asked for the connection to end.
    pub(crate) const LAST_REQUEST: Self = Self(1 << 11);
    /// The connection stands in the list of those whose outbox waits for its first send.
    pub(crate) const SEND_DUE: Self = Self(1 << 12);
    /// A request of this connection has been answered.
    pub(crate) const SERVED: Self = Self(1 << 13);
    /// A ping is to be answered once the outbox is empty; only the latest is.
    pub(crate) const PONG_DUE: Self = Self(1 << 14);
    /// The application asked for the close; it gets no further message.
    pub(crate) const CLOSE_WANTED: Self = Self(1 << 15);
    /// Something of this connection waits to be encrypted with the batch.
    pub(crate) const CORKED: Self = Self(1 << 19);
    /// Bytes of its handshake wait for their turn.
    pub(crate) const HANDSHAKE_DUE: Self = Self(1 << 20);
    /// The peer has said its end within TLS; its FIN has not come.
    pub(crate) const FIN_AWAITED: Self = Self(1 << 21);
    /// A page made the request at hand, and may read the answer.
    pub(crate) const HAS_ORIGIN: Self = Self(1 << 23);
    /// A trusted proxy, which may begin with a PROXY header.
    pub(crate) const PROXY_DUE: Self = Self(1 << 24);
    /// A WebSocket message has begun to arrive, and is not whole.
    pub(crate) const MESSAGE_OPEN: Self = Self(1 << 25);

    /// Messages may be compressed in both directions.
    pub(crate) const DEFLATE: Self = Self(1 << 16);
    /// The peer's window is smaller than the server's largest.
    pub(crate) const NARROW: Self = Self(1 << 17);
    /// A compressed frame went out that the connection's own context knows nothing of.
    pub(crate) const CONTEXT_STALE: Self = Self(1 << 18);
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);

    /// While any of these is set the application gets no further message.
    pub(crate) const STOPS_MESSAGES: Self =
        Self(Self::PAUSED.0 | Self::THROTTLED.0 | Self::OVERRUN.0 | Self::CLOSE_WANTED.0);
    /// While any of these is set something written is not with the kernel.
    const UNDER_WAY: Self = Self(Self::IN_BATCH.0 | Self::CORKED.0);
    /// While any of these is set nothing is read.
    pub(crate) const STOPS_READING: Self = Self(Self::PAUSED.0 | Self::THROTTLED.0);
    /// While any of these is set an answer's head is not the one that others get.
    pub(crate) const OWN_ANSWER: Self = Self(Self::LAST_REQUEST.0 | Self::HAS_ORIGIN.0);

    /// The window of compressed frames to this connection; `None`: it takes none.
    pub(crate) fn window(self) -> Option<Window> {
        let window = if self.has(Self::NARROW) { Window::Narrow } else { Window::Wide };
        self.has(Self::DEFLATE).then_some(window)
    }

    pub(crate) fn has_any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(crate) fn put(&mut self, flag: Self, is_set: bool) {
        self.clear(flag);
        self.0 |= if is_set { flag.0 } else { 0 };
    }

    pub(crate) fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }
}

/// What all lanes of a worker write into.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) batch: Batch,
    /// Connections whose outbox waits for its first send; flushed with the batch.
    pub(crate) due: Vec<Slot>,
    /// What is to be encrypted with the batch.
    pub(crate) cork: Cork,
    /// Connections that could not be encrypted for: they cannot go on.
    pub(crate) broken: Vec<Slot>,
    /// Bytes in all outboxes of the worker.
    pub(crate) queued_bytes: usize,
    /// Bytes written by all lanes and not counted in the metrics yet.
    pub(crate) written_bytes: u64,
    /// `max_backpressure`: an outbox that holds as much takes nothing more.
    pub(crate) backpressure_bytes_max: usize,
}

impl Egress {
    pub(crate) fn new(backpressure_bytes_max: usize) -> Self {
        Self {
            batch: Batch::new(),
            due: Vec::new(),
            cork: Cork::default(),
            broken: Vec::new(),
            queued_bytes: 0,
            written_bytes: 0,
            backpressure_bytes_max,
        }
    }
}

/// One connection's way out, and its flags.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    outbox: Option<Box<Outbox>>,
    pub(crate) tls: Option<Box<Tls>>,
    pub(crate) flags: Flags,
}

impl Lane {
    /// Whether every byte written so far is with the kernel.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_none() && !self.flags.has_any(Flags::UNDER_WAY)
    }

    /// Bytes waiting in the outbox.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.queued_bytes())
    }

    /// Whether the outbox takes another message. Tested before adding: an empty one always does.
    pub(crate) fn accepts(&self, egress: &Egress) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| outbox.accepts(egress.backpressure_bytes_max))
    }

    /// Writes `len` bytes that `fill` makes.
    #[inline]
    pub(crate) fn write(
        &mut self,
        slot: Slot,
        egress: &mut Egress,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        if self.tls.is_some() {
            self.write_corked(slot, egress, len, fill);
        } else {
            self.put(slot, egress, len, fill);
        }
    }

    #[inline]
    fn put(&mut self, slot: Slot, egress: &mut Egress, len: usize, fill: impl FnOnce(&mut [u8])) {
        if self.may_join(slot, egress) {
            let room = egress.batch.arena();
            if len <= room.len() {
                fill(&mut room[..len]);
                self.join(slot, egress, len);
                return;
            }
        }
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.queue_wire(slot, egress, Bytes::from(bytes));
    }

    /// The first `len` bytes of the arena are this connection's.
    #[inline]
    fn join(&mut self, slot: Slot, egress: &mut Egress, len: usize) {
        egress.batch.push(slot, len);
        egress.written_bytes += len as u64;
        self.flags.set(Flags::IN_BATCH);
    }

    #[inline]
    fn may_join(&self, slot: Slot, egress: &Egress) -> bool {
        let batch = &egress.batch;
        self.outbox.is_none()
            && if self.flags.has(Flags::IN_BATCH) {
                batch.ends_with(slot)
            } else {
                !batch.is_full()
            }
    }

    /// Writes a copy of `bytes`.
    pub(crate) fn write_all(&mut self, slot: Slot, egress: &mut Egress, bytes: &[u8]) {
        self.write(slot, egress, bytes.len(), |room| room.copy_from_slice(bytes));
    }

    /// Whether a shared frame of `len` bytes can go into the batch as it stands.
    pub(crate) fn may_share(&self, egress: &mut Egress, len: usize) -> bool {
        self.is_idle() && !egress.batch.is_full() && (self.tls.is_none() || egress.has_room(len))
    }

    /// Sends `frame` that others get too: the batch points at it, once `shared` is in there. With
    /// TLS it is encrypted for this connection alone. Only after [`Lane::may_share`].
    pub(crate) fn share(
        &mut self,
        slot: Slot,
        egress: &mut Egress,
        frame: &Bytes,
        shared: &mut Option<Shared>,
    ) {
        if self.tls.is_some() {
            return self.seal(slot, egress, frame);
        }
        let place = *shared.get_or_insert_with(|| egress.batch.share(frame.clone()));
        egress.batch.push_shared(slot, place);
        egress.written_bytes += frame.len() as u64;
        self.flags.set(Flags::IN_BATCH);
    }

    /// Puts `bytes` behind everything else in the outbox.
    pub(crate) fn queue(&mut self, slot: Slot, egress: &mut Egress, bytes: Bytes) {
        if self.tls.is_some() {
            self.queue_sealed(slot, egress, &bytes);
        } else {
            self.queue_wire(slot, egress, bytes);
        }
    }

    fn queue_wire(&mut self, slot: Slot, egress: &mut Egress, bytes: Bytes) {
        egress.queued_bytes += bytes.len();
        egress.written_bytes += bytes.len() as u64;
        self.outbox.get_or_insert_with(|| Box::new(Outbox::new())).push(bytes);
        self.mark_due(slot, egress);
    }

    /// Puts back what the batch could not send, before everything else.
    pub(crate) fn return_unsent(&mut self, slot: Slot, egress: &mut Egress, bytes: Bytes) {
        egress.queued_bytes += bytes.len();
        self.outbox.get_or_insert_with(|| Box::new(Outbox::new())).push_front(bytes);
        self.mark_due(slot, egress);
    }

    fn mark_due(&mut self, slot: Slot, egress: &mut Egress) {
        if !self.flags.has(Flags::SEND_DUE) {
            self.flags.set(Flags::SEND_DUE);
            egress.due.push(slot);
        }
    }

    /// The next buffer for a waiting send; `None` while one is in flight or nothing waits.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        self.outbox.as_mut()?.take()
    }

    /// The waiting send is over. Gives the outbox back when it is empty; says whether it is.
    pub(crate) fn sent(&mut self, egress: &mut Egress) -> bool {
        let Some(outbox) = &mut self.outbox else { return true };
        let before = outbox.queued_bytes();
        outbox.sent();
        egress.queued_bytes -= before - outbox.queued_bytes();
        let empty = outbox.is_empty();
        if empty {
            self.outbox = None;
        }
        empty
    }

    /// Forgets everything that was to be sent: the connection is gone.
    pub(crate) fn discard(&mut self, egress: &mut Egress) {
        if let Some(outbox) = self.outbox.take() {
            egress.queued_bytes -= outbox.queued_bytes();
        }
    }
}
