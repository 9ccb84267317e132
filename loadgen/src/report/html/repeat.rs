//! Does it repeat? Each round, or each agent, over the median of all.
//!
//! Not here: confidence intervals, which stand at the figures themselves. Invariant: with more than
//! eight agents the chart shows the three furthest from the median, the table all.

use maud::{Markup, html};

use super::row::Row;
use super::svg::{self, Frame, Scale, Shape, Size};
use super::{Page, STYLE, Words, duration, figure, float, mark, measured, part, percentile, ratio};
use crate::report::signed_duration;
use crate::result::Agent;

/// More agents than these are not all drawn.
const AGENTS_DRAWN_MAX: usize = 8;
const FURTHEST: usize = 3;
/// Of more rows than these, those that repeat worst are drawn.
const ROWS_DRAWN_MAX: usize = 8;

/// One column of a tile: its name, and both figures as multiples of their medians.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    cpu: Option<f64>,
    p99: Option<f64>,
}

/// The section; nothing where there was one round and one machine.
pub(super) fn section(page: &Page<'_>) -> Markup {
    html! { (rounds(page)) (agents(page)) }
}

fn rounds(page: &Page<'_>) -> Markup {
    let rows: Vec<&Row<'_>> = page.rows.iter().filter(|row| row.run.rounds.len() > 1).collect();
    let columns: Vec<(&Row<'_>, Vec<Column>)> =
        rows.into_iter().map(|row| (row, of_rounds(row))).collect();
    let columns = furthest_rows(columns);
    let has_any = columns.iter().flat_map(|(_, all)| all).any(|one| one.cpu.or(one.p99).is_some());
    if !has_any {
        return html! {};
    }
    let scale = scale(columns.iter().flat_map(|(_, columns)| columns));
    let tiles = html! {
        div.quarters.crowded[page.is_crowded()] {
            @for (row, columns) in &columns {
                @let title = format!("Rounds over their median, {}", row.name);
                @let words = Words {
                    caption: html! { h3 { (mark(row)) (row.name) } },
                    title: &title,
                    finding: &finding(columns, "round"),
                    legend: html! {},
                    numbers: None,
                    is_small: true,
                };
                (figure(page, words, |size| draw(columns, row.class, scale, size)))
            }
        }
        details { summary { "Numbers behind these charts" } div.scroll { (round_numbers(page)) } }
    };
    let lead = html! {
        "Each round over the median of all. "
        (key(false)) " server CPU per message, " (key(true)) " p99. Band: \u{b1} 10 %."
        @if page.rows.len() > ROWS_DRAWN_MAX { " Drawn are the rows that differ most." }
    };
    html! { section #repeat { h2 { "Does it repeat?" } p.lead { (lead) } (tiles) } }
}

/// A filled or a hollow circle for the text.
fn key(is_hollow: bool) -> Markup {
    let class = if is_hollow { "open" } else { "f" };
    html! {
        svg.mark.other viewBox="0 0 14 14" aria-hidden="true" {
            (svg::marker(class, Shape::Circle, (7.0, 7.0), 4.5))
        }
    }
}

/// Of many rows, those whose rounds differ most.
fn furthest_rows<'r>(mut rows: Vec<(&'r Row<'r>, Vec<Column>)>) -> Vec<(&'r Row<'r>, Vec<Column>)> {
    if rows.len() > ROWS_DRAWN_MAX {
        let widest = |columns: &[Column]| columns.iter().map(distance).fold(0.0, f64::max);
        rows.sort_by(|a, b| widest(&b.1).total_cmp(&widest(&a.1)));
        rows.truncate(ROWS_DRAWN_MAX);
    }
    rows
}

/// How far the further of both figures is from the median.
fn distance(column: &Column) -> f64 {
    let far = |value: Option<f64>| value.map_or(0.0, |value| value.max(0.001).ln().abs());
    far(column.cpu).max(far(column.p99))
}

fn of_rounds(row: &Row<'_>) -> Vec<Column> {
    let rounds = &row.run.rounds;
    #[expect(clippy::cast_precision_loss, reason = "a ratio of three digits")]
    let cpu = rounds.iter().map(|round| round.server_cpu_ns_per_message_raw.map(|ns| ns as f64));
    let p99 = rounds.iter().map(|round| round.latency_from_intended_ns.p99.map(float));
    let names = rounds.iter().map(|round| round.round.to_string());
    columns(names.collect(), cpu.collect(), p99.collect())
}

fn columns(names: Vec<String>, cpu: Vec<Option<f64>>, p99: Vec<Option<f64>>) -> Vec<Column> {
    let (cpu_median, p99_median) = (median(&cpu), median(&p99));
    let over = |value: Option<f64>, median: Option<f64>| Some(value? / median?);
    let values = cpu.into_iter().zip(p99);
    let column = |(name, (cpu, p99))| Column {
        name,
        cpu: over(cpu, cpu_median),
        p99: over(p99, p99_median),
    };
    names.into_iter().zip(values).map(column).collect()
}

/// The median of what is known and positive.
fn median(values: &[Option<f64>]) -> Option<f64> {
    let mut known: Vec<f64> = values.iter().copied().flatten().filter(|v| *v > 0.0).collect();
    known.sort_by(f64::total_cmp);
    let middle = known.len() / 2;
    match known.len() {
        0 => None,
        count if count % 2 == 0 => Some((known[middle - 1] + known[middle]) / 2.0),
        _ => Some(known[middle]),
    }
}

/// Wide enough for all, never narrower than 0.8 to 1.4.
fn scale<'c>(columns: impl Iterator<Item = &'c Column>) -> Scale {
    let (mut low, mut high) = (0.8_f64, 1.4_f64);
    for value in columns.flat_map(|column| [column.cpu, column.p99]).flatten() {
        (low, high) = (low.min(value), high.max(value));
    }
    Scale::Log { low: low.max(0.01) * 0.97, high: high.min(1_000.0) * 1.03 }
}

