//! From the blocks of a comparison to its rows: rounds merged, costs divided, theory beside.
//!
//! Pure functions. Histograms of rounds are added; a round that failed leaves its reason and does
//! not spoil the other.

use loadgen::outcome::{Ended, Failure, Outcome};
use loadgen::scenario::{Scenario, Target, Transport};
use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::{Block, Plan, Row, Subject};
use super::{Comparison, theory};
use crate::cli::units::Fraction;
use crate::result::{Check, Figures, PublishToNobody, Round, Run, per, rounded};
use crate::summary;
use crate::verdict::{self, Evidence, Verdict};

/// One block and what came of it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) block: Block,
    /// The server and channel that it used: polls carry both in every request.
    pub(crate) target: Target,
    pub(crate) result: Result<Outcome, Failure>,
}

/// The name of what a block measures.
pub(crate) fn subject_name(plan: &Plan, subject: Subject) -> String {
    match subject {
        Subject::Nobody => "nobody".to_owned(),
        Subject::Row(row) => plan.rows[row].name(),
    }
}

/// The name of a row as the result has it.
pub(crate) fn row_name(run: &Run) -> String {
    let transports = [Transport::Ws, Transport::Sse, Transport::LongPoll, Transport::Poll];
    let transport = transports.into_iter().find(|transport| transport.name() == run.transport);
    let poll_interval_ns = run.poll_interval_ns;
    transport.map_or_else(
        || run.transport.clone(),
        |transport| Row { transport, poll_interval_ns }.name(),
    )
}

/// Every row of the table, in the plan's order.
pub(crate) fn rows(
    comparison: &Comparison,
    rate: Fraction,
    nobody: Option<&PublishToNobody>,
) -> Vec<Run> {
    let mut pushed_p50_ns = None;
    let mut runs = Vec::new();
    for (index, row) in comparison.plan.rows.iter().enumerate() {
        let Some(mut run) = merged(comparison, index, *row, nobody) else { continue };
        let theory = theory::figures(&theory::Given {
            scenario: &scenario_of(comparison, index),
            rate,
            pushed_p50_ns,
        });
        run.residual = Some(theory::residual(&measured_figures(&run), &theory));
        run.theory = Some(theory);
        if row.transport == Transport::Ws {
            pushed_p50_ns = run.latency_from_intended_ns.p50;
        }
        runs.push(run);
    }
    runs
}

/// What was looked at in every row, its rounds merged as they are reported, and what was found.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) checks: Vec<Check>,
    pub(crate) findings: Vec<String>,
}

/// Judges every row.
pub(crate) fn judged(comparison: &Comparison) -> Judged {
    let (checks, findings) = (Vec::new(), Vec::new());
    let mut all = Judged { verdict: Verdict::valid(), checks, findings };
    let rows = (0..comparison.plan.rows.len()).map(Subject::Row);
    for subject in std::iter::once(Subject::Nobody).chain(rows) {
        let results = outcomes(comparison, subject);
        let Some(sum) = merge(results.filter_map(|(_, result)| result.as_ref().ok())) else {
            continue;
        };
        let mut evidence = Evidence::of(true, &sum);
        // Rounds are short, and what lies between them is no trend.
        (evidence.samples, evidence.in_flight, evidence.connections) = (None, None, None);
        (evidence.p50_ns, evidence.received_per_s) = (Vec::new(), Vec::new());
        if subject == Subject::Nobody {
            // Lag spoils latencies, and there are none.
            evidence.lag_p99_ns = 0;
        }
        let name = subject_name(&comparison.plan, subject);
        let (verdict, checks) = verdict::examine(&evidence);
        all.verdict.merge(&name, verdict);
        let named = |check: Check| Check { name: format!("{name}: {}", check.name), ..check };
        all.checks.extend(checks.into_iter().map(named));
        let found = verdict::findings(&evidence).into_iter();
        all.findings.extend(found.map(|finding| format!("{name}: {finding}")));
    }
    all
}

/// What publishing costs before the first reader; `None` if it was not measured.
pub(crate) fn nobody(comparison: &Comparison) -> Option<PublishToNobody> {
    let outcomes = outcomes(comparison, Subject::Nobody);
    let outcome = merge(outcomes.filter_map(|(_, result)| result.as_ref().ok()))?;
    let cpu_ns = outcome.server.map(|server| server.cpu_ns);
    Some(PublishToNobody {
        publications: outcome.messages_sent,
        measured_ns: outcome.measured_ns,
        server_cpu_ns: cpu_ns,
        server_cpu_ns_per_publication: cpu_ns
            .and_then(|ns| per(ns, outcome.messages_sent))
            .map(rounded),
    })
}

fn outcomes(
    comparison: &Comparison,
    subject: Subject,
) -> impl Iterator<Item = (u32, &Result<Outcome, Failure>)> {
    let measured = comparison.measured.iter();
    let of_subject = measured.filter(move |one| one.block.subject == subject);
    of_subject.map(|one| (one.block.round, &one.result))
}

