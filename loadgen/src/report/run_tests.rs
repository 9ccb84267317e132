//! Whole summaries as people see them, for each state that a run can end in.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::result::{
    Check, Churn, ErrorDetail, Estimate, Fairness, Latency, Phases, Storm, ThresholdResult,
    WireShare,
};
use crate::samples;
use crate::summary;
use crate::verdict::Verdict;
use loadgen::scenario::{Mode, Rate, Scenario};

const STYLE: Style = Style { is_utf8: false };

/// 50,000 echoes a second for a minute, of which one second stalled.
fn run() -> Run {
    let scenario = Scenario {
        mode: Mode::Echo,
        connections: 200,
        rate_per_s: Rate::per_second(4_000),
        ..scenario()
    };
    let mut run = summary::run(&scenario, &samples::outcome());
    run.transport = "ws".to_owned();
    let latency = Latency {
        count: 3_000_060,
        min: Some(900_000),
        p50: Some(1_900_000),
        p90: Some(3_080_000),
        p99: Some(6_180_000),
        p99_9: Some(12_600_000),
        p99_99: Some(58_300_000),
        max: Some(73_700_000),
    };
    let few = Latency {
        count: 200,
        min: Some(300_000),
        p50: Some(410_000),
        p90: Some(520_000),
        max: Some(1_200_000),
        ..Latency::default()
    };
    run.latency_from_intended_ns = latency;
    run.latency_from_sent_ns = latency;
    run.connect_ns = few;
    run.phases = Some(Phases { tcp_ns: few, upgrade_ns: few, first_message_ns: few });
    run.loadgen.schedule_lag_ns = Latency { max: Some(200_000), p99: Some(90_000), ..latency };
    run.wire_share = Some(WireShare {
        payload_bytes: Some(64.0),
        protocol_bytes: Some(8.0),
        tcp_ip_bytes: Some(132.0),
    });
    for interval in &mut run.intervals {
        interval.latency_p99_ns = Some(6_200_000);
    }
    run.intervals[2].latency_p99_ns = Some(51_000_000);
    (run.intervals[2].start_ns, run.achieved_per_s) = (13_000_000_000, Some(50_001.0));
    run
}

fn document(run: Run) -> Document {
    let check = Check {
        name: "Schedule lag p99".to_owned(),
        measured: "90 us".to_owned(),
        limit: "2 ms".to_owned(),
        state: State::Valid,
    };
    Document { runs: vec![run], checks: vec![check; 7], ..samples::document() }
}

fn threshold(is_met: bool) -> ThresholdResult {
    ThresholdResult {
        expression: "p(99)<5ms".to_owned(),
        measured: Some(6_180_000.0),
        shown: "6.18 ms".to_owned(),
        is_met,
    }
}

fn shown(document: &Document) -> String {
    let text = text(document, STYLE, false);
    assert!(is_narrow(&text), "{text}");
    assert!(text.is_ascii(), "{text}");
    text
}

#[test]
fn a_valid_run_whose_threshold_failed() {
    let mut document = document(run());
    document.thresholds = vec![threshold(false), threshold(true)];
    document.command = "loadgen run ws://h:1/echo --out json=run.json".to_owned();
    let text = shown(&document);
    assert!(text.contains("measured 6.18 ms                 exit 99\n"), "{text}");
    samples::assert_golden("run-failed", &text);
    let quiet = super::text(&document, STYLE, true);
    assert_eq!(quiet.lines().collect::<Vec<_>>(), text.lines().take(2).collect::<Vec<_>>());
}

#[test]
fn quiet_is_the_verdict_and_the_answer() {
    let quiet = text(&document(run()), STYLE, true);
    let wanted = "VALID     all 7 checks passed\n\
                  99 % of replies within 6.18 ms at 50 001 messages/s on 200 ws connections.\n";
    assert_eq!(quiet, wanted);
}

#[test]
fn an_invalid_run_gives_no_answer_and_doubts_each_number() {
    let mut document = document(run());
    document.checks[3].state = State::Invalid;
    let reason = "generator thread 2 was 99 % busy; use --threads 4 or less --rate";
    document.verdict = Verdict { state: State::Invalid, reasons: vec![reason.to_owned()] };
    document.thresholds = vec![threshold(false)];
    let text = shown(&document);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "INVALID   1 of 7 checks failed");
    assert_eq!(lines[1], "          generator thread 2 was 99 % busy");
    assert_eq!(lines[2], "cure      use --threads 4 or less --rate");
    assert!(!text.contains("of replies") && !text.contains("FAILED"), "{text}");
    samples::assert_golden("run-invalid", &text);
    assert!(text.contains("lost     ~0 gaps, ~0 duplicates, ~0 reordered"), "{text}");
    assert!(lines.last().unwrap().starts_with("next"), "{text}");
    let quiet = super::text(&document, STYLE, true);
    assert_eq!(quiet.lines().collect::<Vec<_>>(), lines[..2]);
}

