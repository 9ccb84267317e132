//! The controller of a run on several machines: gathers agents, deals the plan, starts all of them
//! at one time, and follows them to their end.
//!
//! Not here: load; the controller makes none itself. Invariants: agents share nothing while they
//! measure; one that is lost makes the run invalid and never stops the others; of the interval
//! histograms the latest of each agent is kept, so that memory is constant.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadgen::outcome::{Failure, Phase, Progress, Tick};
use loadgen::part::{Part, Ready, Start};
use loadgen::scenario::Scenario;

use super::clock::{Exchange, Offset, best, by_agent, over_run};
use super::desk::{Arrival, Desk, Mail};
use super::member::{Member, State, is_sound, portion};
use super::message::{
    Assignment, Letter, Offer, ToAgent, ToController, agent_subject, call_subject, is_name,
    read_report,
};
use super::now::{sum, sum_ticks};
use super::post::Post;
use super::sum::Portion;
use super::{BEAT_NS, NS_PER_S, own_clock};
use crate::result::Ended;

/// How often the controller looks up.
const LOOK: Duration = Duration::from_millis(20);
/// How often it asks who is there.
const CALL_NS: u64 = 500_000_000;
/// An agent that says nothing for this long is lost.
const SILENCE_NS: u64 = 6 * NS_PER_S;
/// From deciding to begin until the first message: every agent must have heard of it.
const LEAD_NS: u64 = 500_000_000;
/// Exchanges that a clock's offset is taken from.
const PINGS: u64 = 32;
/// How long one of them may take.
const PING_NS: u64 = NS_PER_S;
/// How fast clocks of two machines drift apart at most: 100 parts in a million.
const DRIFT_PARTS: u64 = 10_000;
/// Seconds in a row without any connection after which there is nothing left to measure.
const EMPTY_MAX: u32 = 3;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'w> {
    pub(super) scenario: &'w Scenario,
    pub(super) agents: usize,
    /// How long agents may take to answer the call.
    pub(super) timeout_ns: u64,
    /// For people: where they are called.
    pub(super) server: &'w str,
}

/// What an agent said that is not dealt with on the way.
#[derive(Debug)]
enum Event {
    Nothing,
    Offer(String, Offer),
    Pong { member: usize, number: u64, received_ns: u64, sent_ns: u64, heard_ns: u64 },
}

/// What became of a run.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) portions: Vec<Portion>,
    pub(super) ended: Ended,
}

/// The controller of one run.
pub(super) struct Controller<'c, P> {
    desk: Desk<P>,
    run: String,
    wish: Wish<'c>,
    progress: &'c dyn Progress,
    stop: &'c AtomicBool,
    members: Vec<Member>,
    beat_ns: u64,
    /// What was last refused, for people.
    complaint: Option<String>,
}

type Outcome<T> = std::result::Result<T, Failure>;

impl<'c, P: Post> Controller<'c, P> {
    /// The controller of the run that `desk` is named after.
    pub(super) fn new(
        desk: Desk<P>,
        wish: Wish<'c>,
        progress: &'c dyn Progress,
        stop: &'c AtomicBool,
    ) -> Self {
        let run = desk.id.clone();
        Self { desk, run, wish, progress, stop, members: Vec::new(), beat_ns: 0, complaint: None }
    }

    /// Conducts the run; whatever happens, agents are free afterwards.
    pub(super) fn conduct(mut self) -> Outcome<Result> {
        let ended = self.conduct_until_over();
        if ended.is_err() {
            // The run has failed already; an agent that does not hear this notices the silence.
            let _ = self.tell_all(&ToAgent::Stop);
        }
        let _ = self.tell_all(&ToAgent::Release);
        let portions = self.members.into_iter().map(portion).collect();
        ended.map(|ended| Result { portions, ended })
    }

    fn conduct_until_over(&mut self) -> Outcome<Ended> {
        self.gather()?;
        for member in 0..self.members.len() {
            let offset = self.offset(member)?;
            self.members[member].offset = Some(offset.ok_or_else(|| {
                let name = &self.members[member].offer.name;
                Failure::unreachable(format!(
                    "agent {name} offered itself and does not answer: start it again"
                ))
            })?);
        }
        self.assign()?;
        self.await_ready()?;
        let origin_ns = self.start()?;
        let ended = self.follow(origin_ns)?;
        for member in 0..self.members.len() {
            if matches!(self.members[member].state, State::Done(_)) {
                let after = self.offset(member)?;
                let member = &mut self.members[member];
                // Without an answer the drift is not known, and neither is a bound.
                member.offset = member.offset.zip(after).map(|(one, two)| over_run(one, two));
            }
        }
        Ok(ended)
    }

