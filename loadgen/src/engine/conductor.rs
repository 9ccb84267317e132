//! When a run begins, when its window ends, and when there is nothing left to wait for.
//!
//! Not here: clocks and threads; time is an argument, and threads are told through the shared
//! control. Invariant: the window begins only when every connection is open or refused, and its
//! times are set once; only an end before the end may be brought forward.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::control::{Begin, Control};
use crate::engine::cost::Costs;
use crate::engine::ledger::Ledger;
use crate::engine::pacer::{Timetable, dealt_below};
use crate::engine::plan::Plan;
use crate::engine::timeline::Timeline;
use crate::engine::watch::{Situation, Watch};
use crate::outcome::{Ended, Failure, Phase, Snapshot, Surroundings, Tick};
use crate::part::{Meeting, Ready, Start};
use crate::scenario::{Arrival, Mode, SPAN_MAX, Scenario, Transport};

/// From deciding to begin until the first message: every thread must have heard of it.
const LEAD_NS: u64 = 50_000_000;

/// How long replies are awaited after the window's end.
pub(crate) const DRAIN_NS: u64 = 2_000_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// How often the conductor looks at what has no doorbell.
const LOOK_NS: u64 = 10_000_000;

#[derive(Clone, Copy, Debug)]
enum Stage {
    Connecting,
    /// All is open here, and what the server uses by then was looked at.
    Connected,
    /// All is open here; the other parts of the run are awaited.
    Meeting,
    /// The schedule is set, the window has not begun.
    Warmup {
        start_ns: u64,
    },
    Measuring {
        start_ns: u64,
    },
    Draining {
        until_ns: u64,
    },
    Finished,
}

/// What the conductor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To be stepped again at this time, or when a bell rings.
    At(u64),
    /// The run is over; the threads have been told.
    Finished,
}

/// Conducts one run.
#[derive(Debug)]
pub(crate) struct Conductor {
    plan: Arc<Plan>,
    control: Arc<Control>,
    /// None in a simulation.
    pub(crate) costs: Option<Costs>,
    /// Where the other parts of the run are met; none where this is all of it.
    meeting: Option<Arc<dyn Meeting>>,
    /// Tells what the schedule has in a second; asked with times that rise.
    timetable: RefCell<Option<Timetable>>,
    /// Of Poisson arrivals that a count ends: finds the last of them while the run goes on.
    ending: Option<Timetable>,
    /// Up to when Poisson arrivals were counted, second by second.
    counted_ns: u64,
    watch: Watch,
    /// Messages in flight, each time that was looked at in the window, and how often.
    in_flight: (u64, u64),
    stage: Stage,
    ended: Ended,
    measured_ns: u64,
    /// Set when the threads have to be woken.
    has_news: bool,
}

impl Conductor {
    pub(crate) fn new(plan: Arc<Plan>, control: Arc<Control>, costs: Option<Costs>) -> Self {
        Self {
            plan,
            control,
            costs,
            meeting: None,
            timetable: RefCell::new(None),
            ending: None,
            counted_ns: 0,
            watch: Watch::default(),
            in_flight: (0, 0),
            stage: Stage::Connecting,
            ended: Ended::Completed,
            measured_ns: 0,
            has_news: false,
        }
    }

    /// The same for one part of a run, which begins when all of them are ready.
    pub(crate) fn with_meeting(self, meeting: Option<Arc<dyn Meeting>>) -> Self {
        Self { meeting, ..self }
    }

    /// Looks at what the threads report, and decides.
    pub(crate) fn step(&mut self, now_ns: u64, stop: bool) -> Result<Next, Failure> {
        if self.control.reports.iter().any(|report| report.has_failed.load(Ordering::Acquire)) {
            self.finish();
            return Err(Failure::other("a thread failed"));
        }
        if stop {
            self.interrupt(now_ns);
        }
        let window = self.control.begin().map(|begin| begin.window_start_ns);
        let window = window.map(|start_ns| (start_ns, self.control.window_end_ns()));
        self.watch.look(&self.control, window, now_ns);
        let next_ns = match self.stage {
            Stage::Connecting => self.step_connecting(now_ns),
            Stage::Connected => self.step_connected(now_ns)?,
            Stage::Meeting => self.step_meeting(),
            Stage::Warmup { start_ns } => self.step_warmup(now_ns, start_ns),
            Stage::Measuring { start_ns } => self.step_measuring(now_ns, start_ns),
            Stage::Draining { until_ns } => {
                if now_ns >= until_ns || self.is_drained() {
                    self.finish();
                }
                until_ns
            }
            Stage::Finished => u64::MAX,
        };
        if matches!(self.stage, Stage::Finished) {
            return Ok(Next::Finished);
        }
        Ok(Next::At(next_ns.min(now_ns.saturating_add(LOOK_NS))))
    }

