//! Connections opened and closed as the load: each message of the schedule is one whole cycle.
//!
//! Invariants: a cycle keeps its intended time however long it waits for a connection that is
//! free; each cycle ends once, finished or failed; a failure never begins the next at once, so a
//! server that is gone is not hammered.

use std::collections::VecDeque;

use ringwire_ring::Driver;

use super::Client;
use super::open::OPEN_TIMEOUT_NS;
use super::say::LATE_MAX;
use crate::engine::error::ErrorCode;
use crate::engine::hear::Heard;
use crate::engine::member::{Late, Phase, Speech};
use crate::engine::payload::{PUBLISHER_MASK, Stamp};
use crate::engine::sequence::Arrival;
use crate::scenario::Mode;

/// How long a connection rests whose cycle failed.
const REST_NS: u64 = 10_000_000;

/// How often cycles are looked at that take too long.
const LOOK_NS: u64 = 1_000_000_000;

/// How long the server may take to close after it has said so.
const FIN_TIMEOUT_NS: u64 = 1_000_000_000;

/// A server where every cycle fails for this long is gone.
const GONE_NS: u64 = 5_000_000_000;

/// What one connection is doing.
#[derive(Clone, Copy, Debug, Default)]
struct Cycle {
    intended_ns: u64,
    begun_ns: u64,
    /// When the server said that it closes, if it has not done so.
    closed_ns: Option<u64>,
    /// It is one of the schedule's, and not the one that tries whether there is a server.
    is_counted: bool,
}

/// One thread's cycles.
#[derive(Debug, Default)]
pub(super) struct Churn {
    /// By member; empty in other modes.
    cycles: Vec<Cycle>,
    /// Members without a cycle.
    free: Vec<u32>,
    /// Cycles that are due, and found nobody free.
    waiting: VecDeque<Late>,
    /// Members whose cycle failed, and until when they rest.
    resting: VecDeque<(u64, u32)>,
    running: u64,
    looked_ns: u64,
    /// Since when nothing but failures was seen.
    failing_since_ns: Option<u64>,
}

impl Churn {
    pub(super) fn new(mode: Mode, members: usize) -> Self {
        let members = if mode == Mode::Churn { members } else { 0 };
        Self { cycles: vec![Cycle::default(); members], ..Self::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        !self.cycles.is_empty()
    }

    /// Whether the server is taken to be gone.
    pub(super) fn is_hopeless(&self, now_ns: u64) -> bool {
        self.failing_since_ns.is_some_and(|since_ns| now_ns >= since_ns.saturating_add(GONE_NS))
    }

    pub(super) fn deadline_ns(&self) -> u64 {
        let rest_ns = self.resting.front().map_or(u64::MAX, |(until_ns, _)| *until_ns);
        let look_ns = if self.running > 0 { self.looked_ns + LOOK_NS } else { u64::MAX };
        rest_ns.min(look_ns)
    }

    /// Cycles that have not ended, and those that never began.
    pub(super) fn unfinished(&self) -> (u64, u64) {
        (self.running, self.waiting.len() as u64)
    }
}

impl<D: Driver> Client<D> {
    /// All members that have no connection are free for the schedule.
    pub(super) fn begin_churn(&mut self) {
        if !self.churn.is_on() {
            return;
        }
        let members = (0_u32..).zip(&self.members);
        let waiting = members.filter(|(_, member)| member.phase == Phase::Waiting);
        self.churn.free = waiting.map(|(position, _)| position).collect();
        self.churn.looked_ns = self.now_ns;
    }

    /// In a closed loop every member begins.
    pub(super) fn start_churn(&mut self) {
        for position in std::mem::take(&mut self.churn.free) {
            self.next_cycle(position);
        }
    }

    /// A cycle of the schedule is due.
    pub(super) fn due_cycle(&mut self, late: Late) {
        if self.churn.free.is_empty() && self.ledger.waiting >= LATE_MAX {
            self.ledger.error(ErrorCode::Unsent);
            return;
        }
        self.pending += 1;
        match self.churn.free.pop() {
            Some(position) => self.start_cycle(position, late),
            None => {
                self.churn.waiting.push_back(late);
                self.ledger.waiting += 1;
            }
        }
    }

    /// Lets the rested go on, and gives up on what takes too long.
    pub(super) fn churn_due(&mut self) {
        if !self.churn.is_on() || self.goodbye_until_ns.is_some() {
            return;
        }
        while let Some(&(until_ns, position)) = self.churn.resting.front()
            && until_ns <= self.now_ns
        {
            self.churn.resting.pop_front();
            self.next_cycle(position);
        }
        if self.churn.running == 0 || self.now_ns < self.churn.looked_ns + LOOK_NS {
            return;
        }
        self.churn.looked_ns = self.now_ns;
        for position in 0..self.members.len() {
            let member = &self.members[position];
            if matches!(member.phase, Phase::Waiting | Phase::Ended) {
                continue;
            }
            let cycle = self.churn.cycles[position];
            let said = cycle.closed_ns.filter(|ns| self.now_ns >= ns + FIN_TIMEOUT_NS);
            if let Some(closed_ns) = said {
                self.finish_cycle(position, closed_ns);
            } else if self.now_ns >= member.since_ns.saturating_add(OPEN_TIMEOUT_NS) {
                let is_tls = member.is_shaking_hands();
                self.lose(
                    position,
                    if is_tls { ErrorCode::TlsTimeout } else { ErrorCode::Timeout },
                );
            }
        }
    }

