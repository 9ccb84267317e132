//! One measured scenario on the page: its name, its colour and marker, its points over time.
//!
//! Not here: how it is drawn. Invariant: points are merged from neighbouring intervals, never
//! sampled, so that no peak is lost.

use hdrhistogram::Histogram;

use super::svg::Shape;
use crate::bundle::decode_histogram;
use crate::compare::row_name;
use crate::result::{Interval, Latency, Run};

const NS_PER_S: u64 = 1_000_000_000;

/// A run and how it is told apart from the others.
#[derive(Debug)]
pub(super) struct Row<'d> {
    pub(super) run: &'d Run,
    pub(super) name: String,
    /// The CSS class of its colour.
    pub(super) class: &'static str,
    pub(super) shape: Shape,
    pub(super) timeline: Timeline,
    pub(super) is_suspect: bool,
}

/// What is drawn over time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) points: Vec<Point>,
    /// How many intervals one point stands for, at most.
    pub(super) merged: usize,
    /// Whether percentiles of merged intervals are those of their added histograms; otherwise each
    /// is the greatest of them.
    pub(super) is_exact: bool,
    pub(super) interval_ns: u64,
    /// Where rounds end.
    pub(super) rounds: Vec<u64>,
}

/// One or more neighbouring intervals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) p50: Option<u64>,
    pub(super) p99: Option<u64>,
    pub(super) max: Option<u64>,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) errors: u64,
    pub(super) open: Option<u64>,
}

impl Timeline {
    /// The intervals of `run` as at most about `count_max` points.
    pub(super) fn of(run: &Run, count_max: usize) -> Self {
        let starts: Vec<u64> = run.intervals.iter().map(|interval| interval.start_ns).collect();
        let apart = starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min();
        let interval_ns = run.interval_ns.or(apart).filter(|ns| *ns > 0).unwrap_or(NS_PER_S);
        let rounds = round_ends(run);
        let merged = run.intervals.len().div_ceil(count_max.max(1)).max(1);
        let is_exact = merged == 1 || run.intervals.iter().all(|one| one.histogram.is_some());
        let mut points = Vec::new();
        // A point never spans two rounds.
        for round in run.intervals.chunk_by(|one, next| {
            !rounds.iter().any(|end| (one.start_ns < *end) && (next.start_ns >= *end))
        }) {
            points.extend(round.chunks(merged).map(|part| Point::of(part, interval_ns)));
        }
        Self { points, merged, is_exact, interval_ns, rounds }
    }

    /// Where the last point ends.
    pub(super) fn end_ns(&self) -> u64 {
        self.points.last().map_or(0, |point| point.end_ns)
    }

    /// The point that ought to be looked at: the slowest message, where it took more than ten
    /// times the median p99.
    pub(super) fn worst(&self) -> Option<(&Point, u64)> {
        let mut p99s: Vec<u64> = self.points.iter().filter_map(|point| point.p99).collect();
        p99s.sort_unstable();
        let median = *p99s.get(p99s.len() / 2)?;
        let worst = self.points.iter().filter_map(|point| Some((point, point.max?)));
        worst.max_by_key(|(_, max)| *max).filter(|(_, max)| *max > median.saturating_mul(10))
    }
}

impl Point {
    fn of(intervals: &[Interval], interval_ns: u64) -> Self {
        let first = intervals.first().map_or(0, |interval| interval.start_ns);
        let last = intervals.last().map_or(0, |interval| interval.start_ns);
        let greatest =
            |field: fn(&Interval) -> Option<u64>| intervals.iter().filter_map(field).max();
        let sum =
            |field: fn(&Interval) -> u64| intervals.iter().map(field).fold(0, u64::saturating_add);
        let mut point = Self {
            start_ns: first,
            end_ns: last.saturating_add(interval_ns),
            p50: greatest(|interval| interval.latency_p50_ns),
            p99: greatest(|interval| interval.latency_p99_ns),
            max: greatest(|interval| interval.latency_max_ns),
            sent: sum(|interval| interval.messages_sent),
            received: sum(|interval| interval.messages_received),
            errors: sum(|interval| interval.errors),
            open: intervals.iter().rev().find_map(|interval| interval.connections_open),
        };
        if intervals.len() > 1
            && let Some(histogram) = added(intervals)
        {
            let latency = Latency::of(&histogram);
            (point.p50, point.p99) = (latency.p50, latency.p99);
            point.max = point.max.max(latency.max);
        }
        point
    }

