//! The table of `compare`: what each transport costs for the same delivered messages, what theory
//! says about it, and what is left over. 80 columns; 24 lines for five rows.

use super::head::{head, sentence, wrapped};
use super::number::{INSUFFICIENT, NOT_MEASURED, Style};
use super::run::{joined, marked};
use super::{duration, errors, facts, memory, or_not_measured, signed_duration};
use crate::compare::row_name;
use crate::result::{Document, Figures, Latency, Run};
use crate::verdict::State;

/// Where the columns of the table end, and those of theory.
const ENDS: [usize; 8] = [19, 28, 37, 46, 56, 64, 74, 80];
const THEORY_ENDS: [usize; 8] = [18, 26, 35, 43, 53, 62, 71, 80];
/// Lines of five rows, as far as what may give way can see to it.
const LINES_MAX: usize = 24;
/// Delivering less than this of what was offered is worth a line.
const DELIVERED_SHARE_MIN: f64 = 0.99;

/// The comparison as text. Quiet is its first two lines.
pub(crate) fn text(document: &Document, style: Style, is_quiet: bool) -> String {
    let is_invalid = document.verdict.state == State::Invalid;
    let head = head(document);
    let mut lines = head.trust;
    if is_quiet {
        lines.truncate(if is_invalid { 2 } else { 1 });
        let second = || head.thresholds.first().cloned().unwrap_or_else(|| answer(document, style));
        lines.extend((!is_invalid).then(second));
        return joined(&lines);
    }
    lines.extend(head.thresholds);
    if !is_invalid {
        lines.extend(sentence(&answer(document, style)));
    }
    lines.extend(head.findings);
    let next = facts::next(document);
    let [wire, rest] = notes(document, style);
    let evidence = [
        (0, vec![workload(document, style)]),
        (0, costs(document, style)),
        (1, intervals(document, style)),
        (0, theory(document, style)),
        (2, wire),
        (0, rest),
    ];
    let marked = evidence.map(|(rank, lines)| facts::fact(rank, marked(lines, is_invalid)));
    let room = LINES_MAX.saturating_sub(lines.len() + next.len());
    lines.extend(facts::fitting(marked.into(), room));
    lines.extend(next);
    joined(&lines)
}

/// How surely each row's cost is known, where rounds allow to say it.
fn intervals(document: &Document, style: Style) -> Vec<String> {
    let of = |run: &Run| {
        let cpu = run.confidence.as_ref()?.server_cpu_ns_per_message;
        facts::interval(&row_name(run), cpu, |ns| style.duration(ns))
    };
    let each: Vec<String> = document.runs.iter().filter_map(of).collect();
    if each.is_empty() {
        return Vec::new();
    }
    wrapped("95 %", &format!("CPU/msg: {}", each.join(", ")))
}

/// The cheapest transport and how much dearer the others are, as far as rounds can tell them
/// apart.
fn answer(document: &Document, style: Style) -> String {
    let cost = |run: &Run| run.server.and_then(|server| server.cpu_ns_per_message);
    let costed = document.runs.iter().filter_map(|run| Some((run, cost(run)?)));
    let costed: Vec<(&Run, i64)> = costed.filter(|(_, ns)| *ns > 0).collect();
    let Some((cheapest, least_ns)) = costed.iter().copied().min_by_key(|(_, ns)| *ns) else {
        return "Server cost not measured: add --server-command or --server-pid.".to_owned();
    };
    let ratios = costed.iter().filter(|(run, _)| row_name(run) != row_name(cheapest));
    let ratios: Vec<String> = ratios
        .map(|(run, ns)| {
            if rounds_overlap(run, cheapest) {
                return format!("{} cannot be told apart", row_name(run));
            }
            #[expect(clippy::cast_precision_loss, reason = "a ratio of three digits")]
            let ratio = *ns as f64 / least_ns as f64;
            format!("{} {}", row_name(run), style.ratio(ratio))
        })
        .collect();
    let least = signed_duration(style, least_ns);
    let name = row_name(cheapest);
    let rest = if ratios.is_empty() { String::new() } else { format!("; {}", ratios.join(", ")) };
    format!("Cheapest for the server: {name} with {least} of CPU per delivered message{rest}.")
}

/// Whether the rounds of two rows lie within each other's range.
fn rounds_overlap(one: &Run, other: &Run) -> bool {
    let range = |run: &Run| {
        let costs = run.rounds.iter().filter_map(|round| round.server_cpu_ns_per_message_raw);
        costs.fold(None, |range: Option<(i64, i64)>, cost| {
            Some(range.map_or((cost, cost), |(low, high)| (low.min(cost), high.max(cost))))
        })
    };
    let (Some(one), Some(other)) = (range(one), range(other)) else { return false };
    one.0 <= other.1 && other.0 <= one.1
}

fn workload(document: &Document, style: Style) -> String {
    let Some(run) = document.runs.first() else { return String::new() };
    let rounds = document.runs.iter().map(|run| run.rounds.len()).max().unwrap_or(0);
    let measured = document.runs.iter().map(|run| run.measured_ns).max().unwrap_or(0);
    let offered = or_not_measured(run.offered_per_s, |rate| style.amount(rate));
    format!(
        "{} subscribers, {} B, {offered} deliveries/s offered; {rounds} rounds, {} per row",
        style.count(run.connections),
        run.size_bytes,
        duration(style, measured),
    )
}