    /// Whether the threads have to be woken to hear of a decision.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// How it ended, and the length of the window.
    pub(crate) fn result(&self) -> (Ended, u64) {
        (self.ended, self.measured_ns)
    }

    /// How far the run is.
    pub(crate) const fn phase(&self) -> Phase {
        match self.stage {
            Stage::Connecting | Stage::Connected | Stage::Meeting => Phase::Connecting,
            Stage::Warmup { .. } => Phase::Warmup,
            Stage::Measuring { .. } => Phase::Measuring,
            Stage::Draining { .. } | Stage::Finished => Phase::Draining,
        }
    }

    /// How the run is doing, for people.
    pub(crate) fn tick(&self, now_ns: u64) -> Tick {
        let phase = self.phase();
        let end_ns = self.control.window_end_ns();
        let is_known = phase != Phase::Connecting && !self.is_end_unknown();
        Tick {
            phase,
            left_ns: is_known.then(|| end_ns.saturating_sub(now_ns)),
            connections_open: self.control.each(|report| &report.open).iter().sum(),
            sent: self.control.sum(|report| &report.sent),
            received: self.control.sum(|report| &report.received),
            errors: self.control.sum(|report| &report.errors),
        }
    }

    /// What there is to see now, for who looks on.
    pub(crate) fn snapshot(&mut self, now_ns: u64) -> Snapshot {
        let mut watch = std::mem::take(&mut self.watch);
        let scenario = &self.plan.scenario;
        let window_start_ns = self.control.begin().map(|begin| begin.window_start_ns);
        let situation = Situation {
            tick: self.tick(now_ns),
            connections: self.plan.connections(),
            window_ns: ns(scenario.warmup).saturating_add(ns(scenario.duration)),
            window_start_ns,
            costs: self.costs.as_ref(),
        };
        let snapshot = watch.snapshot(&self.control, situation, now_ns, |from_ns, to_ns| {
            self.scheduled(from_ns, to_ns.min(self.control.window_end_ns()))
        });
        self.watch = watch;
        snapshot
    }

    /// What else went on on this machine, and how much was in flight.
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub(crate) fn surroundings(&self) -> Surroundings {
        let (sum, count) = self.in_flight;
        let mean = (count > 0).then(|| sum as f64 / count as f64);
        let is_echo = self.plan.scenario.mode == Mode::Echo;
        Surroundings {
            in_flight_mean: mean.filter(|_| is_echo),
            ..self.costs.as_ref().map(Costs::surroundings).unwrap_or_default()
        }
    }

    /// Sends that an open loop has from one time of the window to another.
    pub(crate) fn offered(&self, from_ns: u64, to_ns: u64) -> Option<u64> {
        let start_ns = self.control.begin()?.window_start_ns;
        self.scheduled(start_ns + from_ns, start_ns + to_ns)
    }

    /// How many of the messages that the schedule has from one time to another are this part's.
    fn scheduled(&self, from_ns: u64, to_ns: u64) -> Option<u64> {
        let begin = self.control.begin()?;
        let mut timetable = self.timetable.borrow_mut();
        let timetable = timetable.as_mut()?;
        let mut first_from = |at_ns| timetable.first_from(at_ns).min(begin.number_end);
        let (first, end) = (first_from(from_ns), first_from(to_ns));
        if !self.plan.part.is_shared() {
            return Some(end.saturating_sub(first));
        }
        let counts = self.plan.senders(begin);
        let threads = begin.first_thread..begin.first_thread + self.plan.scenario.threads;
        let own = |thread| {
            dealt_below(counts, thread, end).saturating_sub(dealt_below(counts, thread, first))
        };
        Some(threads.map(own).sum())
    }

    /// Whether only the last message of a count will tell when the window ends.
    fn is_end_unknown(&self) -> bool {
        let Scenario { traffic, warmup, duration, .. } = &self.plan.scenario;
        traffic.count.is_some() && warmup.saturating_add(*duration) >= SPAN_MAX && {
            let begin = self.control.begin();
            let end_ns = begin.map(|begin| begin.window_start_ns.saturating_add(ns(*duration)));
            end_ns.is_none_or(|end_ns| self.control.window_end_ns() >= end_ns)
        }
    }

