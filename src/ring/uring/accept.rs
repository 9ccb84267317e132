//! Accepting: multishot while there is ample room, one at a time near the end of it, and when
//! room or permits are scarce only what is known to be queued.
//!
//! Invariant: accepts under way on all listeners together never exceed the room
//! ([`crate::gate`]), because the kernel drops a client that it accepted and finds no table entry
//! for.

use std::net::SocketAddr;

use io_uring::opcode;
use io_uring::types::{CancelBuilder, DestinationSlot};

use super::Uring;
use super::completion::Done;
use super::door::Door;
use super::entry::Is;
use super::rooms::ARMED_MAX;
use super::token::{Kind, Token};
use crate::driver::{Accepting, Completion, Errno};
use crate::gate::{self, Plan};
use crate::listener::Listener;
use crate::options::Role;
use crate::slot::Slot;

/// Queued clients accepted before the others get their turn.
const ACCEPTS_MAX: u32 = 256;

/// The listeners, in the order in which they were given.
#[derive(Debug)]
pub(super) struct Acceptor {
    doors: Vec<Door>,
    wanted: Accepting,
    has_ended: bool,
    is_member: bool,
    /// Whose queue is looked at first.
    first: usize,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            doors: Vec::new(),
            wanted: Accepting::Paused,
            has_ended: false,
            is_member: true,
            first: 0,
        }
    }
}

impl Acceptor {
    /// Notes what is wanted; the end is final.
    pub(super) fn want(&mut self, accepting: Accepting) {
        if self.wanted != Accepting::Ended {
            self.wanted = accepting;
        }
    }

    fn ones(&self) -> u32 {
        self.doors.iter().map(|door| door.ones).sum()
    }

    fn any(&self, is: impl Fn(&Door) -> bool) -> bool {
        self.doors.iter().any(is)
    }

    fn set_member(&mut self, is_member: bool) {
        if self.is_member != is_member {
            self.is_member = is_member;
            self.doors.iter_mut().for_each(|door| door.set_member(is_member));
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.doors.len()).unwrap_or(u32::MAX)
    }
}

impl Uring {
    pub(super) fn start_listening(&mut self, listener: Listener) -> Result<(), Errno> {
        if self.role != Role::Accepts || self.acceptor.has_ended || self.gate.used() > 0 {
            return Err(Errno(libc::EINVAL));
        }
        let number = u16::try_from(self.acceptor.doors.len()).map_err(|_| Errno(libc::EMFILE))?;
        self.acceptor.doors.push(Door::new(number, listener));
        if let Some(backlog_max) = self.gate.backlog_max(self.acceptor.count()) {
            let listeners =
                self.acceptor.doors.iter_mut().filter_map(|door| door.listener.as_mut());
            for listener in listeners {
                listener.limit_backlog(backlog_max)?;
            }
        }
        Ok(())
    }

    /// Starts or ends accepts as the room allows, at the beginning of every turn.
    pub(super) fn serve_listeners(&mut self, completions: &mut Vec<Completion>) {
        if self.acceptor.has_ended || self.acceptor.doors.is_empty() {
            return;
        }
        match self.acceptor.wanted {
            Accepting::On => self.accept_as_planned(),
            Accepting::Paused => self.withdraw(),
            Accepting::Ended => {
                self.acceptor.set_member(false);
                for index in self.in_turn() {
                    if self.answer_the_queue(index) {
                        self.acceptor.doors[index].listener = None;
                    }
                }
                if !self.acceptor.any(Door::is_open) {
                    self.acceptor.has_ended = true;
                    self.gate.hold(0);
                    completions.push(Completion::AcceptEnded);
                }
            }
        }
    }

    /// The doors' places, beginning with another one each time: when room is scarce, none may
    /// always be the last.
    fn in_turn(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (count, first) = (self.acceptor.doors.len(), self.acceptor.first);
        self.acceptor.first = (first + 1) % count.max(1);
        (first..count).chain(0..first)
    }

