//! Latency over time: one tile per transport, one wide chart for a single scenario.
//!
//! Not here: merging of intervals (`row.rs`). Invariant: all tiles have the same axes.

use maud::{Markup, html};

use super::row::{Point, Row};
use super::sentence::time_finding;
use super::svg::{self, Frame, Scale, Size};
use super::{Page, STYLE, Words, clock, duration, figure, float, length, mark, measured, part};

/// Both axes of every tile.
struct Axes {
    latency: Scale,
    /// Where the last point of any row ends.
    end_ns: u64,
}

/// The section, unless no row has intervals.
pub(super) fn section(page: &Page<'_>) -> Markup {
    let Some(axes) = axes(page) else { return html! {} };
    let content = html! {
        div.tiles.single[page.rows.len() == 1].crowded[page.is_crowded()] {
            @for row in page.rows.iter().filter(|row| !row.timeline.points.is_empty()) {
                (tile(page, row, &axes))
            }
        }
    };
    part("time", "Latency over time", &lead(page), &content)
}

fn lead(page: &Page<'_>) -> String {
    let timeline = page.rows.iter().map(|row| &row.timeline).max_by_key(|t| t.merged);
    let mut text = "From the moment each message was due, so waiting in a queue counts.".to_owned();
    if page.rows.len() > 1 {
        text.push_str(" Axes are the same everywhere.");
    }
    let Some(timeline) = timeline else { return text };
    let merged = timeline.merged as u64;
    let each = timeline.interval_ns.saturating_mul(merged);
    let is_second = each == 1_000_000_000;
    let unit = if is_second { "second".to_owned() } else { format!("{} interval", length(each)) };
    text.push_str(&format!(" Lines: p99 and p50 of each {unit}; dots: its slowest message."));
    if merged > 1 {
        let how = if timeline.is_exact {
            "their histograms added"
        } else {
            "the greatest of their percentiles kept"
        };
        text.push_str(&format!(" One point stands for {merged} intervals, {how}."));
    }
    text
}

fn axes(page: &Page<'_>) -> Option<Axes> {
    let points = || page.rows.iter().flat_map(|row| &row.timeline.points);
    let least = points().filter_map(|point| point.p50.or(point.p99)).min();
    let greatest = points().filter_map(|point| point.max.max(point.p99)).max();
    let end_ns = page.rows.iter().map(|row| row.timeline.end_ns()).max()?;
    let greatest = greatest?;
    let latency = Scale::decades(float(least.unwrap_or(greatest)), float(greatest));
    (end_ns > 0).then_some(Axes { latency, end_ns })
}

fn tile(page: &Page<'_>, row: &Row<'_>, axes: &Axes) -> Markup {
    let latency = &row.run.latency_from_intended_ns;
    let values = [("p50", latency.p50), ("p99", latency.p99)];
    let values =
        values.iter().filter_map(|(name, ns)| Some(format!("{name}\u{a0}{}", duration((*ns)?))));
    let caption = html! {
        h3 { (mark(row)) (row.name) }
        span { (values.collect::<Vec<_>>().join(" \u{b7} ")) }
    };
    let words = Words {
        caption,
        title: &format!("Latency over time, {}", row.name),
        finding: &time_finding(row),
        legend: html! {},
        numbers: Some((summary(row), numbers(row, axes))),
        is_small: true,
    };
    figure(page, words, |size| draw(page, row, axes, size))
}

