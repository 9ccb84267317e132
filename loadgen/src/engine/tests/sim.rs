//! Whole runs in virtual time: two threads of clients, the conductor and an echo server, stepped
//! in the seed's order on a simulated kernel.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_request};
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Limits, Opcode, Role, check_upgrade, encode_close, encode_frame,
    encode_switching,
};
use ringwire_ring::sim::{DriverOptions, Faults, Sim, SimDriver, SimOptions, each_seed};
use ringwire_ring::{Accepting, Address, Completion, Doorbell, Driver, Slot};

use crate::engine::client::Client;
use crate::engine::conductor::{Conductor, Next};
use crate::engine::control::Control;
use crate::engine::ledger::Ledger;
use crate::engine::plan::Plan;
use crate::outcome::{Ended, Failure, Snapshot};
use crate::scenario::{EngineChoice, Mode, Payload, Rate, Scenario, Target, Traffic, Transport};
use crate::speech::Speech;

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 10 };
const STEPS_MAX: u64 = 3_000_000;
const THREADS: usize = 2;
pub(super) const SERVER: &str = "10.0.0.1:80";

/// What a server says to each message, and to the upgrade (message 0).
pub(super) type Speak = Rc<dyn Fn(u64, &[u8]) -> Vec<Vec<u8>>>;

/// One connection of the echo server.
struct Peer {
    speak: Speak,
    heard: u64,
    head: Vec<u8>,
    inbound: Option<Inbound>,
    out: Vec<u8>,
    is_sending: bool,
    is_closing: bool,
}

/// Says back each message, whatever the driver does to it.
pub(super) struct EchoServer {
    driver: SimDriver,
    speak: Speak,
    peers: HashMap<Slot, Peer>,
}

impl EchoServer {
    fn new(sim: &Sim) -> Self {
        let echo = |number, message: &[u8]| match number {
            0 => vec![],
            _ => vec![message.to_vec()],
        };
        Self::speaking(sim, Rc::new(echo))
    }

    pub(super) fn speaking(sim: &Sim, speak: Speak) -> Self {
        let mut driver = sim.driver(DriverOptions::default());
        let listener = sim.listener(SERVER.parse::<std::net::SocketAddr>().unwrap());
        driver.listen(listener).unwrap();
        driver.accept(Accepting::On);
        Self { driver, speak, peers: HashMap::new() }
    }

    pub(super) fn turn(&mut self) {
        let mut completions = Vec::new();
        self.driver.turn(u64::MAX, &mut completions).unwrap();
        for completion in completions {
            match completion {
                Completion::Accepted { slot, .. } => {
                    self.peers.insert(slot, Peer::new(Rc::clone(&self.speak)));
                    self.driver.receive(slot, true);
                }
                Completion::Received { slot, mut lease } => {
                    let Some(peer) = self.peers.get_mut(&slot) else { continue };
                    peer.receive(&mut lease);
                    self.send(slot);
                }
                Completion::Sent { slot, result } => {
                    let Some(peer) = self.peers.get_mut(&slot) else { continue };
                    peer.is_sending = false;
                    match result {
                        Ok(()) => self.send(slot),
                        Err(_) => self.close(slot),
                    }
                }
                Completion::Ended { slot, .. } => self.close(slot),
                _ => {}
            }
        }
    }

    fn send(&mut self, slot: Slot) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        if peer.is_sending {
            return;
        }
        if peer.out.is_empty() {
            if peer.is_closing {
                self.close(slot);
            }
            return;
        }
        peer.is_sending = true;
        self.driver.send(slot, Bytes::from(std::mem::take(&mut peer.out)));
    }

    fn close(&mut self, slot: Slot) {
        if self.peers.remove(&slot).is_some() {
            self.driver.close(slot);
        }
    }
}

impl Peer {
    fn new(speak: Speak) -> Self {
        let (head, out) = (Vec::new(), Vec::new());
        Self { speak, heard: 0, head, inbound: None, out, is_sending: false, is_closing: false }
    }

