//! `compare`: every transport of one server, measured, judged, shown.

use loadgen::outcome::Failure;
use std::sync::atomic::AtomicBool;

use super::{conclude, document, style, surface, warn};
use crate::cli::CompareFlags;
use crate::compare::{self, rows};
use crate::machine;
use crate::outputs;
use crate::report;
use crate::result::Ended;

/// The command.
pub(crate) fn compare(flags: &CompareFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    outputs::check(&flags.output.out)?;
    let surface = surface(&flags.output);
    warn(&flags.tls);
    let unique = format!("{:x}-{}", machine::started_unix_s(), std::process::id());
    let comparison = compare::run(flags, surface, stop, &unique)?;
    let ended = if comparison.is_interrupted { Ended::Interrupted } else { Ended::Completed };
    let nobody = rows::nobody(&comparison);
    let judged = rows::judged(&comparison);
    let mut document = document(flags.load.seed, ended, judged.verdict);
    (document.checks, document.findings) = (judged.checks, judged.findings);
    document.runs = rows::rows(&comparison, flags.rate, nobody.as_ref());
    document.publish_to_nobody = nobody;
    let text = |document: &_| report::comparison::text(document, style(), flags.output.quiet);
    Ok(conclude(document, &flags.output, text))
}
