//! One thread's connections: a turn takes what the kernel did, and says what is due.
//!
//! Not here: what bytes mean (`hear`), when the run begins and ends (`conductor`). Invariants: one
//! clock reading per turn times everything received in it; at most one send per socket and batch,
//! and none while an earlier one waits; messages keep their intended time however long they wait.

mod churn;
mod ending;
mod goodbye;
mod open;
mod say;
mod schedule;
mod script;
mod secure;
mod slow;
mod sockets;
mod storm;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ringwire_ring::{Batch, Completion, Driver, Errno, Lease, Slot};

use crate::engine::codec::Workshop;
use crate::engine::control::Control;
use crate::engine::error::ErrorCode;
use crate::engine::fairness::Sketches;
use crate::engine::hear::{Ear, Heard};
use crate::engine::keys::Keys;
use crate::engine::ledger::{Ledger, Window};
use crate::engine::member::{Member, Part};
use crate::engine::plan::Plan;
use crate::engine::sequence::Tracker;
use crate::scenario::Transport;
use churn::Churn;
use open::Connecting;
use schedule::Schedule;
use slow::SlowPace;
use sockets::Sighting;
use storm::Storms;

/// A connection that said nothing for this long may be ended by its server, and is opened again;
/// one that ends sooner without an answer is refused, or the two would go on for ever.
const IDLE_NS: u64 = 1_000_000_000;

const NS_PER_MS: u64 = 1_000_000;

/// No connection.
const NOBODY: u32 = u32::MAX;

/// One thread's share of a run.
#[derive(Debug)]
pub(crate) struct Client<D> {
    driver: D,
    plan: Arc<Plan>,
    control: Arc<Control>,
    thread: usize,
    /// Subscribers, then publishers.
    members: Vec<Member>,
    trackers: Vec<Tracker>,
    /// By slot index: the position in `members`, or [`NOBODY`].
    owners: Vec<u32>,
    connecting: Connecting,
    churn: Churn,
    storms: Storms,
    slow: SlowPace,
    schedule: Option<Schedule>,
    batch: Batch,
    /// Counts batches, so that a member knows whether it is in the present one.
    batch_number: u32,
    /// When the present batch's first send was written: the sent time of all of them.
    stamp_ns: u64,
    keys: Keys,
    workshop: Workshop,
    /// Scratch: a payload before it is compressed, a frame before it is sent.
    payload: Vec<u8>,
    frame: Vec<u8>,
    /// The date when the clock was at zero.
    unix_base_ms: u64,
    /// Scratch of TLS: what goes to the wire, and a record that came in pieces.
    wire: Vec<u8>,
    joined: Vec<u8>,
    ledger: Ledger,
    sketches: Sketches,
    /// The window was open in the turn before; what the sockets had counted when it began.
    was_in_window: bool,
    sightings: Vec<Sighting>,
    /// A second is over that was not handed over.
    owes: bool,
    /// Something happened in the second under way.
    has_news: bool,
    /// Members that may have something to say.
    ready: Vec<u32>,
    completions: Vec<Completion>,
    now_ns: u64,
    /// Subscribers open now.
    open: u32,
    /// Messages picked up or sent, without a reply.
    pending: u64,
    /// Messages taken off the run's budget.
    claimed: u64,
    /// Set once the run is over: until when the peers' answers to Close are awaited.
    goodbye_until_ns: Option<u64>,
}

impl<D: Driver> Client<D> {
    /// Thread `thread` of the run, with its share of the connections.
    pub(crate) fn new(
        mut driver: D,
        plan: Arc<Plan>,
        control: Arc<Control>,
        thread: usize,
    ) -> Self {
        let members = open::members(&plan, thread);
        let subscribers = members.iter().filter(|m| m.part == Part::Subscriber).count();
        let trackers = vec![Tracker::default(); subscribers * plan.trackers_per_connection()];
        let now_ns = driver.clock_ns();
        let is_live = control.is_live;
        let sketches = Sketches::new(subscribers, plan.scenario.connections);
        driver.watch_every(sockets::stride(&plan));
        let connecting = Connecting::new(&plan, members.len(), subscribers, now_ns);
        let churn = Churn::new(plan.scenario.mode, members.len());
        Self {
            driver,
            plan,
            control,
            thread,
            members,
            trackers,
            owners: Vec::new(),
            connecting,
            churn,
            storms: Storms::default(),
            slow: SlowPace::default(),
            schedule: None,
            batch: Batch::new(),
            batch_number: 1,
            stamp_ns: 0,
            keys: Keys::new(),
            workshop: Workshop::default(),
            payload: Vec::new(),
            frame: Vec::new(),
            unix_base_ms: unix_ms().saturating_sub(now_ns / NS_PER_MS),
            wire: Vec::new(),
            joined: Vec::new(),
            ledger: Ledger::new(is_live),
            sketches,
            was_in_window: false,
            sightings: Vec::new(),
            owes: false,
            has_news: false,
            ready: Vec::new(),
            completions: Vec::new(),
            now_ns,
            open: 0,
            pending: 0,
            claimed: 0,
            goodbye_until_ns: None,
        }
    }

