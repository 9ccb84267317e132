//! What *epoll* knows of one slot, and the queue of those that have something to receive.
//!
//! Invariant: a slot owns its descriptor from open to close; an entry is in the queue at most once.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::slot::Slot;
use crate::table::{Table, Zeroed};

/// One slot's state, 20 bytes. Zero is a free slot that was never used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) generation: u32,
    fd: RawFd,
    /// The next in a list, plus one: of those to receive from, or of the free.
    pub(super) next: u32,
    /// Where the waiting send is kept.
    pub(super) send: u32,
    flags: u16,
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
    /// Has a tenant and its descriptor.
    Open = 1,
    /// Receiving is on.
    Receiving = 1 << 1,
    /// The socket may have bytes; epoll will not say so again before they are read.
    Readable = 1 << 2,
    /// The peer has ended or the connection failed: read until the kernel says so.
    HungUp = 1 << 3,
    /// The end was reported.
    Ended = 1 << 4,
    /// In the queue of those to receive from.
    Queued = 1 << 5,
    /// A waiting send is not over.
    Sending = 1 << 6,
    /// A connect is not over.
    Connecting = 1 << 7,
    /// Writing is over, or will be after the waiting send.
    WriteEnded = 1 << 8,
    /// Shut down writing after the waiting send.
    ShutsWriteLater = 1 << 9,
    /// Shut down both ways after the waiting send.
    ShutsBothLater = 1 << 10,
    /// Opened by this side: it took no permit.
    Own = 1 << 11,
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
    pub(super) fn open(&mut self, fd: OwnedFd) {
        debug_assert!(!self.is(Is::Open), "{self:?} is taken");
        self.fd = fd.into_raw_fd();
        self.flags = self.flags & Is::Queued as u16 | Is::Open as u16;
        self.batch = 0;
    }

    /// The tenant is gone; its descriptor comes out to be closed.
    pub(super) fn vacate(&mut self) -> Option<OwnedFd> {
        if !self.is(Is::Open) {
            return None;
        }
        self.flags &= Is::Queued as u16;
        self.generation = Slot::new(0, self.generation).successor().generation();
        // SAFETY: `open` took the descriptor out of its owner, and clearing `Open` above makes
        // sure that it is given back once.
        Some(unsafe { OwnedFd::from_raw_fd(self.fd) })
    }

    /// The tenant's socket.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: an open entry owns its descriptor, and cannot be vacated while borrowed.
        self.is(Is::Open).then(|| unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    /// Whether a receive would be worth the call.
    pub(super) fn is_to_receive(&self) -> bool {
        let relevant = Is::Open as u16
            | Is::Receiving as u16
            | Is::Readable as u16
            | Is::Ended as u16
            | Is::Connecting as u16;
        self.flags & relevant == Is::Open as u16 | Is::Receiving as u16 | Is::Readable as u16
    }
}

/// The queue of those to receive from, linked through the entries.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    len: u32,
}

impl Queue {
    pub(super) fn len(&self) -> u32 {
        self.len
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
        self.len += 1;
    }

    pub(super) fn pop(&mut self, entries: &mut Table<Entry>) -> Option<u32> {
        let index = self.first.checked_sub(1)?;
        let entry = &mut entries[index as usize];
        entry.clear(Is::Queued);
        self.first = entry.next;
        if self.first == 0 {
            self.last = 0;
        }
        self.len -= 1;
        Some(index)
    }
}
