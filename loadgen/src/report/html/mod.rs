//! A result as one HTML file that needs no network, no script and no help.
//!
//! Not here: anything that is not in the [`Document`]. Invariants: whatever a peer said goes
//! through maud's escaping; every number of a chart is in the table behind it; what was not
//! measured is said, and never drawn as 0.

mod banner;
mod connections;
mod cost;
mod data;
mod detail;
mod diff;
mod figures;
mod machine;
mod palette;
mod repeat;
mod row;
mod sentence;
mod spectrum;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod time;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::row::{Row, rows};
use self::sentence::Limit;
use self::svg::{Frame, Size};
use super::number::{INSUFFICIENT, NOT_MEASURED, Style};
use crate::diff::Comparison;
use crate::result::{Document, Latency};
use crate::verdict::State;

/// Numbers as a browser can show them.
const STYLE: Style = Style { is_utf8: true };

/// No request leaves the page, whatever a peer managed to say.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:";

/// More rows than these share the page's bytes.
const CROWDED_ROWS: usize = 8;

/// What every part of the page looks at.
struct Page<'d> {
    document: &'d Document,
    rows: Vec<Row<'d>>,
    is_comparison: bool,
    /// Thresholds on a percentile from intended, which can be drawn; none judges an invalid run.
    limits: Vec<Limit>,
}

impl<'d> Page<'d> {
    fn of(document: &'d Document) -> Self {
        let runs = &document.runs;
        let is_invalid = document.verdict.state == State::Invalid;
        let limits = document.thresholds.iter().filter(|_| !is_invalid);
        Self {
            document,
            rows: rows(runs, &document.verdict.reasons),
            is_comparison: runs.len() > 1 || runs.iter().any(|run| run.direction.is_some()),
            limits: limits.filter_map(Limit::of).collect(),
        }
    }

    fn is_invalid(&self) -> bool {
        self.document.verdict.state == State::Invalid
    }

    /// Whether there is any latency to draw.
    fn is_delivered(&self) -> bool {
        self.rows.iter().any(|row| row.run.latency_from_intended_ns.count > 0)
    }

    /// So many rows that each gets less room, and fewer bytes.
    fn is_crowded(&self) -> bool {
        self.rows.len() > CROWDED_ROWS
    }

    /// Whether messages were the point: not where connections are only held or churned.
    fn is_about_messages(&self) -> bool {
        self.rows.iter().any(|row| !matches!(row.run.mode.as_str(), "idle" | "churn"))
    }
}

/// The page of two results beside each other.
pub(crate) fn diff(comparison: &Comparison) -> String {
    diff::page(comparison)
}

/// The page of a result.
pub(crate) fn page(document: &Document) -> String {
    let page = Page::of(document);
    let body = html! {
        (banner::header(&page))
        (banner::banners(&page))
        h1 { (sentence::headline(&page)) }
        p.lead { (sentence::workload(&page)) }
        (figures::figures(&page))
        (table::results(&page))
        (sections(&page))
        (data::links(document))
    };
    let class = page.is_invalid().then_some("invalid");
    shell(&sentence::title(&page), class, &body)
}

fn sections(page: &Page<'_>) -> Markup {
    html! {
        @if page.is_delivered() {
            (time::section(page))
            (spectrum::section(page))
            (cost::section(page))
        } @else if page.is_about_messages() {
            (banner::nothing_delivered(page))
        } @else {
            (cost::section(page))
        }
        (detail::opening(page))
        (detail::events(page))
        (connections::section(page))
        (table::errors(page))
        (repeat::section(page))
        (machine::trust(page))
        (machine::machine(page))
    }
}

/// Everything around the content.
fn shell(title: &str, class: Option<&str>, body: &Markup) -> String {
    let style = format!("{}{}", palette::css(), include_str!("page.css"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body class=[class] {
                main { (body) }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    }
    .into_string()
}

/// A part of the page: a heading, a sentence on how to read it, content.
fn part(id: &str, heading: &str, lead: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) {
            h2 { (heading) }
            @if !lead.is_empty() { p.lead { (lead) } }
            (content)
        }
    }
}

/// What stands at a figure beside its drawings.
struct Words<'w> {
    caption: Markup,
    /// For those who do not see the drawing: what it is, and what it says.
    title: &'w str,
    finding: &'w str,
    /// Below the drawings: a legend, if any.
    legend: Markup,
    /// The numbers, and what their disclosure is called.
    numbers: Option<(&'w str, Markup)>,
    /// One of many tiles: where they are crowded, the phone's drawing serves both.
    is_small: bool,
}

/// A chart drawn twice, once for wide pages and once for phones, with its numbers behind it.
fn figure(page: &Page<'_>, words: Words<'_>, draw: impl Fn(Size) -> (Frame, Markup)) -> Markup {
    let Words { caption, title, finding, legend, numbers, is_small } = words;
    html! {
        figure {
            figcaption {
                (caption)
                @if page.is_invalid() { span.stamp { "INVALID" } }
            }
            div.plot.small-only[page.is_crowded() && is_small] {
                @for size in Size::BOTH {
                    @if size == Size::Narrow || !(page.is_crowded() && is_small) {
                        @let (frame, body) = draw(size);
                        (svg::drawing(size, &frame, title, finding, &body))
                    }
                }
            }
            (legend)
            @if let Some((summary, table)) = numbers {
                details { summary { (summary) } div.scroll { (table) } }
            }
        }
    }
}

/// The marker of a row, small enough for a line of text.
fn mark(row: &Row<'_>) -> Markup {
    html! {
        svg.mark.(row.class) viewBox="0 0 14 14" aria-hidden="true" {
            (svg::marker("f", row.shape, (7.0, 7.0), 5.0))
        }
    }
}

/// An integer on an axis.
#[expect(clippy::cast_precision_loss, reason = "a tenth of a pixel needs no 53 bits")]
const fn float(value: u64) -> f64 {
    value as f64
}

/// A time in nanoseconds.
fn duration(ns: u64) -> String {
    super::duration(STYLE, ns)
}

/// A percentile, or why there is none.
fn percentile(latency: &Latency, value: Option<u64>, needed: u64) -> Markup {
    let text = super::percentile(STYLE, latency, value);
    let why = (text == INSUFFICIENT)
        .then(|| format!("needs {}, has {}", STYLE.count(needed), STYLE.count(latency.count)));
    let class = value.is_none().then_some("none");
    html! { span class=[class] title=[why] { (text) } }
}

/// What was measured, or that it was not.
fn measured<T>(value: Option<T>, show: impl Fn(T) -> String) -> Markup {
    match value {
        Some(value) => html! { (show(value)) },
        None => html! { span.none { (NOT_MEASURED) } },
    }
}

/// A time of the window as `m:ss`.
fn clock(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A length of time as it is said: `38 s`, `6 min 40 s`, `24 h`.
fn length(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    if seconds == 0 {
        return duration(ns);
    }
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, unit)| format!("{count}\u{a0}{unit}")).collect::<Vec<_>>().join(" ")
}

/// A ratio with the sign that HTML has for it.
fn ratio(value: f64) -> String {
    let text = STYLE.ratio(value);
    format!("\u{d7}{}", text.trim_start_matches('x'))
}
