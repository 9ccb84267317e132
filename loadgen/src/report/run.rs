//! The summary of `run`: verdict, answer, evidence, what to do next; 24 lines of 80 columns.
//!
//! Made from the document alone, so that a stored result prints the same. Invariant: numbers of an
//! invalid run are marked one by one, and none of them stands in a sentence.

use super::errors;
use super::facts::{self, Fact};
use super::head::{COLUMNS_MAX, head, sentence, wrapped};
use super::number::Style;
use super::{duration, or_not_measured};
use crate::result::{Document, Run};
use crate::verdict::State;

/// Lines of a summary, the table of errors apart.
const LINES_MAX: usize = 24;

/// The summary as text. Quiet is its first two lines: the verdict, then the thresholds or else the
/// answer.
pub(crate) fn text(document: &Document, style: Style, is_quiet: bool) -> String {
    let head = head(document);
    let is_invalid = document.verdict.state == State::Invalid;
    let answers = || document.runs.iter().map(|run| answer(run, style));
    let mut lines = head.trust;
    if is_quiet {
        let second = head.thresholds.into_iter().next().or_else(|| answers().next());
        lines.truncate(if is_invalid { 2 } else { 1 });
        lines.extend(second.filter(|_| !is_invalid));
        return joined(&lines);
    }
    lines.extend(head.thresholds);
    if !is_invalid {
        lines.extend(answers().flat_map(|answer| sentence(&answer)));
    }
    lines.extend(head.findings);
    let next = facts::next(document);
    for run in &document.runs {
        let room = LINES_MAX.saturating_sub(lines.len() + next.len());
        let fitting = |is_brief| facts::fitting(evidence(run, style, is_brief, is_invalid), room);
        let full = fitting(false);
        let is_brief = full.len() > room;
        lines.extend(if is_brief { fitting(true) } else { full });
        if is_brief || run.errors.len() > facts::ERRORS_TOLD {
            lines.extend(errors::table(run, style));
        }
    }
    lines.extend(next);
    joined(&lines)
}

/// What there is to say, with its marks, which may make it longer.
fn evidence(run: &Run, style: Style, is_brief: bool, is_invalid: bool) -> Vec<Fact> {
    let mut all = facts::evidence(run, style, is_brief);
    for fact in &mut all {
        fact.lines = marked(std::mem::take(&mut fact.lines), is_invalid);
    }
    all
}

/// What a peer has said must not steer the terminal.
pub(crate) fn joined(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let shown = line.trim_end().chars();
        text.extend(shown.map(|c| if c.is_control() { '?' } else { c }));
        text.push('\n');
    }
    text
}

/// The answer in one sentence.
pub(crate) fn answer(run: &Run, style: Style) -> String {
    let connections = style.count(run.connection_counts.open);
    let transport = &run.transport;
    match (run.mode.as_str(), &run.churn) {
        ("idle", _) => return format!("{connections} {transport} connections held open."),
        (_, Some(churn)) => {
            let rate = or_not_measured(churn.cycles_per_s, |rate| style.amount(rate));
            let head = format!("{rate} {transport} connections a second opened and closed");
            return match churn.cycle_ns.p99 {
                Some(ns) => format!("{head}, 99 % of them within {}.", duration(style, ns)),
                None => format!("{head}; too few for percentiles."),
            };
        }
        _ => {}
    }
    let what = if run.mode == "fanout" { "deliveries" } else { "replies" };
    let rate = or_not_measured(run.achieved_per_s, |rate| style.amount(rate));
    let latency = &run.latency_from_intended_ns;
    let (share, value) = match (latency.p99, latency.p50) {
        (Some(p99), _) => ("99 %", Some(p99)),
        (None, Some(p50)) => ("50 %", Some(p50)),
        (None, None) => ("", None),
    };
    let load = format!("at {rate} messages/s on {connections} {transport} connections");
    match value {
        Some(ns) => format!("{share} of {what} within {} {load}.", duration(style, ns)),
        None => {
            let count = style.count(run.messages_received);
            format!("{count} {what} {load}; too few for percentiles.")
        }
    }
}

/// Evidence as it is, or with each number marked where the run is invalid.
pub(crate) fn marked(evidence: Vec<String>, is_invalid: bool) -> Vec<String> {
    if !is_invalid {
        return evidence;
    }
    let mut lines = Vec::with_capacity(evidence.len());
    for line in evidence {
        let line = doubted(&line);
        match line.char_indices().nth(10).filter(|_| line.chars().count() > COLUMNS_MAX) {
            // The marks have made it too long.
            Some((at, _)) => lines.extend(wrapped(&line[..at], &line[at..])),
            None => lines.push(line),
        }
    }
    lines
}

/// Marks each number as one not to be quoted: `~` before it, in place of a space where there are
/// two.
fn doubted(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 16);
    let mut before = ['\n', ' '];
    let letters: Vec<char> = line.chars().collect();
    // What stands in brackets says how the number came about.
    let mut depth = 0;
    let mut is_number = false;
    for (index, letter) in letters.iter().enumerate() {
        depth += i32::from(*letter == '(') - i32::from(*letter == ')');
        // The row of intervals is called `95 %`.
        let is_first = matches!(before[1], ' ' | '[') && (index > 0 || !line.starts_with("95 %"));
        let begins = letter.is_ascii_digit() && depth == 0 && is_first;
        // Thousands that are set apart go on; `p50 100` is a name and a number.
        let run = letters[index..].iter().take_while(|c| c.is_ascii_digit()).count();
        let goes_on = is_number && before[0].is_ascii_digit() && run == 3;
        if is_first {
            is_number = letter.is_ascii_digit();
        }
        if begins && !goes_on {
            if before == [' ', ' '] {
                text.pop();
            }
            text.push('~');
        }
        text.push(*letter);
        before = [before[1], *letter];
    }
    text
}

/// Whether every line fits on a terminal; for tests.
#[cfg(test)]
pub(crate) fn is_narrow(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= COLUMNS_MAX)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
