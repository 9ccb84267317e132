//! The measuring engine: a scenario in, an outcome out.
//!
//! One thread per share of the connections, each with its own driver and its own books; one more,
//! the caller's, conducts. Not here: flags, verdicts, reports. Invariant: threads share a few
//! atomics and nothing else; figures meet when all threads are done.

mod answer;
mod chunked;
mod client;
pub(crate) mod codec;
mod conductor;
mod control;
mod cost;
pub(crate) mod curve;
pub(crate) mod error;
mod fairness;
mod gauge;
pub(crate) mod hear;
pub(crate) mod keys;
mod ledger;
mod member;
mod pacer;
mod payload;
pub(crate) mod plan;
mod script;
mod sequence;
pub(crate) mod surroundings;
#[cfg(test)]
mod tests;
mod timeline;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use ringwire_ring::epoll::Epoll;
use ringwire_ring::uring::Uring;
use ringwire_ring::{
    Bells, Doorbell, Driver, EngineOptions, Errno, Features, Permits, ReceiveBuffers, Refusal,
    Role, ThreadClock, descriptors_max, pin, probe,
};

use crate::outcome::{Failure, Handshakes, Outcome, Progress};
use crate::part::{Account, Meeting, Part};
use crate::scenario::{EngineChoice, Mode, Scenario};
use client::Client;
use conductor::{Conductor, Next};
use control::Control;
use cost::Costs;
use ledger::{Ledger, StormBook};
use plan::Plan;

const NS_PER_S: u64 = 1_000_000_000;

/// Table entries beyond the connections: those that are closing while they are opened again.
const SLOTS_SPARE: u32 = 256;

/// Descriptors that are not connections: rings, bells, standard streams.
const DESCRIPTORS_SPARE: u64 = 64;

/// The conductor's driver receives nothing.
const NO_BUFFERS: ReceiveBuffers = ReceiveBuffers { count: 1, bytes: 4096 };

