//! Controller and agents together: scripted agents in virtual time, and real ones, with the engine
//! behind them, over a server in memory.

#[path = "../engine/tests/server.rs"]
#[expect(dead_code, reason = "it can do more than these tests need")]
mod server;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use loadgen::outcome::{Failure, Progress, Snapshot, Tick};
use loadgen::part::{Part, Ready, Start};
use loadgen::scenario::{EngineChoice, Mode, Rate, Scenario, Target, Transport};

use super::agent::{Agent, Options};
use super::controller::{Controller, Result as Conducted, Wish};
use super::desk::{Arrival, Desk};
use super::message::{
    Assembler, Done, Letter, Offer, Piece, ToAgent, ToController, agent_subject, call_subject,
    pieces, read_order, run_subject,
};
use super::now::Now;
use super::post::tests::Exchange;
use super::post::{Post, Received};
use super::{NS_PER_S, sum};
use crate::bundle::decode_histogram;
use crate::result::{Document, Ended, Latency};
use crate::verdict::{State, Verdict};
use crate::{samples, summary};
use server::{Mischief, Server};

/// What a scripted agent does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Never offers itself.
    Absent,
    /// Says nothing any more once the run has begun.
    FallsSilent,
    /// Takes no plan.
    Refuses,
    /// Opens no connection.
    LetInNowhere,
    /// Loses all connections.
    LosesAll,
    /// Says what nobody can have opened.
    Boasts,
}

/// A scripted agent.
struct Scripted {
    id: &'static str,
    flaw: Flaw,
    /// Its clock minus the controller's.
    offset_ns: i64,
    /// How long messages take to it and back.
    ways_ns: [u64; 2],
    started: Option<Start>,
    part: Option<Part>,
    scenario: Option<Scenario>,
    /// When it was told to begin, by the controller's clock.
    done_at_ns: Option<u64>,
    /// Whether it may take another plan.
    is_released: bool,
}

/// A controller's post whose other side is scripted, in virtual time.
struct Script<'s> {
    now_ns: u64,
    agents: &'s RefCell<Vec<Scripted>>,
    /// When each comes, in order.
    coming: VecDeque<(u64, Vec<u8>)>,
    assemblers: BTreeMap<String, Assembler>,
    run: String,
}

impl Scripted {
    fn new(id: &'static str, flaw: Flaw) -> Self {
        Self {
            id,
            flaw,
            offset_ns: 0,
            ways_ns: [100_000, 100_000],
            started: None,
            part: None,
            scenario: None,
            done_at_ns: None,
            is_released: false,
        }
    }

    /// What it says to `order`, which it gets at `at_ns` of the controller's clock.
    fn hear(&mut self, order: ToAgent, at_ns: u64) -> Vec<ToController> {
        let own_ns = at_ns.saturating_add_signed(self.offset_ns);
        match order {
            ToAgent::Call if self.flaw != Flaw::Absent => {
                let offer = Offer { name: self.id.to_owned(), clock: format!("of {}", self.id) };
                vec![ToController::Offer(offer)]
            }
            ToAgent::Ping(number) if !self.is_silent() => {
                let (received_ns, sent_ns) = (own_ns, own_ns + 5_000);
                vec![ToController::Pong { number, received_ns, sent_ns }]
            }
            ToAgent::Plan(_) if self.flaw == Flaw::Refuses => {
                vec![ToController::Failed { code: 104, line: "not \u{1b}here".to_owned() }]
            }
            ToAgent::Plan(assignment) => {
                let own = assignment.part.own(assignment.scenario.connections);
                self.part = Some(assignment.part);
                self.scenario = Some(assignment.scenario);
                let open = match self.flaw {
                    Flaw::LetInNowhere => 0,
                    Flaw::Boasts => own + 1,
                    _ => own,
                };
                let refusal = (open == 0).then(|| "no connection to it: start it".to_owned());
                let (subscribers, publishers) = (vec![open, 0], vec![0, 0]);
                vec![ToController::Ready(Ready { subscribers, publishers, refusal })]
            }
            ToAgent::Release => {
                self.is_released = true;
                vec![]
            }
            ToAgent::Start(start) => {
                self.started = Some(start);
                self.done_at_ns = Some(at_ns + 8 * NS_PER_S);
                vec![]
            }
            ToAgent::Beat | ToAgent::Stop if !self.is_silent() && self.started.is_some() => {
                let is_over = self.done_at_ns.is_some_and(|until_ns| at_ns >= until_ns);
                if is_over || matches!(order, ToAgent::Stop) {
                    self.done_at_ns = Some(u64::MAX);
                    return vec![ToController::Done(Box::new(self.done()))];
                }
                vec![ToController::Now(Box::new(self.now()))]
            }
            ToAgent::Beat if !self.is_silent() => vec![ToController::Now(Box::new(self.now()))],
            _ => vec![],
        }
    }

