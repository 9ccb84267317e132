//! Runs over real sockets, on both engines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire_ring::Address;

use super::server::{Mischief, Server};
use crate::engine::run;
use crate::outcome::{Ended, Outcome, Progress, Tick};
use crate::scenario::{EngineChoice, Mode, Payload, Rate, Scenario, Target, Traffic, Transport};
use crate::speech::Speech;

pub(super) const ENGINES: [EngineChoice; 2] = [EngineChoice::Uring, EngineChoice::Epoll];

pub(super) fn scenario(
    server: &Server,
    engine: EngineChoice,
    mode: Mode,
    transport: Transport,
) -> Scenario {
    let path = if mode == Mode::Echo { "/echo" } else { "/channels/news" };
    Scenario {
        target: Target {
            address: server.address.into(),
            host: server.address.to_string(),
            path: path.into(),
        },
        transport,
        mode,
        connections: 5,
        duration: Duration::from_millis(300),
        warmup: Duration::from_millis(50),
        rate_per_s: Rate::per_second(400),
        in_flight: None,
        connect_rate_per_s: None,
        threads: 2,
        cpus: vec![],
        size_bytes: 64,
        payload: Payload::Random,
        publishers: 3,
        channels: 1,
        poll_interval: Duration::from_millis(20),
        seed: 42,
        headers: vec![],
        subprotocols: vec![],
        compression: None,
        secure: None,
        engine,
        server_pid: Some(std::process::id()),
        server_gauged: None,
        traffic: Traffic::default(),
        speech: Speech::default(),
    }
}

pub(super) fn measure(scenario: &Scenario) -> Outcome {
    run(scenario, &(), &AtomicBool::new(false)).unwrap_or_else(|failure| panic!("{failure}"))
}

/// What holds of every run that nothing went wrong in.
pub(super) fn assert_whole(outcome: &Outcome, what: &str) {
    let Outcome { messages_received, messages_expected, errors, .. } = outcome;
    assert_eq!(outcome.ended, Ended::Completed, "{what}");
    // A busy machine may answer a poll later than the next one is due.
    assert!(errors.keys().all(|code| code == "poll.overlap"), "{what}: {errors:?}");
    assert!(*messages_expected > 0, "{what}");
    assert_eq!(messages_received, messages_expected, "{what}");
    assert_eq!((outcome.gaps, outcome.duplicates, outcome.reordered), (0, 0, 0), "{what}");
    assert_eq!((outcome.corrupted, outcome.impossible), (0, 0), "{what}");
    assert_eq!(outcome.intended.len(), *messages_received, "{what}");
    assert_eq!(outcome.sent.len(), *messages_received, "{what}");
    assert_eq!(outcome.connect.len(), 5, "{what}");
    assert!(outcome.wire_bytes_received > 0 && outcome.setup_bytes_sent > 0, "{what}");
    assert!(outcome.server.is_some(), "{what}");
    assert_eq!(outcome.generator.thread_busy_share.len(), 2, "{what}");
}

/// Segments that this machine has sent again so far.
fn retransmitted() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    crate::engine::surroundings::counter(&text, "Tcp", "RetransSegs").unwrap()
}

#[test]
fn an_echo_in_open_loop_sends_its_schedule_and_hears_all_of_it() {
    for engine in ENGINES {
        let server = Server::start(Mischief::None);
        let repeated = retransmitted();
        let outcome = measure(&scenario(&server, engine, Mode::Echo, Transport::Ws));
        assert_whole(&outcome, &format!("{engine:?}"));
        // 400 a second for 0.3 s: a schedule has no rounding. A machine that stalls may leave the
        // last ones behind, and then says so.
        assert_eq!(outcome.offered_count, 120);
        assert!(outcome.picked_up_count <= 120);
        assert_eq!(outcome.messages_sent, outcome.picked_up_count);
        assert_eq!(outcome.schedule_lag.len(), outcome.picked_up_count);
        let in_intervals: u64 = outcome.intervals.iter().map(|interval| interval.received).sum();
        assert_eq!(in_intervals, outcome.deliveries_in_window);
        assert_eq!(server.closes(), 5, "every WebSocket is closed by Close");
        assert_eq!((outcome.tcp.len(), outcome.upgrade.len()), (5, 5));
        assert_eq!(outcome.first_message.len(), 5);
        assert_eq!((outcome.p99_of_connections.len(), outcome.jain_index.is_some()), (5, true));
        let sockets = outcome.sockets.unwrap();
        assert_eq!(sockets.connections, 5);
        // Where a peer is not let run for long, loopback repeats segments too; the kernel knows.
        let repeated = retransmitted() - repeated;
        assert!(sockets.segments_retransmitted <= repeated, "{sockets:?}, {repeated}");
        // What is under way when the window begins or ends is on one side of it or the other.
        let messages = |told: u64, counted: u64| told.abs_diff(counted) / 106;
        assert!(messages(sockets.bytes_sent, outcome.wire_bytes_sent) <= 5, "{sockets:?}");
        assert!(messages(sockets.bytes_received, outcome.wire_bytes_received) <= 5, "{sockets:?}");
        // A stall puts several messages into one segment.
        assert!(sockets.segments_sent >= 5 && sockets.segments_received >= 5, "{sockets:?}");
    }
}

