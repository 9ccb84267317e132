//! Errors for people: how often, what, when, what it means, what to do.
//!
//! Most frequent first. Meaning and cure come with the document.

use super::head::{COLUMNS_MAX, wrapped};
use super::number::Style;
use super::progress::minutes;
use crate::result::{ErrorDetail, Run};

/// The kinds of errors of a run, the most frequent first; older documents know only counts.
pub(crate) fn kinds(run: &Run) -> Vec<ErrorDetail> {
    let told = |code: &String| run.error_details.iter().find(|detail| &detail.code == code);
    let mut kinds: Vec<ErrorDetail> = run
        .errors
        .iter()
        .map(|(code, count)| {
            let only = || ErrorDetail { code: code.clone(), ..ErrorDetail::default() };
            ErrorDetail { count: *count, ..told(code).cloned().unwrap_or_else(only) }
        })
        .collect();
    kinds.sort_by(|one, other| other.count.cmp(&one.count).then(one.code.cmp(&other.code)));
    kinds
}

/// One kind in one line or two: `12 ws.close.1013: meaning; cure`.
pub(crate) fn line(kind: &ErrorDetail, style: Style) -> Vec<String> {
    let head = format!("{} {}", style.count(kind.count), kind.code);
    let said = [kind.meaning.as_str(), kind.cure.as_str()];
    let said: Vec<&str> = said.into_iter().filter(|part| !part.is_empty()).collect();
    let colon = if said.is_empty() { "" } else { ": " };
    wrapped("errors", &format!("{head}{colon}{}", said.join("; ")))
}

/// The whole table; empty without errors.
pub(crate) fn table(run: &Run, style: Style) -> Vec<String> {
    let kinds = kinds(run);
    if kinds.is_empty() {
        return Vec::new();
    }
    let counts: Vec<String> = kinds.iter().map(|kind| style.count(kind.count)).collect();
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let count_width = width(&mut counts.iter().map(|count| count.chars().count())).max(5);
    let code_width = width(&mut kinds.iter().map(|kind| kind.code.chars().count())).max(4);
    let mut lines = vec![format!("{:>count_width$}  {:<code_width$}  when", "count", "code")];
    for (kind, count) in kinds.iter().zip(&counts) {
        let row = format!("{count:>count_width$}  {:<code_width$}  {}", kind.code, when(kind));
        lines.push(row.trim_end().chars().take(COLUMNS_MAX).collect());
        for (name, text) in [("  means", &kind.meaning), ("  cure", &kind.cure)] {
            if !text.is_empty() {
                lines.extend(wrapped(name, text));
            }
        }
    }
    lines
}

/// From when to when, counted from the window's start.
fn when(kind: &ErrorDetail) -> String {
    let at = |ns: i64| match u64::try_from(ns) {
        Ok(ns) => minutes(ns / 1_000_000_000 * 1_000_000_000),
        Err(_) => "before".to_owned(),
    };
    match (kind.first_at_ns, kind.last_at_ns) {
        (Some(first), Some(last)) if at(first) != at(last) => {
            format!("{} to {}", at(first), at(last))
        }
        (Some(first), _) => at(first),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const STYLE: Style = Style { is_utf8: false };

    fn run() -> Run {
        let detail = ErrorDetail {
            code: "ws.close.1013".to_owned(),
            count: 12,
            first_at_ns: Some(-5),
            last_at_ns: Some(61_900_000_000),
            meaning: "the server is overloaded".to_owned(),
            cure: "lower --rate".to_owned(),
        };
        let once = ErrorDetail {
            code: "tcp.reset".to_owned(),
            count: 1,
            first_at_ns: Some(2_000_000_000),
            last_at_ns: Some(2_000_000_000),
            ..ErrorDetail::default()
        };
        let counts = [("tcp.reset", 1), ("ws.close.1013", 12), ("app.unsent", 1)];
        let errors: BTreeMap<String, u64> =
            counts.into_iter().map(|(code, count)| (code.to_owned(), count)).collect();
        Run { errors, error_details: vec![once, detail], ..Run::default() }
    }

    #[test]
    fn the_most_frequent_comes_first() {
        let kinds = kinds(&run());
        let codes: Vec<&str> = kinds.iter().map(|kind| kind.code.as_str()).collect();
        assert_eq!(codes, ["ws.close.1013", "app.unsent", "tcp.reset"]);
        let wanted = "errors    12 ws.close.1013: the server is overloaded; lower --rate";
        assert_eq!(line(&kinds[0], STYLE), [wanted]);
        assert_eq!(line(&kinds[1], STYLE), ["errors    1 app.unsent"]);
    }

    #[test]
    fn a_table_says_when_what_it_means_and_what_to_do() {
        assert_eq!(
            table(&run(), STYLE),
            [
                "count  code           when",
                "   12  ws.close.1013  before to 1:01",
                "  means   the server is overloaded",
                "  cure    lower --rate",
                "    1  app.unsent",
                "    1  tcp.reset      0:02",
            ]
        );
        assert!(table(&Run::default(), STYLE).is_empty());
    }
}