    /// Its middle, in nanoseconds.
    pub(super) fn middle_ns(&self) -> u64 {
        self.start_ns + self.end_ns.saturating_sub(self.start_ns) / 2
    }
}

/// The sum of the histograms, if every interval carries one.
fn added(intervals: &[Interval]) -> Option<Histogram<u64>> {
    let mut sum: Option<Histogram<u64>> = None;
    for interval in intervals {
        let histogram = decode_histogram(interval.histogram.as_deref()?).ok()?;
        match &mut sum {
            Some(sum) => sum.add(&histogram).ok()?,
            None => sum = Some(histogram),
        }
    }
    sum
}

/// Ends of the rounds that were measured, one after the other.
fn round_ends(run: &Run) -> Vec<u64> {
    let mut end = 0_u64;
    let lengths = run.rounds.iter().map(|round| round.measured_ns).filter(|ns| *ns > 0);
    let ends = lengths.map(|ns| {
        end = end.saturating_add(ns);
        end
    });
    ends.collect()
}

/// The rows of a result, in its order. `reasons` are those of the verdict.
pub(super) fn rows<'d>(runs: &'d [Run], reasons: &[String]) -> Vec<Row<'d>> {
    // What fits in the page whatever the number of rows.
    let count_max = (320 / runs.len().max(1)).clamp(12, 120);
    let mut rows: Vec<Row<'d>> = Vec::with_capacity(runs.len());
    for run in runs {
        let (class, shape) = match run.transport.as_str() {
            "ws" => ("ws", Shape::Circle),
            "sse" => ("sse", Shape::Square),
            "longpoll" => ("longpoll", Shape::Triangle),
            "poll" => ("poll", Shape::Diamond),
            _ => ("other", Shape::Circle),
        };
        let short = row_name(run);
        let is_named = |reason: &String| {
            reason.strip_prefix(short.as_str()).is_some_and(|rest| rest.starts_with([':', ' ']))
        };
        let name = name(run);
        let earlier = rows.iter().filter(|row| self::name(row.run) == name).count();
        let name = if earlier == 0 { name } else { format!("{name} ({})", earlier + 1) };
        rows.push(Row {
            run,
            name,
            class,
            shape,
            timeline: Timeline::of(run, count_max),
            is_suspect: reasons.iter().any(is_named),
        });
    }
    rows
}

/// The longest name of a row.
const NAME_CHARS_MAX: usize = 14;

