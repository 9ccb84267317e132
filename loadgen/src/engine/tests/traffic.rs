//! How load arrives, in virtual time: arrivals, stages, counts, pings, churn, storms, stopping.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringwire_ring::sim::{Faults, each_seed};

use super::sim::{BAD_DAY, Run, scenario, simulate, simulate_until};
use crate::engine::conductor::{Conductor, Next};
use crate::engine::control::Control;
use crate::engine::error::ErrorCode;
use crate::engine::ledger::Ledger;
use crate::engine::plan::Plan;
use crate::outcome::Ended;
use crate::scenario::{Arrival, Mode, Rate, SPAN_MAX, Scenario, Stage, Traffic};

const MS: u64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stage(lasts_ms: u64, per_s: u64) -> Stage {
    Stage { lasts: ms(lasts_ms), rate: Rate::per_second(per_s) }
}

/// How often `ledger` counted `code`.
fn told(ledger: &Ledger, code: ErrorCode) -> u64 {
    ledger.errors.get(&code).map_or(0, |tally| tally.count)
}

/// What holds of every run that nothing went wrong in.
fn assert_whole(run: &Run) {
    let ledger = &run.ledger;
    assert_eq!((run.ended, ledger.errors_total), (Ended::Completed, 0), "{:?}", ledger.errors);
    assert_eq!(ledger.received_of_window, ledger.sent_of_window);
    assert_eq!((ledger.duplicates, ledger.reordered, ledger.corrupted), (0, 0, 0));
    assert_eq!(ledger.impossible, 0);
}

#[test]
fn stages_send_exactly_what_lies_under_them() {
    let traffic = Traffic {
        stages: vec![stage(0, 100), stage(200, 500), stage(100, 0), stage(0, 400), stage(200, 400)],
        ..Traffic::default()
    };
    let scenario = Scenario { traffic, ..scenario() };
    each_seed(2, |seed| {
        for faults in [Faults::none(), BAD_DAY] {
            let run = simulate(seed, faults, &scenario).unwrap();
            assert_whole(&run);
            // 0.2 s * 300 + 0.1 s * 250 + 0.2 s * 400; and 0.1 s of warm-up at 100.
            assert_eq!((run.offered, run.ledger.picked_up_of_window), (Some(165), 165));
            assert_eq!(run.ledger.sent_total, 175);
        }
    });
}

#[test]
fn poisson_arrivals_are_those_of_the_seed_whatever_the_network_does() {
    let traffic = Traffic { arrival: Arrival::Poisson, ..Traffic::default() };
    let scenario = Scenario { traffic, rate_per_s: Rate::per_second(2_000), ..scenario() };
    let counts = |sim_seed, faults, seed| {
        let run = simulate(sim_seed, faults, &Scenario { seed, ..scenario.clone() }).unwrap();
        assert_whole(&run);
        assert_eq!(run.offered, Some(run.ledger.picked_up_of_window));
        (run.ledger.picked_up_of_window, run.ledger.sent_total)
    };
    each_seed(2, |seed| {
        let told = counts(seed, Faults::none(), 7);
        assert_eq!(counts(seed, BAD_DAY, 7), told);
        assert_eq!(counts(seed + 1, Faults::none(), 7), told);
        assert_ne!(counts(seed, Faults::none(), 8), told);
        // 1,000 in half a second, give or take four times its root.
        assert!(told.0.abs_diff(1_000) < 130, "{told:?}");
    });
}

#[test]
fn a_count_is_sent_to_the_message_in_open_and_closed_loop() {
    let of = |count, rate_per_s, arrival, duration| {
        let traffic = Traffic { count: Some(count), arrival, ..Traffic::default() };
        Scenario { traffic, rate_per_s, duration, ..scenario() }
    };
    let rate = Rate::per_second(300);
    let forever = Duration::from_secs(3_600);
    each_seed(3, |seed| {
        for faults in [Faults::none(), BAD_DAY] {
            for scenario in [
                of(61, rate, Arrival::Constant, forever),
                of(61, rate, Arrival::Poisson, forever),
                of(61, None, Arrival::Constant, forever),
            ] {
                let run = simulate(seed, faults.clone(), &scenario).unwrap();
                assert_whole(&run);
                assert_eq!(run.ledger.sent_of_window, 61, "{scenario:?}");
                assert!(run.measured_ns < 1_000 * MS, "{}", run.measured_ns);
            }
            let early = of(1_000_000, rate, Arrival::Constant, ms(100));
            let run = simulate(seed, faults, &early).unwrap();
            assert_eq!((run.ledger.sent_of_window, run.measured_ns), (30, 100 * MS));
        }
    });
    // 61 messages at 300 a second: 60 gaps and the last.
    let run = simulate(1, Faults::none(), &of(61, rate, Arrival::Constant, forever)).unwrap();
    assert_eq!((run.measured_ns, run.offered), (200 * MS + 1, Some(61)));
}

