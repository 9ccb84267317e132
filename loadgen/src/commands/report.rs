//! `report` and `diff`: stored results, shown again, added, compared.
//!
//! Nothing is measured here.

use loadgen::outcome::Failure;

use super::{EXIT_OTHER, print, show, style};
use crate::bundle;
use crate::cli::{DiffFlags, ReportFlags};
use crate::diff;
use crate::merge;
use crate::outputs;
use crate::report as text;
use crate::result::Document;
use crate::threshold;

/// `report`: one result as it was, or several parts of one as their sum.
pub(crate) fn report(flags: &ReportFlags) -> Result<u8, Failure> {
    outputs::check(&flags.output.out)?;
    let parts = flags.files.iter().map(|path| bundle::read(path)).collect::<Result<Vec<_>, _>>()?;
    let mut document = merge::merge(parts)?;
    document.labels.extend(flags.output.label.iter().cloned());
    if flags.output.threshold.is_empty() {
        threshold::reevaluate(&mut document);
    } else {
        document.thresholds = threshold::evaluate(&flags.output.threshold, &document);
    }
    outputs::check_kinds(&flags.output.out, &document)?;
    Ok(show(&document, &flags.output, |document| of_command(document, flags.output.quiet)))
}

/// The text that the command which measured it would print.
fn of_command(document: &Document, is_quiet: bool) -> String {
    // Only rows of a comparison say who may speak.
    if document.runs.iter().any(|run| run.direction.is_some()) {
        text::comparison::text(document, style(), is_quiet)
    } else {
        text::run::text(document, style(), is_quiet)
    }
}

/// `diff`: what the new result says about the old one.
pub(crate) fn diff(flags: &DiffFlags) -> Result<u8, Failure> {
    outputs::check(&flags.out)?;
    let (old, new) = (bundle::read(&flags.old)?, bundle::read(&flags.new)?);
    let comparison = diff::compare(&old, &new, flags.equal, flags.force)?;
    let shown = text::diff::text(&comparison, style());
    if flags.out.iter().any(outputs::Output::is_stdout) {
        eprint!("{shown}");
    } else {
        print(&shown);
    }
    let complaints = outputs::write_page(&flags.out, &text::html::diff(&comparison));
    for complaint in &complaints {
        eprintln!("loadgen: {complaint}");
    }
    Ok(if complaints.is_empty() { 0 } else { EXIT_OTHER })
}