fn summary(row: &Row<'_>) -> &'static str {
    let is_second = row.timeline.interval_ns == 1_000_000_000 && row.timeline.merged == 1;
    if is_second { "Numbers, second by second" } else { "Numbers, interval by interval" }
}

/// The points as a table, each row with its place on the axis.
fn numbers(row: &Row<'_>, axes: &Axes) -> Markup {
    let timeline = &row.timeline;
    let has_max = timeline.points.iter().any(|point| point.max.is_some());
    let time = |value: Option<u64>| measured(value, duration);
    html! {
        table {
            thead { tr {
                th { "from" } th { "p50" } th { "p99" }
                @if has_max { th { "max" } }
                th { "received" } th { "errors" }
            } }
            tbody { @for point in &timeline.points {
                tr data-x=(place(point, axes)) {
                    th { (clock(point.start_ns)) }
                    td { (time(point.p50)) }
                    td { (time(point.p99)) }
                    @if has_max { td { (time(point.max)) } }
                    td { (STYLE.count(point.received)) }
                    td { (STYLE.count(point.errors)) }
                }
            } }
        }
    }
}

fn place(point: &Point, axes: &Axes) -> String {
    format!("{:.4}", float(point.middle_ns()) / float(axes.end_ns))
}

fn draw(page: &Page<'_>, row: &Row<'_>, axes: &Axes, size: Size) -> (Frame, Markup) {
    let is_single = page.rows.len() == 1;
    let frame = Frame {
        width: size.pick(if is_single { 1000.0 } else { 490.0 }, 340.0),
        height: size.pick(if is_single { 280.0 } else { 214.0 }, 200.0),
        left: 62.0,
        right: 8.0,
        top: 14.0,
        bottom: 30.0,
    };
    let timeline = &row.timeline;
    let at = |point: &Point, ns: Option<u64>| {
        let x = frame.x(float(point.middle_ns()) / float(axes.end_ns));
        ns.map(|ns| (x, frame.y(axes.latency.at(float(ns)))))
    };
    let line = |field: fn(&Point) -> Option<u64>| {
        timeline.points.iter().map(|point| at(point, field(point))).collect::<Vec<_>>()
    };
    let (p50, p99) = (line(|point| point.p50), line(|point| point.p99));
    let max = timeline.points.iter().filter_map(|point| at(point, point.max));
    let body = html! {
        (latency_grid(&frame, axes.latency))
        (time_axis(&frame, axes.end_ns, &timeline.rounds, size))
        g.(row.class) {
            g.data {
                (svg::band("band", &p99, &p50))
                (svg::dots("dots", max))
                (svg::line("thin", &p50))
                (svg::line("line", &p99))
            }
            (storms(row, axes, &frame))
            (worst(row, &frame, &at))
            (end_labels(&p99, &p50, &frame))
        }
    };
    (frame, body)
}

/// Lines at each power of ten, with their values.
pub(super) fn latency_grid(frame: &Frame, scale: Scale) -> Markup {
    html! {
        (svg::levels("grid", frame, scale.decade_ticks().into_iter().map(|tick| scale.at(tick))))
        @for tick in scale.decade_ticks() {
            @let y = frame.y(scale.at(tick));
            (svg::text("e muted", (frame.left - 8.0, y + 4.0), &decade(tick)))
        }
    }
}

/// A power of ten of nanoseconds.
fn decade(ns: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "\u{b5}s"), (1.0, "ns")];
    let unit = units.into_iter().find(|(factor, _)| ns >= *factor * 0.999);
    let (factor, name) = unit.unwrap_or((1.0, "ns"));
    format!("{}\u{a0}{name}", STYLE.amount((ns / factor).round()))
}

/// Rounds by number, or the time in minutes and seconds.
pub(super) fn time_axis(frame: &Frame, end_ns: u64, rounds: &[u64], size: Size) -> Markup {
    let share = |ns: u64| float(ns) / float(end_ns.max(1));
    let y = frame.y_max() + 18.0;
    if rounds.len() > 1 {
        let starts = std::iter::once(0).chain(rounds.iter().copied());
        let word = if size == Size::Narrow || rounds.len() > 6 { "R" } else { "round\u{a0}" };
        return html! {
            @for (index, (start, end)) in starts.zip(rounds).enumerate() {
                @if index > 0 {
                    @let x = frame.x(share(start));
                    (svg::rule("dotted", (x, frame.top), (x, frame.y_max())))
                }
                @if rounds.len() <= size.pick(20, 10) {
                    @let middle = frame.x((share(start) + share(*end)) / 2.0);
                    (svg::text("m muted", (middle, y), &format!("{word}{}", index + 1)))
                }
            }
        };
    }
    html! {
        @for ns in time_ticks(end_ns, size.pick(if frame.width > 600.0 { 11 } else { 6 }, 4)) {
            (svg::text("m muted", (frame.x(share(ns)), y), &clock(ns)))
        }
    }
}

