//! The percentile spectrum: how slow the slowest one in a hundred, thousand, ten thousand was.
//!
//! Not here: percentiles of the table. Invariants: a line ends where fewer than ten samples lie
//! beyond it; a threshold is drawn at its own percentile only.

use maud::{Markup, html};

use super::row::Row;
use super::svg::{self, Frame, Scale, Size};
use super::time::latency_grid;
use super::{Page, STYLE, Words, duration, figure, float, mark, measured, part};
use crate::bundle::decode_histogram;
use crate::result::Latency;

/// Points of a line; between them it is straight on these axes.
const POINTS_MAX: usize = 60;
/// And of all lines together, so that many rows fit in one page.
const POINTS_OF_ALL: usize = 240;
/// Where the axis has ticks, and tables have columns.
const QUANTILES: [(f64, &str); 5] = [
    (0.5, "50\u{a0}%"),
    (0.9, "90\u{a0}%"),
    (0.99, "99\u{a0}%"),
    (0.999, "99.9\u{a0}%"),
    (0.9999, "99.99\u{a0}%"),
];

/// One row's two lines: places are log10 of 1/(1-p), values nanoseconds.
struct Curve<'p, 'd> {
    row: &'p Row<'d>,
    intended: Vec<(f64, u64)>,
    sent: Vec<(f64, u64)>,
    /// Points only: the file has no histograms.
    is_sparse: bool,
}

/// The section.
pub(super) fn section(page: &Page<'_>) -> Markup {
    let curves: Vec<Curve<'_, '_>> = {
        let points = (POINTS_OF_ALL / page.rows.len().max(1)).clamp(12, POINTS_MAX);
        page.rows.iter().map(|row| Curve::of(row, points)).collect()
    };
    let curves: Vec<_> = curves.into_iter().filter(|curve| !curve.intended.is_empty()).collect();
    let values = || curves.iter().flat_map(|curve| curve.intended.iter().chain(&curve.sent));
    let Some(greatest) = values().map(|(_, ns)| *ns).max() else { return html! {} };
    // The fastest message of all would stretch the axis over what nobody asks.
    let medians = curves.iter().filter_map(|curve| curve.row.run.latency_from_intended_ns.p50);
    let least = medians.min().unwrap_or(greatest);
    let limits = page.limits.iter().map(|limit| limit.ns);
    let greatest = limits.chain([greatest]).max().unwrap_or(greatest);
    let latency = Scale::decades(float(least), float(greatest));
    let is_sparse = curves.iter().any(|curve| curve.is_sparse);
    let mut lead = "Solid: from intended time. Dashed: from the actual send. Where the two part, \
                    messages waited before they were sent."
        .to_owned();
    if is_sparse {
        lead.push_str(
            " This file has no histograms: only the percentiles of the table are drawn. A bundle \
             draws the whole curve.",
        );
    }
    let words = Words {
        caption: html! {},
        title: "Percentile spectrum of latency",
        finding: &finding(&curves),
        legend: legend(&curves),
        numbers: Some(("Numbers behind this chart", numbers(&curves))),
        is_small: false,
    };
    let chart = figure(page, words, |size| draw(page, &curves, latency, size));
    part("tail", "How bad is the tail?", &lead, &chart)
}

/// The place of a quantile on the axis.
fn place(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

impl<'p, 'd> Curve<'p, 'd> {
    fn of(row: &'p Row<'d>, points: usize) -> Self {
        let run = row.run;
        let histograms = run.histograms.as_ref();
        let [intended, sent] = [
            (histograms.map(|all| &all.intended), &run.latency_from_intended_ns),
            (histograms.map(|all| &all.sent), &run.latency_from_sent_ns),
        ]
        .map(|(encoded, latency)| {
            let whole = encoded.map(|text| whole(text, points)).filter(|points| !points.is_empty());
            (whole.is_none(), whole.unwrap_or_else(|| told(latency)))
        });
        Self { row, is_sparse: intended.0, intended: intended.1, sent: sent.1 }
    }

    fn last(&self) -> (f64, u64) {
        self.intended.last().copied().unwrap_or_default()
    }
}

/// The whole curve, as far as ten samples lie beyond.
fn whole(encoded: &str, points: usize) -> Vec<(f64, u64)> {
    let Ok(histogram) = decode_histogram(encoded) else { return Vec::new() };
    let end = (float(histogram.len()) / 10.0).log10();
    if end <= 0.0 || !end.is_finite() {
        return Vec::new();
    }
    let point = |index: usize| {
        let at = end * float(index as u64) / float(points as u64);
        (at, histogram.value_at_quantile(1.0 - 10_f64.powf(-at)).max(1))
    };
    (0..=points).map(point).collect()
}

/// The percentiles that a result without histograms tells.
fn told(latency: &Latency) -> Vec<(f64, u64)> {
    let values = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99];
    let pairs = QUANTILES.iter().zip(values);
    pairs.filter_map(|((quantile, _), ns)| Some((place(*quantile), ns?))).collect()
}