    /// Calls until enough agents have offered themselves.
    fn gather(&mut self) -> Outcome<()> {
        let until_ns = self.desk.now_ns().saturating_add(self.wish.timeout_ns);
        let mut offers: BTreeMap<String, Offer> = BTreeMap::new();
        let mut call_ns = 0;
        while offers.len() < self.wish.agents {
            let now_ns = self.desk.now_ns();
            if now_ns >= until_ns {
                return Err(self.too_few(&offers));
            }
            if now_ns >= call_ns {
                call_ns = now_ns + CALL_NS;
                let run = self.run.clone();
                self.desk.say(&call_subject(), &run, ToAgent::Call)?;
            }
            self.check_stop()?;
            if let Event::Offer(id, offer) = self.next()? {
                offers.insert(id, offer);
            }
        }
        let mut chosen: Vec<_> = offers.into_iter().collect();
        chosen.sort_by(|one, two| (&one.1.name, &one.0).cmp(&(&two.1.name, &two.0)));
        let names: Vec<String> = chosen.iter().map(|(_, offer)| offer.name.clone()).collect();
        let of = u32::try_from(self.wish.agents).unwrap_or(u32::MAX);
        let heard_ns = self.desk.now_ns();
        self.members = (0..of)
            .zip(chosen)
            .map(|(index, (id, mut offer))| {
                // Two agents of one name are told apart by their numbers.
                if names.iter().filter(|name| **name == offer.name).count() > 1 {
                    offer.name = format!("{}-{}", offer.name, index + 1);
                }
                Member {
                    id,
                    offer,
                    part: Part { index, of, clock_slack_ns: 0 },
                    offset: None,
                    ready: None,
                    tick: None,
                    snapshot: None,
                    heard_ns,
                    state: State::Working,
                }
            })
            .collect();
        Ok(())
    }

    fn too_few(&self, offers: &BTreeMap<String, Offer>) -> Failure {
        let (wanted, server) = (self.wish.agents, self.wish.server);
        let names: Vec<&str> = offers.values().map(|offer| offer.name.as_str()).collect();
        let there = match names.len() {
            0 => "none".to_owned(),
            count => format!("{count} ({})", names.join(", ")),
        };
        let seconds = self.wish.timeout_ns / NS_PER_S;
        let refused =
            self.complaint.as_ref().map_or_else(String::new, |why| format!("; refused {why}"));
        Failure::unreachable(format!(
            "of {wanted} agents {there} answered within {seconds} s at {server}: start `loadgen \
             agent --nats URL` on each machine, or raise --agents-timeout{refused}"
        ))
    }

    /// Gives every agent its part.
    fn assign(&mut self) -> Outcome<()> {
        let bounds = self.members.iter().filter_map(|member| member.offset);
        let bound_ns = bounds.map(|offset| offset.bound_ns).max().unwrap_or(0);
        let scenario = self.wish.scenario;
        let span_ns = scenario.duration.saturating_add(scenario.warmup).as_nanos();
        let drift_ns = u64::try_from(span_ns).unwrap_or(u64::MAX) / DRIFT_PARTS;
        // With one clock there is nothing to allow for.
        let slack_ns = if bound_ns > 0 { bound_ns.saturating_mul(2) + drift_ns } else { 0 };
        for member in 0..self.members.len() {
            self.members[member].part.clock_slack_ns = slack_ns;
            let part = self.members[member].part;
            let assignment = Assignment { scenario: scenario.clone(), part };
            self.tell(member, ToAgent::Plan(Box::new(assignment)))?;
            self.members[member].heard_ns = self.desk.now_ns();
        }
        Ok(())
    }