    /// Waits for something to do, does it, and says whether this thread is done.
    pub(crate) fn turn(&mut self) -> Result<bool, Errno> {
        let deadline_ns = self.deadline_ns();
        self.driver.turn(deadline_ns, &mut self.completions)?;
        self.now_ns = self.driver.now_ns();
        self.look();
        let mut completions = std::mem::take(&mut self.completions);
        self.has_news |= !completions.is_empty();
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.completions = completions;
        self.connect_more();
        self.storm_due();
        self.churn_due();
        self.pace_slow();
        self.pick_up_due();
        self.poll_due();
        while let Some(member) = self.ready.pop() {
            self.members[member as usize].is_ready = false;
            self.pump(member as usize);
        }
        self.flush();
        self.report();
        Ok(self.goodbye_until_ns.is_some_and(|until| self.open == 0 || self.now_ns >= until))
    }

    /// The books, with what was never answered.
    pub(crate) fn into_ledger(mut self) -> Ledger {
        self.ledger.spread = self.sketches.spread();
        let (unfinished, unbegun) = self.churn.unfinished();
        for _ in 0..unfinished {
            self.ledger.error(ErrorCode::Unanswered);
        }
        for _ in 0..unbegun {
            self.ledger.error(ErrorCode::Unsent);
        }
        let members = if self.churn.is_on() { &[][..] } else { &self.members };
        for member in members {
            for _ in 0..member.outstanding() {
                self.ledger.error(ErrorCode::Unanswered);
            }
            for _ in 0..member.late_count() {
                self.ledger.error(ErrorCode::Unsent);
            }
        }
        self.ledger
    }

    fn deadline_ns(&self) -> u64 {
        if !self.ready.is_empty() {
            return 0;
        }
        let schedule = self.schedule.as_ref().map_or(u64::MAX, |schedule| {
            schedule.deadline_ns(self.now_ns, self.control.window_end_ns())
        });
        let goodbye = self.goodbye_until_ns.unwrap_or(u64::MAX);
        let special = match self.goodbye_until_ns {
            Some(_) => u64::MAX,
            None => {
                let returning_ns = match self.connecting.has_room() {
                    true => self.storms.returning_ns(),
                    false => u64::MAX,
                };
                let storm_ns = self.storm_ns().min(returning_ns);
                storm_ns.min(self.churn.deadline_ns()).min(self.slow.deadline_ns())
            }
        };
        // Whether somebody looks on or not, so that it makes no difference.
        let hand = if self.has_news { self.ledger.second_end_ns(self.now_ns) } else { u64::MAX };
        schedule.min(self.connecting.deadline_ns()).min(goodbye).min(hand).min(special)
    }

    /// Takes note of what the conductor decided.
    fn look(&mut self) {
        if self.schedule.is_none() {
            self.begin();
        }
        let window = self.control.begin().map_or(Window::UNKNOWN, |begin| Window {
            start_ns: begin.window_start_ns,
            end_ns: self.control.window_end_ns(),
        });
        self.owes |= self.ledger.turn(window, self.now_ns);
        if self.owes {
            self.hand_over();
            self.look_at_sockets();
        }
        if self.goodbye_until_ns.is_none() && self.control.is_finished() {
            self.say_goodbye();
        }
        self.start();
    }

    /// Hands finished seconds to the conductor, unless it is just taking some: then next turn.
    fn hand_over(&mut self) {
        let handed = self.control.reports[self.thread].handed.try_lock();
        if let Ok(mut handed) = handed {
            self.ledger.hand_over(&mut handed, self.connecting.opening);
            (self.owes, self.has_news) = (false, false);
        }
    }

