//! `diff` in a terminal: what can be said, then every ratio, then what differs.

use super::columns::{cells, columns};
use super::number::{NOT_MEASURED, Style};
use crate::diff::{Basis, Comparison, Metric, Row, Side, Word};
use crate::verdict::State;

/// Findings that the headline tells, at most.
const FINDINGS_MAX: usize = 3;

/// The comparison as text.
pub(crate) fn text(comparison: &Comparison, style: Style) -> String {
    let mut text = String::new();
    for (name, side) in [("old", &comparison.old), ("new", &comparison.new)] {
        if side.state != State::Valid {
            let word = side.state.word();
            text.push_str(&format!("{word:<9} the {name} result; see `loadgen report`\n"));
        }
    }
    if !comparison.differences.is_empty() {
        text.push_str("FORCED    not comparable, compared all the same:\n");
        for one in &comparison.differences {
            text.push_str(&format!("{:<9} {}: {} -> {}\n", "", one.field, one.old, one.new));
        }
    }
    let is_invalid = [&comparison.old, &comparison.new].iter().any(|it| it.state == State::Invalid);
    let mark = if is_invalid { "~ " } else { "" };
    text.push_str(&format!("{mark}{}\n", headline(comparison)));
    let head = ["transport", "metric", "old", "new", "ratio", "95 %", "", ""];
    let mut rows = vec![cells(head)];
    rows.extend(comparison.rows.iter().map(|row| line(row, comparison.equal_share, style)));
    text.push_str(&columns(&rows));
    text.push_str("A ratio below x1 is better.");
    if comparison.rows.iter().any(|row| row.basis == Basis::WithinOneRun) {
        text.push_str(
            " Within one run only: another run of the same may differ by more; --repeat 5 tells.",
        );
    }
    text.push('\n');
    for (name, side) in [("old", &comparison.old), ("new", &comparison.new)] {
        text.push_str(&origin(name, side));
    }
    text
}

fn origin(name: &str, side: &Side) -> String {
    let commit = side.commit.as_ref().map_or_else(String::new, |commit| format!(" ({commit})"));
    format!("{name}  {}{commit}  {}\n", side.started_at, side.command)
}

/// The answer in one sentence: what is better and worse, and how much cannot be told.
pub(crate) fn headline(comparison: &Comparison) -> String {
    let told = |row: &&Row| matches!(row.word, Word::Better | Word::Worse);
    let findings: Vec<&Row> = comparison.rows.iter().filter(told).collect();
    let count =
        |wanted: fn(Word) -> bool| comparison.rows.iter().filter(|row| wanted(row.word)).count();
    let unknown = count(|word| matches!(word, Word::CannotTell { .. }));
    let same = count(|word| word == Word::NoDifference);
    let mut parts: Vec<String> =
        findings.iter().take(FINDINGS_MAX).map(|row| finding(row)).collect();
    if findings.len() > FINDINGS_MAX {
        let more = findings.len() - FINDINGS_MAX;
        parts.push(format!("{more} more {} below", if more == 1 { "finding" } else { "findings" }));
    }
    let plural = |count: usize| if count == 1 { "result" } else { "results" };
    if same > 0 {
        let word = Word::NoDifference.text(comparison.equal_share);
        parts.push(format!("{same} {} with {word}", plural(same)));
    }
    if unknown > 0 {
        parts.push(format!("{unknown} {} cannot be told", plural(unknown)));
    }
    format!("New: {}.", parts.join("; "))
}

/// `p99 over ws is 9 % lower [7-11 %]`.
fn finding(row: &Row) -> String {
    let change = |ratio: f64| {
        let ratio = if row.metric.is_more_better() { 1.0 / ratio } else { ratio };
        (ratio - 1.0) * 100.0
    };
    let change_of = row.ratio.map_or(0.0, change);
    let direction = if change_of < 0.0 { "lower" } else { "higher" };
    let bounds = row.interval.map_or_else(String::new, |(low, high)| {
        let (one, two) = (change(low).abs(), change(high).abs());
        format!(" [{}-{} %]", percent(one.min(two)), percent(one.max(two)))
    });
    let name = if row.metric == Metric::Rate { "rate" } else { row.metric.name() };
    let percent = percent(change_of.abs());
    format!("{name} over {} is {percent} % {direction}{bounds}", row.transport)
}

