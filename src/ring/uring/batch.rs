//! Optimistic batches: sends that do not wait, report nothing when they went whole, and are over
//! when the call returns.
//!
//! A batch is over when (1) the submission queue is empty, (2) no completion waits for room, and
//! (3) every failure has been seen. Only then does "no completion" mean sent, and only then is the
//! batch's memory free: with a nearly full completion queue failures arrive only after a later
//! call. Where the kernel's silence cannot be trusted, every send completes and is waited for.

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use super::completion::Done;
use super::entry::Is;
use super::setup::Wait;
use super::token::{Kind, Token};
use super::{PATIENCE, Uring, is_short_of_memory};
use crate::batch::Batch;
use crate::driver::Errno;
use crate::slot::Slot;

const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Where a send went.
enum Queued {
    /// Into the submission queue.
    Yes,
    /// Into the batch's failures, or nowhere because it was empty.
    No,
    /// It must wait for an earlier send of the same connection.
    NotYet,
}

impl Uring {
    pub(super) fn send_batch(&mut self, batch: &mut Batch) {
        // Zero marks entries that no batch has sent to.
        self.batch_mark = self.batch_mark.checked_add(1).unwrap_or(1);
        let count = batch.len();
        let mut next = 0;
        while next < count {
            let room = self.batch_room(count - next);
            let mut queued = 0;
            while next < count && queued < room {
                match self.queue_send(batch, next, queued > 0) {
                    Queued::Yes => queued += 1,
                    Queued::No => {}
                    Queued::NotYet => break,
                }
                next += 1;
            }
            self.figures.batch_sends += queued as u64;
            if let Err(errno) = self.finish_sends(batch, queued) {
                self.broken = Some(errno);
                for index in next.saturating_sub(queued)..count {
                    batch.fail(index, 0, Some(errno));
                }
                return;
            }
        }
    }

    /// How many of `wanted` sends can be queued such that all could fail at once.
    fn batch_room(&mut self, wanted: usize) -> usize {
        if self.ring.submission_room() < wanted.min(self.ring.completions_max()) {
            self.flush();
        }
        if self.ring.completion_room() < wanted {
            self.stash_completions();
        }
        // One at least: an overflow is waited for below, it only costs calls.
        wanted.min(self.ring.submission_room()).min(self.ring.completion_room()).max(1)
    }

    fn queue_send(&mut self, batch: &mut Batch, index: usize, has_queued: bool) -> Queued {
        let mark = self.batch_mark;
        let (slot, bytes) = batch.send(index);
        if bytes.is_empty() {
            return Queued::No;
        }
        let (pointer, len) = (bytes.as_ptr(), bytes.len());
        let refusal = match self.open_entry(slot) {
            None => Some(Some(Errno(libc::ECANCELED))),
            Some(entry) if entry.is(Is::WriteEnded) => Some(Some(Errno(libc::EPIPE))),
            // What waits goes first.
            Some(entry) if entry.is(Is::Sending) => Some(None),
            // The mark may be 255 batches old; then this costs one call and is right all the same.
            Some(entry) if entry.batch == mark && has_queued => return Queued::NotYet,
            Some(entry) if entry.batch == mark => batch.failure_of(slot),
            Some(_) => None,
        };
        if let Some(error) = refusal {
            batch.fail(index, 0, error);
            return Queued::No;
        }
        self.entries[slot.index()].batch = mark;
        let len = u32::try_from(len).expect("a batch's frames are below 4 GiB");
        let number = u32::try_from(index).expect("a batch has few sends");
        let entry = opcode::Send::new(Fixed(slot.number()), pointer, len)
            .flags(FLAGS)
            .build()
            .user_data(Token::new(Kind::Batch, Slot::new(number, u32::from(mark))).bits());
        let entry = if self.features.silent_sends {
            entry.flags(squeue::Flags::SKIP_SUCCESS)
        } else {
            entry
        };
        // SAFETY: the bytes belong to the batch, which is borrowed until `finish_sends` has seen
        // that the kernel is done with them, or has broken the ring so that it never starts.
        unsafe { self.push(&entry) }
        Queued::Yes
    }

    /// Hands the sends over and sees every failure of them.
    fn finish_sends(&mut self, batch: &mut Batch, queued: usize) -> Result<(), Errno> {
        let mut open = if self.features.silent_sends { 0 } else { queued };
        let mut patience = PATIENCE;
        if queued == 0 {
            return Ok(());
        }
        loop {
            if let Some(errno) = self.broken {
                return Err(errno);
            }
            let must_run = open > 0 || self.ring.is_overflowing();
            match self.ring.enter(if must_run { Wait::No } else { Wait::SubmitOnly }) {
                Ok(()) => {}
                Err(errno) if is_short_of_memory(errno) && patience > 0 => patience -= 1,
                Err(errno) => return Err(errno),
            }
            while let Some(done) = self.ring.next() {
                if done.token.kind() == Kind::Batch {
                    open = open.saturating_sub(1);
                    self.fail_send(batch, done);
                } else {
                    self.stash.push_back(done);
                }
            }
            if self.ring.queued() == 0 && !self.ring.is_overflowing() && open == 0 {
                return Ok(());
            }
            self.figures.queue_overflows += u64::from(self.ring.is_overflowing());
        }
    }

    fn fail_send(&mut self, batch: &mut Batch, done: Done) {
        let index = done.token.slot().index();
        let len = batch.send(index).1.len();
        let (sent, error) = match done.result {
            Ok(sent) => (sent as usize, None),
            Err(Errno(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)) => (0, None),
            Err(errno) => (0, Some(errno)),
        };
        if sent < len {
            self.figures.batch_failures += 1;
            batch.fail(index, sent, error);
        }
    }
}