    fn receive(&mut self, bytes: &mut [u8]) {
        let Some(inbound) = &mut self.inbound else {
            self.head.extend_from_slice(bytes);
            let limits = HeadLimits::default();
            let Some(end) = HeadScanner::new().find_end(&self.head, &limits).unwrap() else {
                return;
            };
            let mut rest = self.head.split_off(end);
            let request = parse_request(&self.head, &limits).unwrap();
            encode_switching(&mut self.out, check_upgrade(&request).unwrap().key, None, &[]);
            self.inbound = Some(Inbound::new(Role::Server));
            for said in (self.speak)(0, b"") {
                encode_frame(&mut self.out, Opcode::Text, &said, None);
            }
            return self.receive(&mut rest);
        };
        let mut cursor = Cursor::new(bytes);
        while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("good frames") {
            match event {
                Event::Message { payload, .. } => {
                    self.heard += 1;
                    for said in (self.speak)(self.heard, payload) {
                        encode_frame(&mut self.out, Opcode::Text, &said, None);
                    }
                }
                Event::Close(frame) => {
                    let mut close = [0; 131];
                    let code = frame.map_or(1005, |frame| frame.code.0);
                    let len = encode_close(&mut close, code, "", None);
                    self.out.extend_from_slice(&close[..len]);
                    self.is_closing = true;
                }
                Event::Ping(payload) => {
                    encode_frame(&mut self.out, Opcode::Pong, payload, None);
                }
                Event::Compressed { .. } | Event::Pong(_) => {}
            }
        }
    }
}

pub(super) fn scenario() -> Scenario {
    Scenario {
        target: Target {
            address: Address::Tcp(SERVER.parse().unwrap()),
            host: "h".into(),
            path: "/echo".into(),
        },
        transport: Transport::Ws,
        mode: Mode::Echo,
        connections: 7,
        duration: Duration::from_millis(500),
        warmup: Duration::from_millis(100),
        rate_per_s: Rate::per_second(300),
        in_flight: None,
        connect_rate_per_s: None,
        threads: THREADS,
        cpus: vec![],
        size_bytes: 100,
        payload: Payload::Random,
        publishers: 0,
        channels: 1,
        poll_interval: Duration::from_secs(1),
        seed: 1,
        headers: vec![],
        subprotocols: vec![],
        compression: None,
        secure: None,
        engine: EngineChoice::Auto,
        server_pid: None,
        server_gauged: None,
        traffic: Traffic::default(),
        speech: Speech::default(),
    }
}

/// What a run came to.
pub(super) struct Run {
    pub(super) ledger: Ledger,
    pub(super) ended: Ended,
    /// When the schedule's first message was due.
    pub(super) origin_ns: u64,
    pub(super) measured_ns: u64,
    pub(super) subscribers: u32,
    /// What the schedule has in the window.
    pub(super) offered: Option<u64>,
    hash: u64,
}

/// Runs `scenario` in the simulation of `seed`.
pub(super) fn simulate(seed: u64, faults: Faults, scenario: &Scenario) -> Result<Run, Failure> {
    simulate_until(seed, faults, scenario, u64::MAX)
}

/// The same, and after `stop_ns` somebody wants it to stop.
pub(super) fn simulate_until(
    seed: u64,
    faults: Faults,
    scenario: &Scenario,
    stop_ns: u64,
) -> Result<Run, Failure> {
    let sim = Sim::new(seed, SimOptions { faults, ..SimOptions::default() });
    let server = RefCell::new(EchoServer::new(&sim));
    simulate_seen(&sim, &mut || server.borrow_mut().turn(), scenario, stop_ns, None)
}

/// Runs `scenario` against whatever server takes a step when it is told to.
pub(super) fn simulate_against(
    sim: &Sim,
    server: &mut dyn FnMut(),
    scenario: &Scenario,
) -> Result<Run, Failure> {
    simulate_seen(sim, server, scenario, u64::MAX, None)
}