    fn is_silent(&self) -> bool {
        self.flaw == Flaw::FallsSilent && self.started.is_some()
    }

    fn now(&self) -> Now {
        let has_begun = self.started.is_some();
        let phase = match has_begun {
            true => loadgen::outcome::Phase::Measuring,
            false => loadgen::outcome::Phase::Connecting,
        };
        let connections_open = if self.flaw == Flaw::LosesAll && has_begun { 0 } else { 5 };
        let tick = Tick { phase, left_ns: None, connections_open, sent: 1, received: 2, errors: 0 };
        Now::of(tick, None)
    }

    fn done(&self) -> Done {
        let outcome = samples::outcome();
        let mut document = crate::commands::document(1, Ended::Completed, Verdict::valid());
        document.runs.push(summary::run(self.scenario.as_ref().unwrap(), &outcome));
        Done { document, accepted: vec![80], subscribed: vec![100] }
    }
}

impl Post for Script<'_> {
    fn send(&mut self, subject: &str, bytes: Vec<u8>) {
        let piece = Piece::parse(&bytes).unwrap();
        let assembler = self.assemblers.entry(subject.to_owned()).or_default();
        let Some(whole) = assembler.take(&piece).unwrap() else { return };
        let Letter { run, body } = read_order(&whole).unwrap();
        self.run.clone_from(&run);
        for agent in self.agents.borrow_mut().iter_mut() {
            if subject != call_subject() && subject != agent_subject(agent.id) {
                continue;
            }
            let [there_ns, back_ns] = agent.ways_ns;
            for body in agent.hear(body.clone(), self.now_ns + there_ns) {
                let letter = Letter { run: run.clone(), body };
                let at_ns = self.now_ns + there_ns + 5_000 + back_ns;
                for piece in pieces(agent.id, self.now_ns, &letter, 1_000).unwrap() {
                    self.coming.push_back((at_ns, piece));
                }
            }
        }
        self.coming.make_contiguous().sort_by_key(|(at_ns, _)| *at_ns);
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<Received>, Failure> {
        let until_ns = self.now_ns + u64::try_from(wait.as_nanos()).unwrap();
        match self.coming.front() {
            Some((at_ns, _)) if *at_ns <= until_ns => {
                let (at_ns, bytes) = self.coming.pop_front().unwrap();
                self.now_ns = self.now_ns.max(at_ns);
                Ok(Some(Received { bytes, at_ns: self.now_ns }))
            }
            _ => {
                self.now_ns = until_ns;
                Ok(None)
            }
        }
    }

    fn piece_bytes_max(&self) -> usize {
        700
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

fn scenario(mode: Mode) -> Scenario {
    Scenario { mode, ..crate::cli::plan::tests::scenario() }
}

fn wish(scenario: &Scenario, agents: usize) -> Wish<'_> {
    Wish { scenario, agents, timeout_ns: 10 * NS_PER_S, server: "nats://h:4222" }
}

/// What becomes of a run with these agents.
fn conducted(scenario: &Scenario, agents: &RefCell<Vec<Scripted>>) -> Result<Conducted, Failure> {
    let script = Script {
        now_ns: 1_000 * NS_PER_S,
        agents,
        coming: VecDeque::from([(0, b"not ours".to_vec()), (0, b"ringwire.loadgen/9 \n".to_vec())]),
        assemblers: BTreeMap::new(),
        run: String::new(),
    };
    let count = agents.borrow().len();
    let desk = Desk::new(script, "r1".to_owned());
    let stop = AtomicBool::new(false);
    let result = Controller::new(desk, wish(scenario, count), &(), &stop).conduct();
    // However it went: who was given a part is free for the next controller at once.
    let is_free = |agent: &Scripted| agent.part.is_none() || agent.is_released;
    assert!(agents.borrow().iter().all(is_free));
    result
}

fn scripted<const N: usize>(flaws: [Flaw; N]) -> RefCell<Vec<Scripted>> {
    let ids = ["a1", "a2", "a3"];
    RefCell::new(ids.into_iter().zip(flaws).map(|(id, flaw)| Scripted::new(id, flaw)).collect())
}

#[test]
fn all_begin_at_one_time_whatever_their_clocks_say() {
    let agents = scripted([Flaw::None, Flaw::None]);
    let truth = [3_000_000_000_i64, -700_000_000_000];
    for (agent, offset_ns) in agents.borrow_mut().iter_mut().zip(truth) {
        agent.offset_ns = offset_ns;
        agent.ways_ns = [400_000, 100_000];
    }
    let scenario = scenario(Mode::Echo);
    let result = conducted(&scenario, &agents).unwrap();
    assert_eq!(result.ended, Ended::Completed);
    let agents = agents.borrow();
    let origins: Vec<u64> = agents
        .iter()
        .map(|agent| {
            let own_ns = agent.started.as_ref().unwrap().origin_ns;
            own_ns.checked_add_signed(-agent.offset_ns).unwrap()
        })
        .collect();
    for (portion, origin) in result.portions.iter().zip(&origins) {
        let offset = portion.offset.unwrap();
        assert!(origin.abs_diff(origins[0]) <= 2 * offset.bound_ns, "{origins:?}");
        // Half of the way there and back.
        assert!((250_000..260_000).contains(&offset.bound_ns), "{offset:?}");
    }
    for (agent, truth) in result.portions.iter().zip(truth) {
        let offset = agent.offset.unwrap();
        assert!(offset.offset_ns.abs_diff(truth) <= offset.bound_ns);
    }
    let starts: Vec<&Start> = agents.iter().filter_map(|agent| agent.started.as_ref()).collect();
    assert_eq!(starts[0].subscribers, [25, 0, 25, 0]);
    assert_eq!((starts[0].first_thread, starts[1].first_thread), (0, 2));
    let slack_ns = agents[0].part.unwrap().clock_slack_ns;
    assert!(slack_ns > 500_000, "twice the bound, and drift: {slack_ns}");
}

#[test]
fn an_agent_that_falls_silent_makes_the_run_invalid_and_stops_nobody() {
    let agents = scripted([Flaw::None, Flaw::FallsSilent]);
    let scenario = scenario(Mode::Echo);
    let result = conducted(&scenario, &agents).unwrap();
    let document = sum::document(&scenario, result.portions, result.ended).unwrap();
    assert_eq!((document.ended, document.verdict.state), (Ended::Completed, State::Invalid));
    let reason = &document.verdict.reasons[0];
    assert!(reason.contains("agent a2 was lost (nothing was heard of it for 6 s, "), "{reason}");
    assert!(reason.contains("its part, 2 of 2 with 25 connections, is missing"), "{reason}");
    let run = &document.runs[0];
    assert_eq!((run.agents.len(), run.messages_received), (2, 16_000));
    assert!(run.agents[0].failure.is_none() && run.agents[1].failure.is_some());
}

#[test]
fn what_keeps_a_run_from_beginning_is_one_line() {
    let table = [
        ([Flaw::None, Flaw::Absent], 107, "of 2 agents 1 (a1) answered within 10 s at nats://h"),
        ([Flaw::Absent, Flaw::Absent], 107, "of 2 agents none answered"),
        ([Flaw::Absent, Flaw::Absent], 107, "version \"9\""),
        ([Flaw::None, Flaw::Refuses], 104, "agent a2 did not begin: not  here"),
        ([Flaw::LetInNowhere, Flaw::LetInNowhere], 107, "no connection to it: start it"),
        ([Flaw::None, Flaw::Boasts], 104, "more than its part"),
        ([Flaw::FallsSilent, Flaw::FallsSilent], 96, "every agent was lost: a1: nothing was"),
    ];
    for (flaws, code, expected) in table {
        let failure = conducted(&scenario(Mode::Echo), &scripted(flaws)).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.line.contains(expected), "{failure}");
        assert!(!failure.line.contains(['\n', '\u{1b}']), "{failure}");
    }
}

