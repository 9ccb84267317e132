//! Connections over time: how many were open, and where opening failed.
//!
//! Not here: how long opening takes (`detail.rs`). Invariant: rows of a comparison follow one
//! another in the order in which they ran.

use maud::{Markup, html};

use super::row::{Point, Row};
use super::svg::{self, Frame, Scale, Size};
use super::time::time_ticks;
use super::{Page, STYLE, Words, clock, figure, float, mark, part};

/// Of more blocks than these, only the areas are drawn.
const MANY_BLOCKS: usize = 40;

/// One row in one round, and where on the common axis it begins.
struct Block<'p, 'd> {
    row: &'p Row<'d>,
    points: Vec<&'p Point>,
    /// Its round, from 1.
    round: usize,
    /// Added to the time of its points.
    shift: i128,
    start_ns: u64,
    end_ns: u64,
}

/// The section: a chart where intervals tell how many were open, a table else.
pub(super) fn section(page: &Page<'_>) -> Markup {
    let blocks = blocks(page);
    let is_known = blocks.iter().flat_map(|block| &block.points).any(|point| point.open.is_some());
    let table = counts(page);
    if page.rows.is_empty() {
        return html! {};
    }
    if !is_known {
        let lead = "How many were open at each time was not recorded; these are the counts.";
        let table = html! { div.scroll { (table) } };
        return part("connections", "Connections", lead, &table);
    }
    let lead = if page.is_comparison {
        "One row at a time; rounds run in alternating order, so slow drift of the machine hits \
         every row alike."
    } else {
        "How many were open at the end of each interval."
    };
    let words = Words {
        caption: html! {},
        title: "Connections over time",
        finding: &finding(page),
        legend: legend(page),
        numbers: Some(("Numbers behind this chart", html! { (table) (numbers(&blocks)) })),
        is_small: false,
    };
    let chart = figure(page, words, |size| draw(&blocks, size));
    part("connections", "Connections over time", lead, &chart)
}