#[test]
fn a_rate_per_connection_is_that_of_the_open_ones() {
    let traffic = Traffic { is_rate_per_connection: true, ..Traffic::default() };
    let scenario = Scenario { traffic, rate_per_s: Rate::per_second(700), ..scenario() };
    each_seed(3, |seed| {
        let Ok(run) = simulate(seed, Faults::all(), &scenario) else { return };
        assert_eq!(run.offered, Some(u64::from(run.subscribers) * 50));
    });
}

#[test]
fn pings_of_an_idle_connection_come_back_as_latency() {
    let traffic = Traffic { is_rate_per_connection: true, ..Traffic::default() };
    let rate_per_s = Rate::new(7, 100 * MS);
    let scenario = Scenario { mode: Mode::Idle, traffic, rate_per_s, ..scenario() };
    each_seed(3, |seed| {
        for faults in [Faults::none(), BAD_DAY] {
            let run = simulate(seed, faults, &scenario).unwrap();
            assert_whole(&run);
            assert_eq!((run.ledger.sent_of_window, run.ledger.sent_total), (35, 42));
            assert_eq!(run.ledger.intended.histogram().len(), 35);
        }
        let silent = Scenario { rate_per_s: None, traffic: Traffic::default(), ..scenario.clone() };
        let run = simulate(seed, Faults::none(), &silent).unwrap();
        assert_eq!((run.ledger.sent_total, run.ledger.wire.sent), (0, 0));
    });
}

#[test]
fn churn_opens_and_closes_to_the_schedule_and_in_closed_loop() {
    for (rate_per_s, is_churn_echo, count) in [
        (Rate::per_second(60), false, None),
        (Rate::per_second(60), true, None),
        (None, false, Some(61)),
        (None, true, Some(61)),
    ] {
        let traffic = Traffic { is_churn_echo, count, ..Traffic::default() };
        // A count ends the window however slow the network is.
        let duration = if count.is_some() { ms(60_000) } else { ms(500) };
        let scenario = Scenario { mode: Mode::Churn, traffic, rate_per_s, duration, ..scenario() };
        each_seed(3, |seed| {
            for faults in [Faults::none(), BAD_DAY] {
                let is_good = faults == Faults::none();
                let run = simulate(seed, faults, &scenario).unwrap();
                assert_whole(&run);
                // Ten rounds of four times 100 us.
                assert!(!is_good || count.is_none() || run.measured_ns < 20 * MS);
                let expected = count.unwrap_or(30);
                assert_eq!(run.ledger.sent_of_window, expected, "{scenario:?}");
                // Each was opened, and one more before the run: whether there is a server.
                let opened = run.ledger.connect.histogram().len();
                assert_eq!(opened, run.ledger.sent_total + 2, "{scenario:?}");
            }
        });
    }
}

#[test]
fn a_cycle_that_has_to_wait_keeps_its_intended_time() {
    let scenario = Scenario {
        mode: Mode::Churn,
        connections: 2,
        warmup: Duration::ZERO,
        duration: ms(20),
        rate_per_s: Rate::per_second(20_000),
        ..scenario()
    };
    each_seed(3, |seed| {
        let run = simulate(seed, Faults::none(), &scenario).unwrap();
        let ledger = &run.ledger;
        assert_eq!((run.offered, ledger.picked_up_of_window), (Some(400), 400));
        let unbegun = told(ledger, ErrorCode::Unsent);
        let unfinished = told(ledger, ErrorCode::Unanswered);
        assert_eq!(ledger.sent_of_window + unbegun, 400);
        assert_eq!(ledger.received_of_window + unfinished, ledger.sent_of_window);
        // Three round trips of 100 us each at least; two at a time: 400 take 60 ms and more.
        let (intended, sent) = (ledger.intended.histogram(), ledger.sent.histogram());
        assert!(sent.max() < 3 * MS, "{}", sent.max());
        assert!(intended.max() > 30 * MS, "{}", intended.max());
    });
}

#[test]
fn cycles_that_fail_are_counted_and_the_others_go_on() {
    let scenario = Scenario { mode: Mode::Churn, ..scenario() };
    each_seed(5, |seed| {
        let Ok(run) = simulate(seed, Faults::all(), &scenario) else { return };
        let ledger = &run.ledger;
        let ended = ledger.received_total + ledger.errors_total;
        assert!(ledger.picked_up_of_window <= 150);
        assert!(ended >= ledger.sent_total, "{ended} of {}", ledger.sent_total);
    });
}

