//! Two results beside each other, as one page: a forest plot of ratios, below 1 is better.
//!
//! Not here: what may be said of a ratio (`crate::diff`). Invariant: a row without an interval has
//! no line, and its word is that of the comparison.

use maud::{Markup, html};

use super::banner::{Tone, banner};
use super::svg::{self, Frame, Scale, Shape, Size};
use super::{NOT_MEASURED, STYLE, float, part, ratio, shell};
use crate::diff::{Basis, Comparison, Row, Side};
use crate::report::diff::{headline, quantity};
use crate::verdict::State;

/// The page of a comparison.
pub(super) fn page(comparison: &Comparison) -> String {
    let headline = headline(comparison).replace(" %", "\u{a0}%");
    let body = html! {
        header { b { "loadgen diff" } span { (comparison.new.started_at) " against "
            (comparison.old.started_at) } }
        div.banners { (likeness(comparison)) (trust(comparison)) (basis(comparison)) }
        h1 { (headline) }
        p.lead { "Every ratio is new over old and turned so that left of 1 is better." }
        (part("ratios", "What changed", "Marker: ratio; line: 95 % interval; grey: differences \
            that mean nothing.", &html! { (forest(comparison, &headline)) (table(comparison)) }))
        (part("sides", "Both commands", "", &html! {
            (side("old", &comparison.old)) (side("new", &comparison.new))
        }))
    };
    shell(&format!("{headline} \u{b7} loadgen diff"), None, &body)
}

fn likeness(comparison: &Comparison) -> Markup {
    if comparison.differences.is_empty() {
        let lines = html! { p { "same machine, same scenario" } };
        return banner(Tone::Good, "Comparable", &lines);
    }
    banner(
        Tone::Failed,
        "Not the same conditions",
        &html! {
            @for one in &comparison.differences {
                p { (one.field) ": " (one.old) " then " (one.new) }
            }
        },
    )
}

/// Sides that may not be believed.
fn trust(comparison: &Comparison) -> Markup {
    let sides = [("old", &comparison.old), ("new", &comparison.new)];
    html! {
        @for (name, side) in sides {
            @let tone = match side.state {
                State::Valid => None,
                State::Suspect => Some((Tone::Suspect, "Suspect run")),
                State::Invalid => Some((Tone::Failed, "Invalid run")),
            };
            @if let Some((tone, word)) = tone {
                @let line = html! { p { "the " (name) " result is " (side.state.word()) } };
                (banner(tone, word, &line))
            }
        }
    }
}

fn basis(comparison: &Comparison) -> Markup {
    let is_within = comparison.rows.iter().any(|row| row.basis == Basis::WithinOneRun);
    html! { @if is_within {
        (banner(Tone::Suspect, "Within one run only", &html! {
            p { "intervals rest on one run a side: another run may be different" }
        }))
    } }
}

fn name(row: &Row) -> String {
    format!("{}, {}", row.transport, row.metric.name())
}

/// What a phone has room for beside the answer.
fn short_name(row: &Row) -> String {
    let name = name(row);
    name.split(" per ").next().map_or_else(String::new, str::to_owned)
}

fn forest(comparison: &Comparison, finding: &str) -> Markup {
    html! { figure { div.plot {
        @for size in Size::BOTH {
            @let (frame, body) = draw(comparison, size);
            (svg::drawing(size, &frame, "Ratios of new to old", finding, &body))
        }
    } } }
}

fn draw(comparison: &Comparison, size: Size) -> (Frame, Markup) {
    let rows: Vec<&Row> = comparison.rows.iter().filter(|row| row.ratio.is_some()).collect();
    let pitch = size.pick(30.0, 44.0);
    let frame = Frame {
        width: size.pick(1000.0, 340.0),
        height: float(rows.len() as u64) * pitch + 44.0,
        left: size.pick(290.0, 8.0),
        right: size.pick(300.0, 8.0),
        top: 8.0,
        bottom: 30.0,
    };
    let equal = comparison.equal_share.clamp(0.0, 0.9);
    let (mut low, mut high) = (0.8_f64, 1.25_f64);
    for row in &rows {
        let (from, to) = row.interval.unwrap_or_default();
        for value in [row.ratio.unwrap_or(1.0), from, to].into_iter().filter(|v| *v > 0.01) {
            (low, high) = (low.min(value), high.max(value.min(100.0)));
        }
    }
    let scale = Scale::Log { low: low * 0.97, high: high * 1.03 };
    let x = |value: f64| frame.x(scale.at(value));
    let ticks = [0.1, 0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 2.0, 4.0, 10.0];
    let is_wide = high / low > 3.0;
    let ticks = ticks.into_iter().filter(|tick| *tick > low * 0.97 && *tick < high * 1.03);
    let ticks = ticks.filter(|tick| !is_wide || ![0.8, 0.9, 1.1, 1.25].contains(tick));
    let body = html! {
        (svg::rectangle("beyond", (x(1.0 - equal), frame.top), (x(1.0 + equal), frame.y_max())))
        @for tick in ticks {
            (svg::rule("grid", (x(tick), frame.top), (x(tick), frame.y_max())))
            (svg::text("m muted", (x(tick), frame.y_max() + 18.0), &format!("\u{d7}{tick}")))
        }
        @for (index, row) in rows.iter().enumerate() {
            @let y = frame.top + pitch * (float(index as u64) + size.pick(0.5, 0.75));
            (line(row, comparison, &frame, &x, y, size))
        }
    };
    (frame, body)
}

fn line(
    row: &Row,
    comparison: &Comparison,
    frame: &Frame,
    x: &impl Fn(f64) -> f64,
    y: f64,
    size: Size,
) -> Markup {
    let word = row.word.text(comparison.equal_share);
    html! {
        @if let Some((low, high)) = row.interval { (svg::whisker("whisker", x(low), x(high), y)) }
        g.other {
            @if let Some(value) = row.ratio {
                (svg::marker("f", Shape::Circle, (x(value), y), 4.5))
            }
        }
        @if size == Size::Wide {
            (svg::text("e strong", (frame.left - 12.0, y + 4.0), &name(row)))
            (svg::text("", (frame.x_max() + 14.0, y + 4.0), &format!("{} {word}", shown(row))))
        } @else {
            (svg::text("strong", (frame.left, y - 14.0), &short_name(row)))
            (svg::text("e", (frame.x_max(), y - 14.0), &word))
        }
    }
}

/// `x0.94 [0.92-0.96]`.
fn shown(row: &Row) -> String {
    let Some(value) = row.ratio else { return NOT_MEASURED.to_owned() };
    let interval = row.interval.map(|(low, high)| format!(" [{low:.2}\u{2013}{high:.2}]"));
    format!("{}{}", ratio(value), interval.unwrap_or_default())
}

fn table(comparison: &Comparison) -> Markup {
    let value = |row: &Row, value: Option<f64>| {
        value.map_or_else(|| NOT_MEASURED.to_owned(), |v| quantity(row.metric, v, STYLE))
    };
    html! { div.scroll { table {
        thead { tr { th { "what" } th { "old" } th { "new" } th { "ratio" } th { "answer" } } }
        tbody { @for row in &comparison.rows { tr {
            th { (name(row)) } td { (value(row, row.old)) } td { (value(row, row.new)) }
            td { (shown(row)) } td { (row.word.text(comparison.equal_share)) }
        } } }
    } } }
}

fn side(name: &str, side: &Side) -> Markup {
    html! {
        h3 { (name) }
        p.small { (side.state.word()) ", " (side.started_at)
            @if let Some(commit) = &side.commit { ", commit " (commit) } }
        pre { code { (side.command) } }
    }
}
