//! `testee`: the client of a conformance suite.

use loadgen::outcome::Failure;
use loadgen::testee::Tally;
use std::sync::atomic::AtomicBool;

use super::{print, warn};
use crate::cli::{self, TesteeFlags};
use crate::report::progress::Surface;

/// How often the progress of a suite is told.
const CASES_PER_LINE: u32 = 50;

/// The command.
pub(crate) fn testee(flags: &TesteeFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    let plan = cli::plan::testee(flags)?;
    warn(&flags.tls);
    let surface = Surface::of(flags.quiet, true, true);
    let progress = |tally: &Tally| {
        if tally.done.is_multiple_of(CASES_PER_LINE) {
            surface.line(&format!("cases={} of={}", tally.done, tally.chosen));
        }
    };
    let Tally { cases, done, silent, .. } = loadgen::testee::run(&plan, &progress, stop)?;
    let agent = &plan.agent;
    print(&format!(
        "{done} of {cases} cases as {agent}, {silent} without an end; reports updated\n"
    ));
    Ok(0)
}