    /// The window as all threads saw it; `rest` is what they did not hand over.
    pub(crate) fn timeline(&mut self, rest: &mut Ledger) -> Timeline {
        let watch = std::mem::take(&mut self.watch);
        watch.into_timeline(&self.control, rest.take_timeline())
    }

    fn interrupt(&mut self, now_ns: u64) {
        match self.stage {
            Stage::Connecting | Stage::Connected if self.ended == Ended::Completed => {
                self.control.end_connecting();
                self.has_news = true;
                self.ended = Ended::Interrupted;
            }
            Stage::Meeting => {
                self.ended = Ended::Interrupted;
                self.finish();
            }
            Stage::Warmup { .. } | Stage::Measuring { .. } => {
                self.end_early(now_ns, Ended::Interrupted);
            }
            // Nobody wants to wait for replies any more.
            Stage::Draining { .. } if self.ended == Ended::Completed => {
                self.ended = Ended::Interrupted;
                self.finish();
            }
            Stage::Connecting | Stage::Connected | Stage::Draining { .. } | Stage::Finished => {}
        }
    }

    fn end_early(&mut self, now_ns: u64, ended: Ended) {
        if now_ns < self.control.window_end_ns() {
            self.control.end_window(now_ns);
            self.ended = ended;
            self.has_news = true;
        }
    }

    fn step_connecting(&mut self, now_ns: u64) -> u64 {
        if !self.control.all(|report| &report.is_settled) {
            return u64::MAX;
        }
        if let Some(costs) = &mut self.costs {
            costs.connected();
        }
        // Looking may take longer than the lead: the schedule is set by the time after it.
        self.stage = Stage::Connected;
        now_ns
    }

    fn step_connected(&mut self, now_ns: u64) -> Result<u64, Failure> {
        if self.ended != Ended::Completed {
            self.finish();
            return Ok(u64::MAX);
        }
        let subscribers = self.control.each(|report| &report.subscribers);
        let publishers = self.control.each(|report| &report.publishers);
        if let Some(meeting) = &self.meeting {
            let refusal = self.control.first_refusal().map(|_| self.nobody().line);
            meeting.ready(Ready { subscribers, publishers, refusal });
            self.stage = Stage::Meeting;
            return Ok(now_ns);
        }
        let scenario = &self.plan.scenario;
        let has_nobody = scenario.connections > 0 && subscribers.iter().all(|&count| count == 0);
        let has_no_publisher =
            self.plan.publishers() > 0 && publishers.iter().all(|&count| count == 0);
        if has_nobody || has_no_publisher {
            self.finish();
            return Err(self.nobody());
        }
        let origin_ns = now_ns + LEAD_NS;
        Ok(self.begin(Start { origin_ns, subscribers, publishers, first_thread: 0 }))
    }

    fn step_meeting(&mut self) -> u64 {
        let start = self.meeting.as_ref().and_then(|meeting| meeting.start());
        start.map_or(u64::MAX, |start| self.begin(start))
    }

    /// Sets the schedule; when the window begins.
    fn begin(&mut self, start: Start) -> u64 {
        let Start { origin_ns, subscribers, publishers, first_thread } = start;
        let scenario = &self.plan.scenario;
        let start_ns = origin_ns + ns(scenario.warmup);
        let mut end_ns = start_ns.saturating_add(ns(scenario.duration));
        let window_start_ns = start_ns;
        let number_end = u64::MAX;
        let mut begin =
            Begin { origin_ns, window_start_ns, subscribers, publishers, first_thread, number_end };
        let mut timetable = self.plan.timetable(&begin);
        if let (Some(timetable), Some(count)) = (&mut timetable, scenario.traffic.count) {
            begin.number_end = timetable.first_from(start_ns).saturating_add(count);
            // Where it is known now: the schedule says when the last of them is due.
            if scenario.traffic.arrival == Arrival::Constant {
                end_ns = end_ns.min(timetable.intended_ns(begin.number_end - 1).saturating_add(1));
            } else {
                self.ending = Some(timetable.clone());
            }
        }
        self.counted_ns = start_ns;
        // One that is asked for counts begins anew.
        self.timetable = RefCell::new(self.plan.timetable(&begin));
        self.control.set_begin(begin, end_ns);
        self.stage = Stage::Warmup { start_ns };
        self.has_news = true;
        start_ns
    }

