//! What goes wrong in the middle, over real sockets: servers that die or cut off, and people who
//! stop the run. Each ends, and says how.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire_ring::Address;

use super::live::{ENGINES, measure, scenario};
use super::server::{Mischief, Server};
use crate::engine::run;
use crate::outcome::{Ended, Outcome, Phase, Progress, Tick};
use crate::scenario::{Mode, Rate, Scenario, SlowReaders, Traffic, Transport};

const FOREVER: Duration = Duration::from_secs(600);

fn dying(connections: u64, messages: u64) -> Server {
    Server::start(Mischief::Dies { connections, messages })
}

#[test]
fn a_server_that_dies_ends_the_run_whoever_it_was_talking_to() {
    for engine in ENGINES {
        for (mode, transport, rate_per_s) in [
            (Mode::Echo, Transport::Ws, Rate::per_second(400)),
            (Mode::Echo, Transport::Ws, None),
            (Mode::Fanout, Transport::Ws, Rate::per_second(400)),
            (Mode::Fanout, Transport::Sse, None),
            (Mode::Fanout, Transport::LongPoll, Rate::per_second(400)),
        ] {
            let server = dying(u64::MAX, 200);
            let base = scenario(&server, engine, mode, transport);
            let outcome = measure(&Scenario {
                rate_per_s,
                warmup: Duration::ZERO,
                duration: FOREVER,
                ..base
            });
            let what = format!("{engine:?} {mode:?} {transport} {:?}", outcome.errors);
            assert_eq!((outcome.ended, outcome.connections_lost), (Ended::Aborted, 5), "{what}");
            assert!(outcome.measured_ns < 60_000_000_000, "{what}");
            assert!(outcome.messages_received > 0 && !outcome.errors.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_server_that_dies_while_connections_come_and_go_is_taken_to_be_gone() {
    for engine in ENGINES {
        let server = dying(60, u64::MAX);
        let base = scenario(&server, engine, Mode::Churn, Transport::Sse);
        let rate_per_s = Rate::per_second(100);
        let outcome = measure(&Scenario { rate_per_s, duration: FOREVER, ..base });
        let what = format!("{engine:?} {:?}", outcome.errors);
        assert_eq!(outcome.ended, Ended::Aborted, "{what}");
        assert!(outcome.errors.contains_key("tcp.refused"), "{what}");
        assert!(outcome.messages_received > 0 && outcome.measured_ns < 60_000_000_000, "{what}");
    }
}

#[test]
fn who_cannot_come_back_from_a_storm_tries_until_the_window_ends() {
    for engine in ENGINES {
        // Five subscribers and three publishers; then the first who comes back.
        let server = dying(8, u64::MAX);
        let storms = vec![Duration::from_millis(100)];
        let traffic = Traffic { storms, ..Traffic::default() };
        // All of them are dropped before the first comes back.
        let base =
            Scenario { threads: 1, ..scenario(&server, engine, Mode::Fanout, Transport::Ws) };
        let outcome =
            measure(&Scenario { traffic, duration: Duration::from_millis(1_500), ..base });
        let what = format!("{engine:?} {:?}", outcome.errors);
        assert_eq!((outcome.ended, outcome.storms[0].dropped), (Ended::Completed, 5), "{what}");
        assert!(outcome.storms[0].reopened < 5, "{what}");
        assert!(outcome.errors.contains_key("tcp.refused"), "{what}");
    }
}

#[test]
fn churn_with_nobody_to_talk_to_is_failure_107_with_the_cause() {
    for engine in ENGINES {
        let server = Server::start(Mischief::NotFound);
        let refused = scenario(&server, engine, Mode::Churn, Transport::Ws);
        let mut unreachable = refused.clone();
        unreachable.target.address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        for (scenario, cause) in [(refused, "upgrade.status.404"), (unreachable, "tcp.refused")] {
            let failure = run(&scenario, &(), &AtomicBool::new(false)).unwrap_err();
            assert_eq!(failure.code, 107);
            assert!(failure.line.contains(cause), "{}", failure.line);
        }
    }
}

#[test]
fn a_slow_reader_that_is_cut_off_is_counted_as_such() {
    for engine in ENGINES {
        let server = Server::start(Mischief::CutsSlow);
        let slow = Some(SlowReaders { share_ppm: 500_000, bytes_per_s: 1_000 });
        let traffic = Traffic { slow, ..Traffic::default() };
        let base = scenario(&server, engine, Mode::Fanout, Transport::Ws);
        let outcome = measure(&Scenario {
            traffic,
            connections: 2,
            publishers: 1,
            // Twice what the kernel holds for a socket that is not read, and more.
            size_bytes: 400_000,
            rate_per_s: Rate::per_second(150),
            duration: Duration::from_millis(2_000),
            ..base
        });
        let what = format!("{engine:?} {:?} {}", outcome.errors, outcome.messages_sent);
        assert_eq!((outcome.slow_open, outcome.slow_closed), (1, 1), "{what}");
        assert_eq!((outcome.connections_lost, outcome.gaps), (0, 0), "{what}");
        assert!(outcome.errors.is_empty(), "{what}");
    }
}

/// Stops the run when it is seen in a phase, with as many open connections at most.
struct StopIn {
    phase: Phase,
    open_max: u32,
    stop: AtomicBool,
}

impl Progress for StopIn {
    fn tick(&self, tick: &Tick) {
        let is_there = tick.phase == self.phase && tick.connections_open <= self.open_max;
        self.stop.fetch_or(is_there, Ordering::Relaxed);
    }
}

fn stopped(scenario: &Scenario, phase: Phase, open_max: u32) -> Outcome {
    let progress = StopIn { phase, open_max, stop: AtomicBool::new(false) };
    run(scenario, &progress, &progress.stop).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn stopping_ends_every_phase_and_mode_at_once() {
    for engine in ENGINES {
        let server = Server::start(Mischief::None);
        let silent = Server::start(Mischief::Silent);
        let echo = scenario(&server, engine, Mode::Echo, Transport::Ws);
        let window = Scenario { warmup: Duration::ZERO, duration: FOREVER, ..echo.clone() };
        let connecting = scenario(&silent, engine, Mode::Echo, Transport::Ws);
        let churn = scenario(&server, engine, Mode::Churn, Transport::Sse);
        let storms = vec![Duration::from_millis(10)];
        let traffic = Traffic { storms, storm_jitter: FOREVER, ..Traffic::default() };
        let storm = Scenario { traffic, ..window.clone() };
        for (name, scenario, phase, open_max) in [
            ("connecting", connecting, Phase::Connecting, 0),
            ("warm-up", Scenario { warmup: FOREVER, ..echo }, Phase::Warmup, 5),
            ("window", window.clone(), Phase::Measuring, 5),
            ("closed loop", Scenario { rate_per_s: None, ..window }, Phase::Measuring, 5),
            ("churn", Scenario { duration: FOREVER, ..churn }, Phase::Measuring, 5),
            ("storm", storm, Phase::Measuring, 0),
        ] {
            let outcome = stopped(&scenario, phase, open_max);
            let what = format!("{engine:?} {name} {:?}", outcome.errors);
            assert_eq!(outcome.ended, Ended::Interrupted, "{what}");
            assert!(outcome.measured_ns < 60_000_000_000, "{what}");
        }
        // What is still awaited is awaited no more.
        let lossy = Server::start(Mischief::Drop);
        let base = scenario(&lossy, engine, Mode::Echo, Transport::Ws);
        let outcome = stopped(&base, Phase::Draining, 5);
        assert_eq!((outcome.ended, outcome.measured_ns), (Ended::Interrupted, 300_000_000));
        assert!(outcome.gaps > 0);
    }
}