/// What people call it.
fn name(run: &Run) -> String {
    match run.transport.as_str() {
        "ws" => "WebSocket".to_owned(),
        "sse" => "SSE".to_owned(),
        "longpoll" => "Long poll".to_owned(),
        "poll" => {
            let short = row_name(run);
            let interval = short.split_once('@').map_or("", |(_, interval)| interval);
            let unit_at = interval.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
            let (number, unit) = interval.split_at(unit_at);
            if number.is_empty() { "Poll".to_owned() } else { format!("Poll {number}\u{a0}{unit}") }
        }
        // Whatever a file says: what charts have room for.
        other if other.chars().count() > NAME_CHARS_MAX => {
            let start: String = other.chars().take(NAME_CHARS_MAX - 1).collect();
            format!("{start}\u{2026}")
        }
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::encode_histogram;
    use crate::result::Round;
    use loadgen::recorder::empty_histogram;

    fn interval(second: u64, p99: Option<u64>) -> Interval {
        Interval {
            start_ns: second * NS_PER_S,
            messages_received: 5,
            latency_p50_ns: p99.map(|p99| p99 / 2),
            latency_p99_ns: p99,
            latency_max_ns: p99.map(|p99| p99 * 3),
            ..Interval::default()
        }
    }

    #[test]
    fn without_histograms_the_worst_of_neighbours_is_kept() {
        let intervals = (0..3_600).map(|second| interval(second, Some(1_000 + second % 77)));
        let mut run = Run { intervals: intervals.collect(), ..Run::default() };
        run.intervals[1_234].latency_p99_ns = Some(9_999_999);
        run.intervals[77].latency_max_ns = Some(8_888_888);
        let timeline = Timeline::of(&run, 120);
        assert_eq!((timeline.points.len(), timeline.merged, timeline.is_exact), (120, 30, false));
        assert_eq!(timeline.points.iter().filter_map(|point| point.p99).max(), Some(9_999_999));
        assert_eq!(timeline.points[2].max, Some(8_888_888));
        assert_eq!(timeline.points.iter().map(|point| point.received).sum::<u64>(), 3_600 * 5);
        assert_eq!(timeline.end_ns(), 3_600 * NS_PER_S);
        assert_eq!(timeline.worst().map(|(point, max)| (point.start_ns, max)), {
            Some((60 * NS_PER_S, 8_888_888))
        });
    }

    #[test]
    fn histograms_of_neighbours_are_added() {
        let with = |second: u64, value: u64| {
            let mut histogram = empty_histogram();
            histogram.record_n(value, 1_000).unwrap();
            Interval {
                histogram: Some(encode_histogram(&histogram)),
                ..interval(second, Some(value))
            }
        };
        let intervals = vec![with(0, 100), with(1, 100), with(2, 100), with(3, 900)];
        let run = Run { intervals, ..Run::default() };
        let timeline = Timeline::of(&run, 1);
        assert!(timeline.is_exact);
        let point = &timeline.points[0];
        // Three quarters took 100: that is the median, however slow the last interval was.
        assert_eq!((point.p50, point.p99, point.max), (Some(100), Some(900), Some(2_700)));
    }

    #[test]
    fn no_point_spans_two_rounds() {
        let intervals = (0..8).map(|second| interval(second, Some(1))).collect();
        let round = Round { measured_ns: 4 * NS_PER_S, ..Round::default() };
        let failed = Round::failed(2, "gone");
        let rounds = vec![round.clone(), failed, round];
        let run = Run { intervals, rounds, ..Run::default() };
        let timeline = Timeline::of(&run, 3);
        let starts: Vec<u64> = timeline.points.iter().map(|p| p.start_ns / NS_PER_S).collect();
        assert_eq!(starts, [0, 3, 4, 7]);
        assert_eq!(timeline.rounds, [4 * NS_PER_S, 8 * NS_PER_S]);
    }

    #[test]
    fn rows_are_named_for_people_and_suspects_are_tagged() {
        let run = |transport: &str, poll_interval_ns| Run {
            transport: transport.to_owned(),
            poll_interval_ns,
            ..Run::default()
        };
        let runs = [
            run("ws", None),
            run("poll", Some(NS_PER_S)),
            run("poll", Some(100_000_000)),
            run("ws", None),
            run("carrier pigeon", None),
        ];
        let reasons = ["poll@1s: the server".to_owned(), "wsx: other".to_owned()];
        let rows = rows(&runs, &reasons);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let expected =
            ["WebSocket", "Poll 1\u{a0}s", "Poll 100\u{a0}ms", "WebSocket (2)", "carrier pigeon"];
        assert_eq!(names, expected);
        let suspects: Vec<bool> = rows.iter().map(|row| row.is_suspect).collect();
        assert_eq!(suspects, [false, true, false, false, false]);
    }
}
