//! Results as text for people. Everything is made from the result document, never from the
//! engine, so that a stored result prints the same.

pub(crate) mod columns;
pub(crate) mod comparison;
pub(crate) mod diff;
pub(crate) mod html;
#[cfg(feature = "tui")]
mod live;
#[cfg_attr(not(feature = "tui"), allow(dead_code, reason = "the live view shows all of it"))]
mod now;
pub(crate) mod number;
#[cfg_attr(not(feature = "tui"), allow(dead_code, reason = "the live view shows all of it"))]
pub(crate) mod progress;
pub(crate) mod run;
#[cfg_attr(not(feature = "tui"), allow(dead_code, reason = "the live view shows all of it"))]
pub(crate) mod title;

use self::number::{INSUFFICIENT, NOT_MEASURED, Style};
use crate::result::{Document, Ended, Latency, Run};

/// The lines that say whether to believe the rest: the verdict, every reason, a stop before time.
pub(crate) fn verdict_lines(document: &Document) -> String {
    let word = document.verdict.state.word();
    let mut reasons = document.verdict.reasons.iter();
    let first = reasons.next().map_or("nothing found against this run", String::as_str);
    let mut text = format!("{word:<9} {first}\n");
    for reason in reasons {
        text.push_str(&format!("{:<9} {reason}\n", ""));
    }
    text.push_str(&threshold_line(document));
    let has_missed = document.thresholds.iter().any(|result| !result.is_met);
    for finding in &document.findings {
        text.push_str(&format!("{:<9} {finding}\n", "found"));
    }
    match document.ended {
        Ended::Completed => {}
        Ended::Aborted if has_missed => {
            text.push_str("ABORTED: a threshold was missed; what was measured until then:\n");
        }
        Ended::Interrupted => text.push_str("INTERRUPTED before its end; what was measured:\n"),
        Ended::Aborted => text.push_str("ABORTED: every connection was lost; what was measured:\n"),
    }
    text
}

/// Whether the thresholds were met, and each that was not; nothing where there are none.
fn threshold_line(document: &Document) -> String {
    let count = document.thresholds.len();
    let plural = if count == 1 { "" } else { "s" };
    let missed = document.thresholds.iter().filter(|result| !result.is_met);
    let missed: Vec<String> =
        missed.map(|result| format!("{}, measured {}", result.expression, result.shown)).collect();
    match (count, missed.len()) {
        (0, _) => String::new(),
        (_, 0) => format!("{:<9} {count} threshold{plural}\n", "MET"),
        (_, of) => {
            format!("{:<9} {of} of {count} threshold{plural}: {}\n", "FAILED", missed.join("; "))
        }
    }
}

/// Error codes with their counts.
pub(crate) fn errors(run: &Run, style: Style) -> String {
    let each = run.errors.iter().map(|(code, count)| format!("{code} {}", style.count(*count)));
    let all: Vec<String> = each.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// A percentile: its time, or why there is none.
pub(crate) fn percentile(style: Style, latency: &Latency, value: Option<u64>) -> String {
    match value {
        Some(ns) => duration(style, ns),
        None if latency.count == 0 => NOT_MEASURED.to_owned(),
        None => INSUFFICIENT.to_owned(),
    }
}

/// A time in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn duration(style: Style, ns: u64) -> String {
    style.duration(ns as f64)
}

/// A signed time in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn signed_duration(style: Style, ns: i64) -> String {
    style.duration(ns as f64)
}

/// Memory.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn memory(style: Style, bytes: u64) -> String {
    style.memory(bytes as f64)
}

/// What was measured, or that it was not.
pub(crate) fn or_not_measured<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NOT_MEASURED.to_owned(), show)
}
