//! Every word, and what it rests on.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::samples;

fn document() -> Document {
    let runs = vec![crate::summary::run(&scenario(), &samples::outcome())];
    Document { runs, ..samples::document() }
}

/// A result of as many repetitions, whose p99 is each of these.
fn repeated(p99s: &[u64]) -> Document {
    let mut document = document();
    let run = &mut document.runs[0];
    for (number, p99) in (1..).zip(p99s) {
        let mut round = Round { round: number, ..Round::default() };
        round.latency_from_intended_ns.p99 = Some(*p99);
        run.rounds.push(round);
    }
    document
}

fn row(comparison: &Comparison, metric: Metric) -> &Row {
    comparison.rows.iter().find(|row| row.metric == metric).unwrap()
}

fn compared(old: &[u64], new: &[u64]) -> Row {
    let comparison = compare(&repeated(old), &repeated(new), 0.03, false).unwrap();
    row(&comparison, Metric::P99).clone()
}

#[test]
fn five_runs_a_side_give_a_word_over_runs() {
    let old = [1_000, 1_010, 1_020, 990, 980];
    let better = compared(&old, &[800, 810, 790, 805, 795]);
    assert_eq!((better.word, better.basis), (Word::Better, Basis::Runs(5)));
    assert_eq!((better.old, better.new), (Some(1_000.0), Some(800.0)));
    let (low, high) = better.interval.unwrap();
    assert!(low < 0.8 && 0.8 < high && high < 0.83, "{low} {high}");
    assert_eq!(compared(&old, &[1_300; 5]).word, Word::Worse);
    assert_eq!(compared(&[1_000; 5], &[1_001; 5]).word, Word::NoDifference);
    // Off by 2 % for sure: not better, and not nothing either.
    let inside = compared(&[1_000; 5], &[1_020, 1_025, 1_031, 1_020, 1_035]);
    assert!(matches!(inside.word, Word::CannotTell { .. }), "{inside:?}");
    let wide = compared(&[1_000, 500, 2_000, 800, 1_200], &[900, 600, 1_900, 700, 1_100]);
    assert!(matches!(wide.word, Word::CannotTell { more_runs } if more_runs > 5), "{wide:?}");
}

#[test]
fn fewer_runs_ask_for_the_missing_ones() {
    let row = compared(&[1_000, 1_000], &[500, 500]);
    assert_eq!((row.word, row.basis), (Word::CannotTell { more_runs: 3 }, Basis::Nothing));
    assert_eq!(row.interval, None);
    let single = compare(&document(), &document(), 0.03, false).unwrap();
    let cpu = &single.rows.iter().find(|row| row.metric == Metric::ServerCpu).unwrap();
    assert_eq!((cpu.word, cpu.ratio), (Word::CannotTell { more_runs: 5 }, Some(1.0)));
}

#[test]
fn one_run_of_each_is_compared_by_its_intervals_and_says_so() {
    let long = |factor: u64| {
        let mut outcome = samples::outcome();
        let mut recorder = loadgen::recorder::Recorder::new();
        (0..4_000).for_each(|index| recorder.record((index / 4 + 1) * 1_000 * factor));
        outcome.intended = recorder.histogram();
        for interval in &mut outcome.intervals {
            interval.latencies = recorder.clone().take_sparse();
        }
        let intervals: Vec<_> = (0..12).map(|_| outcome.intervals[0].clone()).collect();
        outcome.intervals = intervals;
        let runs = vec![crate::summary::run(&scenario(), &outcome)];
        Document { runs, ..samples::document() }
    };
    let comparison = compare(&long(1), &long(2), 0.03, false).unwrap();
    let p50 = row(&comparison, Metric::P50);
    assert_eq!((p50.word, p50.basis), (Word::Worse, Basis::WithinOneRun));
    let same = compare(&long(1), &long(1), 0.03, false).unwrap();
    assert_eq!(row(&same, Metric::P99).word, Word::NoDifference);
    // Plain JSON has no histograms: nothing to draw from.
    let mut plain = long(2);
    plain.runs[0].intervals.iter_mut().for_each(|interval| interval.histogram = None);
    let comparison = compare(&long(1), &plain, 0.03, false).unwrap();
    assert_eq!(row(&comparison, Metric::P50).basis, Basis::Nothing);
}

#[test]
fn more_of_a_rate_is_better_and_less_of_it_a_ratio_above_one() {
    let closed = |rate: f64| {
        let mut document = document();
        document.runs[0].offered_per_s = None;
        for number in 1..=5 {
            let round = Round {
                round: number,
                measured_ns: 1_000_000_000,
                messages_received: crate::result::rounded(rate).unsigned_abs(),
                ..Round::default()
            };
            document.runs[0].rounds.push(round);
        }
        document
    };
    let comparison = compare(&closed(1_000.0), &closed(2_000.0), 0.03, false).unwrap();
    let rate = row(&comparison, Metric::Rate);
    assert_eq!((rate.word, rate.ratio), (Word::Better, Some(0.5)));
}

#[test]
fn other_machines_and_scenarios_are_refused_unless_forced() {
    let old = document();
    let mut new = document();
    new.machine.kernel = Some("9.9".to_owned());
    new.machine.limits.nofile_soft = Some(1);
    new.runs[0].connections += 1;
    let failure = compare(&old, &new, 0.03, false).unwrap_err();
    assert_eq!(failure.code, 104);
    for part in ["machine.kernel (", "-> 9.9)", ".connections (", "--force"] {
        assert!(failure.line.contains(part), "{part}: {}", failure.line);
    }
    assert!(!failure.line.contains("limits"), "{}", failure.line);
    assert_eq!(compare(&old, &new, 0.03, true).unwrap().differences.len(), 2);
    new.runs[0].transport = "sse".to_owned();
    assert!(compare(&old, &new, 0.03, true).unwrap_err().line.contains("no transport in common"));
}

#[test]
fn words_are_those_of_the_design() {
    assert_eq!(Word::NoDifference.text(0.03), "no difference beyond 3 %");
    assert_eq!(Word::NoDifference.text(0.025), "no difference beyond 2.5 %");
    assert_eq!(Word::CannotTell { more_runs: 4 }.text(0.03), "cannot tell: 4 more runs");
    assert_eq!(Word::CannotTell { more_runs: 1 }.text(0.03), "cannot tell: 1 more run");
    assert_eq!(
        Word::CannotTell { more_runs: 100 }.text(0.03),
        "cannot tell: 100 more runs or more"
    );
}
