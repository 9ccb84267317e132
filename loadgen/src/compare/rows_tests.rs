//! Rows of a hand-made comparison: merging, what is taken off, failures, and how it all prints.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::compare::plan::order;
use crate::report::comparison::text;
use crate::report::number::Style;
use crate::result::{Document, Ended};
use crate::samples;
use crate::verdict::State;
use loadgen::outcome::ServerCost;
use loadgen::scenario::Rate;

const SECOND_NS: u64 = 1_000_000_000;

fn plan() -> Plan {
    let row = |transport, poll_interval_ns| Row { transport, poll_interval_ns };
    let rows = vec![
        row(Transport::Ws, None),
        row(Transport::Sse, None),
        row(Transport::Poll, Some(SECOND_NS)),
    ];
    let blocks = order(rows.len(), 2, 1).into_iter();
    let blocks = blocks.map(|(round, subject)| Block { round, subject, expected_ns: SECOND_NS });
    Plan {
        left_out: vec![],
        blocks: blocks.collect(),
        rows,
        rounds: 2,
        duration_ns: 4 * SECOND_NS,
        warmup_ns: 0,
        history: 100,
    }
}

/// What a block measures: nobody costs 8 ms in 80 publications, each row its number times 80 ms.
fn outcome_of(subject: Subject) -> Outcome {
    let cost = |cpu_ns| samples::outcome().server.map(|server| ServerCost { cpu_ns, ..server });
    match subject {
        Subject::Nobody => Outcome {
            server: cost(8_000_000),
            deliveries_in_window: 0,
            intended: samples::histogram(0),
            ..samples::outcome()
        },
        Subject::Row(row) => {
            let factor = u64::try_from(row).unwrap() + 1;
            Outcome { server: cost(factor * 80_000_000), ..samples::outcome() }
        }
    }
}

fn comparison() -> Comparison {
    let plan = plan();
    let measured = plan.blocks.iter().map(|block| Measured {
        block: *block,
        target: Target { path: "/channels/of-the-block".to_owned(), ..scenario().target },
        result: Ok(outcome_of(block.subject)),
    });
    Comparison {
        measured: measured.collect(),
        base: Scenario {
            connections: 200,
            rate_per_s: Rate::per_second(20),
            duration: Duration::from_secs(4),
            ..scenario()
        },
        is_interrupted: false,
        is_server_fresh: true,
        plan,
    }
}

fn document(comparison: &Comparison) -> Document {
    let nobody = nobody(comparison);
    Document {
        runs: rows(comparison, Fraction::new(20, 1).unwrap(), nobody.as_ref()),
        verdict: judged(comparison).verdict,
        publish_to_nobody: nobody,
        ..samples::document()
    }
}

fn printed(document: &Document) -> String {
    text(document, Style { is_utf8: false }, false)
}

#[test]
fn rounds_are_merged_and_publishing_is_taken_off() {
    let document = document(&comparison());
    let names: Vec<String> = document.runs.iter().map(row_name).collect();
    assert_eq!(names, ["ws", "sse", "poll@1s"]);
    assert_eq!(document.publish_to_nobody.unwrap().server_cpu_ns_per_publication, Some(100_000));
    let ws = &document.runs[0];
    assert_eq!(ws.rounds.iter().map(|round| round.round).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ws.latency_from_intended_ns.count, 32_000);
    // 160 ms over 32,000 deliveries, less 160 publications of 0.1 ms.
    let server = ws.server.unwrap();
    assert_eq!(server.cpu_ns_per_message_raw, Some(5_000));
    assert_eq!(server.cpu_ns_per_message, Some(4_500));
    assert_eq!(server.rss_bytes_per_connection, Some(2_048));
    assert_eq!(ws.theory.unwrap().wire_bytes_per_message, Some(66.0));
    assert_eq!(ws.residual.unwrap().wire_bytes_per_message, Some(0.0));
    assert_eq!(ws.direction.as_deref(), Some("both"));
    assert_eq!(document.verdict.state, State::Valid);
}

#[test]
fn a_long_running_server_has_no_memory_per_row() {
    let comparison = Comparison { is_server_fresh: false, ..comparison() };
    for run in document(&comparison).runs {
        assert_eq!(run.server.unwrap().rss_bytes_per_connection, None);
        assert!(run.rounds.iter().all(|round| round.server_rss_bytes_per_connection.is_none()));
    }
}

#[test]
fn polling_theory_adds_to_what_pushing_took() {
    let document = document(&comparison());
    let pushed = document.runs[0].latency_from_intended_ns.p50.unwrap();
    let theory = document.runs[2].theory.unwrap();
    assert_eq!(theory.latency_p50_ns, Some(500_000_000 + i64::try_from(pushed).unwrap()));
    assert_eq!(theory.requests_per_message, Some(0.05));
    // The request names the block's own channel.
    let longer = "/channels/of-the-block".len() - scenario().target.path.len();
    let base = scenario_of(&comparison(), 2);
    let base = Scenario { target: scenario().target, ..base };
    let rate = Fraction::new(20, 1).unwrap();
    let given = theory::Given { scenario: &base, rate, pushed_p50_ns: None };
    let short = theory::figures(&given).wire_bytes_per_message.unwrap();
    let difference = theory.wire_bytes_per_message.unwrap() - short;
    assert!((difference - longer as f64 / 20.0).abs() < 1e-9, "{difference}");
}