/// The value of a curve at a place on its line.
fn value_at(points: &[(f64, u64)], at: f64) -> Option<f64> {
    let after = points.iter().position(|(place, _)| *place >= at - 1e-6)?;
    let (place, ns) = points[after];
    let before = after.checked_sub(1).map(|index| points[index]);
    let Some((place_before, ns_before)) = before.filter(|_| place - at > 1e-6) else {
        return Some(float(ns));
    };
    let share = (at - place_before) / (place - place_before);
    Some((float(ns_before).ln() * (1.0 - share) + float(ns).ln() * share).exp())
}

fn finding(curves: &[Curve<'_, '_>]) -> String {
    let each = curves.iter().map(|curve| {
        let latency = &curve.row.run.latency_from_intended_ns;
        let values = [("p50", latency.p50), ("p99", latency.p99), ("p99.9", latency.p99_9)];
        let values = values.iter().filter_map(|(n, ns)| Some(format!("{n} {}", duration((*ns)?))));
        format!("{}: {}", curve.row.name, values.collect::<Vec<_>>().join(", "))
    });
    format!("{}.", each.collect::<Vec<_>>().join("; "))
}

fn legend(curves: &[Curve<'_, '_>]) -> Markup {
    html! {
        p.legend {
            @if curves.len() > 1 {
                @for curve in curves { span.key { (mark(curve.row)) (curve.row.name) } }
            }
            span {
                svg.dash viewBox="0 0 26 8" aria-hidden="true" { path d="M0 4h26" {} }
                "from sent"
            }
        }
    }
}

fn numbers(curves: &[Curve<'_, '_>]) -> Markup {
    let time = |value: Option<u64>| measured(value, duration);
    html! {
        table {
            thead { tr {
                th { "transport" } th { "from" }
                @for (_, name) in QUANTILES { th { (name) } }
                th { "max" } th { "samples" }
            } }
            tbody { @for curve in curves {
                @let run = curve.row.run;
                @for (from, latency) in [
                    ("intended", &run.latency_from_intended_ns),
                    ("sent", &run.latency_from_sent_ns),
                ] {
                    tr {
                        th { (curve.row.name) } td { (from) }
                        td { (super::percentile(latency, latency.p50, 20)) }
                        td { (super::percentile(latency, latency.p90, 100)) }
                        td { (super::percentile(latency, latency.p99, 1_000)) }
                        td { (super::percentile(latency, latency.p99_9, 10_000)) }
                        td { (super::percentile(latency, latency.p99_99, 100_000)) }
                        td { (time(latency.max)) }
                        td { (STYLE.count(latency.count)) }
                    }
                }
            } }
        }
    }
}

fn draw(page: &Page<'_>, curves: &[Curve<'_, '_>], latency: Scale, size: Size) -> (Frame, Markup) {
    let frame = Frame {
        width: size.pick(1000.0, 340.0),
        height: size.pick(400.0, 380.0),
        left: 62.0,
        right: size.pick(160.0, 8.0),
        top: 14.0,
        bottom: 46.0,
    };
    let end = curves.iter().map(|curve| curve.last().0).fold(0.0, f64::max);
    // Some room beyond the last line, to say that nothing is known there.
    let places = Scale::Linear { low: 0.0, high: (end * 1.09).max(1.0) };
    let x_end = frame.x(places.at(end));
    let x_title = frame.left + (frame.x_max() - frame.left) / 2.0;
    let too_few = size.pick("too few samples beyond here \u{2192}", "too few \u{2192}");
    let body = html! {
        (svg::rectangle("beyond", (x_end, frame.top), (frame.x_max(), frame.y_max())))
        (latency_grid(&frame, latency))
        @for (quantile, name) in [(0.0, "0")].iter().chain(&QUANTILES) {
            @if place(*quantile) <= end {
                @let x = frame.x(places.at(place(*quantile)));
                (svg::rule("grid", (x, frame.top), (x, frame.y_max())))
                @if *quantile > 0.0 || size == Size::Wide {
                    (svg::text("m muted", (x, frame.y_max() + 18.0), name))
                }
            }
        }
        (svg::text("m muted", (x_title, frame.height - 6.0), size.pick(
            "share of messages that were faster (log scale of 1 / (1 \u{2212} p))",
            "share of messages that were faster",
        )))
        @for curve in curves { (lines(curve, &frame, places, latency, page.is_crowded())) }
        (svg::text("e small muted", (x_end - 5.0, frame.y_max() - 8.0), too_few))
        (thresholds(page, &frame, places, latency, size))
        @if size == Size::Wide { (names(curves, &frame, latency)) }
    };
    (frame, body)
}