    fn accept_as_planned(&mut self) {
        let has_many = self.acceptor.any(|door| door.has_many);
        let bound = if has_many { self.gate.reserve() } else { 0 };
        let doors = self.acceptor.count();
        let plan = self.gate.plan(bound + self.acceptor.ones(), doors);
        let is_member = self.gate.wants_newcomers(self.acceptor.is_member);
        self.acceptor.set_member(is_member);
        if self.heed_stirs() || self.gate.retry_at_ns(self.now_ns).is_some() {
            return;
        }
        match plan {
            Plan::Many => {
                for index in 0..self.acceptor.doors.len() {
                    self.accept_many(index);
                }
            }
            Plan::Singles(_) if has_many => self.cancel_accepts_of(|door| door.has_many),
            Plan::Singles(count) => {
                for index in 0..self.acceptor.doors.len() {
                    self.accept_up_to(index, count / doors);
                }
            }
            Plan::Ask if has_many || self.acceptor.ones() > 0 => {
                self.cancel_accepts_of(Door::is_accepting);
            }
            Plan::Ask if !self.gate.has_slot() => self.leave_to_others(),
            // Who waits for permits will be rung.
            Plan::Ask if self.gate.is_waiting() => {}
            Plan::Ask => {
                for index in self.in_turn() {
                    self.look_at_queue(index);
                }
            }
        }
    }

    /// Lets the accepts of a queue that others have left end, so that new ones look at it; says
    /// whether any accepts are being ended.
    fn heed_stirs(&mut self) -> bool {
        for index in 0..self.acceptor.doors.len() {
            let door = &mut self.acceptor.doors[index];
            if door.is_stirred() && !door.is_idle() {
                self.cancel_accepts(index);
            }
        }
        self.acceptor.any(|door| door.is_cancelling)
    }

    /// This worker's table is full: whoever is in a shared queue is for the others.
    fn leave_to_others(&mut self) {
        let mut is_stirred = false;
        for door in &mut self.acceptor.doors {
            is_stirred |= door.leave();
        }
        if is_stirred {
            self.bells.ring_each(!(1 << (self.worker % 64)));
        }
    }

    fn look_at_queue(&mut self, index: usize) {
        let door = &mut self.acceptor.doors[index];
        door.has_left = false;
        // What is watched was empty.
        if door.is_watching {
            return;
        }
        match door.queue_len() {
            0 => self.watch_queue(index),
            queue_len => self.accept_queued(index, queue_len),
        }
    }

    /// Accepts of `queue_len` clients that wait as many as there is room for.
    fn accept_queued(&mut self, index: usize, queue_len: u32) {
        let under_way = self.acceptor.ones();
        let room = self.gate.claim(under_way + queue_len.min(ACCEPTS_MAX));
        for _ in 0..room.saturating_sub(under_way) {
            self.accept_one(index);
        }
    }

    /// Watches for clients without keeping permits for them.
    fn watch_queue(&mut self, index: usize) {
        let door = &mut self.acceptor.doors[index];
        let Some(fd) = door.fd() else { return };
        let events = u32::from(libc::POLLIN.cast_unsigned());
        let entry = opcode::PollAdd::new(fd, events).build();
        door.is_watching = true;
        let token = door.token(Kind::Watch);
        // SAFETY: the operation points at no memory.
        unsafe { self.start(entry, token) }
    }

    pub(super) fn watched(&mut self, done: Done) {
        self.under_way -= 1;
        if let Some(door) = self.acceptor.doors.get_mut(done.token.slot().index()) {
            door.is_watching = false;
            door.settle();
        }
    }

    /// Leaves the port's group and ends all accepts.
    fn withdraw(&mut self) {
        self.acceptor.set_member(false);
        if self.acceptor.any(|door| !door.is_idle()) {
            self.cancel_accepts_of(|door| !door.is_idle());
        } else {
            self.gate.hold(0);
            self.leave_to_others();
        }
    }

    /// Accepts what is queued as far as there is room; says whether all of it is answered.
    fn answer_the_queue(&mut self, index: usize) -> bool {
        let door = &mut self.acceptor.doors[index];
        if !door.is_open() {
            return true;
        }
        door.ignore_newcomers();
        let queue_len = door.queue_len();
        if door.has_many || door.is_watching || (door.ones > 0 && queue_len == 0) {
            self.cancel_accepts(index);
        }
        if !self.acceptor.doors[index].is_idle() {
            return false;
        }
        if queue_len > 0 && self.gate.retry_at_ns(self.now_ns).is_none() {
            self.accept_queued(index, queue_len);
        }
        queue_len == 0
    }

