//! Whole suites in virtual time: a small fuzzing server on a simulated kernel that cuts, delays
//! and refuses as the seed says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_request, query_value};
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Limits, Opcode, Role, check_upgrade, encode_close, encode_frame,
    encode_switching,
};
use ringwire_ring::sim::{DriverOptions, Faults, Sim, SimDriver, SimOptions, each_seed};
use ringwire_ring::{Accepting, Address, Completion, Driver, Slot};

use crate::outcome::Failure;
use crate::scenario::{EngineChoice, Target};
use crate::testee::client::Client;
use crate::testee::{Plan, Tally};

const SERVER: &str = "10.0.0.1:80";
const STEPS_MAX: u64 = 3_000_000;
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 10 };

/// Messages of a case, and their size.
const MESSAGES: usize = 40;
const MESSAGE_BYTES: usize = 9_000;

/// What the suite's cases are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// Sends messages, hears them all, closes.
    Fair,
    /// Sends far more than it reads.
    Deaf,
    /// Says nothing, and never ends.
    Mute,
    /// Is no fuzzing server.
    Stranger,
}

#[derive(Debug, Default)]
struct Peer {
    head: Vec<u8>,
    inbound: Option<Inbound>,
    path: String,
    out: Vec<u8>,
    heard: usize,
    is_sending: bool,
    is_over: bool,
}

/// What a suite saw.
#[derive(Debug, Default)]
struct Seen {
    paths: Vec<String>,
    heard: BTreeMap<String, usize>,
    closes: u32,
}

struct Suite {
    driver: SimDriver,
    temper: Temper,
    peers: BTreeMap<Slot, Peer>,
    seen: Seen,
}

impl Suite {
    fn new(sim: &Sim, temper: Temper) -> Self {
        let mut driver = sim.driver(DriverOptions::default());
        let address: SocketAddr = SERVER.parse().expect("an address");
        driver.listen(sim.listener(address)).expect("it listens");
        driver.accept(Accepting::On);
        Self { driver, temper, peers: BTreeMap::new(), seen: Seen::default() }
    }

    fn turn(&mut self) {
        let mut completions = Vec::new();
        self.driver.turn(u64::MAX, &mut completions).expect("the simulation goes on");
        for completion in completions {
            match completion {
                Completion::Accepted { slot, .. } => {
                    self.peers.insert(slot, Peer::default());
                    self.driver.receive(slot, true);
                }
                Completion::Received { slot, mut lease } => self.received(slot, &mut lease),
                Completion::Sent { slot, .. } => {
                    if let Some(peer) = self.peers.get_mut(&slot) {
                        peer.is_sending = false;
                    }
                    self.send(slot);
                }
                Completion::Ended { slot, .. } => self.close(slot),
                _ => {}
            }
        }
    }

    fn received(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        if peer.inbound.is_none() {
            peer.head.extend_from_slice(bytes);
            let limits = HeadLimits::default();
            let end = HeadScanner::new().find_end(&peer.head, &limits).expect("a good head");
            let Some(end) = end else { return };
            let request = parse_request(&peer.head[..end], &limits).expect("a good request");
            let upgrade = check_upgrade(&request).expect("a good upgrade");
            encode_switching(&mut peer.out, upgrade.key, None, &[]);
            let query = request.query.map_or_else(String::new, |query| format!("?{query}"));
            peer.path = format!("{}{query}", request.path);
            self.seen.paths.push(peer.path.clone());
            if let Ok(Some(case)) = query_value(request.query, "case") {
                assert!(case.parse::<u32>().is_ok_and(|case| (1..=3).contains(&case)));
            }
            peer.inbound = Some(Inbound::new(Role::Server));
            begin(peer, self.temper);
            if peer.path.starts_with("/runCase") && self.temper == Temper::Deaf {
                self.driver.receive(slot, false);
            }
        } else if let Some(inbound) = &mut peer.inbound {
            let mut cursor = Cursor::new(bytes);
            while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("good frames") {
                match event {
                    Event::Message { payload, .. } => {
                        let expected = u8::try_from(peer.heard).expect("few");
                        assert!(payload.iter().all(|byte| *byte == expected), "in order, whole");
                        assert_eq!(payload.len(), MESSAGE_BYTES);
                        peer.heard += 1;
                        if peer.heard == MESSAGES {
                            say_close(&mut peer.out, 1000);
                        }
                    }
                    Event::Close(frame) => {
                        assert_eq!(frame.expect("a code").code.0, 1000);
                        self.seen.closes += 1;
                        peer.is_over = true;
                    }
                    Event::Compressed { .. } | Event::Ping(_) | Event::Pong(_) => {}
                }
            }
        }
        self.send(slot);
    }

    fn send(&mut self, slot: Slot) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        if !peer.is_sending && !peer.out.is_empty() {
            peer.is_sending = true;
            self.driver.send(slot, Bytes::from(std::mem::take(&mut peer.out)));
        } else if !peer.is_sending && peer.is_over {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: Slot) {
        if let Some(peer) = self.peers.remove(&slot) {
            self.seen.heard.insert(peer.path, peer.heard);
            self.driver.close(slot);
        }
    }
}