fn lines(
    curve: &Curve<'_, '_>,
    frame: &Frame,
    places: Scale,
    latency: Scale,
    is_crowded: bool,
) -> Markup {
    let at = |place: f64, ns: f64| (frame.x(places.at(place)), frame.y(latency.at(ns)));
    let points = |line: &[(f64, u64)]| {
        line.iter().map(|(place, ns)| Some(at(*place, float(*ns)))).collect::<Vec<_>>()
    };
    let class = if curve.is_sparse { "guess" } else { "line" };
    // One marker a line where there are many lines: at p99.
    let marked = if is_crowded { &QUANTILES[2..3] } else { &QUANTILES[..] };
    let marks = marked.iter().filter_map(|(quantile, _)| {
        let place = place(*quantile);
        Some(at(place, value_at(&curve.intended, place)?))
    });
    html! {
        g.(curve.row.class) {
            g.data {
                @if !curve.is_sparse { (svg::line("sent", &points(&curve.sent))) }
                (svg::line(class, &points(&curve.intended)))
                @for point in marks { (svg::marker("f halo", curve.row.shape, point, 5.0)) }
            }
        }
    }
}

/// A threshold as a short bar at its own percentile.
fn thresholds(page: &Page<'_>, frame: &Frame, places: Scale, latency: Scale, size: Size) -> Markup {
    html! {
        @for limit in &page.limits {
            @let x = frame.x(places.at(place(limit.quantile)));
            @let y = frame.y(latency.at(float(limit.ns)));
            @let half = size.pick(36.0, 16.0);
            @let is_left = x - half - size.pick(100.0, 70.0) > frame.left;
            @let (class, x_text) = if is_left {
                ("e failed", x - half - 5.0)
            } else {
                ("failed", x + half + 5.0)
            };
            (svg::rule("limit", (x - half, y), (x + half, y)))
            (svg::text(class, (x_text, y + 4.0), &limit.shown))
        }
    }
}

/// Names at the ends of the lines.
fn names(curves: &[Curve<'_, '_>], frame: &Frame, latency: Scale) -> Markup {
    let wanted: Vec<f64> =
        curves.iter().map(|curve| frame.y(latency.at(float(curve.last().1)))).collect();
    let is_tight = curves.len() > 9;
    let gap = if is_tight { 16.0 } else { 36.0 };
    let placed = svg::push_apart(&wanted, gap, frame.top + 6.0, frame.y_max() - gap / 2.0);
    html! {
        @for (curve, y) in curves.iter().zip(placed) {
            @let x = frame.x_max() + 16.0;
            g.(curve.row.class) { (svg::marker("f", curve.row.shape, (x, y), 5.0)) }
            (svg::text("strong", (x + 12.0, y + 4.0), &curve.row.name))
            @if let Some(ns) = curve.row.run.latency_from_intended_ns.p99_9.filter(|_| !is_tight) {
                @let text = format!("p99.9 {}", duration(ns));
                (svg::text("small muted", (x + 12.0, y + 19.0), &text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::encode_histogram;
    use loadgen::recorder::empty_histogram;

    #[test]
    fn the_curve_ends_where_ten_samples_lie_beyond() {
        let mut histogram = empty_histogram();
        for value in 1..=1_000 {
            histogram.record(value * 1_000).unwrap();
        }
        let points = whole(&encode_histogram(&histogram), 60);
        assert_eq!(points.len(), 61);
        let (end, ns) = points[60];
        assert!((end - 2.0).abs() < 1e-9);
        assert_eq!(ns, histogram.value_at_quantile(0.99));
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        assert!(whole("nonsense", 60).is_empty());
        assert!(whole(&encode_histogram(&empty_histogram()), 60).is_empty());
    }

    #[test]
    fn markers_lie_on_the_line() {
        let points = [(0.0, 100), (1.0, 10_000)];
        let middle = value_at(&points, 0.5).unwrap();
        assert!((middle - 1_000.0).abs() < 1e-6, "{middle}");
        assert_eq!(value_at(&points, 1.0), Some(10_000.0));
        assert_eq!(value_at(&points, 1.1), None);
        assert_eq!(value_at(&[], 0.0), None);
    }
}
