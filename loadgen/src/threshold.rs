//! `--threshold`: what a run has to reach, in k6's form: `p(99)<20ms`.
//!
//! Pure: text in, a rule out; a result in, met or not out. Invariant: what was not measured, and a
//! percentile that rests on too few samples, never meets a threshold.

use hdrhistogram::Histogram;
use loadgen::outcome::Snapshot;

use crate::bundle::decode_histogram;
use crate::cli::units;
use crate::compare::row_name;
use crate::report::number::{INSUFFICIENT, NOT_MEASURED, Style};
use crate::result::{Document, Latency, Run, ThresholdResult};

/// What may stand before the comparison.
const SUBJECTS: &str = "p(N), max, min, med, each also after sent. or connect.; errors, gaps, \
                        duplicates, reordered; rate";

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    /// As it was typed.
    expression: String,
    subject: Subject,
    comparison: Comparison,
    /// Nanoseconds, a count, a share or messages per second.
    limit: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Subject {
    Time(Series, Aggregate),
    Count(Count),
    /// The same over the messages that were expected.
    Share(Count),
    Rate,
}

/// Whose times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    Intended,
    Sent,
    Connect,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregate {
    /// A quantile from 0 to 1.
    Quantile(f64),
    Max,
    Min,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Errors,
    Gaps,
    Duplicates,
    Reordered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    /// Longer ones first: `<=` begins with `<`.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    /// Counts are whole and times are buckets' bounds: they compare exactly.
    #[expect(clippy::float_cmp, reason = "both are whole numbers, or shares of them")]
    fn holds(self, measured: f64, limit: f64) -> bool {
        match self {
            Self::Less => measured < limit,
            Self::LessOrEqual => measured <= limit,
            Self::Greater => measured > limit,
            Self::GreaterOrEqual => measured >= limit,
            Self::Equal => measured == limit,
            Self::NotEqual => measured != limit,
        }
    }

    /// Whether a greater value is the better one.
    const fn wants_more(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }
}

impl Threshold {
    /// As it was typed.
    pub(crate) fn expression(&self) -> &str {
        &self.expression
    }
}

/// Reads `[latency.|sent.|connect.]AGGREGATE OP VALUE`.
pub(crate) fn parse(text: &str) -> Result<Threshold, String> {
    let wrong = |rest: &str, what: String| {
        let column = text.len() - rest.len() + 1;
        format!("`{text}`: column {column}: {what}; for example p(99)<20ms or errors<0.1%")
    };
    let end = text.find(['<', '>', '=', '!']).ok_or_else(|| {
        wrong("", "here <, <=, >, >=, == or != and a value are missing".to_owned())
    })?;
    let (name, rest) = text.split_at(end);
    let Some((sign, comparison)) = Comparison::ALL.iter().find(|(sign, _)| rest.starts_with(sign))
    else {
        return Err(wrong(rest, "not one of <, <=, >, >=, ==, !=".to_owned()));
    };
    let value = rest[sign.len()..].trim_start();
    let subject = subject(name.trim()).map_err(|what| wrong(text, what))?;
    let (subject, limit) = limit(subject, value.trim_end()).map_err(|what| wrong(value, what))?;
    Ok(Threshold { expression: text.to_owned(), subject, comparison: *comparison, limit })
}

fn subject(name: &str) -> Result<Subject, String> {
    let count = match name {
        "errors" => Some(Count::Errors),
        "gaps" => Some(Count::Gaps),
        "duplicates" => Some(Count::Duplicates),
        "reordered" => Some(Count::Reordered),
        _ => None,
    };
    if let Some(count) = count {
        return Ok(Subject::Count(count));
    }
    if name == "rate" {
        return Ok(Subject::Rate);
    }
    let (series, aggregate) = match name.split_once('.') {
        Some(("latency", rest)) => (Series::Intended, rest),
        Some(("sent", rest)) => (Series::Sent, rest),
        Some(("connect", rest)) => (Series::Connect, rest),
        _ => (Series::Intended, name),
    };
    let aggregate = match aggregate {
        "max" => Aggregate::Max,
        "min" => Aggregate::Min,
        "med" => Aggregate::Quantile(0.5),
        "avg" | "mean" => {
            return Err("means hide what users feel: use p(50) or p(99)".to_owned());
        }
        other => {
            let inner = other.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
            let percent = inner.and_then(|percent| percent.parse::<f64>().ok());
            let percent = percent.filter(|percent| *percent > 0.0 && *percent < 100.0);
            let known = || format!("`{other}` is not one of {SUBJECTS} (N above 0, below 100)");
            Aggregate::Quantile(percent.ok_or_else(known)? / 100.0)
        }
    };
    Ok(Subject::Time(series, aggregate))
}