fn finding(columns: &[Column], what: &str) -> String {
    let furthest = |field: fn(&Column) -> Option<f64>| {
        let values = columns.iter().filter_map(|one| Some((field(one)?, &one.name)));
        values.max_by(|a, b| a.0.ln().abs().total_cmp(&b.0.ln().abs()))
    };
    let said = [("CPU", furthest(|one| one.cpu)), ("p99", furthest(|one| one.p99))];
    let said = said.iter().filter_map(|(name, found)| {
        let (value, column) = found.as_ref()?;
        Some(format!("{name} at most {} in {what} {column}", ratio(*value)))
    });
    format!("{}.", said.collect::<Vec<_>>().join(", "))
}

fn draw(columns: &[Column], class: &str, scale: Scale, size: Size) -> (Frame, Markup) {
    let frame = Frame {
        width: size.pick(235.0, 340.0),
        height: 150.0,
        left: 44.0,
        right: 6.0,
        top: 10.0,
        bottom: 28.0,
    };
    let count = float(columns.len() as u64);
    let x = |index: usize| frame.x((float(index as u64) + 0.5) / count);
    let y = |value: f64| frame.y(scale.at(value));
    let (Scale::Log { low, high } | Scale::Linear { low, high }) = scale;
    let all = [0.1, 0.25, 0.5, 0.8, 1.0, 1.2, 1.4, 2.0, 4.0, 10.0, 100.0];
    let mut ticks: Vec<f64> = all.into_iter().filter(|tick| *tick > low && *tick < high).collect();
    let is_wide = high / low > 3.0;
    ticks.retain(|tick| !is_wide || ![0.8, 1.2, 1.4].contains(tick));
    let every = columns.len().div_ceil(10).max(1);
    let body = html! {
        (svg::rectangle("beyond", (frame.left, y(1.1)), (frame.x_max(), y(0.9))))
        @for tick in &ticks {
            (svg::rule(if (*tick - 1.0).abs() < 1e-9 { "axis" } else { "grid" },
                (frame.left, y(*tick)), (frame.x_max(), y(*tick))))
            (svg::text("e muted", (frame.left - 6.0, y(*tick) + 4.0), &format!("\u{d7}{tick}")))
        }
        @for (index, column) in columns.iter().enumerate().step_by(every) {
            (svg::text("m muted", (x(index), frame.y_max() + 18.0), &column.name))
        }
        g.(class) { g.data {
            @for (index, column) in columns.iter().enumerate() {
                @if let Some(cpu) = column.cpu {
                    (svg::marker("f", Shape::Circle, (x(index) - 4.5, y(cpu)), 4.0))
                }
                @if let Some(p99) = column.p99 {
                    (svg::marker("open", Shape::Circle, (x(index) + 4.5, y(p99)), 3.6))
                }
            }
        } }
    };
    (frame, body)
}

fn round_numbers(page: &Page<'_>) -> Markup {
    html! {
        table {
            thead { tr {
                th { "transport" } th { "round" } th { "CPU / msg" } th { "p50" } th { "p99" }
                th { "received" } th { "lost" }
            } }
            tbody { @for row in &page.rows { @for round in &row.run.rounds {
                @let latency = &round.latency_from_intended_ns;
                tr {
                    th { (row.name) } td { (round.round) }
                    @if let Some(failure) = &round.failure {
                        td.text colspan="5" { (failure) }
                    } @else {
                        td { (measured(round.server_cpu_ns_per_message_raw, |ns| {
                            signed_duration(STYLE, ns)
                        })) }
                        td { (percentile(latency, latency.p50, 20)) }
                        td { (percentile(latency, latency.p99, 1_000)) }
                        td { (STYLE.count(round.messages_received)) }
                        td { (STYLE.count(round.gaps)) }
                    }
                }
            } } }
        }
    }
}