#[test]
fn everything_at_once_is_still_one_screen() {
    let mut full = run();
    let estimate = Some(Estimate { value: 6.18e6, low: 6e6, high: 6.4e6 });
    let confidence = crate::result::Confidence { runs: 5, p99_ns: estimate, ..Default::default() };
    full.confidence = Some(confidence);
    full.fairness =
        Some(Fairness { p99_of_connections_ns: full.connect_ns, jain_index: Some(0.998) });
    full.storms = vec![Storm { dropped: 200, ..Storm::default() }; 3];
    full.slow = Some(crate::result::Slow { connections: 10, bytes_per_s: 0, closed_by_server: 3 });
    full.agents = vec![crate::result::Agent { name: "a".to_owned(), ..Default::default() }; 12];
    (full.tls_ns, full.tls_resumed) = (Some(full.connect_ns), Some(5));
    full.errors.insert("tcp.reset".to_owned(), 3);
    full.connection_counts.lost = 3;
    let mut document = document(full);
    document.thresholds = vec![threshold(true), threshold(false)];
    let text = shown(&document);
    assert!(text.lines().count() <= LINES_MAX, "{text}");
    for part in ["\nstorm ", "errors    3 tcp.reset", "95 %      p99 6.18 ms", "\nnext "] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("\nagent "), "{text}");
}

#[test]
fn however_much_speaks_against_a_run_it_is_one_screen() {
    let mut failing = run();
    failing.agents = vec![crate::result::Agent { name: "a".to_owned(), ..Default::default() }; 12];
    let long = "a sentence that says at some length what was found and what it rests on; and a \
                cure that is as long as the longest of those in the dictionary of errors";
    for code in ["tcp.reset", "ws.close.1013"] {
        failing.errors.insert(code.to_owned(), 12_000);
        let (code, meaning, cure) = (code.to_owned(), long.to_owned(), long.to_owned());
        let detail = ErrorDetail { code, count: 12_000, meaning, cure, ..ErrorDetail::default() };
        failing.error_details.push(detail);
    }
    for state in [State::Valid, State::Suspect, State::Invalid] {
        let mut document = document(failing.clone());
        let reasons = if state == State::Valid { 0 } else { 9 };
        document.verdict = Verdict { state, reasons: vec![long.to_owned(); reasons] };
        document.findings = vec![long.to_owned(); 9];
        document.thresholds = vec![threshold(false); 9];
        document.command = format!("loadgen run ws://h/ {}", "-H name=value ".repeat(40));
        let text = shown(&document);
        let table = text.lines().position(|line| line.trim_start().starts_with("count  code"));
        let lines = table.unwrap_or_else(|| text.lines().count());
        assert!(lines <= LINES_MAX, "{lines}\n{text}");
        assert!(text.contains("errors   "), "{text}");
        assert!(is_narrow(&text), "{text}");
    }
}

#[test]
fn many_kinds_of_errors_have_a_table() {
    let mut failing = run();
    for (code, count) in [("tcp.reset", 3), ("ws.close.1013", 12), ("app.unanswered", 1)] {
        failing.errors.insert(code.to_owned(), count);
    }
    failing.error_details = vec![ErrorDetail {
        code: "ws.close.1013".to_owned(),
        count: 12,
        meaning: "the server is overloaded".to_owned(),
        cure: "lower --rate".to_owned(),
        ..ErrorDetail::default()
    }];
    let text = shown(&document(failing));
    assert!(text.contains("errors    12 ws.close.1013: the server is overloaded; lower --rate\n"));
    assert!(text.contains("count  code"), "{text}");
    assert!(text.contains("    1  app.unanswered\n"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("next"), "{text}");
}

#[test]
fn modes_have_answers_of_their_own() {
    let mut idle = run();
    idle.mode = "idle".to_owned();
    assert_eq!(answer(&idle, STYLE), "200 ws connections held open.");
    let mut churn = run();
    churn.churn = Some(Churn {
        cycles: 12_000,
        cycles_per_s: Some(400.0),
        cycle_ns: churn.latency_from_intended_ns,
    });
    assert_eq!(
        answer(&churn, STYLE),
        "400 ws connections a second opened and closed, 99 % of them within 6.18 ms."
    );
    let mut few = run();
    few.latency_from_intended_ns = Latency { count: 5, ..Latency::default() };
    let said = answer(&few, STYLE);
    assert!(said.ends_with("on 200 ws connections; too few for percentiles."), "{said}");
    let mut half = run();
    half.latency_from_intended_ns.p99 = None;
    assert!(answer(&half, STYLE).starts_with("50 % of replies within 1.90 ms"));
}

#[test]
fn a_peer_cannot_steer_the_terminal() {
    let mut document = document(run());
    document.verdict.state = State::Suspect;
    document.verdict.reasons = vec!["\x1b[2J\x07 gone".to_owned()];
    assert!(!shown(&document).contains(['\x1b', '\x07']));
}

#[test]
fn numbers_are_doubted_one_by_one() {
    assert_eq!(doubted("a  1.90 ms"), "a ~1.90 ms");
    assert_eq!(doubted("p99 51 ms (1 000)"), "p99 ~51 ms (1 000)");
    assert_eq!(doubted("3 000 060 of 12 kinds"), "~3 000 060 of ~12 kinds");
    assert_eq!(doubted("p50 106 ms"), "p50 ~106 ms");
    assert_eq!(doubted("95 %      p50 1 ms"), "95 %      p50 ~1 ms");
    assert_eq!(doubted("TCP/IP, p99.9"), "TCP/IP, p99.9");
}
