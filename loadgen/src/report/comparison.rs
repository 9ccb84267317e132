//! The table of `compare`: what each transport costs for the same delivered messages, what theory
//! says about it, and what is left over.

use super::columns::{cells, columns};
use super::number::{NOT_MEASURED, Style};
use super::{
    duration, errors, memory, or_not_measured, percentile, signed_duration, verdict_lines,
};
use crate::compare::row_name;
use crate::result::{Document, Figures, Run};
use crate::verdict::State;

/// The comparison as text. Quiet is the verdict and the answer only.
pub(crate) fn text(document: &Document, style: Style, is_quiet: bool) -> String {
    let mut text = verdict_lines(document);
    let mark = if document.verdict.state == State::Invalid { "~ " } else { "" };
    text.push_str(&format!("{mark}{}\n", answer(document, style)));
    if is_quiet {
        return text;
    }
    text.push_str(&workload(document, style));
    text.push('\n');
    text.push_str(&costs(document, style));
    text.push('\n');
    text.push_str(&theory(document, style));
    text.push('\n');
    text.push_str(&notes(document, style));
    text
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
        "{} subscribers, {} B, {offered} deliveries/s offered; {rounds} rounds, {} measured per \
         row\n",
        style.count(run.connections),
        run.size_bytes,
        duration(style, measured),
    )
}

fn costs(document: &Document, style: Style) -> String {
    let first = [
        "",
        "",
        "delivered",
        "publish to",
        "",
        "",
        "",
        "wire",
        "requests",
        "server CPU",
        "server",
        "",
    ];
    let second = [
        "transport",
        "direction",
        "/s",
        "receive p50",
        "p99",
        "p99.9",
        "max",
        "B/msg",
        "/msg",
        "/msg",
        "memory/conn",
        "missed",
    ];
    let mut rows = vec![cells(first), cells(second)];
    let mut failures = String::new();
    for run in &document.runs {
        let name = row_name(run);
        if let Some(failure) = &run.failure {
            failures.push_str(&format!("{name}: {failure}\n"));
        } else if !run.errors.is_empty() {
            failures.push_str(&format!("{name}: errors {}\n", errors(run, style)));
        }
        rows.push(cost_row(&name, run, style));
    }
    format!("{}{failures}", columns(&rows))
}

fn cost_row(name: &str, run: &Run, style: Style) -> Vec<String> {
    let direction = match run.direction.as_deref() {
        Some("server_to_client") => "to client",
        Some(other) => other,
        None => NOT_MEASURED,
    };
    if run.measured_ns == 0 {
        return vec![name.to_owned(), direction.to_owned(), NOT_MEASURED.to_owned()];
    }
    let latency = &run.latency_from_intended_ns;
    let time = |value| percentile(style, latency, value);
    let cpu = run.server.and_then(|server| server.cpu_ns_per_message);
    let rss = run.server.and_then(|server| server.rss_bytes_per_connection);
    vec![
        name.to_owned(),
        direction.to_owned(),
        or_not_measured(run.achieved_per_s, |rate| style.amount(rate)),
        time(latency.p50),
        time(latency.p99),
        time(latency.p99_9),
        time(latency.max),
        or_not_measured(run.wire_bytes_per_message, |bytes| style.amount(bytes)),
        or_not_measured(run.requests_per_message, |count| style.amount(count)),
        or_not_measured(cpu, |ns| signed_duration(style, ns)),
        or_not_measured(rss, |bytes| memory(style, bytes)),
        style.count(run.gaps),
    ]
}

/// Theory and what is left over, per row.
fn theory(document: &Document, style: Style) -> String {
    let head = [
        "theory",
        "wire B/msg",
        "left over",
        "requests/msg",
        "left over",
        "p50",
        "left over",
        "p99",
        "left over",
    ];
    let mut rows = vec![cells(head)];
    for run in &document.runs {
        let (Some(theory), residual) = (run.theory, run.residual) else { continue };
        let residual = residual.unwrap_or(Figures::NONE);
        let number = |value: Option<f64>| or_not_measured(value, |value| style.amount(value));
        let time = |value: Option<i64>| {
            value.map_or_else(|| "no claim".to_owned(), |ns| signed_duration(style, ns))
        };
        let left = |value: Option<i64>| {
            value.map_or_else(String::new, |ns| plus(ns > 0, signed_duration(style, ns)))
        };
        let left_number = |value: Option<f64>| {
            or_not_measured(value, |value| plus(value > 0.0, style.amount(value)))
        };
        rows.push(vec![
            row_name(run),
            number(theory.wire_bytes_per_message),
            left_number(residual.wire_bytes_per_message),
            number(theory.requests_per_message),
            left_number(residual.requests_per_message),
            time(theory.latency_p50_ns),
            left(residual.latency_p50_ns),
            time(theory.latency_p99_ns),
            left(residual.latency_p99_ns),
        ]);
    }
    columns(&rows)
}

/// A difference shows its sign.
fn plus(is_positive: bool, text: String) -> String {
    if is_positive { format!("+{text}") } else { text }
}

fn notes(document: &Document, style: Style) -> String {
    let mut text = String::from(
        "wire: bytes of the subscribers' TCP streams, both ways, after set-up, without TCP/IP \
         headers.\n\
         theory: ws payload and frame header; sse `id:` and `data:` lines; polls request and \
         answer, divided\n\
         by what an answer carries. Polling waits interval/2 at the median, 0.99 intervals at \
         p99; long polling\n\
         waits a request's way and the gap until it is asked again; left over is measured minus \
         theory.\n",
    );
    let nobody = document.publish_to_nobody.as_ref();
    let nobody = nobody.and_then(|nobody| nobody.server_cpu_ns_per_publication);
    match nobody {
        Some(ns) => text.push_str(&format!(
            "server CPU: publishing to nobody costs {} per publication; it is taken off each row, \
             which\nleaves the cost of delivering (the JSON has both).\n",
            signed_duration(style, ns)
        )),
        None => text.push_str("server CPU: publishing to nobody was not measured.\n"),
    }
    text
}