/// The value in the unit of its subject; a count in per cent is a share.
#[expect(clippy::cast_precision_loss, reason = "a limit of hours in nanoseconds is exact")]
fn limit(subject: Subject, value: &str) -> Result<(Subject, f64), String> {
    if value.is_empty() {
        return Err("here a value is missing".to_owned());
    }
    match (subject, value.strip_suffix('%')) {
        (Subject::Time(..), _) => Ok((subject, units::duration_ns(value)? as f64)),
        (Subject::Count(count), Some(percent)) => {
            let percent = units::rate(percent.trim_end())?.to_f64();
            Ok((Subject::Share(count), percent / 100.0))
        }
        (Subject::Count(_) | Subject::Share(_), _) => Ok((subject, units::count(value)? as f64)),
        (Subject::Rate, _) => Ok((subject, units::rate(value)?.to_f64())),
    }
}

/// What was found for one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    Value(f64),
    Insufficient,
    NotMeasured,
}

/// Every threshold, held against every row of the result.
pub(crate) fn evaluate(thresholds: &[Threshold], document: &Document) -> Vec<ThresholdResult> {
    thresholds.iter().map(|threshold| threshold.of_document(document)).collect()
}

/// The thresholds of a result that is evaluated again, as after merging.
pub(crate) fn reevaluate(document: &mut Document) {
    let expressions = document.thresholds.iter().map(|result| parse(&result.expression));
    let thresholds: Vec<Threshold> = expressions.flatten().collect();
    if thresholds.len() == document.thresholds.len() {
        document.thresholds = evaluate(&thresholds, document);
    }
}

impl Threshold {
    /// The row that is furthest from meeting it.
    fn of_document(&self, document: &Document) -> ThresholdResult {
        let found: Vec<(&Run, Found)> =
            document.runs.iter().map(|run| (run, self.of_run(run))).collect();
        let value = |found: Found| match found {
            Found::Value(value) if self.comparison.wants_more() => value,
            Found::Value(value) => -value,
            Found::Insufficient | Found::NotMeasured => f64::NEG_INFINITY,
        };
        let unmet = |found: Found| !self.is_met(found);
        // A row that misses it comes before one that does not, whatever their values: `!=` has no
        // order of its own.
        let worst = found.iter().min_by(|one, other| {
            let order = unmet(other.1).cmp(&unmet(one.1));
            order.then(value(one.1).total_cmp(&value(other.1)))
        });
        let found_worst = worst.map_or(Found::NotMeasured, |(_, found)| *found);
        let row = worst.filter(|_| found.len() > 1).map(|(run, _)| row_name(run));
        let row = row.map_or_else(String::new, |row| format!(" ({row})"));
        ThresholdResult {
            expression: self.expression.clone(),
            measured: match found_worst {
                Found::Value(value) => Some(value),
                Found::Insufficient | Found::NotMeasured => None,
            },
            shown: format!("{}{row}", self.shown(found_worst)),
            is_met: self.is_met(found_worst),
        }
    }

    fn is_met(&self, found: Found) -> bool {
        matches!(found, Found::Value(value) if self.comparison.holds(value, self.limit))
    }

    fn shown(&self, found: Found) -> String {
        let style = Style { is_utf8: false };
        match (found, self.subject) {
            (Found::Insufficient, _) => INSUFFICIENT.to_owned(),
            (Found::NotMeasured, _) => NOT_MEASURED.to_owned(),
            (Found::Value(ns), Subject::Time(..)) => style.duration(ns),
            (Found::Value(share), Subject::Share(_)) => style.share(share),
            (Found::Value(count), Subject::Count(_)) => style.amount(count),
            (Found::Value(rate), Subject::Rate) => format!("{}/s", style.amount(rate)),
        }
    }

