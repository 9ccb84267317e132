//! Latencies for other tools: intervals as CSV, percentile spectra and interval logs of
//! HdrHistogram.
//!
//! Pure. Invariants: a unit stands in every column's name; what was not measured
//! is an empty field, never 0.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use loadgen::recorder::empty_histogram;
use std::io;
use std::time::Duration;

use crate::bundle::decode_histogram;
use crate::compare::row_name;
use crate::result::{Document, Interval, Run};

/// Steps of a spectrum for each halving of what is left to 100 %.
const TICKS_PER_HALF: u32 = 5;
/// Spectra are in milliseconds, as their plotters expect.
const NS_PER_MS: f64 = 1e6;
/// Maxima of interval logs are in milliseconds.
const LOG_DIVISOR: f64 = 1e6;
const LOG_VERSION: &[u8] = b"#[Histogram log format version 1.2]\n";
const LOG_LEGEND: &[u8] =
    b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// One row per interval, with a header.
pub(super) fn intervals(document: &Document) -> String {
    let mut text = String::from(
        "row,mode,start_ns,interval_ns,messages_sent,messages_received,errors,latency_p50_ns,\
         latency_p90_ns,latency_p99_ns,latency_p99_9_ns,latency_max_ns,connections_open\n",
    );
    for run in &document.runs {
        let (row, mode) = (field(&row_name(run)), field(&run.mode));
        for interval in &run.intervals {
            let histogram =
                interval.histogram.as_ref().and_then(|text| decode_histogram(text).ok());
            let latency = histogram.as_ref().map(crate::result::Latency::of);
            let from_histogram = |value: fn(&crate::result::Latency) -> Option<u64>| {
                number(latency.as_ref().and_then(value))
            };
            let max = interval.latency_max_ns.or_else(|| latency.and_then(|all| all.max));
            let columns = [
                row.clone(),
                mode.clone(),
                interval.start_ns.to_string(),
                number(run.interval_ns.or(Some(1_000_000_000))),
                interval.messages_sent.to_string(),
                interval.messages_received.to_string(),
                interval.errors.to_string(),
                number(interval.latency_p50_ns),
                from_histogram(|all| all.p90),
                number(interval.latency_p99_ns),
                from_histogram(|all| all.p99_9),
                number(max),
                number(interval.connections_open),
            ];
            text.push_str(&columns.join(","));
            text.push('\n');
        }
    }
    text
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A field of CSV (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The percentile spectrum of one row from intended, in the text form of HdrHistogram.
pub(super) fn spectrum(run: &Run) -> io::Result<Vec<u8>> {
    let histogram = intended(run)?;
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0_u64;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let value = in_ms(step.value_iterated_to());
        let quantile = step.quantile_iterated_to();
        text.push_str(&format!("{value:12.3} {quantile:2.12} {total:10}"));
        if quantile < 1.0 {
            text.push_str(&format!(" {:14.2}", 1.0 / (1.0 - quantile)));
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    text.push_str(&format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n"));
    let (max, count) = (in_ms(histogram.max()), histogram.len());
    text.push_str(&format!("#[Max     = {max:12.3}, Total count    = {count:12}]\n"));
    // As the layout has them: 2,048 linear below, 1,024 for each doubling.
    let doublings = 1 + loadgen::recorder::VALUE_NS_MAX.ilog2().saturating_sub(10);
    text.push_str(&format!("#[Buckets = {doublings:12}, SubBuckets     = {:12}]\n", 2_048));
    Ok(text.into_bytes())
}

#[expect(clippy::cast_precision_loss, reason = "three decimals are shown")]
fn in_ms(ns: u64) -> f64 {
    ns as f64 / NS_PER_MS
}

/// All latencies of a row from intended.
pub(super) fn intended(run: &Run) -> io::Result<Histogram<u64>> {
    match &run.histograms {
        Some(all) => decode_histogram(&all.intended).map_err(io::Error::other),
        // A row that failed has none.
        None => Ok(empty_histogram()),
    }
}

/// Every interval's histogram as an interval log of version 1.2, tagged by row.
pub(super) fn log(document: &Document) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let started = std::time::UNIX_EPOCH + Duration::from_secs(unix_s(&document.started_at));
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!(
            "loadgen: latency in nanoseconds from intended; {}",
            one_line(document)
        ))
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(LOG_DIVISOR)
        .begin_log_with(&mut bytes, &mut serializer)?;
    // By start, as readers expect; rows ran one after another, but each counts from its own.
    let mut all: Vec<(&Interval, &Run)> = Vec::new();
    for run in &document.runs {
        all.extend(run.intervals.iter().map(|interval| (interval, run)));
    }
    all.sort_by_key(|(interval, _)| interval.start_ns);
    for (interval, run) in all {
        let Some(text) = &interval.histogram else { continue };
        let histogram = decode_histogram(text).map_err(io::Error::other)?;
        let name = row_name(run);
        let length_ns = run.interval_ns.unwrap_or(1_000_000_000);
        log.write_histogram(
            &histogram,
            Duration::from_nanos(interval.start_ns),
            Duration::from_nanos(length_ns),
            Tag::new(&name),
        )
        .map_err(|error| io::Error::other(error.to_string()))?;
    }
    drop(log);
    // What the library leaves out: the version, and the names of the columns below the head.
    let body = bytes.split_inclusive(|byte| *byte == b'\n').take_while(|line| line[0] == b'#');
    let (head, body) = bytes.split_at(body.map(<[u8]>::len).sum());
    Ok([LOG_VERSION, head, LOG_LEGEND, body].concat())
}

fn one_line(document: &Document) -> String {
    document.command.replace(['\n', '\r'], " ")
}

/// Seconds since 1970 of what [`crate::result::utc`] wrote; 0 for anything else.
fn unix_s(text: &str) -> u64 {
    let digits: Vec<u64> = text
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect();
    let [year, month, day, hour, minute, second] = digits[..] else { return 0 };
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || day > 31 {
        return 0;
    }
    // Days of the Gregorian calendar, years beginning in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = days.saturating_sub(719_469);
    days * 86_400 + hour.min(23) * 3_600 + minute.min(59) * 60 + second.min(60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::utc;

    #[test]
    fn dates_are_read_as_they_are_written() {
        for unix_s_expected in [0, 951_782_399, 951_782_400, 1_709_251_199, 4_107_542_400] {
            assert_eq!(unix_s(&utc(unix_s_expected)), unix_s_expected);
        }
        for wrong in ["", "yesterday", "2026-13-01T00:00:00Z", "99999-01-01T00:00:00Z"] {
            assert_eq!(unix_s(wrong), 0, "{wrong}");
        }
    }

    #[test]
    fn fields_of_csv_are_quoted_where_they_must() {
        assert_eq!(field("poll@1s"), "poll@1s");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