    fn start_cycle(&mut self, position: u32, late: Late) {
        let begun_ns = self.driver.clock_ns();
        self.ledger.sent(late.intended_ns, late.picked_up_ns, begun_ns);
        self.churn.running += 1;
        let position = position as usize;
        self.churn.cycles[position] =
            Cycle { intended_ns: late.intended_ns, begun_ns, closed_ns: None, is_counted: true };
        let member = &mut self.members[position];
        (member.sent, member.answered, member.position) = (0, 0, None);
        (member.is_closing, member.must_reconnect, member.is_proven) = (false, false, false);
        (member.is_asking, member.since_ns) = (false, begun_ns);
        if self.connect_socket(position) {
            self.connecting.opening += 1;
        }
    }

    /// What a member without a cycle does next.
    fn next_cycle(&mut self, position: u32) {
        if self.goodbye_until_ns.is_some() {
            self.end(position as usize);
        } else if let Some(late) = self.churn.waiting.pop_front() {
            self.ledger.waiting -= 1;
            self.start_cycle(position, late);
        } else if self.may_start_message()
            && let Some(late) = self.claim(self.driver.clock_ns())
        {
            self.start_cycle(position, late);
        } else {
            self.churn.free.push(position);
        }
    }

    /// Does what was heard on a connection of a cycle.
    pub(super) fn act_on_cycle(
        &mut self,
        position: usize,
        heard: &Heard,
        result: Result<(), ErrorCode>,
    ) {
        if heard.is_open {
            self.opened(position);
        }
        if !heard.pings.is_empty() {
            self.answer_pings(position, &heard.pings);
        }
        match (heard.closed, result) {
            (Some(_), _) if self.members[position].is_closing => {
                self.churn.cycles[position].closed_ns.get_or_insert(self.now_ns);
            }
            (Some(code), _) => self.answer_close(position, code),
            (None, Err(code)) => self.lose(position, code),
            (None, Ok(())) => self.go_on(position),
        }
    }

    /// What comes next in a cycle whose connection is open: its message, then its end.
    pub(super) fn go_on(&mut self, position: usize) {
        let member = &self.members[position];
        if member.phase != Phase::Open || member.is_closing || member.outbox.is_some() {
            return;
        }
        let cycle = self.churn.cycles[position];
        let wants_echo = self.plan.scenario.traffic.is_churn_echo && cycle.is_counted;
        if wants_echo && member.sent == 0 {
            self.say_in_cycle(position, cycle);
        } else if member.answered == member.sent {
            self.close_cycle(position);
        }
    }

    fn say_in_cycle(&mut self, position: usize, cycle: Cycle) {
        let Some(origin_ns) = self.schedule.as_ref().map(|schedule| schedule.origin_ns) else {
            return;
        };
        let bytes = self.plan.frame_bytes_max();
        let Some(slot) = self.prepare(position, self.wire_bytes_max(position, bytes)) else {
            return;
        };
        let stamp = Stamp {
            publisher: self.members[position].number & PUBLISHER_MASK,
            sequence: 0,
            intended_ns: cycle.intended_ns.saturating_sub(origin_ns),
            delay_ns: self.stamp_ns.saturating_sub(cycle.intended_ns),
        };
        self.members[position].sent = 1;
        let key = self.keys.next(&mut self.driver);
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(bytes, 0);
        let len = self.plan.write_frame(&mut frame, stamp, key);
        frame.truncate(len);
        self.send_on(position, slot, &frame);
        self.frame = frame;
    }

    /// Ends a connection: a WebSocket by Close, an answered request by the server's FIN, and an
    /// event stream, which has no other end, by ours.
    fn close_cycle(&mut self, position: usize) {
        let member = &mut self.members[position];
        member.is_closing = true;
        let is_theirs_to_close = member.must_reconnect;
        if matches!(member.speech, Speech::Ws(..)) {
            self.write_close(position, 1000);
        } else if !is_theirs_to_close {
            self.notify_close(position);
            self.flush();
            self.finish_cycle(position, self.now_ns);
        }
    }

    /// A cycle came to its end.
    pub(super) fn finish_cycle(&mut self, position: usize, closed_ns: u64) {
        let cycle = self.churn.cycles[position];
        self.churn.failing_since_ns = None;
        if cycle.is_counted && self.goodbye_until_ns.is_none() {
            let delay_ns = cycle.begun_ns.saturating_sub(cycle.intended_ns);
            self.ledger.received(Arrival::New, cycle.intended_ns, delay_ns, closed_ns);
        }
        let position = self.leave_cycle(position);
        self.next_cycle(position);
    }

    /// A cycle's connection was refused, or lost before its end.
    pub(super) fn fail_cycle(&mut self, position: usize, code: ErrorCode) {
        if self.goodbye_until_ns.is_none() {
            self.ledger.error(code);
            self.control.refuse(code, String::new);
            self.churn.failing_since_ns.get_or_insert(self.now_ns);
        }
        let position = self.leave_cycle(position);
        self.churn.resting.push_back((self.now_ns + REST_NS, position));
    }

    fn leave_cycle(&mut self, position: usize) -> u32 {
        let member = &self.members[position];
        self.connecting.opening -= usize::from(member.is_opening());
        self.open -= u32::from(member.was_open);
        self.close(position);
        let member = &mut self.members[position];
        (member.phase, member.was_open, member.is_closing) = (Phase::Waiting, false, false);
        if std::mem::take(&mut self.churn.cycles[position].is_counted) {
            self.pending = self.pending.saturating_sub(1);
            self.churn.running -= 1;
            if self.goodbye_until_ns.is_some() {
                self.ledger.error(ErrorCode::Unanswered);
            }
        }
        u32::try_from(position).expect("members are counted in 32 bits")
    }
}