/// As above; whoever looks on once a second leaves the last thing seen.
fn simulate_seen(
    sim: &Sim,
    server: &mut dyn FnMut(),
    scenario: &Scenario,
    stop_ns: u64,
    mut seen: Option<&mut Option<Snapshot>>,
) -> Result<Run, Failure> {
    scenario.check()?;
    let stop_ns = sim.now_ns().saturating_add(stop_ns);
    let plan = Arc::new(Plan::new(scenario));
    let control = Control::new(THREADS, plan.channels.len(), None).with_budget(plan.budget());
    let control = control.live(seen.is_some());
    let mut look_ns = sim.now_ns() + 1_000_000_000;
    let control = Arc::new(control);
    let mut bells: Vec<Doorbell> = Vec::new();
    let mut clients = Vec::new();
    for thread in 0..THREADS {
        let options = DriverOptions { worker: thread, process: 1, ..DriverOptions::default() };
        let driver = sim.driver(options);
        bells.push(driver.doorbell());
        clients.push(Client::new(driver, Arc::clone(&plan), Arc::clone(&control), thread));
    }
    let [first, second] = clients.try_into().map_err(|_| "two").unwrap();
    let (first, second) = (RefCell::new(first), RefCell::new(second));
    let done = [Cell::new(false), Cell::new(false)];
    let conductor = RefCell::new(Conductor::new(Arc::clone(&plan), Arc::clone(&control), None));
    let failure = RefCell::new(None);
    let turn = |client: &RefCell<Client<SimDriver>>, done: &Cell<bool>| {
        if !done.get() {
            done.set(client.borrow_mut().turn().unwrap());
        }
    };
    sim.run_until(
        || done.iter().all(Cell::get),
        &mut [server, &mut || turn(&first, &done[0]), &mut || turn(&second, &done[1]), &mut || {
            let mut conductor = conductor.borrow_mut();
            let next = conductor.step(sim.now_ns(), sim.now_ns() >= stop_ns);
            if let Some(seen) = &mut seen
                && sim.now_ns() >= look_ns
            {
                **seen = Some(conductor.snapshot(sim.now_ns()));
                look_ns += 1_000_000_000;
            }
            match next {
                Ok(Next::At(at_ns)) => sim.alarm(at_ns),
                Ok(Next::Finished) => {}
                Err(error) => drop(failure.borrow_mut().get_or_insert(error)),
            }
            if conductor.take_news() {
                bells.iter().for_each(Doorbell::ring);
            }
        }],
        STEPS_MAX,
    );
    if let Some(failure) = failure.into_inner() {
        return Err(failure);
    }
    let mut ledger = Ledger::new(false);
    ledger.add(first.into_inner().into_ledger());
    ledger.add(second.into_inner().into_ledger());
    let (ended, measured_ns) = conductor.borrow().result();
    let offered = conductor.borrow().offered(0, measured_ns);
    let subscribers = control.each(|report| &report.subscribers).iter().sum();
    let origin_ns = control.begin().map_or(0, |begin| begin.origin_ns);
    Ok(Run { ledger, ended, origin_ns, measured_ns, subscribers, offered, hash: sim.hash() })
}

/// Everything but resets, on a network that is fast enough for the load: all that is sent can be
/// there before the engine stops waiting.
pub(super) const BAD_DAY: Faults =
    Faults { small_buffers: 0.0, delay_ns_max: 2_000_000, ..Faults::lossless() };

#[test]
fn on_a_good_day_every_message_of_the_schedule_is_sent_and_heard_in_time() {
    each_seed(2, |seed| {
        let Run { ledger, ended, measured_ns, subscribers, .. } =
            simulate(seed, Faults::none(), &scenario()).unwrap();
        assert_eq!((ended, measured_ns, subscribers), (Ended::Completed, 500_000_000, 7));
        assert_eq!((ledger.picked_up_of_window, ledger.sent_of_window), (150, 150));
        assert_eq!((ledger.received_of_window, ledger.sent_total), (150, 180));
        assert_eq!((ledger.duplicates, ledger.reordered, ledger.corrupted), (0, 0, 0));
        assert_eq!((ledger.impossible, ledger.errors_total), (0, 0));
        // Time is virtual: the network's 50 us each way are the whole of it, and a few turns.
        let worst_ns = ledger.intended.histogram().max();
        assert!((100_000..2_000_000).contains(&worst_ns), "{worst_ns}");
        assert!(ledger.schedule_lag.histogram().max() < 1_000_000);
        // A masked frame of 100 bytes there, an unmasked one back.
        assert_eq!(ledger.wire.sent, 150 * 106);
        assert_eq!(ledger.wire.received, ledger.deliveries_in_window * 102);
    });
}

