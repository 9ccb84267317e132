//! That what is reported is what happened: whole runs against a server that delays, stalls, loses
//! and damages, and says what it did.
//!
//! Not here: that server, or time on a clock: all of it is virtual. Every percentile is compared
//! with the one of the sorted truth, and may be off by one bucket of the histogram. Invariant: the
//! truth is the server's log, or follows from the schedule; never from what the engine counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringwire_ring::Slot;
use ringwire_ring::sim::{Sim, SimOptions, each_seed};

use super::delay::{DelayServer, Law, Mischief};
use super::sim::{Run, scenario, simulate_against};
use crate::engine::payload::Format;
use crate::outcome::Ended;
use crate::scenario::{Mode, Rate, Scenario, Transport};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// What the turns of both sides add at most, on a network that takes no time. It is less than a
/// bucket from 268 ms on, so no server here is faster than that where percentiles are compared.
const TURNS_NS: u64 = 250_000;

const LAWS: [Law; 3] = [
    Law::Constant(300 * MS),
    Law::Uniform(280 * MS, 1_400 * MS),
    Law::Bimodal(300 * MS, 1_200 * MS),
];

/// Percentiles in 100,000ths, as results have them.
const PERCENTILES: [usize; 5] = [50_000, 90_000, 99_000, 99_900, 99_990];

/// Runs `scenario` against a server, which is handed back with its log.
fn run(
    seed: u64,
    scenario: &Scenario,
    server: impl FnOnce(&Sim) -> DelayServer,
) -> (Run, DelayServer) {
    let sim = Sim::new(seed, SimOptions { latency_ns: 0, ..SimOptions::default() });
    let server = RefCell::new(server(&sim));
    let run = simulate_against(&sim, &mut || server.borrow_mut().turn(), scenario).unwrap();
    assert_eq!(run.ended, Ended::Completed);
    assert_eq!(run.ledger.impossible, 0);
    (run, server.into_inner())
}

fn echo(connections: u32, rate_per_s: u64, duration_ms: u64) -> Scenario {
    Scenario {
        connections,
        rate_per_s: Rate::per_second(rate_per_s),
        duration: Duration::from_millis(duration_ms),
        warmup: Duration::ZERO,
        size_bytes: 20,
        ..scenario()
    }
}

fn fanout(transport: Transport, subscribers: u32, rate_per_s: u64, duration_ms: u64) -> Scenario {
    Scenario {
        mode: Mode::Fanout,
        transport,
        publishers: 2,
        target: crate::scenario::Target { path: "/channels/a".into(), ..scenario().target },
        ..echo(subscribers, rate_per_s, duration_ms)
    }
}

/// Asserts that `reported` has the percentiles of `truth`, and its ends.
fn assert_percentiles(what: &str, reported: &Histogram<u64>, truth: impl Iterator<Item = u64>) {
    let mut sorted: Vec<u64> = truth.collect();
    sorted.sort_unstable();
    let count = sorted.len();
    assert_eq!(reported.len(), count as u64, "{what}");
    let is_told = |told: u64, exact: u64| {
        let bucket = reported.lowest_equivalent(exact);
        let before = reported.lowest_equivalent(bucket.saturating_sub(1));
        let after = reported.next_non_equivalent(reported.next_non_equivalent(exact));
        (before..after).contains(&told)
    };
    let mut compared = 0;
    for share in PERCENTILES {
        if count * (100_000 - share) < 10 * 100_000 {
            continue;
        }
        let exact = sorted[(count * share).div_ceil(100_000) - 1];
        let told = reported.value_at_quantile(share as f64 / 100_000.0);
        assert!(is_told(told, exact), "{what}: p{share} of {count} is {exact}, told {told}");
        compared += 1;
    }
    assert!(compared >= 2, "{what}: {count} samples support too little");
    assert!(is_told(reported.min(), sorted[0]), "{what}: least {}", sorted[0]);
    assert!(is_told(reported.max(), sorted[count - 1]), "{what}: most {}", sorted[count - 1]);
}

/// Asserts that both histograms of a run are what the server did.
fn assert_applied(what: &str, run: &Run, server: &DelayServer) {
    assert_eq!(run.ledger.errors_total, 0, "{what}");
    let applied = || server.log.iter().map(|passed| passed.sent_ns - passed.received_ns);
    assert_percentiles(what, &run.ledger.intended.histogram(), applied());
    assert_percentiles(what, &run.ledger.sent.histogram(), applied());
}

