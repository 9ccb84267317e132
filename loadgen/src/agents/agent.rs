//! An agent: offers itself to controllers, carries out its part of their plans, and tells them how
//! it went.
//!
//! Not here: measuring, which is the engine's, in threads of its own. Invariants: one run at a
//! time; a plan is refused by a line unless everything in it is within bounds and its targets are
//! allowed; a controller that falls silent is not waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use loadgen::engine::run_part;
use loadgen::outcome::{Failure, Phase, Progress, Snapshot, Tick};
use loadgen::part::{Account, Meeting, Ready, Start};
use loadgen::scenario::{Mode, Scenario};

use super::allowed::{Allowed, check};
use super::desk::{Arrival, Desk, Mail};
use super::message::{
    Assignment, Done, Letter, Offer, ToAgent, ToController, is_name, plain, read_order, run_subject,
};
use super::now::Now;
use super::post::Post;
use super::{BEAT_NS, NS_PER_S, own_clock};
use crate::cli::traffic::{self, SourceFlag};
use crate::result::{Document, per};
use crate::verdict::{self, Evidence};
use crate::{commands, summary};

/// How often an agent at work looks up.
const LOOK: Duration = Duration::from_millis(20);
/// How often an agent without work looks whether it is to stop.
const IDLE: Duration = Duration::from_millis(200);
/// A controller that says nothing for this long is gone.
const SILENCE_NS: u64 = 10 * NS_PER_S;
/// How far the origin of a schedule may be from now.
const ORIGIN_FAR_NS: u64 = 600 * NS_PER_S;
/// The most threads of all agents together.
const THREADS_MAX: usize = 1 << 20;

/// What an agent's operator decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) name: String,
    /// Ends after one run.
    pub(crate) is_once: bool,
    /// Where load may go; anywhere, if there is none.
    pub(crate) targets: Vec<Allowed>,
    /// Instead of the plan's.
    pub(crate) threads: Option<usize>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) source_ip: Vec<SourceFlag>,
    pub(crate) is_quiet: bool,
}

/// Where the engine leaves word for the agent, and finds it.
#[derive(Debug, Default)]
struct Board {
    ready: Mutex<Option<Ready>>,
    start: OnceLock<Start>,
    tick: Mutex<Option<Tick>>,
    snapshot: Mutex<Option<Snapshot>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meeting for Board {
    fn ready(&self, ready: Ready) {
        *locked(&self.ready) = Some(ready);
    }

    fn start(&self) -> Option<Start> {
        self.start.get().cloned()
    }
}

impl Progress for Board {
    fn tick(&self, tick: &Tick) {
        *locked(&self.tick) = Some(*tick);
    }

    fn snapshot(&self, snapshot: Snapshot) {
        *locked(&self.snapshot) = Some(snapshot);
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Board {
    fn now(&self) -> Now {
        let connecting = Tick {
            phase: Phase::Connecting,
            left_ns: None,
            connections_open: 0,
            sent: 0,
            received: 0,
            errors: 0,
        };
        let tick = locked(&self.tick).unwrap_or(connecting);
        Now::of(tick, locked(&self.snapshot).take().as_ref())
    }
}

/// An agent at its desk.
#[derive(Debug)]
pub(super) struct Agent<'a, P> {
    desk: Desk<P>,
    options: &'a Options,
    stop: &'a AtomicBool,
    /// The last complaint that was printed, as the next may be the same.
    complaint: String,
}

/// The run under way.
#[derive(Debug)]
struct Work {
    run: String,
    controller: String,
    /// What this part has open, once that was told.
    ready: Option<Ready>,
    heard_ns: u64,
    is_released: bool,
    /// The controller or this agent's operator wants it to end.
    is_stopped: bool,
}

impl<'a, P: Post> Agent<'a, P> {
    pub(super) fn new(desk: Desk<P>, options: &'a Options, stop: &'a AtomicBool) -> Self {
        Self { desk, options, stop, complaint: String::new() }
    }

