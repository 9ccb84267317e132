//! The lines at the head of every result: can it be trusted, and were the thresholds met.
//!
//! Two verdicts, never merged. Sentences are made by rules from the document; a number that the
//! document does not have is not spoken of.

use crate::result::{Document, Ended, ThresholdResult};
use crate::verdict::State;

/// Columns of a result as text.
pub(crate) const COLUMNS_MAX: usize = 80;
/// Where a line's words begin, behind its name.
const INDENT: usize = 10;
/// Reasons, findings and failed thresholds that are told in full, where there is room.
const TOLD_MAX: usize = 3;
/// Lines of a head, if telling less keeps it to them.
const HEAD_LINES_MAX: usize = 11;

/// The head, in lines, without the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// Whether it can be trusted: the first of these says so.
    pub(crate) trust: Vec<String>,
    /// Whether the thresholds were met; empty without thresholds, and where nobody should care.
    pub(crate) thresholds: Vec<String>,
    /// What the rules found about the server.
    pub(crate) findings: Vec<String>,
}

/// The head of a document.
pub(crate) fn head(document: &Document) -> Head {
    let mut told = TOLD_MAX;
    loop {
        let head = telling(document, told);
        let count = head.trust.len() + head.thresholds.len() + head.findings.len();
        if count <= HEAD_LINES_MAX || told == 1 {
            return head;
        }
        told -= 1;
    }
}

/// The head with so many of each kind told in full.
fn telling(document: &Document, told: usize) -> Head {
    let is_invalid = document.verdict.state == State::Invalid;
    let thresholds = if is_invalid { Vec::new() } else { thresholds(document, told) };
    let findings = document.findings.iter().take(if is_invalid { 0 } else { told });
    let findings = findings.flat_map(|finding| wrapped("found", finding)).collect();
    Head { trust: trust(document, told), thresholds, findings }
}

/// What says that there is more of it.
fn and_more(all: usize, told: usize, what: &str) -> Vec<String> {
    match all.saturating_sub(told) {
        0 => Vec::new(),
        1 => wrapped("", &format!("and 1 more {what}")),
        more => wrapped("", &format!("and {more} more {what}s")),
    }
}

fn trust(document: &Document, told: usize) -> Vec<String> {
    let verdict = &document.verdict;
    let name = verdict.state.word();
    let ended = match document.ended {
        Ended::Completed => "",
        Ended::Interrupted => "INTERRUPTED before its end; ",
        Ended::Aborted if document.thresholds.iter().any(|one| !one.is_met) => {
            "ABORTED, as a threshold was missed; "
        }
        Ended::Aborted => "ABORTED, every connection was lost; ",
    };
    let mut reasons = verdict.reasons.iter().take(told);
    let mut lines = Vec::new();
    match verdict.state {
        State::Valid => lines.extend(wrapped(name, &format!("{ended}{}", passed(document)))),
        State::Suspect => {
            let first = reasons.next().map_or("", String::as_str);
            lines.extend(wrapped(name, &format!("{ended}{first}")));
        }
        State::Invalid => {
            let about = "the numbers are about the generator, not about the server";
            lines.extend(wrapped(name, &format!("{ended}{}", failed(document, about))));
        }
    }
    for reason in reasons {
        // An invalid run's cure is its next step: it has a line of its own.
        match reason.split_once("; ").filter(|_| verdict.state == State::Invalid) {
            Some((found, cure)) => {
                lines.extend(wrapped("", found));
                lines.extend(wrapped("cure", cure));
            }
            None => lines.extend(wrapped("", reason)),
        }
    }
    lines.extend(and_more(verdict.reasons.len(), told, "reason"));
    lines
}

/// How many checks there were, if they are known one by one.
fn passed(document: &Document) -> String {
    match document.checks.len() {
        0 => "nothing found against this run".to_owned(),
        1 => "the only check passed".to_owned(),
        count => format!("all {count} checks passed"),
    }
}

