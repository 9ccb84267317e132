//! The way out of one connection: straight into the turn's batch while the socket keeps up,
//! through an outbox of its own once it does not.
//!
//! Not here: the sending (`worker::deliver`). Invariants: bytes leave in the order they were
//! written; while the outbox holds anything, nothing goes to the batch; a connection has at most
//! one send in a batch.

use bytes::Bytes;
use ringwire_ring::{Batch, Shared, Slot};
use ringwire_transport::Outbox;

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
    /// A page made the request at hand, and may read the answer.
    pub(crate) const HAS_ORIGIN: Self = Self(1 << 23);

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
    pub(crate) flags: Flags,
}

impl Lane {
    /// Whether every byte written so far is with the kernel.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_none() && !self.flags.has(Flags::IN_BATCH)
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
        if self.may_join(slot, egress) {
            let room = egress.batch.arena();
            if len <= room.len() {
                fill(&mut room[..len]);
                egress.batch.push(slot, len);
                egress.written_bytes += len as u64;
                self.flags.set(Flags::IN_BATCH);
                return;
            }
        }
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.queue(slot, egress, Bytes::from(bytes));
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

    /// Whether a shared frame can go into the batch as it stands.
    pub(crate) fn may_share(&self, egress: &Egress) -> bool {
        self.is_idle() && !egress.batch.is_full()
    }

    /// Points the batch at a frame of `len` bytes that others get too. Only after
    /// [`Lane::may_share`].
    pub(crate) fn share(&mut self, slot: Slot, egress: &mut Egress, frame: Shared, len: usize) {
        egress.batch.push_shared(slot, frame);
        egress.written_bytes += len as u64;
        self.flags.set(Flags::IN_BATCH);
    }

    /// Puts `bytes` behind everything else in the outbox.
    pub(crate) fn queue(&mut self, slot: Slot, egress: &mut Egress, bytes: Bytes) {
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
