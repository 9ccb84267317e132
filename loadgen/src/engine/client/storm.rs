//! Reconnect storms: every subscriber dropped at once, and opened again.
//!
//! Not here: when delivery is back as before; that is read off the seconds of the run. Invariants:
//! the order and times of reopening follow from the scenario alone; who is refused tries again
//! after a second for as long as the window lasts; what was not delivered meanwhile is a gap,
//! unless the transport asks for it again by position.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use ringwire_ring::Driver;

use super::Client;
use crate::engine::conductor::ns;
use crate::engine::error::ErrorCode;
use crate::engine::member::{Part, Phase, Speech};
use crate::engine::pacer::{Pacer, mixed};
use crate::scenario::Rate;

/// How long somebody waits who was refused.
const RETRY_NS: u64 = 1_000_000_000;

/// One thread's storms.
#[derive(Debug, Default)]
pub(super) struct Storms {
    /// The next one.
    next: usize,
    /// When the last one was.
    at_ns: u64,
    /// Members without a connection, by when they open it again.
    returning: BinaryHeap<Reverse<(u64, u32)>>,
    /// The last event ids of streams that were dropped.
    ids: HashMap<u32, Box<[u8]>>,
}

impl Storms {
    /// Who is not back, and not on the way.
    pub(super) fn waiting(&self) -> usize {
        self.returning.len()
    }

    pub(super) fn returning_ns(&self) -> u64 {
        self.returning.peek().map_or(u64::MAX, |Reverse((due_ns, _))| *due_ns)
    }
}

impl<D: Driver> Client<D> {
    /// When the next storm is due; far away if there is none.
    pub(super) fn storm_ns(&self) -> u64 {
        // Asked twice a turn: nearly always there is none.
        let Some(at) = self.plan.scenario.traffic.storms.get(self.storms.next) else {
            return u64::MAX;
        };
        let begin = self.control.begin().filter(|_| self.schedule.is_some());
        begin.map_or(u64::MAX, |begin| begin.window_start_ns.saturating_add(ns(*at)))
    }

    /// Drops everybody when that is due, and opens again whose time has come.
    pub(super) fn storm_due(&mut self) {
        if self.goodbye_until_ns.is_some() {
            return;
        }
        let at_ns = self.storm_ns();
        if at_ns <= self.now_ns && at_ns < self.control.window_end_ns() {
            self.storm(at_ns);
        }
        while self.storms.returning_ns() <= self.now_ns && self.connecting.has_room() {
            let Some(Reverse((_, position))) = self.storms.returning.pop() else { return };
            self.connect(position as usize);
        }
    }

    fn storm(&mut self, at_ns: u64) {
        let storm = self.storms.next;
        self.storms.next += 1;
        self.storms.at_ns = at_ns;
        self.storms.returning.clear();
        let scenario = &self.plan.scenario;
        let rate = scenario.connect_rate_per_s.and_then(|rate| Rate::per_second(rate.into()));
        let pacer = rate.map(|rate| Pacer::new(at_ns, rate));
        let jitter_ns = ns(scenario.traffic.storm_jitter);
        let seed = mixed(scenario.seed ^ mixed(storm as u64 + 1));
        let mut dropped = 0;
        for position in 0..self.members.len() {
            let member = &self.members[position];
            if member.part != Part::Subscriber || member.phase == Phase::Ended || member.is_slow {
                continue;
            }
            let number = u64::from(member.source);
            let paced_ns = pacer.as_ref().map_or(at_ns, |pacer| pacer.intended_ns(number));
            let wait_ns = match jitter_ns {
                0 => 0,
                most_ns => mixed(seed ^ mixed(number)) % (most_ns + 1),
            };
            self.drop_member(position);
            let due_ns = paced_ns.max(at_ns.saturating_add(wait_ns));
            self.return_at(position, due_ns);
            dropped += 1;
        }
        self.ledger.storm(storm).dropped += dropped;
    }

    fn return_at(&mut self, position: usize, due_ns: u64) {
        let position = u32::try_from(position).expect("members are counted in 32 bits");
        self.storms.returning.push(Reverse((due_ns, position)));
    }

    /// Closes a connection that will be opened again.
    fn drop_member(&mut self, position: usize) {
        if let Speech::Sse(stream) = &self.members[position].speech
            && !stream.parser.last_id().is_empty()
        {
            let id = stream.parser.last_id().into();
            let position = u32::try_from(position).expect("members are counted in 32 bits");
            self.storms.ids.insert(position, id);
        }
        let member = &self.members[position];
        self.connecting.opening -= usize::from(member.is_opening());
        self.open -= u32::from(!member.is_returning);
        self.close(position);
        let member = &mut self.members[position];
        (member.phase, member.is_returning) = (Phase::Waiting, true);
        (member.must_reconnect, member.is_proven) = (false, false);
        // Their replies went with the connection.
        let unanswered = member.outstanding();
        member.answered = member.sent;
        self.pending = self.pending.saturating_sub(unanswered);
        for _ in 0..unanswered {
            self.ledger.error(ErrorCode::Unanswered);
        }
    }

    /// Somebody who was dropped could not come back: later.
    pub(super) fn retry(&mut self, position: usize, code: ErrorCode) {
        self.ledger.error(code);
        self.connecting.opening -= usize::from(self.members[position].is_opening());
        self.close(position);
        self.members[position].phase = Phase::Waiting;
        self.return_at(position, self.now_ns + RETRY_NS);
    }

    /// Somebody who was dropped is back.
    pub(super) fn returned(&mut self, position: usize) {
        let storm = self.storms.next.saturating_sub(1);
        let took_ns = self.now_ns.saturating_sub(self.storms.at_ns);
        self.members[position].is_returning = false;
        self.open += 1;
        let book = self.ledger.storm(storm);
        book.reopened += 1;
        book.reopen.record(took_ns);
    }

    /// From where a stream that was dropped goes on.
    pub(super) fn take_event_id(&mut self, position: usize) -> Option<Box<[u8]>> {
        if self.storms.ids.is_empty() {
            return None;
        }
        self.storms.ids.remove(&u32::try_from(position).ok()?)
    }
}