    /// Why there is nobody to measure with, and the cure.
    fn nobody(&self) -> Failure {
        let address = &self.plan.scenario.target.address;
        let Some(refusal) = self.control.first_refusal() else {
            return Failure::unreachable(format!("no connection to {address} stayed open"));
        };
        let detail = match refusal.detail.as_str() {
            "" => String::new(),
            detail => format!(" \"{detail}\""),
        };
        let (code, cure) = (refusal.code, refusal.code.cure());
        Failure::unreachable(format!(
            "no connection to {address} could be opened ({code}{detail}): {cure}"
        ))
    }

    fn step_warmup(&mut self, now_ns: u64, start_ns: u64) -> u64 {
        let end_ns = self.control.window_end_ns();
        if end_ns < start_ns {
            self.finish();
            return u64::MAX;
        }
        if now_ns < start_ns {
            return start_ns;
        }
        if let Some(costs) = &mut self.costs {
            costs.window_starts(&self.control);
        }
        self.stage = Stage::Measuring { start_ns };
        self.step_measuring(now_ns, start_ns)
    }

    /// Counts Poisson arrivals as the run goes, so that nobody has to go through all of them at
    /// its end.
    fn keep_count(&mut self, now_ns: u64) {
        if self.plan.scenario.traffic.arrival != Arrival::Poisson {
            return;
        }
        if let Some(timetable) = self.timetable.get_mut() {
            while self.counted_ns <= now_ns.min(self.control.window_end_ns()) {
                timetable.first_from(self.counted_ns);
                self.counted_ns += NS_PER_S;
            }
        }
        if let (Some(ending), Some(begin)) = (&mut self.ending, self.control.begin())
            && let Some(end_ns) = ending.end_of(begin.number_end, now_ns + 2 * LOOK_NS)
        {
            self.control.end_window(end_ns);
            self.ending = None;
        }
    }

    fn step_measuring(&mut self, now_ns: u64, start_ns: u64) -> u64 {
        self.keep_count(now_ns);
        let open = self.control.each(|report| &report.open);
        let returning = self.control.each(|report| &report.returning);
        let is_empty = open.iter().chain(&returning).all(|&count| count == 0);
        // Of a part, others may still be at work: whether all is lost is not known here.
        if is_empty && self.plan.connections() > 0 && !self.plan.part.is_shared() {
            self.end_early(now_ns, Ended::Aborted);
        }
        // Ends behind the last message that the budget allowed: all of them were sent before now.
        if let Some(budget) = self.plan.budget()
            && self.control.sum(|report| &report.claimed) >= budget
        {
            self.control.end_window(now_ns + 1);
        }
        let end_ns = self.control.window_end_ns();
        if now_ns < end_ns {
            self.in_flight.0 += self.control.sum(|report| &report.pending);
            self.in_flight.1 += 1;
            return end_ns;
        }
        if let Some(costs) = &mut self.costs {
            costs.window_ends(&self.control);
        }
        self.measured_ns = end_ns - start_ns;
        let scenario = &self.plan.scenario;
        let is_slow = scenario.transport == Transport::Poll && self.ended == Ended::Completed;
        let polls_ns = if is_slow { ns(scenario.poll_interval).saturating_mul(2) } else { 0 };
        let until_ns = end_ns.saturating_add(polls_ns.max(DRAIN_NS));
        self.stage = Stage::Draining { until_ns };
        // A thread with nothing to do sleeps; only awake does it report that the window is past.
        self.has_news = true;
        now_ns
    }

    /// Whether everything that can come has come.
    fn is_drained(&self) -> bool {
        let is_silent = self.plan.scenario.mode == Mode::Idle && !self.plan.is_open_loop();
        if is_silent || self.ended == Ended::Aborted {
            return true;
        }
        // What other parts publish is not known here, so all of the time is waited.
        if self.plan.scenario.mode == Mode::Fanout && self.plan.part.is_shared() {
            return false;
        }
        // Slow readers have all of the time to hear that they were cut off.
        if self.plan.scenario.traffic.slow.is_some() {
            return false;
        }
        let received = self.control.sum(|report| &report.received_of_window);
        self.control.all(|report| &report.is_past_window)
            && self.control.sum(|report| &report.pending) == 0
            && received >= self.control.deliveries_expected()
    }

    fn finish(&mut self) {
        self.control.finish();
        self.has_news = true;
        self.stage = Stage::Finished;
    }
}

/// A configured time in nanoseconds.
pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
