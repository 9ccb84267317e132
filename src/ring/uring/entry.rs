//! What *uring* knows of one slot, and the queue of those that wait to receive again.
//!
//! Invariants: `held` counts the operations of the slot that will still complete; a descriptor
//! is closed only at zero. An entry is in the queue at most once, also across its tenants.

use crate::slot::Slot;
use crate::table::{Table, Zeroed};

/// One slot's state, 16 bytes. Zero is a free slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) generation: u32,
    /// The next in the queue of those that wait to receive, plus one.
    next: u32,
    /// Where the waiting send is kept.
    pub(super) send: u32,
    flags: u16,
    /// Operations under way.
    pub(super) held: u8,
    /// The batch that last sent here, modulo 256; 0 for none.
    pub(super) batch: u8,
}

// SAFETY: integers without a destructor; all zero is a free slot.
unsafe impl Zeroed for Entry {}

/// Bytes of one slot in this engine's tables.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

/// A property of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Is {
    /// Has a tenant.
    Used = 1,
    /// [`crate::Driver::close`] was called.
    Closing = 1 << 1,
    /// Receiving is on.
    Receiving = 1 << 2,
    /// A receive is under way.
    Armed = 1 << 3,
    /// That receive is being cancelled.
    Disarming = 1 << 4,
    /// In the queue of those that wait to receive.
    Queued = 1 << 5,
    /// The end was reported: nothing more to receive.
    Ended = 1 << 6,
    /// A waiting send is under way.
    Sending = 1 << 7,
    /// A connect is under way.
    Connecting = 1 << 8,
    /// Writing is over, or will be after the waiting send.
    WriteEnded = 1 << 9,
    /// Shut down writing after the waiting send.
    ShutsWriteLater = 1 << 10,
    /// Shut down both ways after the waiting send.
    ShutsBothLater = 1 << 11,
    /// The descriptor is being closed.
    CloseSent = 1 << 12,
    /// Opened by this side: it took no permit.
    Own = 1 << 13,
    /// A cancel did not find its operation, so a shutdown was sent after it.
    Forced = 1 << 14,
}

impl Entry {
    pub(super) fn is(&self, what: Is) -> bool {
        self.flags & what as u16 != 0
    }

    pub(super) fn set(&mut self, what: Is) {
        self.flags |= what as u16;
    }

    pub(super) fn clear(&mut self, what: Is) {
        self.flags &= !(what as u16);
    }

    /// Clears `what` and says whether it was set.
    pub(super) fn take(&mut self, what: Is) -> bool {
        let was = self.is(what);
        self.clear(what);
        was
    }

    /// A new tenant moves in.
    pub(super) fn open(&mut self) {
        debug_assert!(!self.is(Is::Used) && self.held == 0, "{self:?} is taken");
        self.flags = self.flags & Is::Queued as u16 | Is::Used as u16;
        self.batch = 0;
    }

    /// The tenant is gone.
    pub(super) fn vacate(&mut self) {
        debug_assert!(self.is(Is::Used) && self.held == 0, "{self:?} is held");
        self.flags &= Is::Queued as u16;
        self.generation = Slot::new(0, self.generation).successor().generation();
    }

    /// Whether a receive should be started.
    pub(super) fn wants_receive(&self) -> bool {
        let relevant = Is::Used as u16
            | Is::Receiving as u16
            | Is::Armed as u16
            | Is::Ended as u16
            | Is::Closing as u16
            | Is::Connecting as u16;
        self.flags & relevant == Is::Used as u16 | Is::Receiving as u16
    }
}

/// The queue of those that wait to receive, linked through the entries.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: u32,
    last: u32,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// Adds `index` at the end unless it is in the queue already.
    pub(super) fn push(&mut self, entries: &mut Table<Entry>, index: u32) {
        let entry = &mut entries[index as usize];
        if entry.is(Is::Queued) {
            return;
        }
        entry.set(Is::Queued);
        entry.next = 0;
        match self.last {
            0 => self.first = index + 1,
            last => entries[last as usize - 1].next = index + 1,
        }
        self.last = index + 1;
    }

    pub(super) fn pop(&mut self, entries: &mut Table<Entry>) -> Option<u32> {
        let index = self.first.checked_sub(1)?;
        let entry = &mut entries[index as usize];
        entry.clear(Is::Queued);
        self.first = entry.next;
        if self.first == 0 {
            self.last = 0;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Is, Queue};
    use crate::table::Table;

    #[test]
    fn the_queue_keeps_order_and_holds_an_entry_once() {
        let mut entries = Table::<Entry>::new(4);
        let mut queue = Queue::default();
        for index in [2, 0, 2, 3, 0] {
            queue.push(&mut entries, index);
        }
        assert_eq!(queue.pop(&mut entries), Some(2));
        queue.push(&mut entries, 2);
        for wanted in [Some(0), Some(3), Some(2), None] {
            assert_eq!(queue.pop(&mut entries), wanted);
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn a_new_tenant_inherits_only_the_place_in_the_queue() {
        let mut entries = Table::<Entry>::new(1);
        let mut queue = Queue::default();
        let entry = &mut entries[0];
        entry.open();
        entry.set(Is::Receiving);
        entry.set(Is::Ended);
        queue.push(&mut entries, 0);
        let entry = &mut entries[0];
        entry.vacate();
        entry.open();
        assert_eq!(entry.generation, 1);
        assert!(entry.is(Is::Queued) && !entry.is(Is::Ended) && !entry.wants_receive());
        assert_eq!(queue.pop(&mut entries), Some(0));
        assert_eq!(queue.pop(&mut entries), None);
    }
}
