//! What a scenario tells beside its latency: how connections open, and what was done to them.
//!
//! Not here: the figures that every scenario has. Invariant: a part that was not measured is left
//! out, as nothing was claimed about it.

use maud::{Markup, html};

use super::row::Row;
use super::{Page, STYLE, clock, duration, measured, part, percentile};
use crate::report::memory;
use crate::result::{Fairness, Latency, Run, Tcp};

/// How long opening a connection takes, phase by phase.
pub(super) fn opening(page: &Page<'_>) -> Markup {
    let rows: Vec<(&Row<'_>, Vec<(&str, Latency)>)> =
        page.rows.iter().map(|row| (row, phases(row.run))).collect();
    if rows.iter().all(|(_, phases)| phases.is_empty()) {
        return html! {};
    }
    let table = html! {
        div.scroll { table {
            thead { tr {
                @if page.is_comparison { th { "transport" } }
                th.text { "phase" }
                th { "p50" } th { "p90" } th { "p99" } th { "max" } th { "samples" }
            } }
            tbody { @for (row, phases) in &rows { @for (name, latency) in phases {
                tr {
                    @if page.is_comparison { th { (row.name) } }
                    th { (name) }
                    td { (percentile(latency, latency.p50, 20)) }
                    td { (percentile(latency, latency.p90, 100)) }
                    td { (percentile(latency, latency.p99, 1_000)) }
                    td { (percentile(latency, latency.max, 1)) }
                    td { (STYLE.count(latency.count)) }
                }
            } } }
        } }
    };
    let lead = "Each phase from the end of the one before; the whole from the first call to open.";
    part("opening", "Opening a connection", lead, &table)
}

fn phases(run: &Run) -> Vec<(&'static str, Latency)> {
    let phases = run.phases;
    let all = [
        ("TCP", phases.map(|phases| phases.tcp_ns)),
        ("TLS", run.tls_ns),
        ("upgrade or subscription", phases.map(|phases| phases.upgrade_ns)),
        ("the whole", Some(run.connect_ns)),
        ("first message", phases.map(|phases| phases.first_message_ns)),
    ];
    let known = all.into_iter().filter_map(|(name, latency)| Some((name, latency?)));
    known.filter(|(_, latency)| latency.count > 0).collect()
}

/// Storms, churn, slow readers, fairness.
pub(super) fn events(page: &Page<'_>) -> Markup {
    let runs = || page.rows.iter().map(|row| (row, row.run));
    let has_any = runs().any(|(_, run)| {
        !run.storms.is_empty()
            || run.churn.is_some()
            || run.slow.is_some()
            || run.fairness.is_some()
    });
    if !has_any {
        return html! {};
    }
    let content = html! {
        @if runs().any(|(_, run)| !run.storms.is_empty()) { (storms(page)) }
        @for (row, run) in runs() {
            @let facts = facts(run);
            @if !facts.is_empty() {
                dl {
                    @for (name, value) in facts {
                        dt { (name) @if page.is_comparison { ", " (row.name) } }
                        dd { (value) }
                    }
                }
            }
        }
    };
    part("events", "How the connections fared", "", &content)
}

fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(fairness) = &run.fairness {
        facts.push(("Fairness", fair(fairness)));
    }
    if let Some(churn) = &run.churn {
        let rate = churn
            .cycles_per_s
            .map_or_else(String::new, |rate| format!(", {} a second", STYLE.amount(rate)));
        let whole = churn.cycle_ns;
        let times = [("p50", whole.p50), ("p99", whole.p99), ("max", whole.max)];
        let times = times.iter().filter_map(|(n, ns)| Some(format!("{n} {}", duration((*ns)?))));
        let times = times.collect::<Vec<_>>().join(", ");
        let cycles = STYLE.count(churn.cycles);
        facts.push((
            "Churn",
            format!("{cycles} opened and closed{rate}; from due to closed {times}"),
        ));
    }
    if let Some(slow) = &run.slow {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let speed = match slow.bytes_per_s {
            0 => "read nothing".to_owned(),
            bytes => format!("read {}/s", STYLE.memory(bytes as f64)),
        };
        let (all, cut) = (STYLE.count(slow.connections), STYLE.count(slow.closed_by_server));
        facts.push(("Slow readers", format!("{all} {speed}; the server cut off {cut}")));
    }
    facts
}

/// How alike the connections were served, in one sentence.
fn fair(fairness: &Fairness) -> String {
    let own = &fairness.p99_of_connections_ns;
    let mut parts = Vec::new();
    if let (Some(median), Some(worst)) = (own.p50, own.max) {
        parts.push(format!(
            "the median connection's own p99 is {}, the worst one's {}",
            duration(median),
            duration(worst)
        ));
    }
    if let Some(index) = fairness.jain_index {
        parts.push(format!("Jain's index of messages received {index:.3} (1 is even)"));
    }
    if parts.is_empty() { super::NOT_MEASURED.to_owned() } else { parts.join("; ") }
}

fn storms(page: &Page<'_>) -> Markup {
    let time = |ns: Option<u64>| measured(ns, duration);
    html! {
        h3 { "All connections dropped at once" }
        div.scroll { table {
            thead { tr {
                th { "at" } @if page.is_comparison { th { "transport" } }
                th { "dropped" } th { "reopened" } th { "reopening p50" } th { "p99" } th { "max" }
                th { "p99 before" } th { "p99 back after" }
            } }
            tbody { @for row in &page.rows { @for storm in &row.run.storms {
                @let reopen = &storm.reopen_ns;
                tr {
                    th { (clock(storm.at_ns)) } @if page.is_comparison { td { (row.name) } }
                    td { (STYLE.count(storm.dropped)) }
                    td { (STYLE.count(storm.reopened)) }
                    td { (percentile(reopen, reopen.p50, 20)) }
                    td { (percentile(reopen, reopen.p99, 1_000)) }
                    td { (percentile(reopen, reopen.max, 1)) }
                    td { (time(storm.p99_before_ns)) }
                    td {
                        @match storm.recovered_after_ns {
                            Some(ns) => { (duration(ns)) }
                            None => { "not within the window" }
                        }
                    }
                }
            } } }
        } }
    }
}

/// What TCP itself counted, over all rows, in one sentence.
pub(super) fn tcp(page: &Page<'_>) -> Option<String> {
    let all: Vec<Tcp> = page.rows.iter().filter_map(|row| row.run.tcp).collect();
    let sum = |field: fn(&Tcp) -> u64| all.iter().map(field).fold(0, u64::saturating_add);
    let bytes = memory(STYLE, sum(|tcp| tcp.bytes_sent.saturating_add(tcp.bytes_received)));
    let segments = sum(|tcp| tcp.segments_sent.saturating_add(tcp.segments_received));
    let [segments, connections, retransmitted] =
        [segments, sum(|tcp| tcp.connections), sum(|tcp| tcp.segments_retransmitted)]
            .map(|count| STYLE.count(count));
    (!all.is_empty()).then(|| {
        format!(
            "{bytes} in {segments} segments on {connections} connections, {retransmitted} \
                 retransmitted"
        )
    })
}