/// What is said first on a connection.
fn begin(peer: &mut Peer, temper: Temper) {
    if peer.path.starts_with("/getCaseCount") {
        let count: &[u8] = if temper == Temper::Stranger { b"none" } else { b"3" };
        encode_frame(&mut peer.out, Opcode::Text, count, None);
        say_close(&mut peer.out, 1000);
    } else if peer.path.starts_with("/updateReports") {
        say_close(&mut peer.out, 1000);
    } else if temper != Temper::Mute {
        for number in 0..MESSAGES * if temper == Temper::Deaf { 20 } else { 1 } {
            let byte = u8::try_from(number % MESSAGES).expect("few");
            encode_frame(&mut peer.out, Opcode::Binary, &[byte; MESSAGE_BYTES], None);
        }
    }
}

fn say_close(out: &mut Vec<u8>, code: u16) {
    let mut close = [0; 131];
    let len = encode_close(&mut close, code, "", None);
    out.extend_from_slice(&close[..len]);
}

fn plan(cases: &[(u32, u32)]) -> Plan {
    Plan {
        target: Target {
            address: Address::Tcp(SERVER.parse().expect("an address")),
            host: "h".to_owned(),
            path: "/".to_owned(),
        },
        secure: None,
        agent: "a b&c".to_owned(),
        cases: cases.iter().map(|(first, last)| *first..=*last).collect(),
        message_bytes_max: 1 << 20,
        compression: true,
        engine: EngineChoice::Auto,
    }
}

/// What came of a suite, what it saw, and the most that was held for it.
fn simulate(
    seed: u64,
    faults: Faults,
    temper: Temper,
    plan: Plan,
) -> (Result<Tally, Failure>, Seen, usize) {
    let sim = Sim::new(seed, SimOptions { faults, ..SimOptions::default() });
    let suite = RefCell::new(Suite::new(&sim, temper));
    let driver = sim.driver(DriverOptions { worker: 0, process: 1, ..DriverOptions::default() });
    let client = RefCell::new(Client::new(driver, plan));
    let result = Cell::new(None);
    let held_most = Cell::new(0);
    sim.run_until(
        || {
            let is_over = result.take();
            result.set(is_over.clone());
            is_over.is_some()
        },
        &mut [&mut || suite.borrow_mut().turn(), &mut || {
            let mut client = client.borrow_mut();
            match client.turn() {
                Ok(true) => result.set(Some(Ok(client.tally()))),
                Ok(false) => {}
                Err(failure) => result.set(Some(Err(failure))),
            }
            held_most.set(held_most.get().max(client.held_bytes()));
        }],
        STEPS_MAX,
    );
    (result.into_inner().expect("it ended"), suite.into_inner().seen, held_most.get())
}

#[test]
fn every_case_is_opened_echoed_and_closed_whatever_the_kernel_does() {
    each_seed(10, |seed| {
        let (tally, seen, _) = simulate(seed, Faults::lossless(), Temper::Fair, plan(&[]));
        assert_eq!(tally, Ok(Tally { cases: 3, chosen: 3, done: 3, silent: 0 }));
        assert_eq!(
            seen.paths,
            [
                "/getCaseCount",
                "/runCase?case=1&agent=a%20b%26c",
                "/runCase?case=2&agent=a%20b%26c",
                "/runCase?case=3&agent=a%20b%26c",
                "/updateReports?agent=a%20b%26c",
            ]
        );
        assert_eq!(seen.closes, 5, "each Close is answered");
        let echoed = seen.heard.iter().filter(|(path, _)| path.starts_with("/runCase"));
        assert!(echoed.into_iter().all(|(_, heard)| *heard == MESSAGES), "{:?}", seen.heard);
    });
}

#[test]
fn only_the_chosen_cases_are_opened() {
    let (tally, seen, _) =
        simulate(1, Faults::none(), Temper::Fair, plan(&[(3, 3), (1, 1), (1, 1)]));
    assert_eq!(tally, Ok(Tally { cases: 3, chosen: 2, done: 2, silent: 0 }));
    assert_eq!(seen.paths.len(), 4);
    let (failure, _, _) = simulate(1, Faults::none(), Temper::Fair, plan(&[(2, 4)]));
    let failure = failure.unwrap_err();
    assert_eq!((failure.code, failure.line.contains("3 cases")), (104, true), "{failure}");
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    each_seed(3, |seed| {
        let (tally, _, held) = simulate(seed, Faults::lossless(), Temper::Deaf, plan(&[(1, 1)]));
        assert_eq!(tally, Ok(Tally { cases: 3, chosen: 1, done: 1, silent: 1 }));
        let sent = 20 * MESSAGES * MESSAGE_BYTES;
        assert!(held > 1 << 20, "the bound was reached: {held}");
        assert!(held < (1 << 20) + 300_000, "{held} of {sent}");
    });
}

#[test]
fn a_case_in_which_nothing_moves_is_ended_from_here() {
    let (tally, seen, _) = simulate(1, Faults::none(), Temper::Mute, plan(&[]));
    assert_eq!(tally, Ok(Tally { cases: 3, chosen: 3, done: 3, silent: 3 }));
    assert_eq!(seen.paths.len(), 5);
}

#[test]
fn what_is_no_fuzzing_server_is_told_by_its_answer() {
    let (failure, _, _) = simulate(1, Faults::none(), Temper::Stranger, plan(&[]));
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, 107);
    assert!(failure.line.contains("getCaseCount said \"none\""), "{failure}");
}