#[test]
fn without_any_connection_left_the_run_is_aborted() {
    let agents = scripted([Flaw::LosesAll, Flaw::LosesAll]);
    assert_eq!(conducted(&scenario(Mode::Echo), &agents).unwrap().ended, Ended::Aborted);
    let agents = scripted([Flaw::None, Flaw::LosesAll]);
    assert_eq!(conducted(&scenario(Mode::Echo), &agents).unwrap().ended, Ended::Completed);
}

#[test]
fn a_fan_out_expects_what_all_published_at_each_and_is_suspect_when_clocks_are_far_apart() {
    for (way_ns, state) in [(1_000, State::Valid), (200_000_000, State::Suspect)] {
        let scenario = Scenario { publishers: 2, ..scenario(Mode::Fanout) };
        // The scripted agents open no publishers; what counts here is what they say at the end.
        let part = |index| Part { index, of: 2, clock_slack_ns: 0 };
        let portions = (0..2).map(|index| {
            let mut agent = Scripted::new("a", Flaw::None);
            agent.scenario = Some(scenario.clone());
            let bound_ns = way_ns;
            let offset = Some(super::clock::Offset { offset_ns: 5, bound_ns });
            let (name, done) = (format!("a{index}"), Ok(agent.done()));
            sum::Portion { name, part: part(index), offset, done }
        });
        let document = sum::document(&scenario, portions.collect(), Ended::Completed).unwrap();
        let run = &document.runs[0];
        // 80 from each, to 100 at each.
        assert_eq!(run.messages_expected, 2 * 160 * 100);
        assert_eq!(run.gaps, 0);
        assert_eq!(document.verdict.state, state, "{:?}", document.verdict);
        assert_eq!(run.agents[1].clock_bound_ns, Some(way_ns));
    }
}

