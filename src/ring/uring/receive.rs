//! Receiving: multishot with a cap where the kernel has it, else one receive at a time.
//!
//! Invariants: at most one receive is under way per slot; one that ended is started again only at
//! the beginning of a turn, in the order in which they ended, and only while the kernel has
//! buffers. So one sender cannot take the pool, and an empty pool burns no processor.

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use super::Uring;
use super::buffers::GROUP;
use super::completion::Done;
use super::entry::Is;
use super::token::{Kind, Token};
use crate::driver::{Completion, Errno};
use crate::slot::Slot;

/// Not the first attempt but the poll comes first: without it an idle socket would be told that
/// there are no buffers (`IORING_RECVSEND_POLL_FIRST`).
const POLL_FIRST: u16 = 1;

/// Where `ioprio` and `optlen` lie in an operation (include/uapi/linux/io_uring.h).
const IOPRIO_OFFSET: usize = 2;
const OPTLEN_OFFSET: usize = 44;

/// A multishot receive that polls first and ends after at most `bytes_max`: two fields that the
/// crate has no names for. The kernel looks at the total only after a receive, so that the last
/// one may go beyond; hence each is limited as well.
pub(super) fn capped_receive(index: u32, bytes_max: u32) -> squeue::Entry {
    let once = (bytes_max / 4).max(1);
    let total = (bytes_max - once).max(1);
    let mut entry = opcode::RecvMulti::new(Fixed(index), GROUP).len(once).build();
    let start: *mut u8 = (&raw mut entry).cast();
    // SAFETY: an operation is 64 bytes, so the offset is inside it.
    let ioprio = unsafe { start.add(IOPRIO_OFFSET) }.cast::<u16>();
    // SAFETY: an operation is 64 bytes, so the offset is inside it.
    let optlen = unsafe { start.add(OPTLEN_OFFSET) }.cast::<u32>();
    // SAFETY: an aligned two-byte field of a structure of integers that is borrowed by nobody.
    unsafe { *ioprio |= POLL_FIRST }
    // SAFETY: an aligned four-byte field of a structure of integers that is borrowed by nobody.
    unsafe { *optlen = total }
    entry
}

fn single_receive(index: u32, bytes_max: u32) -> squeue::Entry {
    opcode::Recv::new(Fixed(index), std::ptr::null_mut(), bytes_max)
        .buf_group(GROUP)
        .ioprio(POLL_FIRST)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}

impl Uring {
    pub(super) fn set_receiving(&mut self, slot: Slot, on: bool) {
        let Some(entry) = self.open_entry(slot) else { return };
        if on {
            entry.set(Is::Receiving);
            if entry.wants_receive() && !entry.is(Is::Queued) {
                self.arm(slot);
            }
            return;
        }
        entry.clear(Is::Receiving);
        if entry.is(Is::Armed) && !entry.is(Is::Disarming) {
            entry.set(Is::Disarming);
            self.cancel(Token::new(Kind::Receive, slot));
        }
    }

    fn arm(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        entry.set(Is::Armed);
        entry.held += 1;
        let operation = if self.features.capped_receive {
            capped_receive(slot.number(), self.share_bytes)
        } else {
            // The kernel shortens it to the buffer it takes.
            single_receive(slot.number(), self.share_bytes)
        };
        // SAFETY: the kernel writes only to provided buffers, which outlive the operation.
        unsafe { self.start(operation, Token::new(Kind::Receive, slot)) }
    }

    /// Starts the receives that wait, oldest first. After a shortage only as many as the buffers
    /// can serve, lest all but a few fail again.
    pub(super) fn arm_waiting(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let with_kernel = self.buffers.with_kernel();
        if with_kernel < self.buffers.count().div_ceil(4) {
            return;
        }
        let was_starved = std::mem::take(&mut self.is_starved);
        let mut room = if was_starved { u32::from(with_kernel) * 2 } else { u32::MAX };
        while room > 0
            && let Some(index) = self.queue.pop(&mut self.entries)
        {
            let entry = &self.entries[index as usize];
            if entry.wants_receive() {
                self.arm(Slot::new(index, entry.generation));
                room -= 1;
            }
        }
        // Those still waiting must not wait for others' news.
        self.is_starved = was_starved && !self.queue.is_empty();
    }

    pub(super) fn received(&mut self, done: Done, completions: &mut Vec<Completion>) {
        let len = done.result.unwrap_or(0);
        let lease = done.buffer.and_then(|used| self.buffers.filled(used, len));
        let slot = done.token.slot();
        let is_over = !done.more;
        if is_over {
            self.under_way -= 1;
        }
        let Some(entry) = self.tenant(slot) else { return };
        if is_over {
            entry.clear(Is::Armed);
            entry.clear(Is::Disarming);
            entry.held -= 1;
        }
        if entry.is(Is::Closing) {
            self.close_if_free(slot);
            return;
        }
        match (lease, done.result) {
            (Some(lease), _) => completions.push(Completion::Received { slot, lease }),
            (None, Ok(_)) => self.report_end(slot, Ok(()), completions),
            (None, Err(errno)) => match errno.0 {
                libc::ENOBUFS => {
                    self.figures.buffers_exhausted += 1;
                    self.is_starved = true;
                }
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                _ => self.report_end(slot, Err(errno), completions),
            },
        }
        let entry = &self.entries[slot.index()];
        if is_over && entry.wants_receive() {
            self.figures.rearms += u64::from(self.features.capped_receive);
            self.queue.push(&mut self.entries, slot.number());
        }
    }

    fn report_end(
        &mut self,
        slot: Slot,
        result: Result<(), Errno>,
        completions: &mut Vec<Completion>,
    ) {
        let entry = &mut self.entries[slot.index()];
        if !entry.is(Is::Ended) {
            entry.set(Is::Ended);
            completions.push(Completion::Ended { slot, result });
        }
    }
}
