//! What is due when, once the run has begun.
//!
//! Invariant: the order and times of messages and polls follow from the schedule alone, never
//! from how the run goes.

use ringwire_ring::Driver;

use super::Client;
use crate::engine::conductor::DRAIN_NS;
use crate::engine::error::ErrorCode;
use crate::engine::member::{Late, Part, Phase};
use crate::engine::pacer::{Pacer, Share, Timetable};
use crate::scenario::{Mode, Rate, Transport};

/// How long after the window's end its last messages are still picked up: they count with their
/// lag, and a thread that is later than this has lost the race. Half of the time that replies are
/// awaited, so that the last of them has time to come.
const PICK_UP_GRACE_NS: u64 = DRAIN_NS / 2;

/// Messages picked up by one reading of the clock.
const PICK_UPS_PER_READING: u32 = 64;

/// One thread's part of the run's schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the first message is due: the origin of the payloads' times.
    pub(super) origin_ns: u64,
    /// The origin has passed.
    pub(super) has_started: bool,
    messages: Option<Course>,
    polls: Option<Course>,
}

/// Events in turn for the members of one roster.
#[derive(Debug)]
struct Course {
    timetable: Timetable,
    share: Share,
    roster: Vec<u32>,
    /// The first number that is not its any more.
    number_end: u64,
    /// When the next event is due.
    next_ns: u64,
}

impl Course {
    fn new(timetable: Timetable, share: Share, roster: Vec<u32>, number_end: u64) -> Self {
        let mut course = Self { timetable, share, roster, number_end, next_ns: 0 };
        course.find_next();
        course
    }

    fn find_next(&mut self) {
        let next = self.share.peek().filter(|due| due.number < self.number_end);
        self.next_ns = next.map_or(u64::MAX, |due| self.timetable.intended_ns(due.number));
    }

    /// The next event if it is due by `now_ns`: when it was, and whose it is.
    fn take_due(&mut self, now_ns: u64) -> Option<(u64, usize)> {
        let intended_ns = self.next_ns;
        if intended_ns > now_ns {
            return None;
        }
        let due = self.share.peek()?;
        self.share.advance();
        self.find_next();
        Some((intended_ns, self.roster[due.member] as usize))
    }
}

impl Schedule {
    pub(super) fn deadline_ns(&self, now_ns: u64, window_end_ns: u64) -> u64 {
        if !self.has_started {
            return self.origin_ns;
        }
        let next = |course: &Option<Course>| course.as_ref().map_or(u64::MAX, |c| c.next_ns);
        let message_ns = next(&self.messages);
        let is_over =
            message_ns >= window_end_ns || now_ns > window_end_ns.saturating_add(PICK_UP_GRACE_NS);
        next(&self.polls).min(if is_over { u64::MAX } else { message_ns })
    }
}

impl<D: Driver> Client<D> {
    /// Takes over the schedule once the conductor has set it.
    pub(super) fn begin(&mut self) {
        let Some(begin) = self.control.begin() else { return };
        let scenario = &self.plan.scenario;
        let [subscribers, publishers] = std::mem::take(&mut self.connecting.rosters);
        let listening = Share::new(&begin.subscribers, begin.first_thread + self.thread);
        let publishing = Share::new(&begin.publishers, begin.first_thread + self.thread);
        for (roster, share) in [(&subscribers, &listening), (&publishers, &publishing)] {
            for (own, &position) in roster.iter().enumerate() {
                self.members[position as usize].number = share.index(own);
            }
        }
        let polls = Rate::new(
            listening.total(),
            u64::try_from(scenario.poll_interval.as_nanos()).unwrap_or(u64::MAX),
        )
        .filter(|_| scenario.transport == Transport::Poll)
        .map(|rate| {
            let timetable = Timetable::even(Pacer::new(begin.origin_ns, rate));
            Course::new(timetable, listening.clone(), subscribers.clone(), u64::MAX)
        });
        let (share, roster) = match scenario.mode {
            Mode::Fanout => (publishing, publishers),
            Mode::Echo | Mode::Idle | Mode::Churn => (listening, subscribers),
        };
        let timetable = self.plan.timetable(begin);
        let messages = timetable.map(|times| Course::new(times, share, roster, begin.number_end));
        let origin_ns = begin.origin_ns;
        self.schedule = Some(Schedule { origin_ns, has_started: false, messages, polls });
        self.begin_churn();
    }

    /// Notes that the origin has passed; closed loops begin.
    pub(super) fn start(&mut self) {
        let Some(schedule) = &mut self.schedule else { return };
        if schedule.has_started || self.now_ns < schedule.origin_ns {
            return;
        }
        schedule.has_started = true;
        if self.plan.is_open_loop() {
            return;
        }
        if self.churn.is_on() {
            return self.start_churn();
        }
        for position in 0..self.members.len() {
            let member = &self.members[position];
            let is_sender = member.part == Part::Publisher || self.plan.scenario.mode == Mode::Echo;
            if is_sender && member.phase == Phase::Open {
                self.make_ready(position);
            }
        }
    }

    /// Nothing more falls due.
    pub(super) fn end_schedule(&mut self) {
        if let Some(schedule) = &mut self.schedule {
            (schedule.messages, schedule.polls) = (None, None);
        }
    }

    /// Picks up the messages that are due.
    pub(super) fn pick_up_due(&mut self) {
        let has_messages =
            self.schedule.as_ref().is_some_and(|s| s.has_started && s.messages.is_some());
        let end_ns = self.control.window_end_ns();
        if !has_messages || self.now_ns > end_ns.saturating_add(PICK_UP_GRACE_NS) {
            return;
        }
        let mut picked_up_ns = self.driver.clock_ns();
        let mut count = 0;
        while let Some(course) = self.schedule.as_mut().and_then(|s| s.messages.as_mut()) {
            if course.next_ns >= end_ns {
                return;
            }
            let Some((intended_ns, position)) = course.take_due(picked_up_ns) else { return };
            self.ledger.picked_up(intended_ns, picked_up_ns);
            let late = Late { intended_ns, picked_up_ns };
            match self.churn.is_on() {
                true => self.due_cycle(late),
                false => self.pick_up(position, late),
            }
            count += 1;
            if count % PICK_UPS_PER_READING == 0 {
                picked_up_ns = self.driver.clock_ns();
            }
            if count >= PICK_UPS_PER_TURN_MAX {
                return;
            }
        }
    }

    /// Sends the polls that are due.
    pub(super) fn poll_due(&mut self) {
        while let Some(course) = self.schedule.as_mut().and_then(|s| s.polls.as_mut()) {
            let Some((_, position)) = course.take_due(self.now_ns) else { return };
            let member = &self.members[position];
            match (member.phase, member.is_asking) {
                (Phase::Open, false) => self.ask(position),
                (Phase::Open | Phase::Connecting, true) => {
                    self.ledger.error(ErrorCode::PollOverlap);
                }
                (Phase::Parked, _) => self.unpark(position),
                _ => {}
            }
        }
    }
}

/// Messages picked up in one turn at most, so that replies are read in between; the rest is due at
/// once in the next.
const PICK_UPS_PER_TURN_MAX: u32 = 4096;
