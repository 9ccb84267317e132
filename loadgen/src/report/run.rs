//! The summary of `run`: verdict, answer, evidence.

use super::columns::{cells, columns};
use super::number::{INSUFFICIENT, Style};
use super::{duration, memory, or_not_measured, percentile, signed_duration, verdict_lines};
use crate::result::{Document, Latency, Run};
use crate::verdict::State;

/// The summary as text. Quiet is the verdict and the answer only.
pub(crate) fn text(document: &Document, style: Style, is_quiet: bool) -> String {
    let mut text = verdict_lines(document);
    for run in &document.runs {
        // Numbers of an invalid run must not be quoted by mistake.
        let mark = if document.verdict.state == State::Invalid { "~ " } else { "" };
        text.push_str(&format!("{mark}{}\n", answer(run, style)));
        if is_quiet {
            continue;
        }
        text.push_str(&latencies(run, style));
        text.push_str(&columns_of_facts(run, style));
    }
    text
}

fn name_of_message(run: &Run) -> &'static str {
    if run.mode == "fanout" { "deliveries" } else { "replies" }
}

/// The answer in one sentence.
fn answer(run: &Run, style: Style) -> String {
    let connections = style.count(run.connection_counts.open);
    if run.mode == "idle" {
        return format!("{connections} {} connections held open.", run.transport);
    }
    let what = name_of_message(run);
    let rate = or_not_measured(run.achieved_per_s, |rate| format!("{}/s", style.amount(rate)));
    let latency = &run.latency_from_intended_ns;
    let (share, value) = match (latency.p99, latency.p50) {
        (Some(p99), _) => ("99 %", Some(p99)),
        (None, Some(p50)) => ("50 %", Some(p50)),
        (None, None) => ("", None),
    };
    let load = format!("at {rate} on {connections} {} connections", run.transport);
    match value {
        Some(ns) => format!("{share} of {what} within {} {load}.", duration(style, ns)),
        None => format!("{} {what} {load}; too few for percentiles.", run.messages_received),
    }
}

fn latencies(run: &Run, style: Style) -> String {
    let head = ["latency", "p50", "p90", "p99", "p99.9", "p99.99", "max", "samples"];
    let row = |name: &str, latency: &Latency| {
        let mut row = vec![name.to_owned()];
        let values = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99];
        row.extend(values.iter().map(|value| match value {
            None if latency.count == 0 => INSUFFICIENT.to_owned(),
            _ => percentile(style, latency, *value),
        }));
        row.push(percentile(style, latency, latency.max));
        row.push(style.count(latency.count));
        row
    };
    let mut rows = vec![cells(head)];
    let all = [
        ("  from due", &run.latency_from_intended_ns),
        ("  from sent", &run.latency_from_sent_ns),
        ("connect", &run.connect_ns),
        ("send blocked", &run.send_blocked_ns),
        ("schedule lag", &run.loadgen.schedule_lag_ns),
    ];
    rows.extend(all.iter().filter(|(_, latency)| latency.count > 0).map(|(name, l)| row(name, l)));
    columns(&rows)
}

fn columns_of_facts(run: &Run, style: Style) -> String {
    let per_second = |rate: f64| format!("{}/s", style.amount(rate));
    let mut text = String::new();
    let mut fact = |name: &str, value: String| text.push_str(&format!("{name:<12}  {value}\n"));
    if run.mode != "idle" {
        let offered = run.offered_per_s.map_or_else(|| "closed loop".to_owned(), per_second);
        let achieved = or_not_measured(run.achieved_per_s, per_second);
        fact("rate", format!("achieved {achieved}, offered {offered}"));
        let counts = [run.messages_sent, run.messages_received, run.messages_expected];
        let [sent, received, expected] = counts.map(|count| style.count(count));
        fact("messages", format!("sent {sent}, received {received}, expected {expected}"));
        let counts = [run.gaps, run.duplicates, run.reordered, run.corrupted];
        let [gaps, duplicates, reordered, corrupted] = counts.map(|count| style.count(count));
        let losses = format!("{gaps} gaps, {duplicates} duplicates, {reordered} reordered");
        fact("lost", format!("{losses}, {corrupted} corrupted"));
    }
    let errors: Vec<String> =
        run.errors.iter().map(|(code, count)| format!("{code} {}", style.count(*count))).collect();
    fact("errors", if errors.is_empty() { "none".to_owned() } else { errors.join(", ") });
    let open = run.connection_counts;
    let counts = [open.open, run.connections, open.refused, open.lost];
    let [open, asked, refused, lost] = counts.map(|count| style.count(count));
    fact("connections", format!("{open} of {asked} open, {refused} refused, {lost} lost"));
    let wire = |bytes: f64| style.wire(bytes);
    let per_message = or_not_measured(run.wire_bytes_per_message, wire);
    let counts = [run.wire_bytes_sent, run.wire_bytes_received];
    let [sent, received] = counts.map(|bytes| memory(style, bytes));
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let setup = or_not_measured(run.setup_bytes_per_connection, |bytes| wire(bytes as f64));
    fact(
        "wire",
        format!("{per_message} a message; sent {sent}, received {received}; set-up {setup} each"),
    );
    fact("server", server(run, style));
    fact("loadgen", loadgen(run, style));
    text
}

fn server(run: &Run, style: Style) -> String {
    let Some(server) = &run.server else {
        return "not measured: add --server-pid".to_owned();
    };
    let cpu = or_not_measured(server.cpu_ns_per_message, |ns| signed_duration(style, ns));
    let rss = or_not_measured(server.rss_bytes, |bytes| memory(style, bytes));
    let each = or_not_measured(server.rss_bytes_per_connection, |bytes| memory(style, bytes));
    format!("{cpu} CPU a message; {rss} resident, {each} a connection")
}

fn loadgen(run: &Run, style: Style) -> String {
    let cpu = or_not_measured(run.loadgen.cpu_ns_per_message, |ns| signed_duration(style, ns));
    let busy = or_not_measured(run.loadgen.thread_busy_share_max, |share| style.share(share));
    let rss = or_not_measured(run.loadgen.rss_bytes, |bytes| memory(style, bytes));
    format!("{cpu} CPU a message; busiest thread {busy}; {rss} resident")
}
