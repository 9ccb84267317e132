//! Receiving: everybody who has something gets one receive a turn, in the order of the news.
//!
//! Invariant: a socket counts as readable until a receive came back short of its room, which says
//! that there was no more; or, once the peer has ended, until the kernel has said that too.

use super::Epoll;
use super::entry::Is;
use crate::driver::Completion;
use crate::slot::Slot;

impl Epoll {
    pub(super) fn set_receiving(&mut self, slot: Slot, on: bool) {
        let Some(entry) = self.tenant(slot) else { return };
        if !on {
            entry.clear(Is::Receiving);
            return;
        }
        entry.set(Is::Receiving);
        if entry.is_to_receive() {
            self.queue.push(&mut self.entries, slot.number());
        }
    }

    pub(super) fn receive_queued(&mut self, completions: &mut Vec<Completion>) {
        for left in (1..=self.queue.len()).rev() {
            if !self.memory.has_room() {
                self.figures.buffers_exhausted += u64::from(left);
                return;
            }
            let Some(index) = self.queue.pop(&mut self.entries) else { return };
            self.receive_once(index, completions);
        }
    }

    fn receive_once(&mut self, index: u32, completions: &mut Vec<Completion>) {
        let entry = &mut self.entries[index as usize];
        let slot = Slot::new(index, entry.generation);
        if !entry.is_to_receive() {
            return;
        }
        let Some(socket) = entry.socket() else { return };
        match self.memory.receive(socket) {
            Ok(Some((lease, has_more))) => {
                completions.push(Completion::Received { slot, lease });
                if !has_more && !entry.is(Is::HungUp) {
                    entry.clear(Is::Readable);
                }
            }
            Ok(None) => {
                entry.set(Is::Ended);
                completions.push(Completion::Ended { slot, result: Ok(()) });
            }
            Err(errno) if errno.0 == libc::EAGAIN => entry.clear(Is::Readable),
            Err(errno) if errno.0 == libc::EINTR => {}
            Err(errno) => {
                entry.set(Is::Ended);
                completions.push(Completion::Ended { slot, result: Err(errno) });
            }
        }
        if entry.is_to_receive() {
            self.queue.push(&mut self.entries, index);
        }
    }
}