#[test]
fn an_echo_in_closed_loop_keeps_its_messages_in_flight() {
    for engine in ENGINES {
        for (size_bytes, in_flight) in [(20, None), (300, Some(16)), (200_000, Some(2))] {
            let server = Server::start(Mischief::None);
            let scenario = Scenario {
                rate_per_s: None,
                in_flight,
                size_bytes,
                ..scenario(&server, engine, Mode::Echo, Transport::Ws)
            };
            let outcome = measure(&scenario);
            assert_whole(&outcome, &format!("{engine:?} {size_bytes}"));
            assert!(outcome.messages_sent > 5, "more than the first of each");
            assert_eq!(outcome.offered_count, outcome.sent_count);
        }
    }
}

#[test]
fn fan_out_reaches_every_subscriber_over_every_transport() {
    for transport in [Transport::Ws, Transport::Sse, Transport::LongPoll, Transport::Poll] {
        for (engine, mischief, channels) in
            [(EngineChoice::Uring, Mischief::None, 1), (EngineChoice::Epoll, Mischief::Chunked, 2)]
        {
            let server = Server::start(mischief);
            let scenario =
                Scenario { channels, ..scenario(&server, engine, Mode::Fanout, transport) };
            let outcome = measure(&scenario);
            let what = format!("{transport} {engine:?}");
            assert_whole(&outcome, &what);
            assert_eq!(outcome.offered_count, 120, "{what}");
            assert_eq!(outcome.messages_sent, outcome.picked_up_count, "{what}");
            if channels == 1 {
                assert_eq!(outcome.messages_expected, 5 * outcome.messages_sent, "{what}");
            }
            let has_requests = matches!(transport, Transport::LongPoll | Transport::Poll);
            assert_eq!(outcome.requests > 0, has_requests, "{what}");
            let least_bytes = outcome.messages_sent * 64;
            assert!(outcome.publisher_wire_bytes_sent > least_bytes / 2, "{what}");
        }
    }
}

#[test]
fn publishing_to_nobody_is_measured_too() {
    let server = Server::start(Mischief::None);
    let scenario = Scenario {
        connections: 0,
        ..scenario(&server, EngineChoice::Uring, Mode::Fanout, Transport::Ws)
    };
    let outcome = measure(&scenario);
    assert_eq!((outcome.offered_count, outcome.messages_expected), (120, 0));
    assert_eq!(outcome.messages_sent, outcome.picked_up_count);
    assert!(outcome.publisher_wire_bytes_received > 0 && outcome.wire_bytes_received == 0);
}

#[test]
fn a_server_that_ends_keep_alive_is_polled_on_new_connections() {
    for transport in [Transport::LongPoll, Transport::Poll] {
        let server = Server::start(Mischief::NoKeepAlive);
        let outcome = measure(&scenario(&server, EngineChoice::Uring, Mode::Fanout, transport));
        assert_whole(&outcome, transport.name());
        assert!(outcome.reconnects > 10);
    }
}

#[test]
fn what_a_server_loses_repeats_swaps_or_damages_is_counted() {
    let measure = |mischief, mode| {
        let server = Server::start(mischief);
        measure(&scenario(&server, EngineChoice::Uring, mode, Transport::Ws))
    };
    {
        let lossy = measure(Mischief::Drop, Mode::Fanout);
        assert_eq!(lossy.gaps, lossy.messages_expected - lossy.messages_received);
        assert!(lossy.gaps >= lossy.messages_expected / 10, "{}", lossy.gaps);
        assert_eq!((lossy.duplicates, lossy.corrupted), (0, 0));

        let twice = measure(Mischief::Twice, Mode::Fanout);
        assert_eq!((twice.gaps, twice.corrupted, twice.reordered), (0, 0, 0));
        assert!(twice.duplicates >= twice.messages_received / 20, "{}", twice.duplicates);

        let damaged = measure(Mischief::Damage, Mode::Fanout);
        assert!(damaged.corrupted >= damaged.gaps && damaged.gaps > 0);

        let lossy = measure(Mischief::Drop, Mode::Echo);
        assert_eq!(lossy.gaps, lossy.messages_sent - lossy.messages_received);
        assert!(lossy.gaps > 0 && lossy.errors["app.unanswered"] >= lossy.gaps);

        let twice = measure(Mischief::Twice, Mode::Echo);
        assert!(twice.duplicates > 0 && twice.gaps == 0);
    }
}

#[test]
fn swapped_messages_are_reordered_and_none_is_missing() {
    let server = Server::start(Mischief::Swap);
    let outcome = measure(&scenario(&server, EngineChoice::Uring, Mode::Echo, Transport::Ws));
    // What the server holds back when the run ends is missing.
    assert!(outcome.reordered > 0 && outcome.gaps <= 5, "{outcome:?}");
    assert_eq!((outcome.duplicates, outcome.corrupted), (0, 0));
}