fn merge<'o>(mut outcomes: impl Iterator<Item = &'o Outcome>) -> Option<Outcome> {
    let mut sum = outcomes.next()?.clone();
    for outcome in outcomes {
        summary::merge(&mut sum, outcome);
    }
    Some(sum)
}

/// The scenario of a row, as far as figures depend on it.
fn scenario_of(comparison: &Comparison, index: usize) -> Scenario {
    let row = comparison.plan.rows[index];
    let poll_interval = row.poll_interval_ns.map(Duration::from_nanos);
    let mut measured = comparison.measured.iter();
    let first = measured.find(|one| one.block.subject == Subject::Row(index));
    Scenario {
        warmup: Duration::from_nanos(comparison.plan.warmup_ns(row)),
        target: first.map_or(&comparison.base.target, |one| &one.target).clone(),
        transport: row.transport,
        poll_interval: poll_interval.unwrap_or(comparison.base.poll_interval),
        ..comparison.base.clone()
    }
}

/// One row with its rounds merged; `None` if none of them has run.
fn merged(
    comparison: &Comparison,
    index: usize,
    row: Row,
    nobody: Option<&PublishToNobody>,
) -> Option<Run> {
    let results: Vec<_> = outcomes(comparison, Subject::Row(index)).collect();
    if results.is_empty() {
        return None;
    }
    let failure = results.iter().find_map(|(_, result)| failure_of(result));
    let scenario = scenario_of(comparison, index);
    let sum = merge(results.iter().filter_map(|(_, result)| result.as_ref().ok()));
    let mut run = match &sum {
        Some(outcome) => summary::run(&scenario, outcome),
        None => empty(&scenario, results.len()),
    };
    run.direction = Some(row.direction().to_owned());
    run.failure = failure.map(str::to_owned);
    run.rounds = results.iter().map(|(number, result)| round(*number, result)).collect();
    run.confidence = Some(summary::confidence(&run.rounds, comparison.is_server_fresh));
    if let Some(outcome) = &sum {
        run.requests_per_message = per(outcome.requests, outcome.deliveries_in_window);
        take_off_publishing(&mut run, outcome, nobody);
    }
    if !comparison.is_server_fresh {
        // Memory of earlier blocks is used again: growth would say nothing.
        for round in &mut run.rounds {
            round.server_rss_bytes_per_connection = None;
        }
        if let Some(server) = &mut run.server {
            server.rss_bytes_per_connection = None;
        }
    }
    Some(run)
}

/// Leaves in the row's cost only what delivering adds to publishing.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few minutes")]
fn take_off_publishing(run: &mut Run, outcome: &Outcome, nobody: Option<&PublishToNobody>) {
    let each = nobody.and_then(|nobody| per(nobody.server_cpu_ns?, nobody.publications));
    let (Some(server), Some(each)) = (&mut run.server, each) else { return };
    let Some(cpu_ns) = server.cpu_ns else { return };
    if outcome.deliveries_in_window == 0 {
        return;
    }
    let delivering_ns = cpu_ns as f64 - each * outcome.messages_sent as f64;
    let deliveries = outcome.deliveries_in_window as f64;
    server.cpu_ns_per_message = Some(rounded(delivering_ns / deliveries));
    // The interval is about the same figure.
    let own = run.confidence.as_mut();
    if let Some(estimate) = own.and_then(|own| own.server_cpu_ns_per_message.as_mut()) {
        let off_ns = each * outcome.messages_sent as f64 / deliveries;
        for bound in [&mut estimate.value, &mut estimate.low, &mut estimate.high] {
            *bound -= off_ns;
        }
    }
}

/// Why a block is not what was asked for; what it measured until then still counts.
fn failure_of(result: &Result<Outcome, Failure>) -> Option<&str> {
    match result {
        Ok(outcome) if outcome.ended == Ended::Aborted => Some("every connection was lost"),
        Ok(_) => None,
        Err(failure) => Some(&failure.line),
    }
}

fn round(number: u32, result: &Result<Outcome, Failure>) -> Round {
    match result {
        Ok(outcome) => Round {
            failure: failure_of(result).map(str::to_owned),
            ..summary::round(number, outcome)
        },
        Err(failure) => Round::failed(number, &failure.line),
    }
}

/// A row of which no round could be measured: all null. The reason stands beside.
fn empty(scenario: &Scenario, rounds: usize) -> Run {
    let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
    Run::unmeasured(scenario, BTreeMap::from([("round_failed".to_owned(), rounds)]))
}

fn measured_figures(run: &Run) -> Figures {
    let signed = |ns: Option<u64>| ns.and_then(|ns| i64::try_from(ns).ok());
    Figures {
        wire_bytes_per_message: run.wire_bytes_per_message,
        requests_per_message: run.requests_per_message,
        latency_p50_ns: signed(run.latency_from_intended_ns.p50),
        latency_p99_ns: signed(run.latency_from_intended_ns.p99),
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