#[test]
fn whatever_a_kernel_does_short_of_losing_bytes_nothing_is_lost_or_counted_twice() {
    each_seed(5, |seed| {
        let Run { ledger, ended, .. } = simulate(seed, BAD_DAY, &scenario()).unwrap();
        assert_eq!(ended, Ended::Completed);
        assert_eq!(ledger.sent_of_window, ledger.picked_up_of_window);
        assert_eq!(ledger.received_of_window, ledger.sent_of_window);
        assert_eq!((ledger.duplicates, ledger.reordered, ledger.corrupted), (0, 0, 0));
        assert_eq!((ledger.impossible, ledger.errors_total), (0, 0), "{:?}", ledger.errors);
    });
}

#[test]
fn a_closed_loop_goes_on_whatever_the_kernel_does() {
    let scenario = Scenario {
        rate_per_s: None,
        in_flight: Some(3),
        size_bytes: 3000,
        duration: Duration::from_millis(100),
        ..scenario()
    };
    each_seed(2, |seed| {
        let Run { ledger, .. } = simulate(seed, BAD_DAY, &scenario).unwrap();
        assert!(ledger.sent_of_window > 7 * 3, "more than the first of each");
        assert_eq!(ledger.received_of_window, ledger.sent_of_window);
        assert_eq!((ledger.duplicates, ledger.corrupted, ledger.errors_total), (0, 0, 0));
    });
}

#[test]
fn resets_lose_connections_and_messages_and_each_is_counted() {
    each_seed(5, |seed| {
        let run = match simulate(seed, Faults::all(), &scenario()) {
            Ok(run) => run,
            Err(failure) => return assert_eq!(failure.code, 107, "{failure}"),
        };
        let Run { ledger, subscribers, .. } = run;
        assert_eq!(subscribers + ledger.refused, 7);
        assert!(ledger.received_of_window <= ledger.sent_of_window);
        assert!(ledger.sent_of_window <= ledger.picked_up_of_window);
        assert_eq!((ledger.duplicates, ledger.corrupted, ledger.impossible), (0, 0, 0));
        let missing = ledger.sent_total - ledger.received_total;
        let unanswered =
            ledger.errors.iter().filter(|(code, _)| code.to_string() == "app.unanswered");
        assert_eq!(missing, unanswered.map(|(_, tally)| tally.count).sum::<u64>());
    });
}

#[test]
fn who_looks_on_changes_nothing_that_the_kernel_is_asked() {
    let scenario = Scenario { duration: Duration::from_millis(2_500), ..scenario() };
    let run = |seen| {
        let sim = Sim::new(21, SimOptions { faults: BAD_DAY, ..SimOptions::default() });
        let server = RefCell::new(EchoServer::new(&sim));
        simulate_seen(&sim, &mut || server.borrow_mut().turn(), &scenario, u64::MAX, seen).unwrap()
    };
    let mut last = None;
    let (unseen, seen) = (run(None), run(Some(&mut last)));
    // The hash is over every call of every thread and when it was made.
    assert_eq!(unseen.hash, seen.hash);
    assert_eq!(unseen.ledger.received_total, seen.ledger.received_total);
    let last = last.unwrap();
    assert_eq!((last.connections, last.tcp.len(), last.upgrade.len()), (7, 7, 7));
    assert_eq!((last.refused, last.lost, last.errors.len()), (0, 0, 0));
    // A whole second of the window was over, less what was under way.
    let told = last.intended.len();
    assert!((280..=seen.ledger.intended.histogram().len()).contains(&told), "{told}");
}

#[test]
fn one_seed_is_one_run() {
    let hash = |seed| simulate(seed, BAD_DAY, &scenario()).unwrap().hash;
    assert_eq!(hash(11), hash(11));
    assert_ne!(hash(11), hash(12));
}