fn failed(document: &Document, otherwise: &str) -> String {
    let checks = &document.checks;
    let failed = checks.iter().filter(|check| check.state == State::Invalid).count();
    match failed {
        0 => otherwise.to_owned(),
        count => format!("{count} of {} checks failed", checks.len()),
    }
}

/// One line, and as many more as thresholds failed.
fn thresholds(document: &Document, told: usize) -> Vec<String> {
    let all = &document.thresholds;
    let said = |one: &ThresholdResult| format!("{}, measured {}", one.expression, one.shown);
    let failed: Vec<&ThresholdResult> = all.iter().filter(|one| !one.is_met).collect();
    let Some((first, others)) = failed.split_first() else {
        return match &all[..] {
            [] => Vec::new(),
            [only] => wrapped("MET", &format!("the threshold {}", said(only))),
            _ => wrapped("MET", &format!("all {} thresholds", all.len())),
        };
    };
    let count = format!("{} of {} thresholds: ", failed.len(), all.len());
    let mut lines = wrapped("FAILED", &format!("{count}{}", said(first)));
    // An interrupted run has another exit code.
    if document.ended != Ended::Interrupted
        && let Some(line) = lines.last_mut()
    {
        let exit = "exit 99";
        let room = COLUMNS_MAX.saturating_sub(line.chars().count());
        if room > exit.len() {
            line.push_str(&format!("{exit:>room$}"));
        }
    }
    for other in others.iter().take(told - 1) {
        lines.extend(wrapped("", &said(other)));
    }
    lines.extend(and_more(failed.len(), told, "failed threshold"));
    lines
}

/// `words` behind `name`, over as many lines as they need; further lines begin below the words.
pub(crate) fn wrapped(name: &str, words: &str) -> Vec<String> {
    broken(format!("{name:<INDENT$}"), words, INDENT)
}

/// A sentence that begins at the left.
pub(crate) fn sentence(words: &str) -> Vec<String> {
    broken(String::new(), words, 0)
}

/// What stays with the number before it.
const UNITS: [&str; 12] =
    ["ns", "us", "ms", "s", "B", "KiB", "MiB", "GiB", "%", "us/message", "ms/message", "messages"];

fn is_unit(word: &str) -> bool {
    UNITS.contains(&word.trim_end_matches([',', ';', '.', ')']))
}

/// Whether `next` goes on with the number at the end of `word`, as in `41 807`.
fn is_thousands(word: &str, next: &str) -> bool {
    let digits = next.bytes().take_while(u8::is_ascii_digit).count();
    word.ends_with(|last: char| last.is_ascii_digit()) && digits == 3
}