/// At most about `count` round times from 0.
pub(super) fn time_ticks(end_ns: u64, count: u64) -> Vec<u64> {
    const STEPS_S: [u64; 19] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600,
        43_200, 86_400,
    ];
    let steps = STEPS_S.map(|seconds| seconds * 1_000_000_000);
    let found = steps.into_iter().find(|step| end_ns / step < count);
    let step = found.unwrap_or_else(|| end_ns / count.max(1)).max(1);
    (0..=end_ns / step).take(40).map(|index| index * step).collect()
}

/// Where all connections were dropped.
fn storms(row: &Row<'_>, axes: &Axes, frame: &Frame) -> Markup {
    html! {
        @for storm in row.run.storms.iter().take(12) {
            @let x = frame.x((float(storm.at_ns) / float(axes.end_ns)).min(1.0));
            (svg::rule("storm", (x, frame.top), (x, frame.y_max())))
            (svg::text("small", (x + 4.0, frame.y_max() - 5.0), "all dropped"))
        }
    }
}

/// A ring around the interval that stands out.
fn worst(
    row: &Row<'_>,
    frame: &Frame,
    at: &impl Fn(&Point, Option<u64>) -> Option<svg::Point>,
) -> Markup {
    let Some((point, max)) = row.timeline.worst() else { return html! {} };
    let Some((x, y)) = at(point, Some(max)) else { return html! {} };
    let is_right = x > frame.left + (frame.x_max() - frame.left) * 0.62;
    let (class, x_text) = if is_right { ("e small", x - 10.0) } else { ("small", x + 10.0) };
    let label = format!("{} at {}", duration(max), clock(point.start_ns));
    html! {
        (svg::marker("ring", svg::Shape::Circle, (x, y), 5.5))
        (svg::text(class, (x_text, y + 4.0), &label))
    }
}

/// Names at the lines' ends, never on one another.
fn end_labels(p99: &[Option<svg::Point>], p50: &[Option<svg::Point>], frame: &Frame) -> Markup {
    let end = |line: &[Option<svg::Point>]| line.iter().rev().flatten().next().copied();
    let ends: Vec<(&str, svg::Point)> = [("p99", end(p99)), ("p50", end(p50))]
        .into_iter()
        .filter_map(|(n, p)| Some((n, p?)))
        .collect();
    let wanted: Vec<f64> = ends
        .iter()
        .map(|(name, (_, y))| {
            // Below its line where the other one is too near above.
            let is_near = *name == "p50" && ends.iter().any(|(o, p)| *o == "p99" && y - p.1 < 18.0);
            if is_near { y + 16.0 } else { y - 6.0 }
        })
        .collect();
    let placed = svg::push_apart(&wanted, 13.0, frame.top + 4.0, frame.y_max() - 3.0);
    html! {
        @for ((name, _), y) in ends.iter().zip(placed) {
            (svg::text("e strong", (frame.x_max() - 2.0, y), name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_round() {
        let seconds = |end: u64, count| {
            let ticks = time_ticks(end * 1_000_000_000, count);
            ticks.iter().map(|ns| ns / 1_000_000_000).collect::<Vec<_>>()
        };
        assert_eq!(seconds(4, 6), [0, 1, 2, 3, 4]);
        assert_eq!(seconds(60, 6), [0, 15, 30, 45, 60]);
        assert_eq!(seconds(86_400, 6), [0, 21_600, 43_200, 64_800, 86_400]);
        assert_eq!(time_ticks(0, 6), [0]);
        assert!(time_ticks(u64::MAX, 6).len() <= 40);
        assert_eq!(decade(1e6), "1\u{a0}ms");
        assert_eq!(decade(1e11), "100\u{a0}s");
        assert_eq!(decade(100.0), "100\u{a0}ns");
    }
}