    /// Takes plans until it is told to stop; with `--once` takes one.
    pub(super) fn serve(&mut self) -> Result<(), Failure> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some((mail, letter)) = self.order(IDLE, |_| true)? else { continue };
            let run = letter.run;
            match letter.body {
                ToAgent::Call => {
                    let offer = Offer { name: self.options.name.clone(), clock: own_clock() };
                    self.say(&run, ToController::Offer(offer))?;
                }
                ToAgent::Ping(number) => self.answer(&run, number, mail.at_ns)?,
                ToAgent::Plan(assignment) => {
                    self.desk.clear();
                    if self.carry_out(run, mail.sender, *assignment)? && self.options.is_once {
                        return Ok(());
                    }
                }
                ToAgent::Start(_) | ToAgent::Beat | ToAgent::Stop | ToAgent::Release => {}
            }
        }
        Ok(())
    }

    /// The next message that makes sense.
    fn order(
        &mut self,
        wait: Duration,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Option<(Mail, Letter<ToAgent>)>, Failure> {
        let why = match self.desk.receive(wait, is_known)? {
            Arrival::Nothing | Arrival::Piece(_) => return Ok(None),
            Arrival::Refused(why) => why,
            Arrival::Mail(mail) => match read_order(&mail.bytes) {
                Ok(letter) if is_name(&letter.run) => return Ok(Some((mail, letter))),
                Ok(_) => "a message of a run without a name".to_owned(),
                Err(why) => why,
            },
        };
        if self.complaint != why {
            self.note(&format!("refused {why}"));
            self.complaint = why;
        }
        Ok(None)
    }

    fn note(&self, line: &str) {
        if !self.options.is_quiet {
            eprintln!("loadgen: {line}");
        }
    }

    fn say(&mut self, run: &str, body: ToController) -> Result<(), Failure> {
        self.desk.say(&run_subject(run), run, body)
    }

    fn answer(&mut self, run: &str, number: u64, received_ns: u64) -> Result<(), Failure> {
        let sent_ns = self.desk.now_ns();
        self.say(run, ToController::Pong { number, received_ns, sent_ns })
    }

    /// Carries out one part of a run; whether it was taken.
    fn carry_out(
        &mut self,
        run: String,
        controller: String,
        assignment: Assignment,
    ) -> Result<bool, Failure> {
        let Assignment { scenario, part } = assignment;
        let scenario = match self.accept(scenario, part) {
            Ok(scenario) => scenario,
            Err(Failure { code, line }) => {
                self.note(&format!("refused a plan: {}", plain(&line)));
                self.say(&run, ToController::Failed { code, line })?;
                return Ok(false);
            }
        };
        let target = &scenario.target.address;
        let (number, of, own) = (part.index + 1, part.of, part.own(scenario.connections));
        self.note(&format!("run {run}: part {number} of {of}, {own} connections to {target}"));
        let heard_ns = self.desk.now_ns();
        let mut work =
            Work { run, controller, ready: None, heard_ns, is_released: false, is_stopped: false };
        let board = Arc::new(Board::default());
        let end = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            let meeting: Arc<dyn Meeting> = Arc::<Board>::clone(&board);
            let engine = scope.spawn(|| run_part(&scenario, part, meeting, &*board, &end));
            let mut beat_ns = heard_ns;
            let attended = loop {
                let attended = self.attend(&mut work, &board, &mut beat_ns);
                if attended.is_err() || work.is_stopped {
                    end.store(true, Ordering::Relaxed);
                }
                if attended.is_err() || engine.is_finished() {
                    break attended;
                }
            };
            let result = engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            attended.map(|()| result)
        })?;
        let report = match result {
            Ok(account) => {
                let document = document(&scenario, part, &account);
                let Account { accepted, subscribed, .. } = account;
                ToController::Done(Box::new(Done { document, accepted, subscribed }))
            }
            Err(Failure { code, line }) => ToController::Failed { code, line },
        };
        self.say(&work.run, report)?;
        while !work.is_released && !self.stop.load(Ordering::Relaxed) {
            self.listen(&mut work, None)?;
        }
        self.note(&format!("run {}: over", work.run));
        Ok(true)
    }

    /// One look up from the work: what the controller wants, and what it is to know.
    fn attend(&mut self, work: &mut Work, board: &Board, beat_ns: &mut u64) -> Result<(), Failure> {
        self.listen(work, Some(board))?;
        work.is_stopped |= work.is_released || self.stop.load(Ordering::Relaxed);
        if work.ready.is_none()
            && let Some(ready) = locked(&board.ready).clone()
        {
            work.ready = Some(ready.clone());
            self.say(&work.run, ToController::Ready(ready))?;
        }
        if self.desk.now_ns() >= *beat_ns {
            *beat_ns = self.desk.now_ns() + BEAT_NS;
            self.say(&work.run, ToController::Now(Box::new(board.now())))?;
        }
        Ok(())
    }

    /// Hears the controller of the run under way, and turns others away.
    fn listen(&mut self, work: &mut Work, board: Option<&Board>) -> Result<(), Failure> {
        let controller = work.controller.clone();
        let heard = self.order(LOOK, |sender| sender == controller)?;
        if let Some((mail, letter)) = heard {
            if mail.sender != controller || letter.run != work.run {
                if matches!(letter.body, ToAgent::Plan(_)) {
                    let line = "it is at work for another controller: try again later".to_owned();
                    self.say(&letter.run, ToController::Failed { code: 104, line })?;
                }
                return Ok(());
            }
            work.heard_ns = self.desk.now_ns();
            match letter.body {
                ToAgent::Ping(number) => self.answer(&work.run, number, mail.at_ns)?,
                ToAgent::Stop => work.is_stopped = true,
                ToAgent::Release => work.is_released = true,
                ToAgent::Start(start) => self.start(work, board, start),
                ToAgent::Call | ToAgent::Plan(_) | ToAgent::Beat => {}
            }
        }
        if self.desk.now_ns().saturating_sub(work.heard_ns) > SILENCE_NS && !work.is_released {
            self.note(&format!("run {}: its controller is gone", work.run));
            work.is_released = true;
        }
        Ok(())
    }

    /// Passes a start on to the engine, if it makes sense.
    fn start(&self, work: &mut Work, board: Option<&Board>, start: Start) {
        let now_ns = self.desk.now_ns();
        let Some((board, ready)) = board.zip(work.ready.as_ref()) else { return };
        if is_sound(&start, ready, now_ns) {
            // A second start of the same run changes nothing.
            let _ = board.start.set(start);
        } else {
            self.note(&format!("run {}: refused a start that makes no sense", work.run));
            work.is_stopped = true;
        }
    }

    /// The plan as it is carried out here, unless it cannot or must not be.
    fn accept(&self, scenario: Scenario, part: loadgen::part::Part) -> Result<Scenario, Failure> {
        let mut scenario = Scenario {
            threads: self.options.threads.unwrap_or(scenario.threads),
            cpus: self.options.cpus.clone(),
            // A process of another machine, or nobody's business.
            server_pid: None,
            ..scenario
        };
        let address = &scenario.target.address;
        scenario.traffic.sources = traffic::sources(&self.options.source_ip, address)?;
        check(scenario, part, &self.options.targets)
    }
}