/// Measures `scenario`. `progress` is told about once a second; `stop` ends the run early, with
/// what was measured until then.
///
/// # Errors
/// When nothing could be measured: see [`Failure`].
pub fn run(
    scenario: &Scenario,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Outcome, Failure> {
    scenario.check()?;
    run_plan(Plan::new(scenario), None, progress, stop).map(|account| account.outcome)
}

/// Measures one part of `scenario`, which begins when all parts have met.
///
/// # Errors
/// As [`run`]; that nobody was let in is told to the others, and no error here.
pub fn run_part(
    scenario: &Scenario,
    part: Part,
    meeting: Arc<dyn Meeting>,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Account, Failure> {
    scenario.check()?;
    run_plan(Plan::of_part(scenario, part), Some(meeting), progress, stop)
}

fn run_plan(
    plan: Plan,
    meeting: Option<Arc<dyn Meeting>>,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Account, Failure> {
    let scenario = &plan.scenario;
    let engine = Engine::choose(&plan)?;
    let costs = Costs::before_connecting(scenario)?;
    let threads = scenario.threads;
    let bells = Bells::new(threads + 1).map_err(|error| {
        Failure::other(format!("no descriptors for {threads} threads ({error}): raise ulimit -n"))
    })?;
    let bells = Arc::new(bells);
    let plan = Arc::new(plan);
    let bell = bells.bell(threads);
    let control = Control::new(threads, plan.channels.len(), Some(bell)).with_budget(plan.budget());
    let control = Arc::new(control.live(progress.is_live()));
    let conductor =
        Conductor::new(Arc::clone(&plan), Arc::clone(&control), Some(costs)).with_meeting(meeting);
    let crew = Crew { engine, bells, plan, control };
    thread::scope(|scope| {
        let crew = &crew;
        let handles: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || crew.measure(thread))).collect();
        let conducted = crew.conduct(conductor, progress, stop);
        let ledger = join(handles);
        // A thread knows better than the conductor why it failed.
        let (ledger, conductor) = (ledger?, conducted?);
        Ok(account(ledger, conductor, crew))
    })
}

/// Waits for all threads; their books, added up.
fn join(handles: Vec<ScopedJoinHandle<'_, Result<Ledger, Failure>>>) -> Result<Ledger, Failure> {
    let mut all = Ledger::new(false);
    let mut failure = None;
    for handle in handles {
        match handle.join() {
            Ok(Ok(ledger)) => all.add(ledger),
            Ok(Err(error)) => failure = Some(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    failure.map_or(Ok(all), Err)
}

/// The engine that carries a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Uring(Features),
    Epoll,
}

impl Engine {
    /// The one that was asked for, or that the kernel has.
    pub(crate) fn of(choice: EngineChoice) -> Result<Self, Failure> {
        match choice {
            EngineChoice::Epoll => Ok(Self::Epoll),
            EngineChoice::Uring => probe().map_err(|refusal| refused(&refusal)).map(Self::Uring),
            EngineChoice::Auto => Ok(probe().map_or(Self::Epoll, Self::Uring)),
        }
    }

    fn choose(plan: &Plan) -> Result<Self, Failure> {
        let scenario = &plan.scenario;
        let chosen = Self::of(scenario.engine)?;
        let members = u64::from(plan.connections()) + u64::from(plan.publishers());
        let threads = scenario.threads as u64;
        let (needed, cure) = match chosen {
            Self::Uring(_) => (members.div_ceil(threads), "raise ulimit -n, or use more --threads"),
            Self::Epoll => (members, "raise ulimit -n, or use --engine uring with --threads"),
        };
        let limit = descriptors_max().saturating_sub(DESCRIPTORS_SPARE);
        if needed + u64::from(SLOTS_SPARE) > limit {
            return Err(Failure::configuration(format!(
                "{needed} connections need more descriptors than the {limit} there are: {cure}"
            )));
        }
        Ok(chosen)
    }

    /// Its name in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uring(_) => "uring",
            Self::Epoll => "epoll",
        }
    }
}

/// What the kernel refuses is a matter of this machine's configuration.
pub(crate) fn refused(refusal: &Refusal) -> Failure {
    Failure::configuration(refusal.to_string())
}

/// The engine cannot go on.
pub(crate) fn broken(errno: Errno) -> Failure {
    Failure::other(format!("the engine broke down ({errno}): try --engine epoll"))
}

/// What the threads of a run are given.
#[derive(Debug)]
struct Crew {
    engine: Engine,
    bells: Arc<Bells>,
    plan: Arc<Plan>,
    control: Arc<Control>,
}

impl Crew {
    fn options(&self, worker: usize) -> EngineOptions {
        let scenario = &self.plan.scenario;
        let threads = u32::try_from(scenario.threads).unwrap_or(u32::MAX);
        let members = self.plan.connections().saturating_add(self.plan.publishers());
        // Subscribers and publishers are dealt apart, so one thread may have one more of each.
        let own = members / threads + 2;
        EngineOptions {
            worker,
            bells: Arc::clone(&self.bells),
            slots_max: own.saturating_add(SLOTS_SPARE),
            permits: Arc::new(Permits::new(own)),
            receive_buffers: None,
            role: Role::Connects,
            peers: false,
            features: match self.engine {
                Engine::Uring(features) => features,
                Engine::Epoll => Features::default(),
            },
        }
    }

    /// One thread's part of the run.
    fn measure(&self, thread: usize) -> Result<Ledger, Failure> {
        let cpus = &self.plan.scenario.cpus;
        if let Some(&cpu) = cpus.get(thread % cpus.len().max(1))
            && !pin(cpu)
        {
            self.fail(thread);
            return Err(Failure::configuration(format!(
                "cannot run on processor {cpu}: name others with --cpus"
            )));
        }
        let options = self.options(thread);
        let result = match self.engine {
            Engine::Uring(_) => Uring::new(options)
                .map_err(|refusal| refused(&refusal))
                .and_then(|driver| self.drive(driver, thread)),
            Engine::Epoll => Epoll::new(options)
                .map_err(|refusal| refused(&refusal))
                .and_then(|driver| self.drive(driver, thread)),
        };
        if result.is_err() {
            self.fail(thread);
        }
        result
    }

    fn fail(&self, thread: usize) {
        self.control.reports[thread].has_failed.store(true, Ordering::Release);
        self.control.ring_conductor();
    }

    fn drive<D: Driver>(&self, driver: D, thread: usize) -> Result<Ledger, Failure> {
        self.control.reports[thread].clock.get_or_init(ThreadClock::current);
        let (plan, control) = (Arc::clone(&self.plan), Arc::clone(&self.control));
        let mut client = Client::new(driver, plan, control, thread);
        while !client.turn().map_err(broken)? {}
        Ok(client.into_ledger())
    }

    /// Steps the conductor until the run is over. Its clock and its sleep are a driver's, as
    /// everyone's.
    fn conduct(
        &self,
        mut conductor: Conductor,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Conductor, Failure> {
        let bells: Vec<Doorbell> =
            (0..self.plan.scenario.threads).map(|thread| self.bells.bell(thread)).collect();
        let result = self.conduct_until_over(&mut conductor, &bells, progress, stop);
        if result.is_err() {
            self.control.finish();
            bells.iter().for_each(Doorbell::ring);
        }
        result.map(|()| conductor)
    }

    fn conduct_until_over(
        &self,
        conductor: &mut Conductor,
        bells: &[Doorbell],
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        let options = EngineOptions {
            slots_max: 1,
            permits: Arc::new(Permits::new(1)),
            receive_buffers: Some(NO_BUFFERS),
            features: Features::default(),
            ..self.options(bells.len())
        };
        let mut driver = Epoll::new(options).map_err(|refusal| refused(&refusal))?;
        let mut completions = Vec::new();
        let mut tick_ns = driver.clock_ns();
        let mut phase = None;
        loop {
            let now_ns = driver.clock_ns();
            let next = conductor.step(now_ns, stop.load(Ordering::Relaxed));
            if conductor.take_news() {
                bells.iter().for_each(Doorbell::ring);
            }
            let is_due = now_ns >= tick_ns;
            // A phase that begins is told at once.
            if phase.replace(conductor.phase()) != Some(conductor.phase()) || is_due {
                progress.tick(&conductor.tick(now_ns));
            }
            if is_due {
                if self.control.is_live {
                    progress.snapshot(conductor.snapshot(now_ns));
                }
                tick_ns += NS_PER_S;
            }
            match next? {
                Next::Finished => return Ok(()),
                Next::At(until_ns) => {
                    driver.turn(until_ns, &mut completions).map_err(broken)?;
                    completions.clear();
                }
            }
        }
    }
}

/// The books, and what other parts of the run need of them.
fn account(ledger: Ledger, conductor: Conductor, crew: &Crew) -> Account {
    let control = &crew.control;
    Account {
        accepted: control.accepted.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
        subscribed: control.subscribed.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
        outcome: outcome(ledger, conductor, crew),
    }
}

/// Replies and deliveries that should have come.
fn expected(scenario: &Scenario, ledger: &Ledger, control: &Control) -> u64 {
    match scenario.mode {
        Mode::Echo => ledger.sent_of_window * u64::from(scenario.speech.replies()),
        Mode::Idle | Mode::Churn => ledger.sent_of_window,
        Mode::Fanout => control.deliveries_expected(),
    }
}

fn handshakes(ledger: &Ledger) -> Handshakes {
    Handshakes { time: ledger.tls.histogram(), resumed: ledger.tls_resumed }
}

/// The books and the conductor's notes as an outcome.
fn outcome(mut ledger: Ledger, mut conductor: Conductor, crew: &Crew) -> Outcome {
    let (ended, measured_ns) = conductor.result();
    let control = &crew.control;
    let scenario = &crew.plan.scenario;
    let expected = expected(scenario, &ledger, control);
    let timeline = conductor.timeline(&mut ledger);
    let intervals = timeline.intervals(measured_ns, |from, to| conductor.offered(from, to));
    let offered = conductor.offered(0, measured_ns);
    let is_open_loop = offered.is_some();
    let offered = offered.unwrap_or(ledger.sent_of_window);
    let picked_up = if is_open_loop { ledger.picked_up_of_window } else { ledger.sent_of_window };
    let window_start_ns = control.begin().map(|begin| begin.window_start_ns);
    let error_details = ledger.error_details(window_start_ns);
    let costs = conductor.costs.as_ref();
    Outcome {
        intended: ledger.intended.histogram(),
        sent: ledger.sent.histogram(),
        connect: ledger.connect.histogram(),
        tcp: ledger.tcp.histogram(),
        upgrade: ledger.upgrade.histogram(),
        first_message: ledger.first_message.histogram(),
        schedule_lag: ledger.schedule_lag.histogram(),
        send_blocked: ledger.send_blocked.histogram(),
        messages_sent: ledger.sent_of_window,
        messages_received: ledger.received_of_window,
        messages_expected: expected,
        gaps: expected.saturating_sub(ledger.received_of_window),
        duplicates: ledger.duplicates,
        reordered: ledger.reordered,
        corrupted: ledger.corrupted,
        impossible: ledger.impossible,
        errors: ledger.error_counts(),
        error_details,
        sockets: (ledger.sockets.connections > 0).then_some(ledger.sockets),
        payload_bytes: ledger.payload_bytes,
        p99_of_connections: ledger.spread.p99_ns.histogram(),
        jain_index: ledger.spread.jain_index(),
        is_ipv6: scenario.target.address.tcp().is_some_and(|address| address.is_ipv6()),
        other: ledger.other,
        deliveries_in_window: ledger.deliveries_in_window,
        wire_bytes_sent: ledger.wire.sent,
        wire_bytes_received: ledger.wire.received,
        publisher_wire_bytes_sent: ledger.publisher_wire.sent,
        publisher_wire_bytes_received: ledger.publisher_wire.received,
        setup_bytes_sent: ledger.setup.sent,
        setup_bytes_received: ledger.setup.received,
        requests: ledger.requests,
        intervals,
        measured_ns,
        offered_count: offered,
        picked_up_count: picked_up,
        sent_count: ledger.sent_of_window,
        has_latencies: scenario.mode != Mode::Idle || is_open_loop,
        is_even: scenario.is_even(),
        surroundings: conductor.surroundings(),
        generator: costs.map(|costs| costs.generator(measured_ns)).unwrap_or_default(),
        server: costs.and_then(Costs::server),
        ended,
        connections_open: control.each(|report| &report.subscribers).iter().sum(),
        connections_refused: ledger.refused,
        connections_lost: ledger.lost,
        reconnects: ledger.reconnects,
        tls: scenario.secure.as_ref().map(|_| handshakes(&ledger)),
        compression: scenario.compression.map(|_| ledger.compressed),
        storms: ledger.storms.iter().map(StormBook::told).collect(),
        slow_open: ledger.slow_open,
        slow_closed: ledger.slow_closed,
        engine: crew.engine.name(),
    }
}
