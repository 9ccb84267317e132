//! Each rule from a run to a line of evidence.

use super::*;
use crate::result::{Churn, Confidence, Fairness, Loadgen, Slow, Storm};
use crate::samples;

const STYLE: Style = Style { is_utf8: false };

fn lag(max_ns: u64) -> Loadgen {
    let schedule_lag_ns = Latency { count: 1, max: Some(max_ns), ..Latency::default() };
    Loadgen { schedule_lag_ns, ..Loadgen::default() }
}

fn stalled(loadgen: Loadgen) -> Run {
    let interval = |start_s: u64, p99_ms: u64| Interval {
        start_ns: start_s * 1_000_000_000,
        latency_p99_ns: Some(p99_ms * 1_000_000),
        ..Interval::default()
    };
    let intervals = vec![interval(0, 6), interval(1, 51), interval(2, 6)];
    Run { intervals, loadgen, ..Run::default() }
}

#[test]
fn the_worst_second_says_on_which_side_it_was() {
    let said = |run: &Run| worst(run, STYLE).join(" ");
    let whole = said(&stalled(lag(200_000)));
    assert!(whole.contains("0:01  p99 51.0 ms, lag never above 200 us:"), "{whole}");
    assert!(whole.contains("the server or the network"), "{whole}");
    assert!(said(&stalled(lag(40_000_000))).contains("it may have been loadgen"));
    assert!(said(&stalled(lag(10_000_000))).contains("mostly the server or the network"));
    // Without a schedule there is no lag, and no side is taken.
    assert_eq!(said(&stalled(Loadgen::default())), "worst     0:01  p99 51.0 ms");
    let single = Run { intervals: stalled(lag(1)).intervals[..1].to_vec(), ..Run::default() };
    assert_eq!(said(&single), "");
}

#[test]
fn too_few_samples_are_said_where_the_percentile_would_be() {
    let mut latency = Latency { count: 15, max: Some(1_200_000), ..Latency::default() };
    let line = percentiles("connect", &latency, STYLE);
    assert_eq!(line, "connect  insufficient (p50 needs 20, has 15)                1.20 ms");
    (latency.count, latency.p50, latency.p90) = (20_000, Some(410_000), Some(520_000));
    (latency.p99, latency.p99_9) = (Some(900_000), Some(1_000_000));
    let line = percentiles("connect", &latency, STYLE);
    assert!(line.contains(" 410 us   520 us   900 us  1.00 ms  insufficient  1.20 ms"), "{line}");
    assert!(line.chars().count() <= 80 && line.ends_with("20 000"), "{line}");
}

#[test]
fn the_least_important_gives_way_first_and_some_never() {
    let facts = || {
        let lines = |name: &str, count| vec![name.to_owned(); count];
        vec![fact(0, lines("a", 2)), fact(3, lines("b", 2)), fact(1, lines("c", 1))]
    };
    assert_eq!(fitting(facts(), 5), ["a", "a", "b", "b", "c"]);
    assert_eq!(fitting(facts(), 4), ["a", "a", "c"]);
    assert_eq!(fitting(facts(), 0), ["a", "a"]);
}

#[test]
fn what_was_not_measured_says_so_with_its_cure() {
    let run = Run::default();
    let wanted = "server    not measured: add --server-pid, --server-cgroup or --server-metrics";
    assert_eq!(server(&run, STYLE), [wanted]);
    assert!(generator(&run, STYLE).is_empty() && wire(&run, STYLE).is_empty());
    assert!(fairness(&run, STYLE).is_empty() && worst(&run, STYLE).is_empty());
}

#[test]
fn storms_churn_and_slow_readers_have_their_lines() {
    let storm = Storm {
        at_ns: 30_000_000_000,
        dropped: 200,
        reopened: 199,
        reopen_ns: Latency { max: Some(41_000_000), ..Latency::default() },
        p99_before_ns: Some(6_000_000),
        recovered_after_ns: Some(2_100_000_000),
    };
    let never = Storm { recovered_after_ns: None, ..storm };
    let run = Run { storms: vec![storm, never], ..Run::default() };
    assert_eq!(
        storms(&run, STYLE),
        [
            "storm     0:30  200 dropped, 199 back within 41.0 ms; p99 as before after 2.10 s",
            "storm     0:30  200 dropped, 199 back within 41.0 ms; p99 not as before in this",
            "          run"
        ]
    );
    let reads = |bytes_per_s| {
        let slow = Some(Slow { connections: 10, bytes_per_s, closed_by_server: 3 });
        super::slow(&Run { slow, ..Run::default() }, STYLE).join("")
    };
    assert_eq!(reads(0), "slow      10 connections read nothing; the server cut off 3 of them");
    assert!(reads(1_024).contains("read 1.00 KiB/s"));
    let cycles = Churn { cycles: 12_000, ..Churn::default() };
    let run = Run { churn: Some(cycles), ..Run::default() };
    assert!(churn(&run, STYLE).concat().contains("12 000 connections opened and closed"));
}

#[test]
fn intervals_stand_behind_their_values() {
    let confidence = Confidence {
        runs: 5,
        p99_ns: Some(Estimate { value: 6.18e6, low: 6.0e6, high: 6.4e6 }),
        ..Confidence::default()
    };
    let run = Run { confidence: Some(confidence), ..Run::default() };
    let wanted = "95 %      p99 6.18 ms [6.00 ms-6.40 ms] (5 runs; server not restarted)";
    assert_eq!(super::confidence(&run, STYLE), [wanted]);
}

#[test]
fn fairness_is_told_by_its_index_and_its_worst() {
    let own = Latency { p50: Some(6_180_000), max: Some(8_100_000), ..Latency::default() };
    let fair = Fairness { p99_of_connections_ns: own, jain_index: Some(0.998) };
    let run = Run { fairness: Some(fair), ..Run::default() };
    let wanted = "fairness  Jain 0.998, p99 of a connection 6.18 ms median, 8.10 ms worst";
    assert_eq!(fairness(&run, STYLE), [wanted]);
}

#[test]
fn the_next_step_can_be_pasted() {
    let next_of = |command: &str| {
        next(&Document { command: command.to_owned(), ..samples::document() }).join(" ")
    };
    let run = "loadgen run ws://h:1/";
    assert_eq!(next_of(run), "next      loadgen run ws://h:1/ --out bundle=run.bundle");
    let stored = next_of("loadgen run ws://h:1/ --out json=a.json");
    assert_eq!(stored, "next      loadgen report a.json --out html=a.html");
    let both = next_of("loadgen run ws://h:1/ -o json=a.json -o html=a.html");
    assert_eq!(both, "next      loadgen diff a.json OTHER");
    let mut short = Run::default();
    short.errors.insert("local.ports".to_owned(), 1);
    let document = Document { runs: vec![short], ..samples::document() };
    assert_eq!(next(&document), ["next      loadgen doctor"]);
}