#[test]
fn every_percentile_of_an_echo_is_that_of_the_delays_applied() {
    for law in LAWS {
        each_seed(1, |seed| {
            let scenario = echo(20, 20_000, 500);
            let (run, server) = run(seed, &scenario, |sim| DelayServer::new(sim, law));
            assert_eq!((server.log.len(), run.ledger.duplicates), (10_000, 0));
            assert_applied(&format!("{law:?}"), &run, &server);
        });
    }
}

#[test]
fn a_hundred_thousand_replies_support_the_last_percentile() {
    each_seed(1, |seed| {
        let law = Law::Uniform(280 * MS, 1_400 * MS);
        let (run, server) = run(seed, &echo(20, 50_000, 2_000), |sim| DelayServer::new(sim, law));
        assert_eq!(server.log.len(), 100_000);
        assert_applied("uniform", &run, &server);
    });
}

#[test]
fn in_a_closed_loop_both_histograms_are_the_delays_applied() {
    for law in LAWS {
        each_seed(1, |seed| {
            let scenario = Scenario { rate_per_s: None, in_flight: Some(3), ..echo(40, 1, 4_000) };
            let (run, server) = run(seed, &scenario, |sim| DelayServer::new(sim, law));
            assert_applied(&format!("{law:?}"), &run, &server);
            assert_eq!(run.ledger.intended.histogram(), run.ledger.sent.histogram());
        });
    }
}

#[test]
fn every_percentile_of_a_fan_out_is_that_of_the_delays_applied() {
    for transport in [Transport::Ws, Transport::Sse, Transport::LongPoll] {
        for law in LAWS {
            each_seed(1, |seed| {
                let scenario = fanout(transport, 10, 400, 2_500);
                let (run, server) = run(seed, &scenario, |sim| DelayServer::new(sim, law));
                assert_eq!(server.log.len(), 10_000);
                assert_applied(&format!("{transport} {law:?}"), &run, &server);
            });
        }
    }
}

/// Latencies by theory of messages due every `period_ns` from `origin_ns`, dealt in turn to
/// `connections` that may each have `in_flight_max` without a reply, at a server that takes
/// `delay_ns` for each and stands still in `stall`: from intended, and from sent.
fn by_theory(
    intended: impl Iterator<Item = u64>,
    connections: usize,
    in_flight_max: usize,
    delay_ns: u64,
    stall: (u64, u64),
) -> (Vec<u64>, Vec<u64>) {
    let hold = |at_ns| if (stall.0..stall.1).contains(&at_ns) { stall.1 } else { at_ns };
    let mut replies: Vec<Vec<u64>> = vec![Vec::new(); connections];
    let (mut from_intended, mut from_sent) = (Vec::new(), Vec::new());
    for (number, intended_ns) in intended.enumerate() {
        let replies = &mut replies[number % connections];
        let turn = replies.len().checked_sub(in_flight_max);
        let free_ns = turn.map_or(0, |earlier| replies[earlier]);
        let sent_ns = intended_ns.max(free_ns);
        let reply_ns = hold(hold(sent_ns) + delay_ns);
        replies.push(reply_ns);
        from_intended.push(reply_ns - intended_ns);
        from_sent.push(reply_ns - sent_ns);
    }
    (from_intended, from_sent)
}

/// How many of `histogram` took longer than `beyond_ns`.
fn above(histogram: &Histogram<u64>, beyond_ns: u64) -> u64 {
    histogram.len() - histogram.count_between(0, beyond_ns)
}

#[test]
fn a_stall_has_its_weight_in_both_histograms_when_sends_are_unlimited() {
    each_seed(1, |seed| {
        let scenario = echo(20, 1_000, 5_000);
        let (run, server) = run(seed, &scenario, |sim| {
            DelayServer::new(sim, Law::Constant(300 * MS)).with_stall(2 * S + MS / 2, S)
        });
        assert_applied("stall", &run, &server);
        let schedule = (0..5_000).map(|k| run.origin_ns + k * MS);
        let stall = server.stalled_ns().unwrap();
        let (intended, sent) = by_theory(schedule, 20, usize::MAX, 300 * MS, stall);
        assert_percentiles("intended", &run.ledger.intended.histogram(), intended.into_iter());
        assert_percentiles("sent", &run.ledger.sent.histogram(), sent.into_iter());
        // A second of the schedule waits up to a second longer; those due 300 ms before it do too.
        for histogram in [run.ledger.intended.histogram(), run.ledger.sent.histogram()] {
            let weight = above(&histogram, 301 * MS);
            assert!((1_290..=1_300).contains(&weight), "{weight} messages met the stall");
        }
    });
}