/// A run of two real agents.
fn carried_out(scenario: &Scenario, progress: &dyn Progress, stop: &AtomicBool) -> Conducted {
    let exchange = Exchange::default();
    std::thread::scope(|scope| {
        for id in ["a1", "a2"] {
            let post = exchange.post(&[call_subject(), agent_subject(id)], 4_000);
            scope.spawn(move || {
                let (name, stop) = (id.to_owned(), AtomicBool::new(false));
                let options = Options { name, is_once: true, is_quiet: true, ..Options::default() };
                Agent::new(Desk::new(post, id.to_owned()), &options, &stop).serve().unwrap();
            });
        }
        let desk = Desk::new(exchange.post(&[run_subject("r1")], 4_000), "r1".to_owned());
        let wish = Wish { timeout_ns: 600 * NS_PER_S, ..wish(scenario, 2) };
        Controller::new(desk, wish, progress, stop).conduct().unwrap()
    })
}

fn against(server: &Server, mode: Mode) -> Scenario {
    let path = if mode == Mode::Echo { "/echo" } else { "/channels/news" };
    let host = server.address.to_string();
    Scenario {
        target: Target { address: server.address.into(), host, path: path.to_owned() },
        transport: Transport::Ws,
        mode,
        connections: 5,
        publishers: 3,
        duration: Duration::from_millis(400),
        rate_per_s: Rate::per_second(500),
        engine: EngineChoice::Epoll,
        ..scenario(mode)
    }
}

fn done(portion: &sum::Portion) -> &Done {
    portion.done.as_ref().unwrap()
}