    /// Waits until all connections of all agents are open or refused.
    fn await_ready(&mut self) -> Outcome<()> {
        while self.members.iter().any(|member| member.ready.is_none()) {
            self.check_stop()?;
            self.next()?;
            self.beat()?;
            for member in &self.members {
                if let State::Lost(why) = &member.state {
                    let line = format!("agent {} did not begin: {why}", member.offer.name);
                    return Err(Failure::configuration(line));
                }
            }
        }
        let open = |counts: fn(&Ready) -> &Vec<u32>| {
            let ready = self.members.iter().filter_map(|member| member.ready.as_ref());
            ready.flat_map(counts).map(|&count| u64::from(count)).sum::<u64>()
        };
        let scenario = self.wish.scenario;
        let has_nobody = scenario.connections > 0 && open(|ready| &ready.subscribers) == 0;
        let has_no_publisher = scenario.mode == loadgen::scenario::Mode::Fanout
            && open(|ready| &ready.publishers) == 0;
        if has_nobody || has_no_publisher {
            let mut members = self.members.iter();
            let refusal = members.find_map(|member| member.ready.as_ref()?.refusal.clone());
            let line = refusal.unwrap_or_else(|| "no connection stayed open".to_owned());
            return Err(Failure::unreachable(line));
        }
        Ok(())
    }

    /// Tells everyone when to begin; when that is, by this clock.
    fn start(&mut self) -> Outcome<u64> {
        let all: Vec<Ready> =
            self.members.iter().filter_map(|member| member.ready.clone()).collect();
        let origin_ns = self.desk.now_ns() + LEAD_NS;
        for member in 0..self.members.len() {
            let offset = self.members[member].offset.unwrap_or_default();
            let start = Start::of(&all, member, by_agent(origin_ns, offset));
            self.tell(member, ToAgent::Start(start))?;
        }
        Ok(origin_ns)
    }

    /// Follows the run until nobody is at work any more.
    fn follow(&mut self, origin_ns: u64) -> Outcome<Ended> {
        let mut ended = Ended::Completed;
        let mut empty = 0;
        while self.members.iter().any(Member::is_working) {
            if ended == Ended::Completed && self.stop.load(Ordering::Relaxed) {
                ended = Ended::Interrupted;
                self.tell_all(&ToAgent::Stop)?;
            }
            self.next()?;
            self.lose_silent(origin_ns);
            if self.beat()? {
                empty = if self.is_empty() { empty + 1 } else { 0 };
                if empty == EMPTY_MAX && ended == Ended::Completed {
                    ended = Ended::Aborted;
                    self.tell_all(&ToAgent::Stop)?;
                }
            }
        }
        if self.members.iter().all(|member| matches!(member.state, State::Lost(_))) {
            let whys = self.members.iter().filter_map(|member| match &member.state {
                State::Lost(why) => Some(format!("{}: {why}", member.offer.name)),
                State::Working | State::Done(_) => None,
            });
            let whys = whys.collect::<Vec<_>>().join("; ");
            return Err(Failure { code: 96, line: format!("every agent was lost: {whys}") });
        }
        Ok(ended)
    }

    /// Whether the window is being measured and nobody has a connection.
    fn is_empty(&self) -> bool {
        let tick = self.tick();
        tick.phase == Phase::Measuring
            && tick.connections_open == 0
            && self.wish.scenario.connections > 0
    }

    fn tick(&self) -> Tick {
        let working = self.members.iter().filter(|member| member.is_working());
        sum_ticks(working.filter_map(|member| member.tick))
    }

    /// Once a second: tells agents that somebody listens, and people how it goes.
    fn beat(&mut self) -> Outcome<bool> {
        let now_ns = self.desk.now_ns();
        if now_ns < self.beat_ns {
            return Ok(false);
        }
        self.beat_ns = now_ns + BEAT_NS;
        self.tell_all(&ToAgent::Beat)?;
        self.progress.tick(&self.tick());
        if self.progress.is_live()
            && let Some(snapshot) =
                sum(self.members.iter().filter_map(|member| member.snapshot.as_ref()))
        {
            let names: Vec<String> = self.members.iter().flat_map(Member::thread_names).collect();
            self.progress.named(&names);
            self.progress.snapshot(snapshot);
        }
        Ok(true)
    }