#[test]
fn a_row_that_cannot_be_measured_is_reported_with_its_error() {
    let mut comparison = comparison();
    for one in &mut comparison.measured {
        if one.block.subject == Subject::Row(1) {
            one.result = Err(Failure::unreachable("HTTP 404 for /channels/x"));
        }
    }
    let document = document(&comparison);
    let sse = &document.runs[1];
    assert_eq!(sse.failure.as_deref(), Some("HTTP 404 for /channels/x"));
    assert_eq!((sse.achieved_per_s, sse.server), (None, None));
    assert_eq!(sse.latency_from_intended_ns.p50, None);
    assert_eq!(sse.rounds.len(), 2);
    assert_eq!(document.runs[2].failure, None);
    let text = printed(&document);
    assert!(text.contains("sse       HTTP 404 for /channels/x\n"), "{text}");
}

#[test]
fn a_server_that_goes_away_spoils_its_round_and_says_so() {
    let mut comparison = comparison();
    if let Ok(outcome) = &mut comparison.measured[1].result {
        outcome.ended = loadgen::outcome::Ended::Aborted;
        outcome.errors.insert("close.1006".to_owned(), 200);
    }
    if let Ok(outcome) = &mut comparison.measured[2].result {
        outcome.errors.insert("timeout".to_owned(), 3);
    }
    let document = document(&comparison);
    assert_eq!(document.runs[0].failure.as_deref(), Some("every connection was lost"));
    assert!(document.runs[0].rounds[0].failure.is_some());
    assert!(document.runs[0].rounds[1].failure.is_none());
    let text = printed(&document);
    assert!(text.contains("\nws        200 close.1006\nsse       3 timeout\n"), "{text}");
}

#[test]
fn an_interrupted_comparison_shows_what_there_is() {
    let mut comparison = comparison();
    comparison.measured.truncate(2);
    comparison.is_interrupted = true;
    let document = Document { ended: Ended::Interrupted, ..document(&comparison) };
    assert_eq!(document.runs.len(), 1);
    assert!(printed(&document).contains("INTERRUPTED"));
}

#[test]
fn the_table_says_who_is_cheapest_and_what_theory_says() {
    let text = printed(&document(&comparison()));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "VALID     nothing found against this run");
    let answer = "Cheapest for the server: ws with 4.50 us of CPU per delivered message; sse x2.1, \
                  poll@1s x3.2.";
    assert_eq!(lines[1..3].join(" "), answer);
    assert!(lines[3].starts_with("200 subscribers, 64 B, 4 000 deliveries/s offered; 2 rounds"));
    let ws = lines.iter().find(|line| line.starts_with("ws ")).unwrap();
    let cells: Vec<&str> = ws.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let expected = ["ws", "500 us", "990 us", "999 us", "1.00 ms", "4.50 us", "66", "2.00 KiB"];
    assert_eq!(cells[..8], expected, "{ws}");
    assert_eq!(cells[8..], ["0"], "{ws}");
    assert!(text.contains("publishing to nobody costs 100 us per publication"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
    assert!(lines.len() <= 24, "{text}");
    assert!(lines.last().unwrap().starts_with("next"), "{text}");
}

#[test]
fn rounds_that_overlap_cannot_be_told_apart() {
    let mut comparison = comparison();
    for one in &mut comparison.measured {
        let Ok(outcome) = &mut one.result else { continue };
        let Some(server) = &mut outcome.server else { continue };
        match (one.block.subject, one.block.round) {
            (Subject::Row(0), 1) => server.cpu_ns = 80_000_000,
            (Subject::Row(0), _) => server.cpu_ns = 90_000_000,
            (Subject::Row(1), _) => server.cpu_ns = 88_000_000,
            _ => {}
        }
    }
    let text = printed(&document(&comparison));
    let line = text.replace('\n', " ");
    assert!(line.contains("; sse cannot be told apart, poll@1s x"), "{text}");
}

#[test]
fn lag_spoils_rows_but_not_the_cost_of_publishing() {
    let late = |subject| {
        let mut comparison = comparison();
        for one in &mut comparison.measured {
            let Ok(outcome) = &mut one.result else { continue };
            if one.block.subject == subject {
                outcome.schedule_lag = samples::histogram(80);
                for _ in 0..4 {
                    outcome.schedule_lag.record(5_000_000).unwrap();
                }
            }
        }
        judged(&comparison).verdict.state
    };
    let all = judged(&comparison());
    let named = |name: &str| all.checks.iter().any(|check| check.name.starts_with(name));
    assert!(named("ws: Schedule lag") && named("nobody: ") && named("poll@1s: "), "{all:?}");
    assert_eq!(late(Subject::Row(0)), State::Invalid);
    assert_eq!(late(Subject::Nobody), State::Valid);
}

#[test]
fn invalid_numbers_are_marked() {
    let mut comparison = comparison();
    if let Ok(outcome) = &mut comparison.measured[1].result {
        outcome.impossible = 1;
    }
    let text = printed(&document(&comparison));
    assert!(text.starts_with("INVALID   "), "{text}");
    assert!(text.contains("\n          ws: 1 messages carried"), "{text}");
    assert!(!text.contains("Cheapest"), "{text}");
    assert!(text.contains("~500 us"), "{text}");
}
