//! Ending connections: shutdown after what was handed over, and close when the kernel holds
//! nothing of the slot any more; and the ring's own end, when it holds nothing at all.
//!
//! Why not close at once: closing does not end a receive under way. The peer gets no FIN, the
//! index is given to the next client, and the old receive goes on taking bytes. Why cancel and not
//! shut down: a shutdown always takes the way over a helper thread of the kernel; cancelling by
//! name does not, and what the peer sees of the close that follows is the same.

use io_uring::opcode;
use io_uring::types::{CancelBuilder, Fixed};

use super::Uring;
use super::completion::Done;
use super::entry::{Entry, Is};
use super::setup::Wait;
use super::token::{Kind, Token};
use crate::driver::{Completion, Shutdown};
use crate::slot::Slot;
use crate::sys;

impl Uring {
    pub(super) fn start_shutdown(&mut self, slot: Slot, how: Shutdown) {
        let Some(entry) = self.open_entry(slot) else { return };
        entry.set(Is::WriteEnded);
        if !entry.is(Is::Sending) {
            self.shut_down(slot, how);
        } else if how == Shutdown::Both {
            entry.set(Is::ShutsBothLater);
        } else {
            entry.set(Is::ShutsWriteLater);
        }
    }

    /// Makes up for a shutdown that had to wait for the send.
    pub(super) fn shut_down_later(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        let (both, write) = (entry.take(Is::ShutsBothLater), entry.take(Is::ShutsWriteLater));
        if both {
            self.shut_down(slot, Shutdown::Both);
        } else if write {
            self.shut_down(slot, Shutdown::Write);
        }
    }

    fn shut_down(&mut self, slot: Slot, how: Shutdown) {
        self.entries[slot.index()].held += 1;
        let how = match how {
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        let operation = opcode::Shutdown::new(Fixed(slot.number()), how).build();
        // SAFETY: the operation points at no memory.
        unsafe { self.start(operation, Token::new(Kind::Shutdown, slot)) }
    }

    pub(super) fn is_shut_down(&mut self, done: Done) {
        // A failure means that the connection has ended already.
        if self.let_go(done.token.slot()).is_some() {
            self.close_if_free(done.token.slot());
        }
    }

    pub(super) fn start_close(&mut self, slot: Slot) {
        let Some(entry) = self.open_entry(slot) else { return };
        entry.set(Is::Closing);
        let entry = *entry;
        self.connector.forget(slot);
        self.cancel_under_way(slot, entry);
        if !self.ready.is_empty() {
            self.ready.retain(|completion| match completion {
                Completion::Sent { slot: other, .. } => *other != slot,
                _ => true,
            });
        }
        self.close_if_free(slot);
    }

    fn cancel_under_way(&mut self, slot: Slot, entry: Entry) {
        let kinds = [
            (entry.is(Is::Armed) && !entry.is(Is::Disarming), Kind::Receive),
            (entry.is(Is::Sending), Kind::Send),
            (entry.is(Is::Connecting), Kind::Connect),
        ];
        for (_, kind) in kinds.into_iter().filter(|(is_under_way, _)| *is_under_way) {
            self.cancel(Token::new(kind, slot));
        }
    }

    /// Cancels what every connection has under way, each by its name. The kernel finds a name by
    /// its hash; asked for "all" it begins anew after each one, which for 10,000 idle connections
    /// takes it a minute.
    pub(super) fn cancel_each(&mut self) {
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if entry.is(Is::Used) && !entry.is(Is::Closing) {
                let number = u32::try_from(index).expect("slots are counted in 32 bits");
                self.cancel_under_way(Slot::new(number, entry.generation), entry);
            }
        }
    }

    /// Cancels one operation by its name, which no later operation of another tenant can have.
    pub(super) fn cancel(&mut self, token: Token) {
        let operation = opcode::AsyncCancel2::new(CancelBuilder::user_data(token.bits())).build();
        self.tell(operation, Token::new(Kind::Cancel, token.slot()));
    }

    /// A cancel did not find what it was for. Mostly that has just completed by itself; if not,
    /// nothing stays under way on a socket that is shut down.
    pub(super) fn cancel_missed(&mut self, done: Done) {
        let slot = done.token.slot();
        let Some(entry) = self.tenant(slot) else { return };
        entry.clear(Is::Disarming);
        let must_force = entry.is(Is::Closing) && entry.held > 0 && !entry.is(Is::Forced);
        if must_force {
            entry.set(Is::Forced);
            self.shut_down(slot, Shutdown::Both);
        }
    }

    /// Closes the descriptor of a slot that is to be closed, once nothing of it is under way.
    pub(super) fn close_if_free(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        if !entry.is(Is::Closing) || entry.held > 0 || entry.is(Is::CloseSent) {
            return;
        }
        entry.set(Is::CloseSent);
        let operation = opcode::Close::new(Fixed(slot.number())).build();
        // SAFETY: the operation points at no memory.
        unsafe { self.start(operation, Token::new(Kind::Close, slot)) }
    }

    pub(super) fn is_closed(&mut self, done: Done, completions: &mut Vec<Completion>) {
        self.under_way -= 1;
        // An error could only say that the entry was empty, which is what was wanted.
        self.vacate(done.token.slot(), completions);
    }

    /// The slot has no tenant any more.
    pub(super) fn vacate(&mut self, slot: Slot, completions: &mut Vec<Completion>) {
        let Some(entry) = self.tenant(slot) else { return };
        let is_own = entry.is(Is::Own);
        entry.vacate();
        if is_own {
            self.gate.leave_own();
            self.connector.give_back(slot.number());
        } else {
            self.gate.leave();
        }
        completions.push(Completion::Closed { slot });
    }

    /// Cancels all that is under way and waits for it; says whether nothing is left.
    pub(super) fn quiesce(&mut self) -> bool {
        const IDLE_ROUNDS: u32 = 500;
        const ROUND_NS: u64 = 10_000_000;
        // So few that asking for "all", which is slow with many, costs nothing.
        const FEW: u64 = 64;
        self.cancel_each();
        let mut idle_rounds = 0;
        while idle_rounds < IDLE_ROUNDS {
            // The names are cancelled; what has none, or did not hear, is left.
            if self.broken.is_none() && (self.under_way <= FEW || idle_rounds > 1) {
                let all = CancelBuilder::any().all();
                self.tell(opcode::AsyncCancel2::new(all).build(), Token::plain(Kind::Nothing));
            }
            self.flush();
            let before = self.under_way;
            self.count_last_completions();
            if self.under_way == 0 {
                return true;
            }
            idle_rounds = if self.under_way < before { 0 } else { idle_rounds + 1 };
            self.ring.enter_without_submitting(Wait::Until(sys::monotonic_ns() + ROUND_NS));
        }
        false
    }

    /// Takes note of what is over, and of nothing else.
    fn count_last_completions(&mut self) {
        self.stash_completions();
        while let Some(done) = self.stash.pop_front() {
            let counts = !matches!(
                done.token.kind(),
                Kind::Nothing
                    | Kind::Batch
                    | Kind::Cancel
                    | Kind::CancelAccepts
                    | Kind::Rung
                    | Kind::Ring
            );
            if counts && !done.more {
                self.under_way -= 1;
            }
        }
    }
}