    fn check_stop(&self) -> Outcome<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure { code: 105, line: "interrupted before the start".to_owned() });
        }
        Ok(())
    }

    fn lose_silent(&mut self, origin_ns: u64) {
        let now_ns = self.desk.now_ns();
        let after_s = now_ns.saturating_sub(origin_ns) / NS_PER_S;
        for member in self.members.iter_mut().filter(|member| member.is_working()) {
            if now_ns.saturating_sub(member.heard_ns) > SILENCE_NS {
                let silence_s = SILENCE_NS / NS_PER_S;
                member.state = State::Lost(format!(
                    "nothing was heard of it for {silence_s} s, {after_s} s after the start"
                ));
            }
        }
    }

    /// The best of some exchanges with an agent; none with one whose clock is this one.
    fn offset(&mut self, member: usize) -> Outcome<Option<Offset>> {
        let own = own_clock();
        if !own.is_empty() && self.members[member].offer.clock == own {
            return Ok(Some(Offset::default()));
        }
        let mut exchanges = Vec::new();
        for number in 0..PINGS {
            self.check_stop().or_else(|error| {
                // At the end of a run that was interrupted the drift is still wanted.
                if self.members[member].is_working() { Err(error) } else { Ok(()) }
            })?;
            let asked_ns = self.desk.now_ns();
            self.tell(member, ToAgent::Ping(number))?;
            while self.desk.now_ns() < asked_ns + PING_NS {
                if let Event::Pong { member: from, number: told, received_ns, sent_ns, heard_ns } =
                    self.next()?
                    && (from, told) == (member, number)
                {
                    let answered_ns = sent_ns;
                    exchanges.push(Exchange { asked_ns, received_ns, answered_ns, heard_ns });
                    break;
                }
            }
            if exchanges.is_empty() {
                break;
            }
            self.beat()?;
        }
        Ok(best(exchanges))
    }

    fn tell(&mut self, member: usize, body: ToAgent) -> Outcome<()> {
        let subject = agent_subject(&self.members[member].id);
        let run = self.run.clone();
        self.desk.say(&subject, &run, body)
    }

    fn tell_all(&mut self, body: &ToAgent) -> Outcome<()> {
        (0..self.members.len()).try_for_each(|member| self.tell(member, body.clone()))
    }

    /// Takes in what comes next.
    fn next(&mut self) -> Outcome<Event> {
        let members = &self.members;
        let is_known = |sender: &str| members.iter().any(|member| member.id == sender);
        let (sender, mail) = match self.desk.receive(LOOK, is_known)? {
            Arrival::Nothing => return Ok(Event::Nothing),
            Arrival::Refused(why) => {
                self.complaint = Some(why);
                return Ok(Event::Nothing);
            }
            Arrival::Piece(sender) => (sender, None),
            Arrival::Mail(mail) => (mail.sender.clone(), Some(mail)),
        };
        let known = self.members.iter().position(|member| member.id == sender);
        if let Some(member) = known {
            self.members[member].heard_ns = self.desk.now_ns();
        }
        let Some(Mail { bytes, at_ns, .. }) = mail else { return Ok(Event::Nothing) };
        match (read_report(&bytes), known) {
            (Err(why), Some(member)) => {
                self.lose(member, format!("it sent {why}"));
                Ok(Event::Nothing)
            }
            (Err(why), None) => {
                self.complaint = Some(why);
                Ok(Event::Nothing)
            }
            (Ok(Letter { run, .. }), _) if run != self.run => Ok(Event::Nothing),
            (Ok(Letter { body: ToController::Offer(offer), .. }), None) => {
                let is_fine = is_name(&offer.name) && offer.clock.len() <= 200;
                Ok(if is_fine { Event::Offer(sender, offer) } else { Event::Nothing })
            }
            (Ok(_), None) => Ok(Event::Nothing),
            (Ok(letter), Some(member)) => Ok(self.hear(member, letter.body, at_ns)),
        }
    }

    fn lose(&mut self, member: usize, why: String) {
        if self.members[member].is_working() {
            self.members[member].state = State::Lost(why);
        }
    }

    /// Takes note of what one of the run's agents says.
    fn hear(&mut self, index: usize, body: ToController, heard_ns: u64) -> Event {
        let scenario = self.wish.scenario;
        let member = &mut self.members[index];
        match body {
            ToController::Pong { number, received_ns, sent_ns } => {
                return Event::Pong { member: index, number, received_ns, sent_ns, heard_ns };
            }
            ToController::Ready(ready) => {
                if is_sound(&ready, scenario, member.part) {
                    member.ready = Some(ready);
                } else {
                    self.lose(index, "it says it opened more than its part".to_owned());
                }
            }
            ToController::Now(now) => {
                member.tick = Some(now.tick);
                if self.progress.is_live()
                    && let Some(snapshot) = now.snapshot()
                {
                    member.snapshot = Some(snapshot);
                }
            }
            ToController::Failed { line, .. } => self.lose(index, line),
            ToController::Done(done) => {
                if done.document.runs.len() != 1 {
                    self.lose(index, "its result makes no sense".to_owned());
                } else if member.is_working() {
                    member.state = State::Done(done);
                }
            }
            ToController::Offer(_) => {}
        }
        Event::Nothing
    }
}
