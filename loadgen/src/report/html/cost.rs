//! What each transport costs: CPU, bytes on the wire, memory.
//!
//! Not here: what the generator itself used. Invariant: bars begin at 0, and what was not measured
//! has no bar but a sentence.

use maud::{Markup, html};

use super::sentence::{cost_notes, cpu_interval, cpu_ns, joined};
use super::svg::{self, Frame, Scale, Size};
use super::table::wire;
use super::{Page, STYLE, Words, figure, float, part, ratio};
use crate::result::Run;

/// One bar: its parts from the axis outward, and its interval.
struct Bar<'p> {
    name: &'p str,
    class: &'static str,
    parts: Vec<f64>,
    interval: Option<(f64, f64)>,
}

impl Bar<'_> {
    fn value(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// A unit for a whole chart: what to divide by, and its name.
type Unit = (f64, &'static str);

/// The section.
pub(super) fn section(page: &Page<'_>) -> Markup {
    let notes = cost_notes(page);
    let content = html! {
        div.tiles {
            (cpu(page))
            (bytes(page))
            (memory(page))
            @if !notes.is_empty() {
                div.reading {
                    h3 { "Reading the costs" }
                    @for note in &notes { p { (note) } }
                }
            }
        }
    };
    let heading = if page.is_comparison { "What each transport costs" } else { "What it costs" };
    part("costs", heading, "", &content)
}

/// The bars of one figure of every row that has it.
fn bars<'p>(page: &'p Page<'_>, parts: impl Fn(&Run) -> Option<Vec<f64>>) -> Vec<Bar<'p>> {
    let rows = page.rows.iter().filter_map(|row| {
        let parts = parts(row.run)?;
        Some(Bar { name: &row.name, class: row.class, parts, interval: None })
    });
    rows.collect()
}

fn cpu(page: &Page<'_>) -> Markup {
    let mut bars = bars(page, |run| Some(vec![cpu_ns(run)?.max(0.0)]));
    if bars.is_empty() {
        return html! {
            div.hollow { p {
                b { "Server cost not measured." }
                " Add " code { "--server-pid" } ", a cgroup or a metrics URL."
            } }
        };
    }
    for bar in &mut bars {
        let row = page.rows.iter().find(|row| row.name == bar.name);
        bar.interval = row.and_then(|row| cpu_interval(row.run));
    }
    let greatest = bars.iter().map(Bar::value).fold(0.0, f64::max);
    let unit = if greatest >= 1e6 {
        (1e6, "ms")
    } else if greatest >= 1e3 {
        (1e3, "\u{b5}s")
    } else {
        (1.0, "ns")
    };
    let has_interval = bars.iter().any(|bar| bar.interval.is_some());
    let note = if has_interval {
        format!("{}; bracket: 95 % interval", unit.1)
    } else {
        unit.1.to_owned()
    };
    chart(page, "Server CPU per message", &note, &bars, unit, &[unit.1])
}

fn bytes(page: &Page<'_>) -> Markup {
    let shares = bars(page, |run| {
        let share = run.wire_share?;
        Some(vec![share.payload_bytes?, share.protocol_bytes?, share.tcp_ip_bytes.unwrap_or(0.0)])
    });
    let is_shared =
        !shares.is_empty() && shares.len() == bars(page, |run| Some(vec![wire(run)?])).len();
    let (bars, note, columns) = if is_shared {
        let has_tcp = shares.iter().any(|bar| bar.parts.get(2).is_some_and(|bytes| *bytes > 0.0));
        let note = if has_tcp { "B: payload | protocol | TCP/IP" } else { "B: payload | protocol" };
        (shares, note, &["payload B", "protocol B", "TCP/IP B"][..])
    } else {
        let note = "B, without TCP/IP headers";
        (bars(page, |run| Some(vec![run.wire_bytes_per_message?])), note, &["B"][..])
    };
    if bars.is_empty() {
        return html! {};
    }
    chart(page, "Wire bytes per message", note, &bars, (1.0, "B"), columns)
}

fn memory(page: &Page<'_>) -> Markup {
    let bars = bars(page, |run| Some(vec![float(run.server?.rss_bytes_per_connection?)]));
    if bars.is_empty() {
        return html! {};
    }
    chart(page, "Server memory per connection", "KiB", &bars, (1024.0, "KiB"), &["KiB"])
}

fn chart(
    page: &Page<'_>,
    title: &str,
    note: &str,
    bars: &[Bar<'_>],
    unit: Unit,
    columns: &[&str],
) -> Markup {
    let caption = html! { h3 { (title) } span { (note) } };
    let finding = finding(bars, unit);
    let words = Words {
        caption,
        title,
        finding: &finding,
        legend: html! {},
        numbers: Some(("Numbers behind this chart", numbers(bars, unit, columns))),
        is_small: false,
    };
    figure(page, words, |size| draw(bars, unit, size))
}

fn finding(bars: &[Bar<'_>], unit: Unit) -> String {
    let each = bars
        .iter()
        .map(|bar| format!("{} {}\u{a0}{}", bar.name, STYLE.amount(bar.value() / unit.0), unit.1));
    format!("{}.", joined(&each.collect::<Vec<_>>()))
}

fn numbers(bars: &[Bar<'_>], unit: Unit, columns: &[&str]) -> Markup {
    let has_interval = bars.iter().any(|bar| bar.interval.is_some());
    let number = |value: f64| STYLE.amount(value / unit.0);
    html! {
        table {
            thead { tr {
                th { "transport" }
                @for column in columns { th { (column) } }
                @if columns.len() > 1 { th { "sum" } }
                @if has_interval { th { "95 % interval" } }
            } }
            tbody { @for bar in bars { tr {
                th { (bar.name) }
                @for part in &bar.parts { td { (number(*part)) } }
                @if columns.len() > 1 { td { (number(bar.value())) } }
                @if has_interval { td {
                    @match bar.interval {
                        Some((low, high)) => { (number(low)) "\u{2013}" (number(high)) }
                        None => { "not measured" }
                    }
                } }
            } } }
        }
    }
}

fn draw(bars: &[Bar<'_>], unit: Unit, size: Size) -> (Frame, Markup) {
    let pitch = 33.0;
    let top = 8.0;
    let rows = float(bars.len() as u64);
    // As high as four bars, so that charts beside one another line up.
    let height = rows.max(if bars.len() > 1 { 4.0 } else { 1.0 }) * pitch + top + 34.0;
    let frame = Frame {
        width: size.pick(490.0, 340.0),
        height,
        left: 100.0,
        right: size.pick(92.0, 84.0),
        top,
        bottom: 34.0,
    };
    let greatest = bars.iter().map(|bar| bar.value().max(bar.interval.map_or(0.0, |i| i.1)));
    let (scale, ticks) = Scale::from_zero(greatest.fold(0.0, f64::max) / unit.0);
    let at = |value: f64| frame.x(scale.at(value / unit.0));
    let body = html! {
        @for tick in &ticks {
            @let x = frame.x(scale.at(*tick));
            (svg::rule("grid", (x, frame.top), (x, frame.y_max())))
            (svg::text("m muted", (x, frame.y_max() + 18.0), &tick_name(*tick)))
        }
        @for (index, bar) in bars.iter().enumerate() {
            @let y = frame.top + pitch * float(index as u64) + 7.0;
            (svg::text("e strong", (frame.left - 10.0, y + 13.0), bar.name))
            g.(bar.class) { g.data { (segments(bar, y, &at)) } }
            (end(bar, bars, unit, y, &at))
        }
    };
    (frame, body)
}

fn tick_name(tick: f64) -> String {
    if tick.fract() == 0.0 { STYLE.amount(tick) } else { format!("{tick}") }
}

fn segments(bar: &Bar<'_>, y: f64, at: &impl Fn(f64) -> f64) -> Markup {
    let classes = ["bar", "bar second", "bar third"];
    let mut from = 0.0;
    let each = bar.parts.iter().zip(classes).map(|(part, class)| {
        let start = at(from);
        from += part;
        (class, start, at(from))
    });
    let each: Vec<_> = each.collect();
    html! {
        @if bar.parts.len() > 1 {
            (svg::rectangle("under", (at(0.0), y), (at(bar.value()), y + 18.0)))
        }
        @for (class, start, end) in each {
            (svg::rectangle(class, (start, y), (end, y + 18.0)))
        }
        @if let Some((low, high)) = bar.interval {
            (svg::whisker("whisker", at(low), at(high), y + 9.0))
        }
    }
}

/// The value in bold, and how many times the least it is.
fn end(bar: &Bar<'_>, bars: &[Bar<'_>], unit: Unit, y: f64, at: &impl Fn(f64) -> f64) -> Markup {
    let least = bars.iter().map(Bar::value).filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
    let beyond = bar.interval.map_or(0.0, |(_, high)| high);
    let value = STYLE.amount(bar.value() / unit.0);
    let times = (bars.len() > 1 && least < f64::MAX).then(|| {
        if bar.value() > least { ratio(bar.value() / least) } else { "\u{d7}1".to_owned() }
    });
    let x = at(bar.value().max(beyond)) + 8.0;
    html! {
        text x=(svg::coordinate(x)) y=(svg::coordinate(y + 13.0)) {
            tspan.strong { (value) }
            @if let Some(times) = times { tspan.muted dx="7" { (times) } }
        }
    }
}