/// Cells that end where their columns end, at least a space apart.
fn row<const N: usize>(name: &str, cells: [String; N], ends: [usize; N]) -> String {
    let mut line = name.to_owned();
    for (cell, end) in cells.iter().zip(ends) {
        let gap = end.saturating_sub(line.chars().count() + cell.chars().count()).max(1);
        line.push_str(&" ".repeat(gap));
        line.push_str(cell);
    }
    line
}

fn costs(document: &Document, style: Style) -> Vec<String> {
    let heads = ["p50", "p99", "p99.9", "max", "CPU/msg", "wire B", "mem/conn", "lost"];
    let mut lines = vec![row("transport", heads.map(str::to_owned), ENDS)];
    let mut remarks = Vec::new();
    for run in &document.runs {
        let name = row_name(run);
        lines.push(cost_row(&name, run, style));
        if let Some(failure) = &run.failure {
            remarks.extend(wrapped(&name, failure));
        }
        for kind in errors::kinds(run).iter().take(facts::ERRORS_TOLD) {
            let line = errors::line(kind, style).join(" ");
            remarks.extend(wrapped(&name, line.trim_start_matches("errors").trim_start()));
        }
        if let (Some(achieved), Some(offered)) = (run.achieved_per_s, run.offered_per_s)
            && achieved < offered * DELIVERED_SHARE_MIN
        {
            let [achieved, offered] = [achieved, offered].map(|rate| style.amount(rate));
            remarks.extend(wrapped(&name, &format!("delivered {achieved}/s of {offered}/s")));
        }
    }
    lines.extend(remarks);
    lines
}

fn cost_row(name: &str, run: &Run, style: Style) -> String {
    if run.measured_ns == 0 {
        return format!("{name:<10}  {NOT_MEASURED}");
    }
    let latency = &run.latency_from_intended_ns;
    let time = |value| short_percentile(style, latency, value);
    let cpu = run.server.and_then(|server| server.cpu_ns_per_message);
    let rss = run.server.and_then(|server| server.rss_bytes_per_connection);
    let cells = [
        time(latency.p50),
        time(latency.p99),
        time(latency.p99_9),
        time(latency.max),
        or_none(cpu, |ns| signed_duration(style, ns)),
        or_none(run.wire_bytes_per_message, |bytes| style.amount(bytes)),
        or_none(rss, |bytes| memory(style, bytes)),
        style.count(run.gaps),
    ];
    row(name, cells, ENDS)
}

/// A cell has no room for two words; below the table it is said in full.
fn or_none<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "none".to_owned(), show)
}

fn short_percentile(style: Style, latency: &Latency, value: Option<u64>) -> String {
    match value {
        Some(ns) => duration(style, ns),
        None if latency.count == 0 => "none".to_owned(),
        None => format!("{}.", &INSUFFICIENT[..6]),
    }
}

/// Theory and what is left over, per row.
fn theory(document: &Document, style: Style) -> Vec<String> {
    let heads = ["wire B", "rest", "requests", "rest", "p50", "rest", "p99", "rest"];
    let mut lines = vec![row("theory", heads.map(str::to_owned), THEORY_ENDS)];
    for run in &document.runs {
        let (Some(theory), residual) = (run.theory, run.residual) else { continue };
        let residual = residual.unwrap_or(Figures::NONE);
        let number = |value: Option<f64>| or_none(value, |value| style.amount(value));
        let time = |value: Option<i64>| or_none(value, |ns| signed_duration(style, ns));
        let left = |value: Option<i64>| {
            value.map_or_else(String::new, |ns| plus(ns > 0, signed_duration(style, ns)))
        };
        let left_number =
            |value: Option<f64>| or_none(value, |value| plus(value > 0.0, style.amount(value)));
        let cells = [
            number(theory.wire_bytes_per_message),
            left_number(residual.wire_bytes_per_message),
            number(theory.requests_per_message),
            left_number(residual.requests_per_message),
            time(theory.latency_p50_ns),
            left(residual.latency_p50_ns),
            time(theory.latency_p99_ns),
            left(residual.latency_p99_ns),
        ];
        lines.push(row(&row_name(run), cells, THEORY_ENDS));
    }
    lines
}

/// A difference shows its sign.
fn plus(is_positive: bool, text: String) -> String {
    if is_positive { format!("+{text}") } else { text }
}

/// What the wire's column holds, and all else there is to note.
fn notes(document: &Document, style: Style) -> [Vec<String>; 2] {
    let wire = "per message, both ways, after set-up, without TCP/IP; only ws carries messages \
                both ways";
    let mut lines = wrapped(
        "theory",
        "polling waits interval/2 at p50, 0.99 intervals at p99; rest: measured minus theory; \
         none: not measured, or no claim",
    );
    let has_few = |run: &Run| {
        let latency = &run.latency_from_intended_ns;
        latency.count > 0 && (latency.p50.is_none() || latency.p99_9.is_none())
    };
    if document.runs.iter().any(has_few) {
        lines.extend(wrapped("insuff.", "insufficient samples: p99 needs 1 000, p99.9 10 000"));
    }
    let nobody = document.publish_to_nobody.as_ref();
    let nobody = nobody.and_then(|nobody| nobody.server_cpu_ns_per_publication);
    let words = match nobody {
        Some(ns) => format!(
            "publishing to nobody costs {} per publication, taken off each row",
            signed_duration(style, ns)
        ),
        None => "publishing to nobody was not measured".to_owned(),
    };
    lines.extend(wrapped("CPU", &words));
    [wrapped("wire", wire), lines]
}