#[test]
fn two_agents_count_what_one_process_counts_and_percentiles_are_of_the_sum() {
    let server = Server::start(Mischief::None);
    for mode in [Mode::Echo, Mode::Fanout] {
        let scenario = against(&server, mode);
        let alone = loadgen::engine::run(&scenario, &(), &AtomicBool::new(false)).unwrap();
        let result = carried_out(&scenario, &(), &AtomicBool::new(false));
        let mut both: Option<Histogram<u64>> = None;
        for portion in &result.portions {
            let text = &done(portion).document.runs[0].histograms.as_ref().unwrap().intended;
            let part = decode_histogram(text).unwrap();
            match &mut both {
                None => both = Some(part),
                Some(both) => both.add(&part).unwrap(),
            }
            assert_eq!(portion.offset.unwrap().bound_ns, 0, "one machine has one clock");
        }
        let offered: f64 = (result.portions.iter())
            .filter_map(|portion| done(portion).document.runs[0].offered_per_s)
            .sum();
        let document = sum::document(&scenario, result.portions, result.ended).unwrap();
        let run = &document.runs[0];
        assert_eq!(run.latency_from_intended_ns, Latency::of(&both.unwrap()));
        assert_eq!(run.messages_sent, alone.messages_sent, "{mode}: 200 of the one schedule");
        assert_eq!(run.messages_sent, 200);
        assert_eq!(run.messages_expected, alone.messages_expected);
        assert_eq!((run.gaps, alone.gaps), (0, 0), "{mode}");
        assert_eq!(run.messages_received, run.messages_expected);
        assert_eq!((run.duplicates, run.reordered, run.corrupted), (0, 0, 0));
        assert_eq!(run.connection_counts.open, 5);
        let expected = if mode == Mode::Echo { 500.0 } else { 2_500.0 };
        assert!((offered - expected).abs() < 1e-6, "{mode}: {offered}");
        assert_eq!(run.agents.len(), 2);
    }
}

#[test]
fn a_stop_at_the_controller_ends_all_agents_and_keeps_what_was_measured() {
    /// Stops once it has seen what both received.
    struct Stopper<'s>(&'s AtomicBool, Mutex<Vec<String>>);
    impl Progress for Stopper<'_> {
        fn tick(&self, _: &Tick) {}
        fn snapshot(&self, snapshot: Snapshot) {
            if !snapshot.intended.is_empty() && snapshot.threads.len() == 2 {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        fn named(&self, names: &[String]) {
            *self.1.lock().unwrap() = names.to_vec();
        }
        fn is_live(&self) -> bool {
            true
        }
    }
    let server = Server::start(Mischief::None);
    let duration = Duration::from_secs(3_600);
    let scenario = Scenario { duration, ..against(&server, Mode::Echo) };
    let stop = AtomicBool::new(false);
    let stopper = Stopper(&stop, Mutex::default());
    let result = carried_out(&scenario, &stopper, &stop);
    assert_eq!(result.ended, Ended::Interrupted);
    let mut names = stopper.1.into_inner().unwrap();
    names.sort();
    let mut of_result: Vec<&str> = result.portions.iter().map(|one| &*one.name).collect();
    of_result.sort_unstable();
    assert_eq!(names, of_result);
    let document: Document = sum::document(&scenario, result.portions, result.ended).unwrap();
    assert_eq!(document.ended, Ended::Interrupted);
    let run = &document.runs[0];
    assert!(run.messages_received > 0 && run.measured_ns < 3_600 * NS_PER_S);
    assert!(document.verdict.reasons.iter().all(|reason| !reason.contains("was stopped")));
}

#[test]
fn an_agent_refuses_a_plan_that_its_operator_does_not_allow() {
    let exchange = Exchange::default();
    let post = exchange.post(&[agent_subject("a1")], 4_000);
    let mut desk = Desk::new(exchange.post(&[run_subject("r1")], 4_000), "r1".to_owned());
    let targets = vec![super::allowed::Allowed::parse("192.0.2.1").unwrap()];
    let options = Options { targets, is_quiet: true, ..Options::default() };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| Agent::new(Desk::new(post, "a1".to_owned()), &options, &stop).serve());
        let scenario = scenario(Mode::Echo);
        let assignment = super::message::Assignment { scenario, part: Part::WHOLE };
        desk.say(&agent_subject("a1"), "r1", ToAgent::Plan(Box::new(assignment))).unwrap();
        let mail = loop {
            if let Arrival::Mail(mail) = desk.receive(Duration::from_secs(60), |_| true).unwrap() {
                break mail;
            }
        };
        stop.store(true, Ordering::Relaxed);
        let letter = super::message::read_report(&mail.bytes).unwrap();
        let ToController::Failed { code: 104, line } = letter.body else { panic!("{letter:?}") };
        assert!(line.contains("not one that --allow-target allows here"), "{line}");
    });
}