fn agents(page: &Page<'_>) -> Markup {
    let rows: Vec<&Row<'_>> = page.rows.iter().filter(|row| !row.run.agents.is_empty()).collect();
    if rows.is_empty() {
        return html! {};
    }
    let bound = rows.iter().flat_map(|row| &row.run.agents).filter_map(|one| one.clock_bound_ns);
    let bound = bound.max().map(|ns| format!(" Clocks agree within {}.", duration(ns)));
    let is_cut = rows.iter().any(|row| row.run.agents.len() > AGENTS_DRAWN_MAX);
    let cut = if is_cut { " The three furthest from it are drawn." } else { "" };
    let content = html! {
        div.tiles.agents {
            @for row in &rows {
                @let columns = of_agents(&row.run.agents);
                @let title = format!("Agents over their median, {}", row.name);
                @let words = Words {
                    caption: html! { h3 { (mark(row)) (row.name) } },
                    title: &title,
                    finding: &finding(&columns, "agent"),
                    legend: html! {},
                    numbers: None,
                    is_small: true,
                };
                (figure(page, words, |size| draw_agents(&columns, size)))
            }
        }
        div.scroll { (agent_numbers(&rows)) }
    };
    let lead = format!(
        "Each agent over the median of all: CPU of the generator (filled) and p99 (hollow).{cut}{}",
        bound.unwrap_or_default()
    );
    part("agents", "Do the agents agree?", &lead, &content)
}

fn draw_agents(columns: &[Column], size: Size) -> (Frame, Markup) {
    let (mut frame, body) = draw(columns, "other", scale(columns.iter()), size);
    frame.height += 2.0;
    (frame, body)
}

/// All agents, or those furthest from the median.
fn of_agents(agents: &[Agent]) -> Vec<Column> {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of three digits")]
    let cpu = agents.iter().map(|agent| agent.cpu_ns_per_message.map(|ns| ns as f64));
    let p99 = agents.iter().map(|agent| agent.latency_from_intended_ns.p99.map(float));
    let names = agents.iter().map(|agent| short(&agent.name)).collect();
    let mut all = columns(names, cpu.collect(), p99.collect());
    if all.len() > AGENTS_DRAWN_MAX {
        all.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
        all.truncate(FURTHEST);
    }
    all
}

/// What fits below a column.
fn short(name: &str) -> String {
    const LENGTH_MAX: usize = 9;
    if name.chars().count() <= LENGTH_MAX {
        return name.to_owned();
    }
    let start: String = name.chars().take(LENGTH_MAX - 1).collect();
    format!("{start}\u{2026}")
}

fn agent_numbers(rows: &[&Row<'_>]) -> Markup {
    html! {
        table {
            thead { tr {
                th { "agent" } th { "connections" } th { "received" } th { "p50" } th { "p99" }
                th { "lag p99" } th { "CPU / msg" } th { "clock" }
            } }
            tbody { @for row in rows { @for agent in &row.run.agents {
                @let latency = &agent.latency_from_intended_ns;
                @let lag = &agent.schedule_lag_ns;
                tr {
                    th { (agent.name) @if rows.len() > 1 { ", " (row.name) } }
                    @if let Some(failure) = &agent.failure {
                        td.text colspan="7" { span.tag.failed { "lost" } (failure) }
                    } @else {
                        td { (STYLE.count(agent.connections)) }
                        td { (STYLE.count(agent.messages_received)) }
                        td { (percentile(latency, latency.p50, 20)) }
                        td { (percentile(latency, latency.p99, 1_000)) }
                        td { (percentile(lag, lag.p99, 1_000)) }
                        td { (measured(agent.cpu_ns_per_message, |ns| signed_duration(STYLE, ns))) }
                        td { (clock_of(agent)) }
                    }
                }
            } } }
        }
    }
}

fn clock_of(agent: &Agent) -> Markup {
    html! {
        (measured(agent.clock_offset_ns, |ns| signed_duration(STYLE, ns)))
        @if let Some(bound) = agent.clock_bound_ns { " \u{b1} " (duration(bound)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_over_their_median() {
        let all = columns(
            vec!["1".to_owned(), "2".to_owned(), "3".to_owned()],
            vec![Some(10.0), Some(20.0), Some(30.0)],
            vec![None, Some(5.0), None],
        );
        assert_eq!(all[0].cpu, Some(0.5));
        assert_eq!((all[1].cpu, all[1].p99), (Some(1.0), Some(1.0)));
        assert_eq!(
            finding(&all, "round"),
            "CPU at most \u{d7}0.50 in round 1, p99 at most \u{d7}1.00 in round 2."
        );
        assert_eq!(median(&[None, Some(0.0)]), None);
        assert_eq!(median(&[Some(1.0), Some(3.0)]), Some(2.0));
    }

    #[test]
    fn of_many_agents_the_furthest_are_drawn() {
        let agent = |index: u64| Agent {
            name: format!("agent number {index}"),
            cpu_ns_per_message: Some(1_000 + i64::from(index == 7) * 900),
            ..Agent::default()
        };
        let agents: Vec<Agent> = (0..12).map(agent).collect();
        let drawn = of_agents(&agents);
        assert_eq!(drawn.len(), 3);
        assert_eq!(drawn[0].cpu, Some(1.9));
        assert_eq!(drawn[0].name, "agent nu\u{2026}");
        assert_eq!(of_agents(&agents[..8]).len(), 8);
    }
}
