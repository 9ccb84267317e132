//! `run`: one scenario, measured once or several times, judged, shown.
//!
//! Invariant: of repetitions the run is the unit: their histograms are added for the table, and
//! intervals of confidence are taken over runs, never over messages.

use loadgen::outcome::{Ended as EngineEnded, Failure, Outcome};
use loadgen::scenario::Scenario;
use std::sync::atomic::{AtomicBool, Ordering};

use super::watch::Watch;
use super::{conclude, document, fit, style, surface, warn};
use crate::agents;
use crate::cli::{self, RepeatFlags, RunFlags};
use crate::compare::server::ServerProcess;
use crate::outputs;
use crate::report;
use crate::report::progress::Shown;
use crate::report::title::Title;
use crate::result::{Check, Document, Ended, Round};
use crate::summary;
use crate::threshold::Threshold;
use crate::verdict::{self, Evidence, Verdict};

/// What a server that is started keeps per channel, if its command asks.
const HISTORY: u64 = 100;

/// The command.
pub(crate) fn run(flags: &RunFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    outputs::check(&flags.output.out)?;
    let scenario = cli::plan::run(flags)?;
    warn(&flags.tls);
    let document = match &flags.agents.nats {
        Some(nats) => on_agents(flags, nats, &scenario, stop)?,
        None => here(flags, &fit(scenario)?, stop)?,
    };
    let text = |document: &_| report::run::text(document, style(), flags.output.quiet);
    Ok(conclude(document, &flags.output, text))
}

/// What a live view is headed by.
fn title(flags: &RunFlags, scenario: &Scenario) -> Title {
    Title {
        thresholds: flags.output.threshold.clone(),
        ..Title::of_run(scenario, flags.url.scheme.name(), style())
    }
}

/// The thresholds that may end the run before its end.
fn watched(flags: &RunFlags) -> &[Threshold] {
    if flags.output.abort_on_threshold { &flags.output.threshold } else { &[] }
}

/// Carried out by agents: what they can open is theirs to know.
fn on_agents(
    flags: &RunFlags,
    nats: &str,
    scenario: &Scenario,
    stop: &AtomicBool,
) -> Result<Document, Failure> {
    if flags.repeat.repeat > 1 || flags.repeat.server_command.is_some() {
        let line = "--repeat and --server-command are not for --nats: start each run by itself";
        return Err(Failure::configuration(line));
    }
    let title = title(flags, scenario);
    let measure = |shown: &Shown| {
        let watch = Watch::new(shown, watched(flags), stop);
        let document = agents::control(&flags.agents, nats, scenario, &watch, stop)?;
        let ended = if watch.has_aborted() { Ended::Aborted } else { document.ended };
        Ok(Document { ended, ..document })
    };
    surface(&flags.output).show(title, stop, measure)
}

/// Measured by this process.
fn here(flags: &RunFlags, scenario: &Scenario, stop: &AtomicBool) -> Result<Document, Failure> {
    let title = title(flags, scenario);
    let watched = watched(flags);
    let measure = |shown: &Shown| repeat(&flags.repeat, scenario, watched, shown, stop);
    let all = surface(&flags.output).show(title, stop, measure)?;
    let ended = if all.has_aborted { Ended::Aborted } else { all.ended };
    let mut document = document(flags.load.seed, ended, all.verdict);
    let evidence = Evidence::of(scenario.rate_per_s.is_some(), &all.sum);
    (document.checks, document.findings) = (all.checks, verdict::findings(&evidence));
    let mut run = summary::run(scenario, &all.sum);
    if flags.repeat.repeat > 1 {
        let is_restarted = flags.repeat.server_command.is_some();
        run.confidence = Some(summary::confidence(&all.rounds, is_restarted));
        run.rounds = all.rounds;
        // The same connections again, not more of them at once.
        run.connection_counts.open = run.connection_counts.open.min(run.connections);
    }
    document.runs.push(run);
    Ok(document)
}

/// All repetitions.
struct Repeated {
    sum: Outcome,
    rounds: Vec<Round>,
    verdict: Verdict,
    checks: Vec<Check>,
    ended: Ended,
    has_aborted: bool,
}

impl Repeated {
    /// Adds the outcome of repetition `number` of `count`.
    fn add(&mut self, number: u32, count: u32, is_open: bool, outcome: &Outcome) {
        let (verdict, checks) = verdict::examine(&Evidence::of(is_open, outcome));
        if count == 1 {
            (self.verdict, self.checks) = (verdict, checks);
            return;
        }
        let part = format!("run {number}");
        self.verdict.merge(&part, verdict);
        for mut check in checks {
            check.name = format!("{part}: {}", check.name);
            self.checks.push(check);
        }
        // What was stopped on its way is not a repetition of the others.
        let failure = match outcome.ended {
            EngineEnded::Completed => None,
            EngineEnded::Interrupted => Some("interrupted".to_owned()),
            EngineEnded::Aborted => Some("every connection was lost".to_owned()),
        };
        self.rounds.push(Round { failure, ..summary::round(number, outcome) });
    }
}

/// Measures as often as asked for, each time with a server of its own if there is a command.
fn repeat(
    flags: &RepeatFlags,
    scenario: &Scenario,
    watched: &[Threshold],
    shown: &Shown,
    stop: &AtomicBool,
) -> Result<Repeated, Failure> {
    let mut all: Option<Repeated> = None;
    for number in 1..=flags.repeat {
        let watch = Watch::new(shown, watched, stop);
        let result = once(flags, scenario, &watch, stop);
        let outcome = match (result, &mut all) {
            (Ok(outcome), _) => outcome,
            (Err(failure), Some(all)) => {
                shown.line(&format!("run={number} failed: {failure}"));
                all.rounds.push(Round::failed(number, &failure.line));
                continue;
            }
            (Err(failure), None) => return Err(failure),
        };
        if flags.repeat > 1 {
            let (received, gaps) = (outcome.messages_received, outcome.gaps);
            let p50_us = outcome.intended.value_at_quantile(0.5) / 1_000;
            shown.line(&format!("run={number} received={received} gaps={gaps} p50_us={p50_us}"));
        }
        match &mut all {
            Some(all) => summary::merge(&mut all.sum, &outcome),
            None => {
                all = Some(Repeated {
                    sum: outcome.clone(),
                    rounds: Vec::new(),
                    verdict: Verdict::valid(),
                    checks: Vec::new(),
                    ended: Ended::Completed,
                    has_aborted: false,
                });
            }
        }
        let Some(all) = &mut all else { continue };
        all.add(number, flags.repeat, scenario.rate_per_s.is_some(), &outcome);
        all.ended = summary::ended(all.sum.ended);
        all.has_aborted |= watch.has_aborted();
        if stop.load(Ordering::Relaxed) {
            // Stopped between two of them, it is still less than was asked for.
            if number < flags.repeat {
                all.ended = Ended::Interrupted;
            }
            break;
        }
    }
    all.ok_or_else(|| Failure::configuration("--repeat must be at least 1"))
}

/// One repetition.
fn once(
    flags: &RepeatFlags,
    scenario: &Scenario,
    watch: &Watch<'_>,
    stop: &AtomicBool,
) -> Result<Outcome, Failure> {
    let Some(command) = &flags.server_command else {
        return loadgen::engine::run(scenario, watch, stop);
    };
    let server = ServerProcess::start(command, HISTORY)?;
    let mut scenario = scenario.clone();
    scenario.target.address = server.address().into();
    scenario.target.host = server.address().to_string();
    scenario.server_pid = Some(server.pid());
    let outcome = loadgen::engine::run(&scenario, watch, stop);
    drop(server);
    outcome
}
