//! Sending: batches by one call each, waiting sends by as many as it takes, and what has to wait
//! for them.
//!
//! Invariant: nothing overtakes a waiting send of the same connection.

use bytes::Bytes;

use super::Epoll;
use super::entry::Is;
use crate::batch::Batch;
use crate::driver::{Completion, Errno, Shutdown};
use crate::slot::Slot;
use crate::sys;

struct Pending {
    bytes: Bytes,
    sent: usize,
}

/// The buffers of waiting sends.
#[derive(Default)]
pub(super) struct Sends {
    pending: Vec<Option<Pending>>,
    free: Vec<u32>,
}

impl Sends {
    fn insert(&mut self, bytes: Bytes) -> u32 {
        let pending = Some(Pending { bytes, sent: 0 });
        if let Some(place) = self.free.pop() {
            self.pending[place as usize] = pending;
            return place;
        }
        self.pending.push(pending);
        u32::try_from(self.pending.len() - 1).expect("no more than slots")
    }

    pub(super) fn remove(&mut self, place: u32) {
        self.pending[place as usize] = None;
        self.free.push(place);
    }
}

impl Epoll {
    pub(super) fn start_send(&mut self, slot: Slot, bytes: Bytes) {
        let Some(entry) = self.tenant(slot) else { return };
        assert!(!entry.is(Is::Sending), "{slot:?} still sends");
        if entry.is(Is::WriteEnded) {
            let result = Err(Errno(libc::EPIPE));
            self.ready.push(Completion::Sent { slot, result });
            return;
        }
        entry.set(Is::Sending);
        let place = self.sends.insert(bytes);
        self.entries[slot.index()].send = place;
        self.continue_send(slot);
    }

    /// Sends until all is sent or the socket is full.
    pub(super) fn continue_send(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        let (Some(socket), place) = (entry.socket(), entry.send) else { return };
        let Some(pending) = &mut self.sends.pending[place as usize] else { return };
        let result = loop {
            let rest = &pending.bytes[pending.sent..];
            if rest.is_empty() {
                break Ok(());
            }
            match sys::send(socket, rest) {
                Ok(len) => pending.sent += len,
                Err(errno) if errno.0 == libc::EINTR => {}
                Err(errno) if errno.0 == libc::EAGAIN => return,
                Err(errno) => break Err(errno),
            }
        };
        self.sends.remove(place);
        entry.clear(Is::Sending);
        let (both, write) = (entry.take(Is::ShutsBothLater), entry.take(Is::ShutsWriteLater));
        self.ready.push(Completion::Sent { slot, result });
        if both {
            self.shut_down(slot, Shutdown::Both);
        } else if write {
            self.shut_down(slot, Shutdown::Write);
        }
    }

    pub(super) fn start_shutdown(&mut self, slot: Slot, how: Shutdown) {
        let Some(entry) = self.tenant(slot) else { return };
        entry.set(Is::WriteEnded);
        if !entry.is(Is::Sending) {
            self.shut_down(slot, how);
        } else if how == Shutdown::Both {
            entry.set(Is::ShutsBothLater);
        } else {
            entry.set(Is::ShutsWriteLater);
        }
    }

    fn shut_down(&self, slot: Slot, how: Shutdown) {
        let how = match how {
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        if let Some(socket) = self.entries[slot.index()].socket() {
            // A failure means that the connection has ended already.
            let _ = sys::shutdown(socket, how);
        }
    }

    pub(super) fn send_batch(&mut self, batch: &mut Batch) {
        // Zero marks entries that no batch has sent to.
        self.batch_mark = self.batch_mark.checked_add(1).unwrap_or(1);
        for index in 0..batch.len() {
            let (slot, bytes) = batch.send(index);
            let len = bytes.len();
            let (sent, error) = match self.refusal(slot, batch) {
                Some(error) => (0, error),
                None => self.send_now(slot, bytes),
            };
            if sent < len {
                self.figures.batch_failures += 1;
                batch.fail(index, sent, error);
            }
        }
        self.figures.batch_sends += batch.len() as u64;
    }

    /// Why a send of the batch is not even tried.
    fn refusal(&mut self, slot: Slot, batch: &Batch) -> Option<Option<Errno>> {
        let mark = self.batch_mark;
        match self.tenant(slot) {
            None => Some(Some(Errno(libc::ECANCELED))),
            Some(entry) if entry.is(Is::WriteEnded) => Some(Some(Errno(libc::EPIPE))),
            // What waits goes first.
            Some(entry) if entry.is(Is::Sending) => Some(None),
            // The mark may be 255 batches old; then there is no failure to find.
            Some(entry) if entry.batch == mark => batch.failure_of(slot),
            Some(entry) => {
                entry.batch = mark;
                None
            }
        }
    }

    fn send_now(&self, slot: Slot, bytes: &[u8]) -> (usize, Option<Errno>) {
        let Some(socket) = self.entries[slot.index()].socket() else {
            return (0, Some(Errno(libc::ECANCELED)));
        };
        if bytes.is_empty() {
            return (0, None);
        }
        match sys::send(socket, bytes) {
            Ok(sent) => (sent, None),
            Err(Errno(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)) => (0, None),
            Err(errno) => (0, Some(errno)),
        }
    }
}