/// Every row of every round, in the order in which they ran: every second round is reversed.
fn blocks<'p, 'd>(page: &'p Page<'d>) -> Vec<Block<'p, 'd>> {
    let rounds = page.rows.iter().map(|row| row.run.rounds.len()).max().unwrap_or(0).max(1);
    let mut blocks: Vec<Block<'p, 'd>> = Vec::new();
    let mut now = 0_u64;
    let mut used = vec![0_u64; page.rows.len()];
    for round in 1..=rounds {
        let mut order: Vec<usize> = (0..page.rows.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for index in order {
            let row = &page.rows[index];
            let start = used[index];
            let length = match row.run.rounds.get(round - 1) {
                Some(one) => one.measured_ns,
                None if row.run.rounds.is_empty() && round == 1 => row.timeline.end_ns(),
                None => 0,
            };
            let end = start.saturating_add(length);
            used[index] = end;
            let inside = |point: &&Point| (start..end).contains(&point.middle_ns());
            let points: Vec<&Point> = row.timeline.points.iter().filter(inside).collect();
            if length > 0 {
                let shift = i128::from(now) - i128::from(start);
                let end_ns = now.saturating_add(length);
                blocks.push(Block { row, points, round, shift, start_ns: now, end_ns });
                now = end_ns;
            }
        }
    }
    blocks
}

impl Block<'_, '_> {
    /// A time of the row on the common axis.
    fn place(&self, ns: u64) -> u64 {
        let place = u64::try_from(i128::from(ns) + self.shift).unwrap_or(0);
        place.clamp(self.start_ns, self.end_ns)
    }
}

fn finding(page: &Page<'_>) -> String {
    let sum = |field: fn(&Row<'_>) -> u64| page.rows.iter().map(field).fold(0, u64::saturating_add);
    let refused = sum(|row| row.run.connection_counts.refused);
    let lost = sum(|row| row.run.connection_counts.lost);
    let open = page.rows.iter().map(|row| row.run.connection_counts.open).max().unwrap_or(0);
    format!(
        "{} connections open at the end, {} refused, {} lost.",
        STYLE.count(open),
        STYLE.count(refused),
        STYLE.count(lost)
    )
}

fn legend(page: &Page<'_>) -> Markup {
    html! {
        @if page.rows.len() > 1 {
            p.legend { @for row in &page.rows { span { (mark(row)) (row.name) } } }
        }
    }
}

fn counts(page: &Page<'_>) -> Markup {
    html! {
        table {
            thead { tr {
                th { "transport" } th { "asked" } th { "open at the end" } th { "refused" }
                th { "lost" } th { "reopened" }
            } }
            tbody { @for row in &page.rows {
                @let counts = row.run.connection_counts;
                tr {
                    th { (mark(row)) (row.name) }
                    @for count in [
                        row.run.connections, counts.open, counts.refused, counts.lost,
                        counts.reopened,
                    ] {
                        td { (STYLE.count(count)) }
                    }
                }
            } }
        }
    }
}

/// The points with their places: what the script shows.
fn numbers(blocks: &[Block<'_, '_>]) -> Markup {
    let end = float(blocks.last().map_or(1, |block| block.end_ns));
    // Enough to point at; counts of every row stand above.
    let count: usize = blocks.iter().map(|block| block.points.len()).sum();
    let step = count.div_ceil(120).max(1);
    html! {
        table {
            thead { tr { th { "at" } th { "transport" } th { "open" } } }
            tbody { @for block in blocks { @for point in block.points.iter().step_by(step) {
                @let at = block.place(point.middle_ns());
                tr data-x=(format!("{:.4}", float(at) / end)) {
                    th { (clock(at)) } td { (block.row.name) }
                    td { (super::measured(point.open, |open| STYLE.count(open))) }
                }
            } } }
        }
    }
}

fn draw(blocks: &[Block<'_, '_>], size: Size) -> (Frame, Markup) {
    let is_strip = blocks.len() > 1;
    let frame = Frame {
        width: size.pick(1000.0, 340.0),
        height: size.pick(210.0, 250.0),
        left: 62.0,
        right: 8.0,
        top: if is_strip { 46.0 } else { 14.0 },
        bottom: 30.0,
    };
    let end = blocks.last().map_or(1, |block| block.end_ns).max(1);
    let points = || blocks.iter().flat_map(|block| &block.points);
    let greatest = points().filter_map(|point| point.open).max().unwrap_or(1);
    let (scale, ticks) = Scale::from_zero(float(greatest));
    let x = |ns: u64| frame.x(float(ns) / float(end));
    let body = html! {
        @for tick in &ticks {
            @let y = frame.y(scale.at(*tick));
            (svg::rule("grid", (frame.left, y), (frame.x_max(), y)))
            (svg::text("e muted", (frame.left - 8.0, y + 4.0), &STYLE.amount(*tick)))
        }
        @for ns in time_ticks(end, size.pick(11, 4)) {
            (svg::text("m muted", (x(ns), frame.y_max() + 18.0), &clock(ns)))
        }
        @for block in blocks { (area(block, &frame, scale, &x, blocks.len())) }
        @if is_strip { (strip(blocks, &frame, &x, size)) }
        @for block in blocks { (failed(block, &frame, &x)) }
    };
    (frame, body)
}

/// A step for each change; where rows follow one another, each stands apart from the next.
fn area(
    block: &Block<'_, '_>,
    frame: &Frame,
    scale: Scale,
    x: &impl Fn(u64) -> f64,
    blocks: usize,
) -> Markup {
    let (is_strip, is_many) = (blocks > 1, blocks > MANY_BLOCKS);
    let gap = if is_strip { ((x(block.end_ns) - x(block.start_ns)) * 0.06).min(3.0) } else { 0.0 };
    let (x_min, x_max) = (x(block.start_ns) + gap, x(block.end_ns) - gap);
    let mut line: Vec<svg::Point> = Vec::new();
    for point in &block.points {
        let Some(open) = point.open else { continue };
        let y = frame.y(scale.at(float(open)));
        let [start, end] =
            [point.start_ns, point.end_ns].map(|ns| x(block.place(ns)).max(x_min).min(x_max));
        match line.last_mut() {
            // A level line needs no points between its ends.
            Some(last) if (last.1 - y).abs() < 0.05 => last.0 = end,
            _ => line.extend([(start, y), (end, y)]),
        }
    }
    let (Some(first), Some(last)) = (line.first().copied(), line.last().copied()) else {
        return html! {};
    };
    if is_strip {
        line.insert(0, (first.0, frame.y_max()));
        line.push((last.0, frame.y_max()));
    }
    let line: Vec<_> = line.into_iter().map(Some).collect();
    let ground: Vec<_> = line.iter().map(|at| at.map(|(x, _)| (x, frame.y_max()))).collect();
    html! {
        g.(block.row.class) { g.data {
            (svg::band("area", &line, &ground))
            @if !is_many { (svg::line("thin", &line)) }
        } }
    }
}

/// Which row ran, and where rounds begin.
fn strip(blocks: &[Block<'_, '_>], frame: &Frame, x: &impl Fn(u64) -> f64, size: Size) -> Markup {
    let rounds: Vec<&[Block<'_, '_>]> = blocks.chunk_by(|a, b| a.round == b.round).collect();
    let has_marks = blocks.len() <= size.pick(MANY_BLOCKS, 20);
    html! {
        @if has_marks {
            @for block in blocks {
                @let middle = (x(block.start_ns) + x(block.end_ns)) / 2.0;
                g.(block.row.class) {
                    (svg::marker("f", block.row.shape, (middle, frame.top - 14.0), 4.0))
                }
            }
        }
        @if rounds.len() > 1 {
            @for round in &rounds {
                @if let [first, ..] = round && let Some(last) = round.last() {
                    @let (start, end) = (x(first.start_ns), x(last.end_ns));
                    @let word = size.pick("round\u{a0}", "R");
                    @if first.round > 1 {
                        (svg::rule("dotted", (start, 20.0), (start, frame.y_max())))
                    }
                    @if end - start > size.pick(56.0, 22.0) {
                        @let name = format!("{word}{}", first.round);
                        (svg::text("m muted", ((start + end) / 2.0, 14.0), &name))
                    }
                }
            }
        }
    }
}

/// A cross where opening failed, with how often.
fn failed(block: &Block<'_, '_>, frame: &Frame, x: &impl Fn(u64) -> f64) -> Markup {
    let shift = block.shift;
    let range = (block.start_ns..=block.end_ns).clone();
    let found = block.row.run.error_details.iter().filter_map(|detail| {
        let is_opening = ["connect.", "upgrade.", "tls.", "http."];
        let is_opening = is_opening.iter().any(|start| detail.code.starts_with(start));
        let at = i128::from(detail.first_at_ns?.max(0)) + shift;
        let at = u64::try_from(at).ok().filter(|at| range.contains(at))?;
        is_opening.then(|| (at, format!("{} {}", STYLE.count(detail.count), detail.code)))
    });
    html! {
        @for (at, label) in found.take(4) {
            @let (at, y) = (x(at), frame.top + 18.0);
            @let is_right = at > frame.x(0.6);
            path.cross d=(format!(
                "M{} {}l7 7m0-7l-7 7", svg::coordinate(at - 3.5), svg::coordinate(y - 3.5)
            )) {}
            (svg::text(
                if is_right { "e small" } else { "small" },
                (if is_right { at - 8.0 } else { at + 8.0 }, y + 4.0),
                &label,
            ))
        }
    }
}
