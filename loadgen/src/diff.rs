//! `diff`: what two results say about each other, before anybody draws it.
//!
//! Pure. Invariants: a ratio below 1 is better, whatever is compared; a word other than *cannot
//! tell* rests on an interval; an interval within one run is never passed off as one over runs.

use loadgen::outcome::Failure;
use serde_json::Value;

use crate::bundle::decode_histogram;
use crate::compare::row_name;
use crate::result::{Document, Estimate, Round, Run};
use crate::stats::{self, Blocks, RUNS_MIN};
use crate::verdict::State;

/// Runs that are never asked for: beyond, another method is needed.
const MORE_RUNS_MAX: u32 = 100;
const NS_PER_S: f64 = 1e9;

/// Two results beside each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) old: Side,
    pub(crate) new: Side,
    /// Everything about machine and scenario that is not the same.
    pub(crate) differences: Vec<Difference>,
    /// `--equal`: how far from 1 a ratio may lie and mean nothing.
    pub(crate) equal_share: f64,
    /// By transport, and by metric within it.
    pub(crate) rows: Vec<Row>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Side {
    pub(crate) command: String,
    pub(crate) started_at: String,
    pub(crate) commit: Option<String>,
    pub(crate) state: State,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// `machine.kernel`, `ws.connections`.
    pub(crate) field: String,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// One metric of one transport.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// `ws`, `poll@1s`.
    pub(crate) transport: String,
    pub(crate) metric: Metric,
    /// In the unit of the metric.
    pub(crate) old: Option<f64>,
    pub(crate) new: Option<f64>,
    /// New over old, for rates old over new: below 1 is better. The bounds are as good as `basis`.
    pub(crate) ratio: Option<f64>,
    /// 95 %.
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) basis: Basis,
    pub(crate) word: Word,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    P50,
    P99,
    P999,
    ServerCpu,
    WireBytes,
    ServerMemory,
    /// Of closed loops: in an open one it is what was asked for.
    Rate,
}

impl Metric {
    const ALL: [Self; 7] = [
        Self::P50,
        Self::P99,
        Self::P999,
        Self::ServerCpu,
        Self::WireBytes,
        Self::ServerMemory,
        Self::Rate,
    ];

    /// For tables and sentences.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::ServerCpu => "server CPU per message",
            Self::WireBytes => "wire bytes per message",
            Self::ServerMemory => "server memory per connection",
            Self::Rate => "rate (old/new)",
        }
    }

    /// Whether more of it is better, so that its ratio is turned over.
    pub(crate) const fn is_more_better(self) -> bool {
        matches!(self, Self::Rate)
    }

    const fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            Self::ServerCpu | Self::WireBytes | Self::ServerMemory | Self::Rate => None,
        }
    }

    fn of_run(self, run: &Run) -> Option<f64> {
        let latency = &run.latency_from_intended_ns;
        let server = run.server.as_ref();
        match self {
            Self::P50 => latency.p50.map(to_f64),
            Self::P99 => latency.p99.map(to_f64),
            Self::P999 => latency.p99_9.map(to_f64),
            Self::ServerCpu => server?.cpu_ns_per_message.map(signed_to_f64),
            Self::WireBytes => run.wire_bytes_per_message,
            Self::ServerMemory => server?.rss_bytes_per_connection.map(to_f64),
            Self::Rate => run.achieved_per_s.filter(|_| run.offered_per_s.is_none()),
        }
    }

    fn of_round(self, run: &Run, round: &Round) -> Option<f64> {
        let latency = &round.latency_from_intended_ns;
        match self {
            Self::P50 => latency.p50.map(to_f64),
            Self::P99 => latency.p99.map(to_f64),
            Self::P999 => latency.p99_9.map(to_f64),
            Self::ServerCpu => round.server_cpu_ns_per_message_raw.map(signed_to_f64),
            Self::WireBytes => round.wire_bytes_per_message,
            Self::ServerMemory => round.server_rss_bytes_per_connection.map(to_f64),
            Self::Rate if run.offered_per_s.is_none() && round.measured_ns > 0 => {
                Some(to_f64(round.messages_received) * NS_PER_S / to_f64(round.measured_ns))
            }
            Self::Rate => None,
        }
    }
}

/// What an interval rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// Repetitions, at least five a side: how many, of the side that has fewer.
    Runs(usize),
    /// The intervals of one run of each: another run may be different.
    WithinOneRun,
    /// There is none.
    Nothing,
}

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Better,
    Worse,
    /// The whole interval lies so close to 1 that it means nothing.
    NoDifference,
    /// About as many more runs of each would tell.
    CannotTell {
        more_runs: u32,
    },
}

