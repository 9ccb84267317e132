//! The four figures below the answer.
//!
//! Not here: the table of all rows. Invariant: a figure that was not measured says so.

use maud::{Markup, html};

use super::row::Row;
use super::sentence::{cheapest, cost, cpu_interval};
use super::{Page, STYLE, duration, measured, percentile};
use crate::report::memory;
use crate::result::Run;

/// One figure: what it is, its value, two lines below.
struct Figure {
    name: String,
    value: Markup,
    notes: [String; 2],
}

/// The four of them.
pub(super) fn figures(page: &Page<'_>) -> Markup {
    let Some(row) = subject(page) else { return html! {} };
    let figures = [first(page, row), latency(page, row), losses(page), connection(page, row)];
    html! {
        div.figures {
            @for Figure { name, value, notes } in figures {
                div {
                    span.name { (name) }
                    strong { (value) }
                    @for note in notes.iter().filter(|note| !note.is_empty()) {
                        span.note { (note) }
                    }
                }
            }
        }
    }
}

/// The row that the figures are about: the cheapest, else the first.
fn subject<'p, 'd>(page: &'p Page<'d>) -> Option<&'p Row<'d>> {
    cheapest(page).map(|(row, _)| row).or_else(|| page.rows.first())
}

/// The cheapest of a comparison; of one scenario its rate.
fn first(page: &Page<'_>, row: &Row<'_>) -> Figure {
    if !page.is_comparison {
        return rate(row.run);
    }
    let Some((row, ns)) = cheapest(page) else {
        return Figure {
            name: "Cheapest".to_owned(),
            value: measured(None::<u64>, |_| String::new()),
            notes: ["add --server-command or --server-pid".to_owned(), String::new()],
        };
    };
    let interval = cpu_interval(row.run).map_or_else(String::new, |(low, high)| {
        format!("95 %: {}\u{2013}{}", cost(low), cost(high))
    });
    Figure {
        name: "Cheapest".to_owned(),
        value: html! { (row.name) },
        notes: [format!("{} CPU per message", cost(ns)), interval],
    }
}

fn rate(run: &Run) -> Figure {
    if let Some(churn) = &run.churn {
        let value = measured(churn.cycles_per_s, |rate| format!("{}/s", STYLE.amount(rate)));
        let notes = [format!("{} cycles", STYLE.count(churn.cycles)), String::new()];
        return Figure { name: "Opened and closed".to_owned(), value, notes };
    }
    if run.mode == "idle" {
        let counts = run.connection_counts;
        let notes = [format!("of {}", STYLE.count(run.connections)), String::new()];
        let value = html! { (STYLE.count(counts.open)) };
        return Figure { name: "Connections open".to_owned(), value, notes };
    }
    let offered = run.offered_per_s.map_or_else(
        || "closed loop: as fast as replies come".to_owned(),
        |rate| format!("of {}/s offered", STYLE.amount(rate)),
    );
    Figure {
        name: "Achieved".to_owned(),
        value: measured(run.achieved_per_s, |rate| format!("{}/s", STYLE.amount(rate))),
        notes: [offered, format!("{} received", STYLE.count(run.messages_received))],
    }
}

fn latency(page: &Page<'_>, row: &Row<'_>) -> Figure {
    let run = row.run;
    let latency = &run.latency_from_intended_ns;
    let is_opening = latency.count == 0 && run.connect_ns.count > 0;
    if is_opening && !page.is_about_messages() {
        return Figure {
            name: "p99 to open".to_owned(),
            value: percentile(&run.connect_ns, run.connect_ns.p99, 1_000),
            notes: [
                run.connect_ns.p50.map_or_else(String::new, |ns| format!("p50 {}", duration(ns))),
                run.connect_ns.max.map_or_else(String::new, |ns| format!("max {}", duration(ns))),
            ],
        };
    }
    let name = if page.is_comparison { format!("p99, {}", row.name) } else { "p99".to_owned() };
    let sent = run.latency_from_sent_ns.p99;
    Figure {
        name,
        value: percentile(latency, latency.p99, 1_000),
        notes: [
            "from intended time".to_owned(),
            sent.map_or_else(String::new, |ns| format!("from sent {}", duration(ns))),
        ],
    }
}

fn losses(page: &Page<'_>) -> Figure {
    let sum = |field: fn(&Run) -> u64| {
        page.rows.iter().map(|row| field(row.run)).fold(0, u64::saturating_add)
    };
    if !page.is_about_messages() {
        let lost = sum(|run| run.connection_counts.lost);
        let refused = sum(|run| run.connection_counts.refused);
        return Figure {
            name: "Connections lost".to_owned(),
            value: html! { (STYLE.count(lost)) },
            notes: [format!("{} refused", STYLE.count(refused)), String::new()],
        };
    }
    let parts = [
        (sum(|run| run.gaps), "lost"),
        (sum(|run| run.duplicates), "doubled"),
        (sum(|run| run.reordered), "reordered"),
        (sum(|run| run.corrupted), "corrupted"),
    ];
    let all = parts.iter().fold(0_u64, |all, (count, _)| all.saturating_add(*count));
    let found = parts.iter().filter(|(count, _)| *count > 0);
    let found: Vec<String> =
        found.map(|(count, name)| format!("{} {name}", STYLE.count(*count))).collect();
    let expected = sum(|run| run.messages_expected);
    Figure {
        name: "Lost, doubled, reordered".to_owned(),
        value: html! { (STYLE.count(all)) },
        notes: [format!("of {} messages", STYLE.count(expected)), found.join(", ")],
    }
}

fn connection(page: &Page<'_>, row: &Row<'_>) -> Figure {
    let server = row.run.server;
    let each = server.and_then(|server| server.rss_bytes_per_connection);
    let whole = server.and_then(|server| server.rss_bytes);
    let name = if page.is_comparison { row.name.as_str() } else { "of the server" };
    let note = match (each, server) {
        (Some(_), _) => format!("memory, {name}"),
        (None, Some(_)) => "no growth to be seen".to_owned(),
        (None, None) => "add --server-pid".to_owned(),
    };
    Figure {
        name: "Open connection".to_owned(),
        value: measured(each, |bytes| memory(STYLE, bytes)),
        notes: [
            note,
            whole.map_or_else(String::new, |bytes| format!("{} in all", memory(STYLE, bytes))),
        ],
    }
}
