//! A comparison while it runs: one line per row, what was measured of it so far.
//!
//! A row that has not run yet shows nothing.

use super::pen::{Ink, Pen};
use super::screen::Page;
use crate::report::progress::Row;
use crate::report::signed_duration;
use crate::result::Run;

/// Where the columns end.
const ENDS: [usize; 7] = [22, 32, 42, 55, 64, 71, 78];

/// The table, its head included.
pub(crate) fn table(page: &Page<'_>) -> Vec<Pen> {
    let rows = &page.view.rows;
    let head = page.pen().at(2).label("transport");
    let versus = rows.first().map_or_else(String::new, |row| format!("vs {}", row.name));
    let heads = ["rounds", "p50", "p99", "CPU/message", &versus, "lost", "errors"];
    let head =
        heads.into_iter().zip(ENDS).fold(head, |pen, (name, end)| pen.until(end, Ink::Label, name));
    let first = rows.first().and_then(|row| row.run.as_deref()).and_then(cpu_ns);
    let lines = rows.iter().enumerate().map(|(index, row)| line(page, index, row, first));
    std::iter::once(head).chain(lines).collect()
}

fn cpu_ns(run: &Run) -> Option<i64> {
    run.server.and_then(|server| server.cpu_ns_per_message)
}

fn line(page: &Page<'_>, index: usize, row: &Row, first_ns: Option<i64>) -> Pen {
    let style = page.look.style;
    let block = page.view.block.as_ref();
    let is_running = block.is_some_and(|block| block.index == Some(index));
    let ink = if is_running { Ink::Number } else { Ink::Plain };
    let pen = page.pen().plain(if is_running { "> " } else { "  " }).ink(ink, &*row.name);
    let Some(run) = row.run.as_deref() else {
        return if is_running { pen } else { pen.until(ENDS[0], Ink::Label, "wait") };
    };
    let rounds = block.map_or(0, |block| block.rounds);
    let pen = pen.until(ENDS[0], ink, format!("{} of {rounds}", run.rounds.len()));
    let latency = &run.latency_from_intended_ns;
    let pen = pen.time(ENDS[1], latency, latency.p50).time(ENDS[2], latency, latency.p99);
    let pen = match cpu_ns(run) {
        Some(ns) => pen.until(ENDS[3], ink, signed_duration(style, ns)),
        None => pen.until(ENDS[3], Ink::Label, "not measured"),
    };
    #[expect(clippy::cast_precision_loss, reason = "a ratio of three digits")]
    let ratio = |ns: i64, first: i64| style.ratio(ns as f64 / first as f64);
    let pen = match (cpu_ns(run), first_ns) {
        (Some(ns), Some(first)) if first > 0 && ns > 0 => pen.until(ENDS[4], ink, ratio(ns, first)),
        _ => pen,
    };
    let bad = |count: u64| if count > 0 { Ink::Bad } else { ink };
    let errors: u64 = run.errors.values().sum();
    pen.until(ENDS[5], bad(run.gaps), style.count(run.gaps)).until(
        ENDS[6],
        bad(errors),
        style.count(errors),
    )
}