    fn accept_many(&mut self, index: usize) {
        let door = &mut self.acceptor.doors[index];
        door.has_left = false;
        if door.is_shared() {
            return self.accept_up_to(index, 1);
        }
        let Some(fd) = door.fd().filter(|_| !door.has_many) else { return };
        let entry = opcode::AcceptMulti::new(fd).allocate_file_index(true).build();
        door.has_many = true;
        let token = door.token(Kind::AcceptMany);
        // SAFETY: the operation points at no memory, as no address is asked for.
        unsafe { self.start(entry, token) }
    }

    /// Brings the single accepts under way to `count`; of a shared queue to one, or those who
    /// came first would take all.
    fn accept_up_to(&mut self, index: usize, count: u32) {
        let door = &mut self.acceptor.doors[index];
        door.has_left = false;
        let most = match door.is_shared() {
            true => 1,
            false if self.rooms.are_used() => ARMED_MAX,
            false => u32::MAX,
        };
        let count = count.min(most);
        for _ in door.ones..count {
            self.accept_one(index);
        }
    }

    fn accept_one(&mut self, index: usize) {
        let door = &mut self.acceptor.doors[index];
        let Some(fd) = door.fd() else { return };
        let (room, address, len) = if self.rooms.are_used() && !door.is_shared() {
            let Some((room, address, len)) = self.rooms.take() else { return };
            (u32::from(room) + 1, address, len)
        } else {
            (0, std::ptr::null_mut(), std::ptr::null_mut())
        };
        let entry = opcode::Accept::new(fd, address, len)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        door.ones += 1;
        let token = Token::new(Kind::AcceptOne, Slot::new(u32::from(door.number), room));
        // SAFETY: null pointers tell the kernel that no address is asked for; others point into a
        // room that is this accept's alone until it is over, and is leaked if it does not end.
        unsafe { self.start(entry, token) }
    }

    fn cancel_accepts_of(&mut self, which: impl Fn(&Door) -> bool) {
        for index in 0..self.acceptor.doors.len() {
            if which(&self.acceptor.doors[index]) {
                self.cancel_accepts(index);
            }
        }
    }

    fn cancel_accepts(&mut self, index: usize) {
        let door = &mut self.acceptor.doors[index];
        if std::mem::replace(&mut door.is_cancelling, true) {
            return;
        }
        let Some(fd) = door.fd() else { return };
        let name = door.token(Kind::CancelAccepts);
        // Nothing but accepts and the watch is ever under way on a listener.
        self.tell(opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all()).build(), name);
    }

    /// A cancel did not find what it was for.
    pub(super) fn cancel_accepts_missed(&mut self, done: Done) {
        if let Some(door) = self.acceptor.doors.get_mut(done.token.slot().index()) {
            door.is_cancelling = false;
        }
    }

    pub(super) fn accepted(&mut self, done: Done, completions: &mut Vec<Completion>) {
        let index = done.token.slot().index();
        let Some(door) = self.acceptor.doors.get_mut(index) else { return };
        if !done.more {
            self.under_way -= 1;
            if done.token.kind() == Kind::AcceptOne {
                door.ones -= 1;
            } else {
                door.has_many = false;
                self.figures.rearms += u64::from(!door.is_cancelling);
            }
            door.settle();
        }
        let (number, room) = (door.number, done.token.slot().generation());
        let room = u16::try_from(room).ok().and_then(|room| room.checked_sub(1));
        let peer = room.and_then(|room| self.rooms.give_back(room));
        match done.result {
            Ok(index) => self.admit(index, number, peer, completions),
            Err(errno) if gate::is_passing(errno.0) => {}
            Err(_) => {
                self.gate.back_off(self.now_ns);
                self.figures.accept_backoffs += 1;
            }
        }
    }

    fn admit(
        &mut self,
        index: u32,
        listener: u16,
        peer: Option<SocketAddr>,
        completions: &mut Vec<Completion>,
    ) {
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
        completions.push(Completion::Accepted { slot, listener, peer });
    }
}
