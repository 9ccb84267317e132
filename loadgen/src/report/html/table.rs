//! The table of results and the table of errors.
//!
//! Not here: tables behind charts, which stand beside them. Invariant: what is not known is said in
//! words.

use maud::{Markup, html};

use super::row::Row;
use super::sentence::{Limit, cost, cpu_interval, cpu_ns, failures};
use super::{Page, STYLE, clock, mark, measured, part, percentile};
use crate::report::memory;
use crate::result::{ErrorDetail, Run};

/// One row per transport; on a phone the best columns come first.
pub(super) fn results(page: &Page<'_>) -> Markup {
    if page.rows.is_empty() {
        return html! {};
    }
    html! {
        p.small.above { (caption(page)) }
        div.scroll.results {
            table {
                thead { tr {
                    th { "transport" }
                    @for name in [
                        "p99", "CPU / msg", "p50", "p99.9", "p99.99", "max", "lost", "wire / msg",
                        "memory / conn", "delivered / offered",
                    ] {
                        th { (name) }
                    }
                } }
                tbody { @for row in &page.rows { (result(page, row)) } }
            }
        }
        @for (name, why) in failures(page) {
            p.small { b { (name) } ": " (why) }
        }
    }
}

fn caption(page: &Page<'_>) -> String {
    let mut parts = Vec::new();
    if page.is_comparison {
        parts.push("Same schedule for every row.".to_owned());
    }
    if let Some(limit) = page.limits.first() {
        parts.push(format!("\u{2713} \u{2715}: threshold {}.", limit.shown));
    }
    if page.rows.iter().any(|row| cpu_interval(row.run).is_some()) {
        parts.push("Small: 95 % interval.".to_owned());
    }
    parts.push("Latency from intended time.".to_owned());
    parts.join(" ")
}

fn result(page: &Page<'_>, row: &Row<'_>) -> Markup {
    let run = row.run;
    let latency = &run.latency_from_intended_ns;
    let rss = run.server.and_then(|server| server.rss_bytes_per_connection);
    html! {
        tr {
            th scope="row" {
                (mark(row)) (row.name)
                @if row.is_suspect { span.tag { "suspect" } }
                @if run.failure.is_some() { span.tag.failed { "failed" } }
            }
            td.strong { (percentile(latency, latency.p99, 1_000)) (met(page.limits.first(), run)) }
            td {
                b { (measured(cpu_ns(run), cost)) }
                @if let Some((low, high)) = cpu_interval(run) {
                    " " small { (cost(low)) "\u{2013}" (cost(high)) }
                }
            }
            td { (percentile(latency, latency.p50, 20)) }
            td { (percentile(latency, latency.p99_9, 10_000)) }
            td { (percentile(latency, latency.p99_99, 100_000)) }
            td { (percentile(latency, latency.max, 1)) }
            td { (STYLE.count(run.gaps)) }
            td { (measured(wire(run), |bytes| STYLE.wire(bytes))) }
            td { (measured(rss, |bytes| memory(STYLE, bytes))) }
            td { (delivered(run)) }
        }
    }
}

/// Bytes of a message on the wire: with TCP/IP headers where they were counted.
pub(super) fn wire(run: &Run) -> Option<f64> {
    run.tcp.and_then(|tcp| tcp.wire_bytes_per_message).or(run.wire_bytes_per_message)
}

fn delivered(run: &Run) -> Markup {
    let rate = |rate: f64| format!("{}/s", STYLE.amount(rate));
    html! {
        (measured(run.achieved_per_s, rate))
        @if let Some(offered) = run.offered_per_s { " / " (rate(offered)) }
    }
}

/// Whether a row keeps to the threshold, as far as that can be told.
fn met(limit: Option<&Limit>, run: &Run) -> Markup {
    let judged = limit.and_then(|limit| Some(limit.measured(run)? < limit.ns));
    html! {
        @match judged {
            Some(true) => { " " span.yes title="meets the threshold" { "\u{2713}" } }
            Some(false) => { " " span.no title="misses the threshold" { "\u{2715}" } }
            None => {}
        }
    }
}

/// Every kind of error, most frequent first.
pub(super) fn errors(page: &Page<'_>) -> Markup {
    let mut all: Vec<(&Row<'_>, ErrorDetail)> = Vec::new();
    for row in &page.rows {
        all.extend(row.run.error_details.iter().map(|detail| (row, detail.clone())));
        let is_told = |code: &str| row.run.error_details.iter().any(|detail| detail.code == code);
        let bare = row.run.errors.iter().filter(|(code, _)| !is_told(code));
        all.extend(bare.map(|(code, count)| {
            let (code, count) = (code.clone(), *count);
            (row, ErrorDetail { code, count, ..ErrorDetail::default() })
        }));
    }
    all.sort_by_key(|(_, detail)| std::cmp::Reverse(detail.count));
    if all.is_empty() {
        let received = page.rows.iter().map(|row| row.run.messages_received);
        let received = received.fold(0, u64::saturating_add);
        let text = if page.is_about_messages() {
            format!("No errors in {} messages.", STYLE.count(received))
        } else {
            "No errors.".to_owned()
        };
        return part("errors", "Errors", &text, &html! {});
    }
    let table = html! {
        table.errors {
            thead { tr { th { "code" } th { "count" } th { "when" } th { "meaning and cure" } } }
            tbody {
                @for (row, detail) in &all {
                    tr {
                        th scope="row" { code { (detail.code) } }
                        td.number { (STYLE.count(detail.count)) }
                        td { (when(page, row, detail)) }
                        td {
                            (detail.meaning)
                            @if !detail.cure.is_empty() {
                                @if !detail.meaning.is_empty() { br; }
                                "Cure: " (detail.cure)
                            }
                        }
                    }
                }
            }
        }
    };
    part("errors", "Errors", "Everything that did not go as planned, most frequent first.", &table)
}

fn when(page: &Page<'_>, row: &Row<'_>, detail: &ErrorDetail) -> String {
    let time = |ns: i64| u64::try_from(ns).map_or_else(|_| "before the start".to_owned(), clock);
    let mut parts = Vec::new();
    match (detail.first_at_ns.map(time), detail.last_at_ns.map(time)) {
        (Some(first), Some(last)) if first != last => parts.push(format!("{first} to {last}")),
        (Some(at), _) | (None, Some(at)) => parts.push(at),
        (None, None) => {}
    }
    if page.is_comparison {
        parts.push(row.name.clone());
    }
    if parts.is_empty() { "not recorded".to_owned() } else { parts.join(", ") }
}
