//! `run`: one scenario, measured, judged, shown.

use loadgen::outcome::Failure;
use std::sync::atomic::AtomicBool;

use super::watch::Watch;
use super::{conclude, document, fit, style, surface, warn};
use crate::cli::{self, RunFlags};
use crate::outputs;
use crate::report;
use crate::report::progress::Shown;
use crate::report::title::Title;
use crate::result::Ended;
use crate::summary;
use crate::verdict::{self, Evidence};

/// The command.
pub(crate) fn run(flags: &RunFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    outputs::check(&flags.output.out)?;
    let scenario = fit(cli::plan::run(flags)?)?;
    warn(&flags.tls);
    let title = Title::of_run(&scenario, flags.url.scheme.name(), style());
    let watched = if flags.output.abort_on_threshold { &flags.output.threshold[..] } else { &[] };
    let measure = |shown: &Shown| {
        let watch = Watch::new(shown, watched, stop);
        loadgen::engine::run(&scenario, &watch, stop).map(|all| (all, watch.has_aborted()))
    };
    let (outcome, has_aborted) = surface(&flags.output).show(title, stop, measure)?;
    let evidence = Evidence::of(scenario.rate_per_s.is_some(), &outcome);
    let (verdict, checks) = verdict::examine(&evidence);
    let ended = if has_aborted { Ended::Aborted } else { summary::ended(outcome.ended) };
    let mut document = document(flags.load.seed, ended, verdict);
    (document.checks, document.findings) = (checks, verdict::findings(&evidence));
    document.runs.push(summary::run(&scenario, &outcome));
    let text = |document: &_| report::run::text(document, style(), flags.output.quiet);
    Ok(conclude(document, &flags.output, text))
}