#[test]
fn with_one_in_flight_a_stall_has_its_weight_only_from_the_intended_time() {
    each_seed(1, |seed| {
        let scenario = Scenario { in_flight: Some(1), ..echo(100, 250, 8_000) };
        let (run, server) = run(seed, &scenario, |sim| {
            DelayServer::new(sim, Law::Constant(300 * MS)).with_stall(2 * S + MS / 2, S)
        });
        let schedule = (0..2_000).map(|k| run.origin_ns + k * 4 * MS);
        let stall = server.stalled_ns().unwrap();
        let (intended, sent) = by_theory(schedule, 100, 1, 300 * MS, stall);
        assert_percentiles("intended", &run.ledger.intended.histogram(), intended.into_iter());
        assert_percentiles("sent", &run.ledger.sent.histogram(), sent.into_iter());
    });
    // Two connections that do little but wait for each other: of the thousand messages of that
    // second only the two that were under way are late from their sent time.
    each_seed(1, |seed| {
        let scenario = Scenario { in_flight: Some(1), ..echo(2, 1_000, 4_000) };
        let (run, _) = run(seed, &scenario, |sim| {
            DelayServer::new(sim, Law::Constant(0)).with_stall(2 * S + MS / 2, S)
        });
        let (intended, sent) = (run.ledger.intended.histogram(), run.ledger.sent.histogram());
        assert_eq!(above(&sent, 900 * MS), 2);
        assert_eq!(above(&sent, MS), 2);
        let half = above(&intended, 500 * MS);
        assert!((499..=520).contains(&half), "half, and who waits behind them: {half}");
        assert!(above(&intended, MS) >= 1_000);
    });
}

#[test]
fn warm_up_is_under_load_and_no_part_of_the_result() {
    each_seed(1, |seed| {
        let scenario = Scenario { warmup: Duration::from_secs(2), ..echo(20, 500, 4_000) };
        let law = Law::Until(1_200 * MS, 2 * S - MS, 300 * MS);
        let (run, server) = run(seed, &scenario, |sim| DelayServer::new(sim, law));
        assert_eq!(server.log.len(), 3_000);
        let after = server.log.iter().filter(|passed| passed.received_ns - run.origin_ns >= 2 * S);
        let applied = after.map(|passed| passed.sent_ns - passed.received_ns);
        assert_percentiles("window", &run.ledger.intended.histogram(), applied);
    });
}

#[test]
fn polling_is_as_stale_as_its_schedule_says() {
    const SUBSCRIBERS: u64 = 20;
    const INTERVAL_NS: u64 = 2 * S;
    const PERIOD_NS: u64 = 13_700_003;
    each_seed(1, |seed| {
        let scenario = Scenario {
            poll_interval: Duration::from_nanos(INTERVAL_NS),
            rate_per_s: Rate::new(1, PERIOD_NS),
            warmup: Duration::from_secs(1),
            ..fanout(Transport::Poll, 20, 1, 12_000)
        };
        let (run, _) = run(seed, &scenario, |sim| DelayServer::new(sim, Law::Constant(0)));
        // Subscriber i asks at (i + 20 k) / 20 of the interval, all of them evenly spread. What
        // was published within some turns of a poll may be told by it or by the next.
        let step_ns = INTERVAL_NS / SUBSCRIBERS;
        let is_of_window = |due_ns: &u64| (S..13 * S).contains(due_ns);
        let (mut exact, mut unclear) = (Vec::new(), 0);
        for due_ns in (0..).map(|k| k * PERIOD_NS).take_while(|due| *due < 13 * S) {
            if !is_of_window(&due_ns) {
                continue;
            }
            for subscriber in 0..SUBSCRIBERS {
                let phase_ns = subscriber * step_ns;
                let since_poll_ns = (due_ns + INTERVAL_NS - phase_ns) % INTERVAL_NS;
                exact.push(INTERVAL_NS - since_poll_ns);
                unclear += u32::from(since_poll_ns < TURNS_NS);
            }
        }
        let told = run.ledger.intended.histogram();
        assert_eq!(told.len(), exact.len() as u64);
        assert!(unclear <= 2, "{unclear} publications meet a poll");
        exact.sort_unstable();
        // From intended to told: within a turn of the schedule's, at every percent.
        for percent in 1..100 {
            let rank = (exact.len() * percent).div_ceil(100);
            let told_ns = told.value_at_quantile(percent as f64 / 100.0);
            let off_ns = told_ns.abs_diff(exact[rank - 1]);
            let bucket_ns = told.next_non_equivalent(told_ns) - told.lowest_equivalent(told_ns);
            // A tie moves a rank by one, which is a thousandth of the interval.
            let limit_ns = bucket_ns + TURNS_NS + INTERVAL_NS / 1_000;
            assert!(off_ns <= limit_ns, "p{percent} is {}, told {told_ns}", exact[rank - 1]);
            // And the schedule's are U(0, T), whose p-th percentile is p hundredths of T.
            let uniform_ns = INTERVAL_NS / 100 * percent as u64;
            assert!(told_ns.abs_diff(uniform_ns) < INTERVAL_NS / 200, "p{percent}: {told_ns}");
        }
    });
}

