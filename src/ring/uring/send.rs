//! Waiting sends: one owned buffer per slot, kept until the kernel has taken every byte.
//!
//! Invariant: a buffer is dropped only when its operation is over.

use bytes::Bytes;
use io_uring::opcode;
use io_uring::types::Fixed;

use super::Uring;
use super::completion::Done;
use super::entry::Is;
use super::token::{Kind, Token};
use crate::driver::{Completion, Errno};
use crate::slot::Slot;

/// More than the kernel takes at once anyway.
const SEND_BYTES_MAX: usize = 1 << 30;

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

    fn remove(&mut self, place: u32) {
        self.pending[place as usize] = None;
        self.free.push(place);
    }

    /// What is left to send at `place`.
    fn rest(&self, place: u32) -> &[u8] {
        self.pending[place as usize].as_ref().map_or(&[], |pending| &pending.bytes[pending.sent..])
    }

    /// Notes that `len` more bytes are with the kernel; says whether these were the last.
    fn advance(&mut self, place: u32, len: usize) -> bool {
        let Some(pending) = &mut self.pending[place as usize] else { return true };
        pending.sent += len;
        pending.sent == pending.bytes.len()
    }

    /// Gives the buffers up for good, as the kernel may still read them.
    pub(super) fn leak(self) {
        std::mem::forget(self.pending);
    }
}

impl Uring {
    pub(super) fn start_send(&mut self, slot: Slot, bytes: Bytes) {
        let Some(entry) = self.open_entry(slot) else { return };
        assert!(!entry.is(Is::Sending), "{slot:?} still sends");
        if entry.is(Is::WriteEnded) {
            let result = Err(Errno(libc::EPIPE));
            self.ready.push(Completion::Sent { slot, result });
            return;
        }
        entry.set(Is::Sending);
        entry.held += 1;
        let place = self.sends.insert(bytes);
        self.entries[slot.index()].send = place;
        self.continue_send(slot, place);
    }

    fn continue_send(&mut self, slot: Slot, place: u32) {
        let rest = self.sends.rest(place);
        let len = u32::try_from(rest.len().min(SEND_BYTES_MAX)).expect("capped");
        let operation = opcode::Send::new(Fixed(slot.number()), rest.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        // SAFETY: the bytes are owned by `sends` until this operation is over, on the heap or
        // static, so they stay where they are when the list moves.
        unsafe { self.start(operation, Token::new(Kind::Send, slot)) }
    }

    pub(super) fn sent(&mut self, done: Done, completions: &mut Vec<Completion>) {
        self.under_way -= 1;
        let slot = done.token.slot();
        let Some(entry) = self.tenant(slot) else { return };
        let (place, is_closing) = (entry.send, entry.is(Is::Closing));
        let result = match done.result {
            Ok(len) => {
                // Nothing taken of something to send cannot be; repeating it would be a loop.
                let is_stuck = len == 0 && !self.sends.rest(place).is_empty();
                if is_stuck {
                    Some(Err(Errno(libc::EIO)))
                } else {
                    self.sends.advance(place, len as usize).then_some(Ok(()))
                }
            }
            Err(errno) if matches!(errno.0, libc::EAGAIN | libc::EINTR) => None,
            Err(errno) => Some(Err(errno)),
        };
        if result.is_none() && !is_closing {
            self.continue_send(slot, place);
            return;
        }
        self.sends.remove(place);
        let entry = &mut self.entries[slot.index()];
        entry.clear(Is::Sending);
        entry.held -= 1;
        if is_closing {
            self.close_if_free(slot);
        } else if let Some(result) = result {
            completions.push(Completion::Sent { slot, result });
            self.shut_down_later(slot);
        }
    }
}