/// Whether a start fits what this part has open: the engine relies on it.
fn is_sound(start: &Start, ready: &Ready, now_ns: u64) -> bool {
    let threads = start.first_thread..start.first_thread.saturating_add(ready.subscribers.len());
    let is_small = |counts: &[u32]| {
        let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        counts.len() <= THREADS_MAX && sum <= u64::from(u32::MAX)
    };
    start.subscribers.get(threads.clone()) == Some(&ready.subscribers[..])
        && start.publishers.get(threads) == Some(&ready.publishers[..])
        && start.subscribers.len() == start.publishers.len()
        && is_small(&start.subscribers)
        && is_small(&start.publishers)
        && start.origin_ns.abs_diff(now_ns) < ORIGIN_FAR_NS
}

/// What this part measured, as a result of its own.
fn document(scenario: &Scenario, part: loadgen::part::Part, account: &Account) -> Document {
    let outcome = &account.outcome;
    let evidence = Evidence::of(scenario.rate_per_s.is_some(), outcome);
    let (verdict, checks) = verdict::examine(&evidence);
    let own = Scenario { connections: part.own(scenario.connections), ..scenario.clone() };
    let mut run = summary::run(&own, outcome);
    if run.offered_per_s.is_some() && scenario.mode != Mode::Fanout {
        let per_ns = per(outcome.offered_count, outcome.measured_ns);
        run.offered_per_s = per_ns.map(|per_ns| per_ns * 1e9);
    }
    let mut document = commands::document(scenario.seed, summary::ended(outcome.ended), verdict);
    (document.checks, document.findings) = (checks, verdict::findings(&evidence));
    document.runs.push(run);
    document
}