#[test]
fn a_storm_drops_everybody_and_all_come_back_at_the_connect_rate() {
    let traffic =
        Traffic { storms: vec![ms(100), ms(600)], storm_jitter: ms(30), ..Traffic::default() };
    let duration = ms(1_200);
    let scenario = Scenario { traffic, connect_rate_per_s: Some(100), duration, ..scenario() };
    each_seed(4, |seed| {
        for faults in [Faults::none(), BAD_DAY] {
            let run = simulate(seed, faults, &scenario).unwrap();
            let ledger = &run.ledger;
            assert_eq!((run.ended, ledger.lost, ledger.storms.len()), (Ended::Completed, 0, 2));
            for storm in &ledger.storms {
                assert_eq!((storm.dropped, storm.reopened), (7, 7));
                // The last of seven comes 60 ms after the first.
                let reopen = storm.reopen.histogram();
                assert!((60 * MS..400 * MS).contains(&reopen.max()), "{}", reopen.max());
            }
            // What was under way is said to be lost, and nothing else is.
            let missing = ledger.sent_total - ledger.received_total;
            let unanswered = told(ledger, ErrorCode::Unanswered);
            assert_eq!((missing, ledger.errors_total), (unanswered, unanswered));
            // What fell due meanwhile was sent later, with its time.
            assert_eq!(ledger.sent_of_window, 360);
            assert!(ledger.intended.histogram().max() > 30 * MS);
        }
    });
}

#[test]
fn a_storm_of_a_closed_loop_goes_on_afterwards() {
    let traffic = Traffic { storms: vec![ms(50)], ..Traffic::default() };
    let scenario = Scenario { traffic, rate_per_s: None, duration: ms(500), ..scenario() };
    each_seed(2, |seed| {
        let run = simulate(seed, BAD_DAY, &scenario).unwrap();
        let storm = &run.ledger.storms[0];
        assert_eq!((storm.dropped, storm.reopened, run.ledger.lost), (7, 7, 0));
        let unanswered = told(&run.ledger, ErrorCode::Unanswered);
        assert!(unanswered <= 7);
        assert_eq!(run.ledger.received_total + unanswered, run.ledger.sent_total);
    });
}

#[test]
fn stopping_is_heard_in_every_mode_and_phase() {
    let churn = Scenario { mode: Mode::Churn, ..scenario() };
    let idle = Scenario { mode: Mode::Idle, ..scenario() };
    let closed = Scenario { rate_per_s: None, ..scenario() };
    let storm = Traffic { storms: vec![ms(10)], ..Traffic::default() };
    let storm = Scenario { traffic: storm, connect_rate_per_s: Some(10), ..scenario() };
    let slow = Scenario { connect_rate_per_s: Some(20), ..scenario() };
    for scenario in [scenario(), churn, idle, closed, storm, slow] {
        assert_eq!(simulate(1, Faults::none(), &scenario).unwrap().ended, Ended::Completed);
        for stop_ms in [0, 1, 20, 90, 180, 300, 500] {
            each_seed(1, |seed| {
                let run = simulate_until(seed, Faults::none(), &scenario, stop_ms * MS).unwrap();
                assert_eq!(run.ended, Ended::Interrupted, "{scenario:?} at {stop_ms} ms");
                assert!(run.measured_ns < 500 * MS);
            });
        }
    }
}

#[test]
fn the_schedule_is_set_by_the_time_after_the_server_was_looked_at() {
    let plan = Arc::new(Plan::new(&Scenario { threads: 1, ..scenario() }));
    let control = Arc::new(Control::new(1, 1, None));
    control.reports[0].subscribers.store(7, Ordering::Relaxed);
    control.reports[0].is_settled.store(true, Ordering::Relaxed);
    let mut conductor = Conductor::new(plan, Arc::clone(&control), None);
    // Looks here, which may take as long as it likes.
    assert_eq!(conductor.step(5, false).unwrap(), Next::At(5));
    assert!(control.begin().is_none());
    conductor.step(900 * MS, false).unwrap();
    assert_eq!(control.begin().unwrap().origin_ns, 950 * MS);
}

#[test]
fn what_only_a_count_ends_has_no_known_time_left() {
    let left = |rate_per_s, duration| {
        let traffic = Traffic { count: Some(1_000), ..Traffic::default() };
        let scenario = Scenario { threads: 1, traffic, rate_per_s, duration, ..scenario() };
        let control = Arc::new(Control::new(1, 1, None));
        control.reports[0].subscribers.store(7, Ordering::Relaxed);
        control.reports[0].open.store(7, Ordering::Relaxed);
        control.reports[0].is_settled.store(true, Ordering::Relaxed);
        let mut conductor = Conductor::new(Arc::new(Plan::new(&scenario)), control, None);
        for now_ns in [0, 0, 200 * MS] {
            conductor.step(now_ns, false).unwrap();
        }
        conductor.tick(200 * MS).left_ns
    };
    let forever = SPAN_MAX - scenario().warmup;
    assert_eq!(left(None, forever), None);
    // Begun at 50 ms with 100 ms of warm-up.
    assert_eq!(left(None, ms(500)), Some(450 * MS));
    // The schedule says when the last is due: 999 hundredths of a second after the window began.
    assert_eq!(left(Rate::per_second(100), forever), Some(9_940 * MS + 1));
}