fn percent(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn line(row: &Row, equal_share: f64, style: Style) -> Vec<String> {
    let shown = |value: Option<f64>| {
        value.map_or_else(|| NOT_MEASURED.to_owned(), |value| quantity(row.metric, value, style))
    };
    let ratio = row.ratio.map_or_else(String::new, |ratio| style.ratio(ratio));
    let interval =
        row.interval.map_or_else(String::new, |(low, high)| format!("[{low:.2}-{high:.2}]"));
    let basis = match row.basis {
        Basis::Runs(runs) => format!("over {runs} runs"),
        Basis::WithinOneRun => "within one run only".to_owned(),
        Basis::Nothing => String::new(),
    };
    let word = row.word.text(equal_share);
    vec![
        row.transport.clone(),
        row.metric.name().to_owned(),
        shown(row.old),
        shown(row.new),
        ratio,
        interval,
        word,
        basis,
    ]
}

/// A value in the unit of its metric.
pub(crate) fn quantity(metric: Metric, value: f64, style: Style) -> String {
    match metric {
        Metric::P50 | Metric::P99 | Metric::P999 | Metric::ServerCpu => style.duration(value),
        Metric::WireBytes => style.wire(value),
        Metric::ServerMemory => style.memory(value),
        Metric::Rate => format!("{}/s", style.amount(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { is_utf8: false };

    fn row(metric: Metric, ratio: f64, interval: Option<(f64, f64)>, word: Word) -> Row {
        let basis = if interval.is_some() { Basis::Runs(5) } else { Basis::Nothing };
        let (old, new) = (Some(2e6), Some(2e6 * ratio));
        let transport = "ws".to_owned();
        Row { transport, metric, old, new, ratio: Some(ratio), interval, basis, word }
    }

    fn comparison(rows: Vec<Row>) -> Comparison {
        let side = |state| Side {
            command: "loadgen run ws://h/".to_owned(),
            started_at: "2026-11-21T23:20:00Z".to_owned(),
            commit: Some("abc".to_owned()),
            state,
        };
        let (old, new) = (side(State::Valid), side(State::Valid));
        Comparison { old, new, differences: Vec::new(), equal_share: 0.03, rows }
    }

    #[test]
    fn the_answer_comes_first_and_every_row_has_its_word() {
        let mut all = comparison(vec![
            row(Metric::P99, 0.91, Some((0.89, 0.93)), Word::Better),
            row(Metric::ServerCpu, 1.06, Some((1.04, 1.08)), Word::Worse),
            row(Metric::P50, 1.0, Some((0.99, 1.01)), Word::NoDifference),
            row(Metric::WireBytes, 1.0, None, Word::CannotTell { more_runs: 4 }),
            row(Metric::Rate, 0.5, Some((0.4, 0.6)), Word::Better),
        ]);
        let shown = text(&all, STYLE);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "New: p99 over ws is 9.0 % lower [7.0-11 %]; server CPU per message over ws is 6.0 % \
             higher [4.0-8.0 %]; rate over ws is 100 % higher [67-150 %]; 1 result with no \
             difference beyond 3 %; 1 result cannot be told."
        );
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        let line = words.join(" ");
        let expected = "ws p99 2.00 ms 1.82 ms x0.91 [0.89-0.93] better over 5 runs";
        assert_eq!(line, expected, "{shown}");
        assert!(lines[5].contains("cannot tell: 4 more runs"), "{shown}");
        assert!(!shown.contains("within one run") && !shown.contains("FORCED"), "{shown}");
        assert_eq!(lines[lines.len() - 1], "new  2026-11-21T23:20:00Z (abc)  loadgen run ws://h/");
        all.rows[0].basis = Basis::WithinOneRun;
        assert!(text(&all, STYLE).contains("within one run only"));
    }

    #[test]
    fn what_spoils_the_comparison_stands_above_it() {
        let mut all =
            comparison(vec![row(Metric::P99, 1.0, None, Word::CannotTell { more_runs: 5 })]);
        all.new.state = State::Invalid;
        let (old, new) = ("6.1".to_owned(), "6.2".to_owned());
        all.differences.push(crate::diff::Difference { field: "machine.kernel".into(), old, new });
        let shown = text(&all, STYLE);
        assert!(shown.starts_with("INVALID   the new result"), "{shown}");
        assert!(
            shown.contains("\n          machine.kernel: 6.1 -> 6.2\n~ New: 1 result"),
            "{shown}"
        );
    }
}