impl Word {
    /// As printed; `equal_share` is the comparison's.
    pub(crate) fn text(self, equal_share: f64) -> String {
        match self {
            Self::Better => "better".to_owned(),
            Self::Worse => "worse".to_owned(),
            Self::NoDifference => {
                let percent = (equal_share * 1_000.0).round() / 10.0;
                format!("no difference beyond {percent} %")
            }
            Self::CannotTell { more_runs: MORE_RUNS_MAX } => {
                format!("cannot tell: {MORE_RUNS_MAX} more runs or more")
            }
            Self::CannotTell { more_runs: 1 } => "cannot tell: 1 more run".to_owned(),
            Self::CannotTell { more_runs } => format!("cannot tell: {more_runs} more runs"),
        }
    }
}

/// Compares `new` with `old`.
///
/// # Errors
/// Code 104 where there is nothing to compare, or it would not be fair and nobody forces it.
pub(crate) fn compare(
    old: &Document,
    new: &Document,
    equal_share: f64,
    is_forced: bool,
) -> Result<Comparison, Failure> {
    let by_name = |name: &String| new.runs.iter().find(|run| row_name(run) == *name);
    let pairs: Vec<(String, &Run, &Run)> = old
        .runs
        .iter()
        .filter_map(|run| {
            let name = row_name(run);
            by_name(&name).map(|other| (name, run, other))
        })
        .collect();
    if pairs.is_empty() {
        return Err(Failure::configuration("the two results have no transport in common"));
    }
    let mut differences = machine_differences(old, new);
    for (name, old, new) in &pairs {
        differences.extend(scenario_differences(name, old, new));
    }
    if !is_forced && !differences.is_empty() {
        let fields: Vec<String> = differences
            .iter()
            .map(|one| format!("{} ({} -> {})", one.field, one.old, one.new))
            .collect();
        return Err(Failure::configuration(format!(
            "not comparable: {}; --force compares them all the same",
            fields.join(", ")
        )));
    }
    let mut rows = Vec::new();
    for (name, old, new) in &pairs {
        rows.extend(compare_runs(name, old, new, equal_share));
    }
    if rows.is_empty() {
        return Err(Failure::configuration("neither result has a figure that both have"));
    }
    Ok(Comparison { old: side(old), new: side(new), differences, equal_share, rows })
}

fn side(document: &Document) -> Side {
    Side {
        command: document.command.clone(),
        started_at: document.started_at.clone(),
        commit: document.commit.clone(),
        state: document.verdict.state,
    }
}

/// Fields of the machine that differ. Limits are the shell's, not the machine's.
fn machine_differences(old: &Document, new: &Document) -> Vec<Difference> {
    let value = |document: &Document| serde_json::to_value(&document.machine).unwrap_or_default();
    let mut differences = Vec::new();
    differing("machine", &value(old), &value(new), &mut differences);
    differences.retain(|one| !one.field.starts_with("machine.limits"));
    differences
}

fn differing(field: &str, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let value = |of: &serde_json::Map<String, Value>| of.get(name).cloned();
            let (old, new) = (value(old).unwrap_or_default(), value(new).unwrap_or_default());
            differing(&format!("{field}.{name}"), &old, &new, found);
        }
    } else if old != new {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        found.push(Difference { field: field.to_owned(), old: text(old), new: text(new) });
    }
}

/// What makes two rows answers to different questions.
fn scenario_differences(name: &str, old: &Run, new: &Run) -> Vec<Difference> {
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let fields = [
        ("mode", old.mode.clone(), new.mode.clone()),
        ("connections", old.connections.to_string(), new.connections.to_string()),
        ("size_bytes", old.size_bytes.to_string(), new.size_bytes.to_string()),
        ("in_flight", number(old.in_flight.map(to_f64)), number(new.in_flight.map(to_f64))),
        ("offered_per_s", number(old.offered_per_s), number(new.offered_per_s)),
    ];
    let differing = fields.into_iter().filter(|(_, old, new)| old != new);
    differing
        .map(|(field, old, new)| Difference { field: format!("{name}.{field}"), old, new })
        .collect()
}

/// Every metric that both have.
fn compare_runs(name: &str, old: &Run, new: &Run, equal_share: f64) -> Vec<Row> {
    let within = within_one_run(old, new);
    let mut rows = Vec::new();
    for metric in Metric::ALL {
        let values = |run: &Run| -> Vec<f64> {
            let rounds = run.rounds.iter().filter(|round| round.failure.is_none());
            rounds.filter_map(|round| metric.of_round(run, round)).collect()
        };
        let (old_runs, new_runs) = (values(old), values(new));
        let count = old_runs.len().min(new_runs.len());
        let (old_value, new_value, estimate, basis) = match ratio(metric, &old_runs, &new_runs) {
            Some(estimate) => {
                let basis = Basis::Runs(count);
                (Some(median(&old_runs)), Some(median(&new_runs)), Some(estimate), basis)
            }
            None => {
                let (old, new) = (metric.of_run(old), metric.of_run(new));
                let (estimate, basis) = single(metric, old, new, &within);
                (old, new, estimate, basis)
            }
        };
        if old_value.is_none() && new_value.is_none() {
            continue;
        }
        let interval = estimate
            .filter(|_| basis != Basis::Nothing)
            .map(|estimate| (estimate.low, estimate.high));
        rows.push(Row {
            transport: name.to_owned(),
            metric,
            old: old_value,
            new: new_value,
            ratio: estimate.map(|estimate| estimate.value),
            interval,
            basis,
            word: word(estimate, basis, count, equal_share),
        });
    }
    rows
}

