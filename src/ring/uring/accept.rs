//! Accepting: multishot while there is ample room, one at a time near the end of it, and when
//! permits are scarce only what is known to be queued.
//!
//! Invariant: accepts under way never exceed the room ([`crate::gate`]), because the kernel drops
//! a client that it accepted and finds no table entry for.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::opcode;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd};

use super::Uring;
use super::completion::Done;
use super::entry::Is;
use super::token::{Kind, Token};
use crate::driver::{Accepting, Completion, Errno};
use crate::gate::{self, Plan};
use crate::listener::Listener;
use crate::slot::Slot;

const MANY: Token = Token::plain(Kind::AcceptMany);
const ONE: Token = Token::plain(Kind::AcceptOne);
const WATCH: Token = Token::plain(Kind::Watch);

/// Queued clients accepted before the others get their turn.
const ACCEPTS_MAX: u32 = 256;

/// The listener and the accepts under way on it.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Option<Listener>,
    /// A listener was taken at some time: the kernel chooses the slots.
    has_listened: bool,
    wanted: Accepting,
    /// A multishot accept is under way.
    has_many: bool,
    /// Single accepts under way.
    ones: u32,
    /// The queue is being watched, which takes no permit.
    is_watching: bool,
    pub(super) is_cancelling: bool,
    ignores_newcomers: bool,
    is_member: bool,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            listener: None,
            has_listened: false,
            wanted: Accepting::Paused,
            has_many: false,
            ones: 0,
            is_watching: false,
            is_cancelling: false,
            ignores_newcomers: false,
            is_member: true,
        }
    }
}

impl Acceptor {
    pub(super) fn has_listened(&self) -> bool {
        self.has_listened
    }

    /// Notes what is wanted; the end is final.
    pub(super) fn want(&mut self, accepting: Accepting) {
        if self.wanted != Accepting::Ended {
            self.wanted = accepting;
        }
    }

    fn is_idle(&self) -> bool {
        !self.has_many && self.ones == 0 && !self.is_watching
    }

    fn queue_len(&self) -> u32 {
        self.listener.as_ref().map_or(0, Listener::queue_len)
    }

    fn set_member(&mut self, is_member: bool) {
        if self.is_member != is_member
            && let Some(listener) = &mut self.listener
        {
            self.is_member = is_member;
            listener.set_open(is_member);
        }
    }
}

impl Uring {
    pub(super) fn start_listening(&mut self, mut listener: Listener) -> Result<(), Errno> {
        if self.acceptor.has_listened || self.gate.used() > 0 {
            return Err(Errno(libc::EINVAL));
        }
        if let Some(backlog_max) = self.gate.backlog_max() {
            listener.limit_backlog(backlog_max)?;
        }
        self.acceptor.has_listened = true;
        self.acceptor.listener = Some(listener);
        Ok(())
    }

    /// Starts or ends accepts as the room allows, at the beginning of every turn.
    pub(super) fn serve_listener(&mut self, completions: &mut Vec<Completion>) {
        if self.acceptor.listener.is_none() {
            return;
        }
        match self.acceptor.wanted {
            Accepting::On => self.accept_as_planned(),
            Accepting::Paused => self.withdraw(),
            Accepting::Ended => {
                if self.answer_the_queue() {
                    self.acceptor.listener = None;
                    self.gate.hold(0);
                    completions.push(Completion::AcceptEnded);
                }
            }
        }
    }

    fn accept_as_planned(&mut self) {
        let bound = if self.acceptor.has_many { self.gate.reserve() } else { 0 };
        let plan = self.gate.plan(bound + self.acceptor.ones);
        let is_member = self.gate.wants_newcomers(self.acceptor.is_member);
        self.acceptor.set_member(is_member);
        if self.acceptor.is_cancelling || self.gate.retry_at_ns(self.now_ns).is_some() {
            return;
        }
        match plan {
            Plan::Many if self.acceptor.has_many => {}
            Plan::Many => self.accept_many(),
            Plan::Singles(_) | Plan::Ask if self.acceptor.has_many => self.cancel_accepts(),
            Plan::Singles(count) => {
                while self.acceptor.ones < count {
                    self.accept_one();
                }
            }
            Plan::Ask if self.acceptor.ones > 0 => self.cancel_accepts(),
            // What is watched was empty; who waits for permits will be rung.
            Plan::Ask
                if self.acceptor.is_watching || self.gate.is_waiting() || !self.gate.has_slot() => {
            }
            Plan::Ask => match self.acceptor.queue_len() {
                0 => self.watch_queue(),
                queue_len => self.accept_queued(queue_len),
            },
        }
    }