#[test]
fn connections_that_are_refused_are_counted_and_the_others_go_on() {
    for engine in ENGINES {
        let server = Server::start(Mischief::RefuseHalf);
        let scenario = Scenario {
            connections: 6,
            connect_rate_per_s: Some(200),
            ..scenario(&server, engine, Mode::Echo, Transport::Ws)
        };
        let outcome = measure(&scenario);
        assert_eq!((outcome.connections_open, outcome.connections_refused), (3, 3));
        assert_eq!(outcome.errors["upgrade.status.503"], 3);
        assert_eq!(outcome.offered_count, 120);
        assert_eq!(outcome.messages_received, outcome.picked_up_count);
    }
}

#[test]
fn a_server_that_refuses_everyone_is_failure_107_with_its_words() {
    for (transport, code) in
        [(Transport::Ws, "upgrade.status.404"), (Transport::Poll, "http.status.404")]
    {
        let server = Server::start(Mischief::NotFound);
        let scenario = scenario(&server, EngineChoice::Uring, Mode::Fanout, transport);
        let failure = run(&scenario, &(), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(failure.code, 107);
        let line = failure.line;
        assert!(line.contains(code) && line.contains("\"404 no such channel\""), "{line}");
        assert!(!line.contains('\n'));
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the connection could not be opened, either because a direct connection failed or because
//# any proxy used returned an error, then the client MUST _Fail the WebSocket Connection_ and
//# abort the connection attempt.
#[test]
fn a_port_nobody_listens_on_is_failure_107_with_the_cure() {
    let server = Server::start(Mischief::None);
    for engine in ENGINES {
        let mut scenario = scenario(&server, engine, Mode::Echo, Transport::Ws);
        // Below the ports that anything here is given.
        scenario.target.address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        let failure = run(&scenario, &(), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(failure.code, 107);
        assert!(failure.line.contains("tcp.refused"), "{}", failure.line);
    }
}

#[test]
fn connections_that_end_are_lost_and_the_run_is_aborted() {
    for engine in ENGINES {
        let server = Server::start(Mischief::CloseAfterHundred);
        let scenario = Scenario {
            rate_per_s: None,
            duration: Duration::from_secs(20),
            ..scenario(&server, engine, Mode::Echo, Transport::Ws)
        };
        let outcome = measure(&scenario);
        assert_eq!(outcome.ended, Ended::Aborted);
        assert_eq!(outcome.errors["ws.close.1001"], 5);
        assert!(outcome.measured_ns < 20_000_000_000);
    }
}

/// Stops the run as soon as anything was received.
struct StopWhenHeard(AtomicBool);

impl Progress for StopWhenHeard {
    fn tick(&self, tick: &Tick) {
        self.0.fetch_or(tick.received > 0, Ordering::Relaxed);
    }
}

#[test]
fn an_interrupted_run_ends_early_with_what_was_measured() {
    let server = Server::start(Mischief::None);
    let scenario = Scenario {
        warmup: Duration::ZERO,
        duration: Duration::from_secs(60),
        ..scenario(&server, EngineChoice::Uring, Mode::Echo, Transport::Ws)
    };
    let stop = StopWhenHeard(AtomicBool::new(false));
    let outcome = run(&scenario, &stop, &stop.0).unwrap();
    assert_eq!(outcome.ended, Ended::Interrupted);
    assert!(outcome.measured_ns < 60_000_000_000);
    assert!(outcome.messages_received > 0);
    assert_eq!(outcome.gaps, 0);
}

#[test]
fn idle_connections_answer_pings_and_stay() {
    for transport in [Transport::Ws, Transport::Sse, Transport::LongPoll, Transport::Poll] {
        let server = Server::start(Mischief::None);
        let scenario = scenario(&server, EngineChoice::Uring, Mode::Idle, transport);
        let outcome = measure(&Scenario { rate_per_s: None, ..scenario });
        assert_eq!((outcome.connections_open, outcome.connections_lost), (5, 0), "{transport}");
        // As in `assert_whole`: a busy machine may answer late.
        let is_well = outcome.errors.keys().all(|code| code == "poll.overlap");
        assert!(is_well, "{transport}: {:?}", outcome.errors);
        assert_eq!((outcome.messages_sent, outcome.messages_received), (0, 0));
    }
}

#[test]
fn scenarios_that_make_no_sense_are_refused_before_anything_is_opened() {
    let server = Server::start(Mischief::None);
    let good = scenario(&server, EngineChoice::Auto, Mode::Echo, Transport::Ws);
    for bad in [
        Scenario { transport: Transport::Sse, ..good.clone() },
        Scenario { connections: 0, ..good.clone() },
        Scenario { size_bytes: 19, ..good.clone() },
        Scenario { threads: 0, ..good.clone() },
        Scenario { duration: Duration::ZERO, ..good.clone() },
        Scenario { connections: 10_000_000, ..good.clone() },
        Scenario { server_pid: Some(u32::MAX), ..good.clone() },
        Scenario { target: Target { path: "/a b".into(), ..good.target.clone() }, ..good },
    ] {
        let failure = run(&bad, &(), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(failure.code, 104, "{failure}");
    }
}