/// The ratio over runs, turned so that less is better.
fn ratio(metric: Metric, old: &[f64], new: &[f64]) -> Option<Estimate> {
    if metric.is_more_better() { stats::ratio(new, old) } else { stats::ratio(old, new) }
}

/// The ratio of two single figures, with the bounds that the intervals within the runs give.
fn single(
    metric: Metric,
    old: Option<f64>,
    new: Option<f64>,
    within: &[(Metric, (f64, f64))],
) -> (Option<Estimate>, Basis) {
    let (Some(old), Some(new)) = (old, new) else { return (None, Basis::Nothing) };
    let value = if metric.is_more_better() { old / new } else { new / old };
    if !(value.is_finite() && value > 0.0) {
        return (None, Basis::Nothing);
    }
    let bounds = within.iter().find(|(of, _)| *of == metric);
    match bounds {
        // A bootstrap may leave its own point outside; the interval says both then.
        Some((_, (low, high))) => {
            let estimate = Estimate { value, low: low.min(value), high: high.max(value) };
            (Some(estimate), Basis::WithinOneRun)
        }
        None => (Some(Estimate { value, low: value, high: value }), Basis::Nothing),
    }
}

/// Bounds of the ratios of percentiles, from the intervals of one run each; empty without their
/// histograms, as in plain JSON.
fn within_one_run(old: &Run, new: &Run) -> Vec<(Metric, (f64, f64))> {
    let blocks = |run: &Run| {
        let texts = run.intervals.iter().map(|interval| interval.histogram.as_ref());
        let decoded = texts.map(|text| decode_histogram(text?).ok());
        Blocks::of(&decoded.collect::<Option<Vec<_>>>()?)
    };
    let (Some(old), Some(new)) = (blocks(old), blocks(new)) else { return Vec::new() };
    let metrics: Vec<(Metric, f64)> =
        Metric::ALL.into_iter().filter_map(|one| Some((one, one.quantile()?))).collect();
    let quantiles: Vec<f64> = metrics.iter().map(|(_, quantile)| *quantile).collect();
    let bounds = stats::bootstrap(&old, &new, &quantiles, 1);
    metrics
        .iter()
        .zip(bounds)
        .filter_map(|((metric, _), bounds)| Some((*metric, bounds?)))
        .collect()
}

/// What the interval says.
fn word(estimate: Option<Estimate>, basis: Basis, runs: usize, equal_share: f64) -> Word {
    let missing = RUNS_MIN.saturating_sub(runs);
    let at_least = u32::try_from(missing).unwrap_or(MORE_RUNS_MAX).max(1);
    let (Some(estimate), true) = (estimate, basis != Basis::Nothing) else {
        return Word::CannotTell { more_runs: at_least };
    };
    let (low_zone, high_zone) = (1.0 / (1.0 + equal_share), 1.0 + equal_share);
    if low_zone <= estimate.low && estimate.high <= high_zone {
        return Word::NoDifference;
    }
    if estimate.high < 1.0 && estimate.value < low_zone {
        return Word::Better;
    }
    if estimate.low > 1.0 && estimate.value > high_zone {
        return Word::Worse;
    }
    Word::CannotTell { more_runs: more_runs(estimate, runs, equal_share).max(at_least) }
}

/// How many more runs of each side would tell, as an interval shrinks with the root of their
/// number: until it leaves 1, or fits between the bounds of what means nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a few hundred; a cast from float saturates"
)]
fn more_runs(estimate: Estimate, runs: usize, equal_share: f64) -> u32 {
    let point = estimate.value.ln().abs();
    let zone = equal_share.ln_1p();
    let half_width = (estimate.high.ln() - estimate.low.ln()) / 2.0;
    let target = if point > zone { point } else { zone - point };
    let runs = f64::from(u32::try_from(runs.max(RUNS_MIN)).unwrap_or(MORE_RUNS_MAX));
    let needed = runs * (half_width / target).powi(2) - runs;
    if needed.is_finite() { (needed.ceil() as u32).min(MORE_RUNS_MAX) } else { MORE_RUNS_MAX }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    stats::middle(&sorted)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of three digits")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of three digits")]
const fn signed_to_f64(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