    /// Accepts of `queue_len` clients that wait as many as there is room for.
    fn accept_queued(&mut self, queue_len: u32) {
        let room = self.gate.claim(queue_len.min(ACCEPTS_MAX));
        for _ in 0..room {
            self.accept_one();
        }
    }

    /// Watches for clients without keeping permits for them.
    fn watch_queue(&mut self) {
        let Some(listener) = &self.acceptor.listener else { return };
        let fd = Fd(listener.as_fd().as_raw_fd());
        let events = u32::from(libc::POLLIN.cast_unsigned());
        let entry = opcode::PollAdd::new(fd, events).build();
        self.acceptor.is_watching = true;
        // SAFETY: the operation points at no memory.
        unsafe { self.start(entry, WATCH) }
    }

    pub(super) fn watched(&mut self) {
        self.under_way -= 1;
        self.acceptor.is_watching = false;
        if self.acceptor.is_idle() {
            self.acceptor.is_cancelling = false;
        }
    }

    /// Leaves the port's group and ends all accepts.
    fn withdraw(&mut self) {
        self.acceptor.set_member(false);
        if self.acceptor.is_idle() {
            self.gate.hold(0);
        } else {
            self.cancel_accepts();
        }
    }

    /// Accepts what is queued as far as there is room; says whether all of it is answered.
    fn answer_the_queue(&mut self) -> bool {
        if !self.acceptor.ignores_newcomers {
            self.acceptor.ignores_newcomers = true;
            if let Some(listener) = &self.acceptor.listener {
                // If the kernel refuses, whoever comes after the last look is turned away.
                let _ = listener.ignore_newcomers();
            }
        }
        self.acceptor.set_member(false);
        let queue_len = self.acceptor.queue_len();
        let is_idling = self.acceptor.has_many
            || self.acceptor.is_watching
            || (self.acceptor.ones > 0 && queue_len == 0);
        if is_idling {
            self.cancel_accepts();
        }
        if !self.acceptor.is_idle() {
            return false;
        }
        if self.gate.retry_at_ns(self.now_ns).is_none() {
            self.accept_queued(queue_len);
        }
        queue_len == 0
    }

    fn accept_many(&mut self) {
        let Some(listener) = &self.acceptor.listener else { return };
        let fd = Fd(listener.as_fd().as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).allocate_file_index(true).build();
        self.acceptor.has_many = true;
        // SAFETY: the operation points at no memory, as no address is asked for.
        unsafe { self.start(entry, MANY) }
    }

    fn accept_one(&mut self) {
        let Some(listener) = &self.acceptor.listener else { return };
        let fd = Fd(listener.as_fd().as_raw_fd());
        let entry = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        self.acceptor.ones += 1;
        // SAFETY: null pointers tell the kernel that no address is asked for.
        unsafe { self.start(entry, ONE) }
    }

    fn cancel_accepts(&mut self) {
        if self.acceptor.is_cancelling {
            return;
        }
        self.acceptor.is_cancelling = true;
        let kinds = [
            (self.acceptor.has_many, MANY),
            (self.acceptor.ones > 0, ONE),
            (self.acceptor.is_watching, WATCH),
        ];
        for (_, token) in kinds.into_iter().filter(|(is_under_way, _)| *is_under_way) {
            let all = CancelBuilder::user_data(token.bits()).all();
            let entry = opcode::AsyncCancel2::new(all).build();
            self.tell(entry, Token::plain(Kind::CancelAccepts));
        }
    }

    pub(super) fn accepted(&mut self, done: Done, completions: &mut Vec<Completion>) {
        if !done.more {
            self.under_way -= 1;
            if done.token.kind() == Kind::AcceptOne {
                self.acceptor.ones -= 1;
            } else {
                self.acceptor.has_many = false;
                self.figures.rearms += u64::from(!self.acceptor.is_cancelling);
            }
            if self.acceptor.is_idle() {
                self.acceptor.is_cancelling = false;
            }
        }
        match done.result {
            Ok(index) => self.admit(index, completions),
            Err(errno) if gate::is_passing(errno.0) => {}
            Err(_) => {
                self.gate.back_off(self.now_ns);
                self.figures.accept_backoffs += 1;
            }
        }
    }

    fn admit(&mut self, index: u32, completions: &mut Vec<Completion>) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        if entry.is(Is::CloseSent) {
            // The kernel gave the index away before its news of the close reached us.
            let tenant = Slot::new(index, entry.generation);
            self.vacate(tenant, completions);
        }
        let entry = &mut self.entries[index as usize];
        entry.open();
        let slot = Slot::new(index, entry.generation);
        self.gate.admit();
        completions.push(Completion::Accepted { slot, peer: None });
    }
}