/// What a log says about losses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Losses {
    /// Once each, whatever the order.
    received: u64,
    duplicates: u64,
    reordered: u64,
    corrupted: u64,
}

/// Reads off the log what the receivers of these messages have to find.
fn losses(server: &DelayServer, format: &Format) -> Losses {
    let mut losses = Losses::default();
    let mut seen: BTreeMap<(usize, u32), Vec<u64>> = BTreeMap::new();
    let index = |slot: Slot| slot.index();
    for passed in &server.log {
        if passed.is_damaged {
            losses.corrupted += 1;
            continue;
        }
        let stamp = format.decode(&passed.payload).expect("whole");
        let seen = seen.entry((index(passed.slot), stamp.publisher)).or_default();
        if seen.contains(&stamp.sequence) {
            losses.duplicates += 1;
            continue;
        }
        losses.received += 1;
        losses.reordered += u64::from(seen.iter().any(|earlier| *earlier > stamp.sequence));
        seen.push(stamp.sequence);
    }
    losses
}

#[test]
fn what_a_server_loses_repeats_swaps_and_damages_is_counted_to_the_message() {
    let kinds = [
        Mischief { lost: 100, ..Mischief::default() },
        Mischief { twice: 100, ..Mischief::default() },
        Mischief { swapped: 100, ..Mischief::default() },
        Mischief { damaged: 100, ..Mischief::default() },
        Mischief { lost: 50, twice: 50, swapped: 50, damaged: 50 },
    ];
    // One publisher, so that a message and the next are of one sequence.
    let fanout = |transport| {
        let poll_interval = Duration::from_millis(100);
        Scenario { poll_interval, publishers: 1, ..fanout(transport, 5, 200, 1_000) }
    };
    let scenarios = [
        (echo(10, 600, 1_000), 600),
        (fanout(Transport::Ws), 1_000),
        (fanout(Transport::Sse), 1_000),
        (fanout(Transport::LongPoll), 1_000),
        (fanout(Transport::Poll), 1_000),
    ];
    for ((scenario, expected), mischief) in
        scenarios.iter().flat_map(|scenario| kinds.iter().map(move |kind| (scenario, *kind)))
    {
        each_seed(1, |seed| {
            let (Run { ledger, .. }, server) = run(seed, scenario, |sim| {
                DelayServer::new(sim, Law::Constant(MS)).with_mischief(mischief)
            });
            let truth = losses(&server, &Format::new(scenario.size_bytes, scenario.seed));
            let told = Losses {
                received: ledger.received_of_window,
                duplicates: ledger.duplicates,
                reordered: ledger.reordered,
                corrupted: ledger.corrupted,
            };
            assert_eq!(told, truth, "{} {mischief:?}", scenario.transport);
            let gaps = expected - truth.received;
            let injected = [gaps, truth.duplicates, truth.reordered, truth.corrupted];
            let wanted = [
                mischief.lost + mischief.damaged,
                mischief.twice,
                mischief.swapped,
                mischief.damaged,
            ];
            for (count, share) in injected.into_iter().zip(wanted) {
                assert!(share == 0 || count > 0, "{mischief:?} did nothing: {truth:?}");
            }
        });
    }
}

#[test]
fn who_pings_and_does_not_read_is_not_answered_without_end() {
    each_seed(1, |seed| {
        let scenario = Scenario { in_flight: Some(1), ..echo(2, 10, 1_000) };
        let (Run { ledger, .. }, _) =
            run(seed, &scenario, |sim| DelayServer::new(sim, Law::Constant(0)).with_pings(8_000));
        // Two messages that nobody read, and pongs: what two sockets hold, and as much again.
        assert_eq!((ledger.sent_of_window, ledger.received_of_window), (2, 0));
        let asked_bytes = 2 * 8_000 * 131;
        assert_eq!(ledger.wire.received, 2 * 8_000 * 127);
        assert!(ledger.wire.sent < asked_bytes / 5, "{} bytes of pongs", ledger.wire.sent);
    });
}