    fn report(&self) {
        let report = &self.control.reports[self.thread];
        let returning = match self.churn.is_on() {
            true if self.churn.is_hopeless(self.now_ns) => 0,
            true => self.members.len(),
            false => self.storms.waiting() + self.connecting.opening,
        };
        let returning = u32::try_from(returning).unwrap_or(u32::MAX);
        report.returning.store(returning, Ordering::Relaxed);
        report.open.store(self.open, Ordering::Relaxed);
        report.sent.store(self.ledger.sent_total, Ordering::Relaxed);
        report.received.store(self.ledger.received_total, Ordering::Relaxed);
        report.errors.store(self.ledger.errors_total, Ordering::Relaxed);
        report.received_of_window.store(self.ledger.received_of_window, Ordering::Relaxed);
        report.pending.store(self.pending, Ordering::Relaxed);
        if self.claimed != report.claimed.swap(self.claimed, Ordering::AcqRel)
            && self.control.is_spent()
        {
            self.control.ring_conductor();
        }
        let is_past = self.now_ns >= self.control.window_end_ns();
        report.is_past_window.store(is_past, Ordering::Release);
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Connected { slot, result } => {
                let Some(member) = self.owner(slot) else { return };
                match result {
                    Ok(()) => self.connected(member, slot),
                    Err(errno) => self.lose(member, ErrorCode::of(errno)),
                }
            }
            Completion::Received { slot, lease } => {
                if let Some(member) = self.owner(slot) {
                    self.received(member, lease);
                }
            }
            Completion::Ended { slot, result } => {
                if let Some(member) = self.owner(slot) {
                    self.ended(member, result);
                }
            }
            Completion::Sent { slot, result } => {
                let Some(member) = self.owner(slot) else { return };
                match result {
                    Ok(()) => self.unblocked(member, slot),
                    Err(errno) => self.lose(member, ErrorCode::of(errno)),
                }
            }
            Completion::Closed { .. }
            | Completion::Woken
            | Completion::Accepted { .. }
            | Completion::AcceptEnded => {}
        }
    }

    /// The member whose present connection `slot` is.
    fn owner(&self, slot: Slot) -> Option<usize> {
        let owner = *self.owners.get(slot.index())?;
        let member = self.members.get(owner as usize)?;
        (member.slot == Some(slot)).then_some(owner as usize)
    }

    fn received(&mut self, member: usize, mut lease: Lease) {
        let bytes = lease.len() as u64;
        self.count_received(member, bytes);
        if self.members[member].is_slow {
            self.slow_read(member, bytes);
        }
        if self.members[member].tls.is_some() {
            self.open_records(member, &mut lease);
        } else {
            self.hear(member, &mut lease);
        }
    }

    /// Takes in what a connection was told.
    fn hear(&mut self, member: usize, bytes: &mut [u8]) {
        let who = self.who(member);
        let per_connection = self.plan.trackers_per_connection();
        let is_subscriber = self.members[member].part == Part::Subscriber;
        let trackers = match is_subscriber {
            true => &mut self.trackers[member * per_connection..][..per_connection],
            false => &mut [],
        };
        let origin_ns = self.schedule.as_ref().map(|schedule| schedule.origin_ns);
        let (plan, ledger, workshop) = (&self.plan, &mut self.ledger, &mut self.workshop);
        let mut ear = Ear::new(plan, ledger, workshop, trackers, self.now_ns, origin_ns).of(who);
        ear.sketch = if is_subscriber { self.sketches.of(member) } else { None };
        let answered = self.members[member].answered;
        let result = ear.hear(&mut self.members[member], bytes);
        let heard = ear.heard;
        // A cycle is pending until its end, and not only until its reply.
        if !self.churn.is_on() {
            self.pending = self.pending.saturating_sub(self.members[member].answered - answered);
        }
        self.act(member, heard, result);
    }

    /// Does what was heard.
    fn act(&mut self, member: usize, heard: Heard, result: Result<(), ErrorCode>) {
        if let Some(refusal) = &heard.refusal
            && let Err(code) = result
        {
            self.control.refuse(code, || refusal.clone());
        }
        if self.churn.is_on() {
            return self.act_on_cycle(member, &heard, result);
        }
        if heard.is_upgraded {
            self.say_first(member);
        }
        if heard.is_open {
            self.opened(member);
        }
        if !heard.answers.is_empty() {
            self.say_answers(member, &heard.answers);
        }
        if heard.is_accepted {
            let channel = self.members[member].channel as usize;
            self.control.accept(channel);
        }
        if !heard.pings.is_empty() {
            self.answer_pings(member, &heard.pings);
        }
        if let Some(code) = heard.closed {
            self.answer_close(member, code);
            return;
        }
        match result {
            Err(code) => self.lose(member, code),
            Ok(()) if self.members[member].must_reconnect && self.parks(member) => {
                self.park(member);
            }
            Ok(()) if self.members[member].must_reconnect => self.reconnect(member),
            Ok(()) if heard.is_ready || heard.is_open => self.make_ready(member),
            Ok(()) => {}
        }
    }

    /// Whether `member` has nothing to ask until its next poll is due, and needs no connection.
    fn parks(&self, member: usize) -> bool {
        let scenario = &self.plan.scenario;
        let is_subscriber = self.members[member].part == Part::Subscriber;
        is_subscriber && !scenario.traffic.is_keep_alive && scenario.transport == Transport::Poll
    }

    fn count_received(&mut self, member: usize, bytes: u64) {
        let in_window = self.ledger.is_in_window();
        if self.members[member].is_slow {
            return;
        }
        match &self.members[member] {
            Member { part: Part::Subscriber, was_open: false, .. } => {
                self.ledger.setup.received += bytes;
            }
            _ if !in_window => {}
            Member { part: Part::Subscriber, .. } => self.ledger.wire.received += bytes,
            Member { part: Part::Publisher, .. } => self.ledger.publisher_wire.received += bytes,
        }
    }

    fn make_ready(&mut self, member: usize) {
        if !std::mem::replace(&mut self.members[member].is_ready, true) {
            self.ready.push(u32::try_from(member).expect("members are counted in 32 bits"));
        }
    }
}

/// The date, for `{time_ms}`: nothing is measured by it.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