fn broken(begun: String, words: &str, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = begun;
    let mut is_empty = true;
    let mut words = words.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut word = word.to_owned();
        while let Some(unit) = words.next_if(|next| is_unit(next) || is_thousands(&word, next)) {
            word.push(' ');
            word.push_str(unit);
        }
        let width = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if width > COLUMNS_MAX && !is_empty {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Check;
    use crate::samples;
    use crate::verdict::Verdict;

    fn checks(states: &[State]) -> Vec<Check> {
        let check = |state: &State| Check {
            name: "Schedule lag p99".to_owned(),
            measured: "1 ms".to_owned(),
            limit: "2 ms".to_owned(),
            state: *state,
        };
        states.iter().map(check).collect()
    }

    fn judged(state: State, reasons: &[&str]) -> Document {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        let checks = checks(&[state, State::Valid, State::Valid]);
        Document { verdict: Verdict { state, reasons }, checks, ..samples::document() }
    }

    #[test]
    fn trust_comes_first_with_its_reasons() {
        let trust = |document: &Document| head(document).trust;
        assert_eq!(trust(&judged(State::Valid, &[])), ["VALID     all 3 checks passed"]);
        assert_eq!(trust(&samples::document()), ["VALID     nothing found against this run"]);
        assert_eq!(
            trust(&judged(State::Suspect, &["thread 0 was 93 % busy", "the clock moved"])),
            ["SUSPECT   thread 0 was 93 % busy", "          the clock moved"]
        );
        assert_eq!(
            trust(&judged(State::Invalid, &["lag was 9 ms; lower --rate"])),
            ["INVALID   1 of 3 checks failed", "          lag was 9 ms", "cure      lower --rate"]
        );
        let many = judged(State::Suspect, &["a", "b", "c", "d", "e"]);
        assert_eq!(trust(&many).last().unwrap(), "          and 2 more reasons");
    }

    #[test]
    fn a_stop_before_the_end_is_said_at_once() {
        let stopped = Document { ended: Ended::Interrupted, ..judged(State::Valid, &[]) };
        let wanted = "VALID     INTERRUPTED before its end; all 3 checks passed";
        assert_eq!(head(&stopped).trust, [wanted]);
        let lost = Document { ended: Ended::Aborted, ..judged(State::Suspect, &["a"]) };
        assert_eq!(head(&lost).trust, ["SUSPECT   ABORTED, every connection was lost; a"]);
    }

    fn threshold(expression: &str, shown: &str, is_met: bool) -> ThresholdResult {
        let (expression, shown) = (expression.to_owned(), shown.to_owned());
        ThresholdResult { expression, measured: None, shown, is_met }
    }

    #[test]
    fn thresholds_have_a_verdict_of_their_own() {
        let with = |thresholds: Vec<ThresholdResult>| {
            head(&Document { thresholds, ..judged(State::Valid, &[]) }).thresholds
        };
        assert!(with(Vec::new()).is_empty());
        let met = || threshold("p(99)<20ms", "6.18 ms", true);
        let failed = || threshold("p(99)<5ms", "6.18 ms", false);
        assert_eq!(with(vec![met()]), ["MET       the threshold p(99)<20ms, measured 6.18 ms"]);
        assert_eq!(with(vec![met(), met()]), ["MET       all 2 thresholds"]);
        let line =
            "FAILED    1 of 2 thresholds: p(99)<5ms, measured 6.18 ms                 exit 99";
        assert_eq!(with(vec![met(), failed()]), [line]);
        assert_eq!(line.len(), COLUMNS_MAX);
        let unit = wrapped("a", &format!("{} 90.0 us", "x".repeat(63)));
        assert_eq!(unit[1], "          90.0 us");
        let number = wrapped("a", &format!("{} 41 807 [1", "x".repeat(64)));
        assert_eq!(number[1], "          41 807 [1");
        let five = with(vec![failed(); 5]);
        assert_eq!((five.len(), five[3].as_str()), (4, "          and 2 more failed thresholds"));
        let two = with(vec![failed(), threshold("p(99.99)<1s", "insufficient", false)]);
        assert_eq!(two[1], "          p(99.99)<1s, measured insufficient");
    }

    #[test]
    fn what_was_found_about_the_server_is_said_unless_nothing_can_be() {
        let findings = vec!["the server was overloaded".to_owned()];
        let valid = Document { findings, ..judged(State::Valid, &[]) };
        assert_eq!(head(&valid).findings, ["found     the server was overloaded"]);
        let invalid = Document { verdict: judged(State::Invalid, &[]).verdict, ..valid };
        assert!(head(&invalid).findings.is_empty());
    }

    #[test]
    fn an_invalid_run_met_nothing_and_failed_nothing() {
        let thresholds = vec![threshold("p(99)<5ms", "6 ms", false)];
        let invalid = Document { thresholds, ..judged(State::Invalid, &["a"]) };
        assert!(head(&invalid).thresholds.is_empty());
    }

    #[test]
    fn long_sentences_go_on_below_their_words() {
        let lines = wrapped("cure", &"word ".repeat(40));
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS_MAX), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("          word")), "{lines:?}");
        assert_eq!(wrapped("a", "b"), ["a         b"]);
        let unbroken = "x".repeat(200);
        assert_eq!(wrapped("", &unbroken).len(), 1);
    }
}
