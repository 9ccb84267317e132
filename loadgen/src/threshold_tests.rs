//! Every form of a threshold, what it is held against, and what it says when it cannot be read.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::samples;
use loadgen::outcome::Outcome;
use loadgen::scenario::Rate;

/// 16,000 latencies, evenly from 1 to 1,000 us; 200 connects of the same.
fn document(change: impl FnOnce(&mut Run)) -> Document {
    let scenario = loadgen::scenario::Scenario {
        connections: 200,
        rate_per_s: Rate::per_second(20),
        ..scenario()
    };
    let mut run = crate::summary::run(&scenario, &samples::outcome());
    change(&mut run);
    Document { runs: vec![run], ..samples::document() }
}

fn result(expression: &str, document: &Document) -> (bool, String) {
    let threshold = parse(expression).unwrap();
    let result = evaluate(&[threshold], document).remove(0);
    assert_eq!(result.expression, expression);
    (result.is_met, result.shown)
}

#[test]
fn each_is_held_against_its_own_figure() {
    let document = document(|run| {
        (run.gaps, run.duplicates, run.reordered) = (16, 2, 0);
        run.errors.insert("tcp.reset".to_owned(), 3);
        run.errors.insert("tcp.timeout".to_owned(), 1);
    });
    let table = [
        ("p(99)<1ms", true, "990 us"),
        ("p(99)<990us", false, "990 us"),
        ("p(50) <= 501us", true, "500 us"),
        ("latency.p(90)<1s", true, "900 us"),
        ("sent.p(99.9)<1ms", false, "1.00 ms"),
        ("med>1us", true, "500 us"),
        ("p(75)<800us", true, "750 us"),
        ("max<2ms", true, "1.00 ms"),
        ("min>=1us", true, "1.00 us"),
        ("connect.p(50)<1ms", true, "496 us"),
        ("connect.max<1ms", true, "996 us"),
        ("errors==4", true, "4"),
        ("errors<=0.025%", true, "0.0250 %"),
        ("errors<0.02%", false, "0.0250 %"),
        ("gaps==0", false, "16"),
        ("gaps<=0.1%", true, "0.100 %"),
        ("duplicates!=2", false, "2"),
        ("reordered<1", true, "0"),
        ("rate>=4k", true, "4 000/s"),
        ("rate>4000", false, "4 000/s"),
    ];
    for (expression, is_met, shown) in table {
        assert_eq!(result(expression, &document), (is_met, shown.to_owned()), "{expression}");
    }
}

#[test]
fn too_few_samples_and_nothing_at_all_are_never_met() {
    let whole = document(|_| {});
    assert_eq!(result("p(99.99)<1h", &whole), (false, "insufficient".to_owned()));
    assert_eq!(result("connect.p(99)<1h", &whole), (false, "insufficient".to_owned()));
    // 16,000 samples bear p(99.9) and just bear 10 above p(99.9375).
    assert!(result("p(99.9375)<1h", &whole).0);
    assert!(!result("p(99.9376)<1h", &whole).0);
    let idle = document(|run| {
        (run.messages_expected, run.achieved_per_s, run.histograms) = (0, None, None);
        run.latency_from_intended_ns = Latency::default();
    });
    for expression in ["p(99)<1h", "max<1h", "rate>0", "gaps<1%"] {
        assert_eq!(result(expression, &idle), (false, "not measured".to_owned()), "{expression}");
    }
    assert!(!result("max<1h", &samples::document()).0);
}

#[test]
fn without_histograms_the_told_percentiles_are_used() {
    let plain = document(|run| run.histograms = None);
    assert_eq!(result("p(99)<1ms", &plain), (true, "990 us".to_owned()));
    assert_eq!(result("p(75)<1ms", &plain), (false, "not measured".to_owned()));
    assert_eq!(result("p(99.99)<1ms", &plain), (false, "insufficient".to_owned()));
}

#[test]
fn of_several_rows_the_worst_counts_and_is_named() {
    let mut both = document(|run| run.transport = "sse".to_owned());
    both.runs.extend(document(|run| (run.gaps, run.achieved_per_s) = (5, Some(1.0))).runs);
    assert_eq!(result("gaps==0", &both), (false, "5 (ws)".to_owned()));
    assert_eq!(result("rate>10", &both), (false, "1/s (ws)".to_owned()));
    assert_eq!(result("gaps!=0", &both), (false, "0 (sse)".to_owned()));
    assert!(result("gaps<6", &both).0);
}

#[test]
fn what_cannot_be_read_says_where_and_how() {
    let table = [
        ("p(99)", "column 6: here <,"),
        ("p(99)<", "column 7: here a value is missing"),
        ("p(99)<20", "column 7: `20`: a time ends in us, ms, s"),
        ("p(99) < fast", "column 9: `fast` is not a number"),
        ("p99<20ms", "column 1: `p99` is not one of p(N), max"),
        ("p(100)<20ms", "N above 0, below 100"),
        ("p(0)<20ms", "N above 0, below 100"),
        ("p(nan)<20ms", "N above 0, below 100"),
        ("avg<20ms", "column 1: means hide"),
        ("write.p(99)<1s", "column 1: `write.p(99)`"),
        ("gaps=0", "column 5: not one of <,"),
        ("gaps==0.5", "column 7: `0.5` is not a whole number"),
        ("errors<x%", "column 8: `x` is not a number"),
        ("rate>=fast", "column 7: `fast` is not a number"),
        ("", "column 1: here <,"),
        ("<", "column 1"),
    ];
    for (expression, expected) in table {
        let line = parse(expression).unwrap_err();
        assert!(line.contains(expected), "{expression}: {line}");
        assert!(line.ends_with("for example p(99)<20ms or errors<0.1%"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn thresholds_are_evaluated_again_from_their_text() {
    let mut document = document(|_| {});
    document.thresholds = evaluate(&[parse("gaps==0").unwrap()], &document);
    assert!(document.thresholds[0].is_met);
    document.runs[0].gaps = 1;
    reevaluate(&mut document);
    assert!(!document.thresholds[0].is_met);
    assert_eq!(document.thresholds[0].measured, Some(1.0));
}

#[test]
fn a_run_is_given_up_only_on_enough_samples() {
    let now = |outcome: &Outcome| Snapshot {
        intended: outcome.intended.clone(),
        from_sent: outcome.sent.clone(),
        errors: outcome.errors.clone(),
        duplicates: outcome.duplicates,
        ..samples::snapshot(10)
    };
    let is_missed = |expression: &str, now: &Snapshot| parse(expression).unwrap().is_missed_by(now);
    let enough = now(&samples::outcome());
    assert!(is_missed("p(99)<900us", &enough));
    assert!(!is_missed("p(99)<1ms", &enough));
    assert!(!is_missed("p(99.99)<1us", &enough));
    assert!(is_missed("sent.max<900us", &enough));
    assert!(!is_missed("rate>=1m", &enough));
    assert!(!is_missed("gaps==0", &enough));
    assert!(!is_missed("errors>=5", &enough));
    let mut bad = samples::outcome();
    bad.errors.insert("tcp.reset".to_owned(), 1);
    bad.duplicates = 1;
    assert!(is_missed("errors==0", &now(&bad)));
    assert!(is_missed("duplicates==0", &now(&bad)));
    assert!(!is_missed("errors<1%", &now(&bad)));
    let few = Outcome { intended: samples::histogram(10), ..samples::outcome() };
    assert!(!is_missed("p(99)<1us", &now(&few)));
}
