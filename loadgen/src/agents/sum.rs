//! What several agents measured, as one result: each beside the sum.
//!
//! Pure. Invariants: histograms are added and percentiles taken from the sum; what a fan-out should
//! have delivered is known only here, from what was accepted from all and subscribed at each; an
//! agent that is missing makes the run invalid.

use loadgen::outcome::Failure;
use loadgen::part::Part;
use loadgen::scenario::{Mode, Scenario};

use super::clock::Offset;
use super::message::Done;
use crate::merge;
use crate::report::number::Style;
use crate::result::{Agent, Check, Document, Ended};
use crate::verdict::{State, Verdict};

/// One agent's part, or why it is missing.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) name: String,
    pub(super) part: Part,
    /// Its clock against the controller's; `None` where that is not known.
    pub(super) offset: Option<Offset>,
    pub(super) done: Result<Done, String>,
}

/// All portions of `scenario` as one document.
pub(super) fn document(
    scenario: &Scenario,
    portions: Vec<Portion>,
    ended: Ended,
) -> Result<Document, Failure> {
    let accepted = accepted(&portions);
    let mut verdict = Verdict::valid();
    let (mut agents, mut parts) = (Vec::new(), Vec::new());
    let (mut checks, mut findings) = (Vec::new(), Vec::new());
    let bound_ns = bound_ns(&portions);
    for Portion { name, part, offset, done } in portions {
        let mut agent = match done {
            Ok(mut done) => {
                settle(&mut done, scenario.mode, &accepted);
                let Done { document, .. } = done;
                if document.ended == Ended::Interrupted && ended == Ended::Completed {
                    let line = format!("agent {name} was stopped on its own machine");
                    verdict.add(State::Invalid, line);
                }
                verdict.merge(&format!("agent {name}"), document.verdict.clone());
                for check in &document.checks {
                    let name = format!("agent {name}: {}", check.name);
                    checks.push(Check { name, ..check.clone() });
                }
                let found = document.findings.iter();
                findings.extend(found.map(|finding| format!("agent {name}: {finding}")));
                let agent = merge::agent(name, &document.runs[0]);
                parts.push(document);
                agent
            }
            Err(why) => {
                let (number, of) = (part.index + 1, part.of);
                let own = part.own(scenario.connections);
                verdict.add(
                    State::Invalid,
                    format!(
                        "agent {name} was lost ({why}): its part, {number} of {of} with {own} \
                         connections, is missing"
                    ),
                );
                let connections = u64::from(own);
                Agent { name, connections, failure: Some(why), ..Agent::default() }
            }
        };
        agent.clock_offset_ns = offset.map(|offset| offset.offset_ns);
        agent.clock_bound_ns = offset.map(|offset| offset.bound_ns);
        agents.push(agent);
    }
    let merged = merge::merge(parts)?;
    let mut document =
        Document { runs: merged.runs, ..crate::commands::document(scenario.seed, ended, verdict) };
    document.machine = merged.machine;
    (document.checks, document.findings) = (checks, findings);
    for run in &mut document.runs {
        run.connections = u64::from(scenario.connections);
        run.agents = std::mem::take(&mut agents);
        if scenario.mode == Mode::Fanout {
            let p50_ns = run.latency_from_intended_ns.p50;
            judge_clocks(bound_ns, p50_ns, &mut document.verdict, &mut document.checks);
        }
    }
    Ok(document)
}

/// By channel: publications of the window that were accepted from all agents.
fn accepted(portions: &[Portion]) -> Vec<u64> {
    let mut sum: Vec<u64> = Vec::new();
    for done in portions.iter().filter_map(|portion| portion.done.as_ref().ok()) {
        sum.resize(sum.len().max(done.accepted.len()), 0);
        for (sum, own) in sum.iter_mut().zip(&done.accepted) {
            *sum = sum.saturating_add(*own);
        }
    }
    sum
}

/// Fills in what an agent's subscribers should have received from the publishers of all.
fn settle(done: &mut Done, mode: Mode, accepted: &[u64]) {
    if mode != Mode::Fanout {
        return;
    }
    let pairs = accepted.iter().zip(&done.subscribed);
    let expected = pairs.fold(0_u64, |sum, (accepted, &subscribed)| {
        sum.saturating_add(accepted.saturating_mul(u64::from(subscribed)))
    });
    for run in &mut done.document.runs {
        run.messages_expected = expected;
        run.gaps = expected.saturating_sub(run.messages_received);
    }
}

/// How far off a latency from one agent's publication to another's receipt may be: the two largest
/// bounds together; `None` where a clock is not known.
fn bound_ns(portions: &[Portion]) -> Option<u64> {
    let measured = portions.iter().filter(|portion| portion.done.is_ok());
    let bounds: Option<Vec<u64>> = measured.map(|portion| Some(portion.offset?.bound_ns)).collect();
    let mut bounds = bounds?;
    bounds.sort_unstable_by(|one, two| two.cmp(one));
    // One agent alone publishes and receives by one clock.
    let is_alone = bounds.len() < 2;
    Some(if is_alone {
        0
    } else {
        bounds.iter().take(2).fold(0, |sum, one| sum.saturating_add(*one))
    })
}

fn judge_clocks(
    bound_ns: Option<u64>,
    p50_ns: Option<u64>,
    verdict: &mut Verdict,
    checks: &mut Vec<Check>,
) {
    let limit_ns = p50_ns.map(|p50_ns| p50_ns / 10);
    let is_fine = match (bound_ns, limit_ns) {
        (Some(bound_ns), Some(limit_ns)) => bound_ns <= limit_ns,
        // Too few samples for a median: there is nothing to spoil.
        (Some(_), None) => true,
        (None, _) => false,
    };
    let style = Style::of_locale(|_| None);
    #[expect(clippy::cast_precision_loss, reason = "three digits, for people")]
    let shown =
        |ns: Option<u64>| ns.map_or_else(|| "not known".to_owned(), |ns| style.duration(ns as f64));
    let (measured, limit) = (shown(bound_ns), shown(limit_ns));
    if !is_fine {
        verdict.add(
            State::Suspect,
            format!(
                "the agents' clocks agree within {measured} only, and a tenth of the p50 is \
                 {limit}: publish and subscribe on one agent, or use machines nearer to NATS"
            ),
        );
    }
    let state = if is_fine { State::Valid } else { State::Suspect };
    checks.push(Check { name: "Agents' clocks".to_owned(), measured, limit, state });
}