    fn of_run(&self, run: &Run) -> Found {
        match self.subject {
            Subject::Time(series, aggregate) => {
                let texts = run.histograms.as_ref();
                let (latency, text) = match series {
                    Series::Intended => {
                        (&run.latency_from_intended_ns, texts.map(|all| &all.intended))
                    }
                    Series::Sent => (&run.latency_from_sent_ns, texts.map(|all| &all.sent)),
                    Series::Connect => (&run.connect_ns, texts.map(|all| &all.connect)),
                };
                of_latency(latency, text, aggregate)
            }
            Subject::Count(count) => Found::Value(to_f64(count.of(run))),
            Subject::Share(count) => share(count.of(run), run.messages_expected),
            Subject::Rate => run.achieved_per_s.map_or(Found::NotMeasured, Found::Value),
        }
    }

    /// Whether a run that has come so far misses it already for good reason: enough samples, and
    /// on the wrong side. A rate is only known at the end.
    pub(crate) fn is_missed_by(&self, now: &Snapshot) -> bool {
        let found = match self.subject {
            Subject::Time(series, aggregate) => {
                let histogram = match series {
                    Series::Intended => &now.intended,
                    Series::Sent => &now.from_sent,
                    // Not in a snapshot; its end is not far from the beginning anyway.
                    Series::Connect => return false,
                };
                of_histogram(histogram, aggregate)
            }
            Subject::Count(count) | Subject::Share(count) => {
                let counted = match count {
                    Count::Errors => now.errors.values().sum(),
                    Count::Duplicates => now.duplicates,
                    Count::Reordered => now.reordered,
                    // What is under way may still arrive.
                    Count::Gaps => return false,
                };
                match self.subject {
                    Subject::Share(_) => share(counted, now.intended.len()),
                    _ => Found::Value(to_f64(counted)),
                }
            }
            Subject::Rate => return false,
        };
        // Counts only grow: what wants more of them may be met later.
        matches!(found, Found::Value(_)) && !self.comparison.wants_more() && !self.is_met(found)
    }
}

impl Count {
    fn of(self, run: &Run) -> u64 {
        match self {
            Self::Errors => {
                run.errors.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
            }
            Self::Gaps => run.gaps,
            Self::Duplicates => run.duplicates,
            Self::Reordered => run.reordered,
        }
    }
}

/// From the histogram if it is there, else from the percentiles that every result tells.
fn of_latency(latency: &Latency, text: Option<&String>, aggregate: Aggregate) -> Found {
    if let Some(histogram) = text.and_then(|text| decode_histogram(text).ok()) {
        return of_histogram(&histogram, aggregate);
    }
    let told = [
        (0.5, latency.p50),
        (0.9, latency.p90),
        (0.99, latency.p99),
        (0.999, latency.p99_9),
        (0.9999, latency.p99_99),
    ];
    let found = match aggregate {
        Aggregate::Max => latency.max,
        Aggregate::Min => latency.min,
        Aggregate::Quantile(quantile) => {
            let same = told.iter().find(|(told, _)| (told - quantile).abs() < 1e-12);
            let Some((_, found)) = same else { return Found::NotMeasured };
            *found
        }
    };
    match found {
        Some(ns) => Found::Value(to_f64(ns)),
        None if latency.count == 0 => Found::NotMeasured,
        None => Found::Insufficient,
    }
}

fn of_histogram(histogram: &Histogram<u64>, aggregate: Aggregate) -> Found {
    if histogram.is_empty() {
        return Found::NotMeasured;
    }
    match aggregate {
        Aggregate::Max => Found::Value(to_f64(histogram.max())),
        Aggregate::Min => Found::Value(to_f64(histogram.min())),
        // The rule of `Latency::of`; a hair's breadth for the division.
        Aggregate::Quantile(quantile)
            if to_f64(histogram.len()) * (1.0 - quantile) < 10.0 - 1e-6 =>
        {
            Found::Insufficient
        }
        Aggregate::Quantile(quantile) => {
            Found::Value(to_f64(histogram.value_at_quantile(quantile)))
        }
    }
}

fn share(counted: u64, expected: u64) -> Found {
    match (counted, expected) {
        (0, 0) => Found::NotMeasured,
        // Errors without a single message: all of it.
        (_, 0) => Found::Value(1.0),
        _ => Found::Value(to_f64(counted) / to_f64(expected)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared with a limit of a few digits")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "threshold_tests.rs"]
mod tests;
