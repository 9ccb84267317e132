//! Results for machines that watch: Prometheus' text exposition and JUnit's XML.
//!
//! Invariants: latencies are classic histograms, never percentiles as gauges, which cannot be
//! added; what was not measured is absent; nothing from a peer or a flag leaves its quotes.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::bundle::decode_histogram;
use crate::compare::row_name;
use crate::result::{Document, Histograms, Run};
use crate::verdict::State;

/// Upper bounds of the buckets: three for each decade from 10 us to 100 s.
const BOUNDS_NS: [u64; 22] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    50_000_000_000,
    100_000_000_000,
];

/// Labels that are ours, besides which `--label` cannot name another.
pub(crate) const LABELS_TAKEN: [&str; 5] = ["row", "mode", "from", "code", "le"];

/// One metric of a row, if it was measured.
type Figure = fn(&Run) -> Option<f64>;

/// Name, type, help and source of each plain metric.
const FIGURES: [(&str, &str, &str, Figure); 12] = [
    ("messages_sent_total", "counter", "Messages or publications sent", |run| {
        Some(to_f64(run.messages_sent))
    }),
    ("messages_received_total", "counter", "Replies or deliveries received", |run| {
        Some(to_f64(run.messages_received))
    }),
    ("messages_expected_total", "counter", "Replies or deliveries expected", |run| {
        Some(to_f64(run.messages_expected))
    }),
    ("gaps_total", "counter", "Messages that never arrived", |run| Some(to_f64(run.gaps))),
    ("duplicates_total", "counter", "Messages received again", |run| Some(to_f64(run.duplicates))),
    ("reordered_total", "counter", "Messages received late", |run| Some(to_f64(run.reordered))),
    ("connections_open", "gauge", "Connections open when measuring began", |run| {
        Some(to_f64(run.connection_counts.open))
    }),
    ("measured_seconds", "gauge", "Length of the measured time", |run| {
        Some(to_f64(run.measured_ns) / 1e9)
    }),
    ("achieved_per_second", "gauge", "Messages received per second", |run| run.achieved_per_s),
    ("offered_per_second", "gauge", "Messages per second that were asked for", |run| {
        run.offered_per_s
    }),
    ("wire_bytes_per_message", "gauge", "Bytes on the TCP streams per message", |run| {
        run.wire_bytes_per_message
    }),
    ("server_cpu_seconds_total", "counter", "CPU time of the server while measuring", |run| {
        Some(to_f64(run.server?.cpu_ns?) / 1e9)
    }),
];

/// Where the text of a histogram stands.
type Place = fn(&Histograms) -> &String;

/// Whose times a histogram holds.
const SERIES: [(&str, Place); 2] = [("intended", |all| &all.intended), ("sent", |all| &all.sent)];

/// Prometheus' text exposition, version 0.0.4.
pub(super) fn prometheus(document: &Document) -> io::Result<String> {
    let mut text = String::new();
    for (name, kind, help, figure) in FIGURES {
        let mut lines = String::new();
        for run in &document.runs {
            if let Some(value) = figure(run) {
                let labels = labels(document, run, &[]);
                lines.push_str(&format!("loadgen_{name}{{{labels}}} {value}\n"));
            }
        }
        family(&mut text, name, kind, help, &lines);
    }
    let mut lines = String::new();
    for run in &document.runs {
        for (code, count) in &run.errors {
            let labels = labels(document, run, &[("code", code)]);
            lines.push_str(&format!("loadgen_errors_total{{{labels}}} {count}\n"));
        }
    }
    family(&mut text, "errors_total", "counter", "Errors by code", &lines);
    let (mut latency, mut connect) = (String::new(), String::new());
    for run in &document.runs {
        let Some(all) = &run.histograms else { continue };
        for (from, series) in SERIES {
            let histogram = decode_histogram(series(all)).map_err(io::Error::other)?;
            let labels = labels(document, run, &[("from", from)]);
            histogram_lines(&mut latency, "latency_seconds", &labels, &histogram);
        }
        let histogram = decode_histogram(&all.connect).map_err(io::Error::other)?;
        histogram_lines(&mut connect, "connect_seconds", &labels(document, run, &[]), &histogram);
    }
    family(&mut text, "latency_seconds", "histogram", "Latency of messages", &latency);
    family(&mut text, "connect_seconds", "histogram", "Time to be connected", &connect);
    let valid = u8::from(document.verdict.state != State::Invalid);
    family(
        &mut text,
        "valid",
        "gauge",
        "0 for an invalid run",
        &format!("loadgen_valid {valid}\n"),
    );
    Ok(text)
}

/// Help, type and lines of a metric that has any.
fn family(text: &mut String, name: &str, kind: &str, help: &str, lines: &str) {
    if !lines.is_empty() {
        text.push_str(&format!("# HELP loadgen_{name} {help}.\n# TYPE loadgen_{name} {kind}\n"));
        text.push_str(lines);
    }
}

fn histogram_lines(text: &mut String, name: &str, labels: &str, histogram: &Histogram<u64>) {
    let mut line = |suffix: &str, le: &str, value: &str| {
        text.push_str(&format!("loadgen_{name}{suffix}{{{labels}{le}}} {value}\n"));
    };
    let mut below = 0;
    let mut sum_ns = 0.0;
    let mut recorded = histogram.iter_recorded().peekable();
    for bound_ns in BOUNDS_NS {
        // A bucket whose range holds the bound counts as below it: off by one part in 1,024.
        let is_below = |value| histogram.lowest_equivalent(value) <= bound_ns;
        while let Some(step) = recorded.next_if(|step| is_below(step.value_iterated_to())) {
            below += step.count_at_value();
            sum_ns += to_f64(step.value_iterated_to()) * to_f64(step.count_at_value());
        }
        line("_bucket", &format!(",le=\"{}\"", to_f64(bound_ns) / 1e9), &below.to_string());
    }
    for step in recorded {
        sum_ns += to_f64(step.value_iterated_to()) * to_f64(step.count_at_value());
    }
    line("_bucket", ",le=\"+Inf\"", &histogram.len().to_string());
    line("_sum", "", &(sum_ns / 1e9).to_string());
    line("_count", "", &histogram.len().to_string());
}

fn labels(document: &Document, run: &Run, own: &[(&str, &str)]) -> String {
    let row = row_name(run);
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([("row", &*row), ("mode", &*run.mode)]);
    for (name, value) in &document.labels {
        all.entry(name).or_insert(value);
    }
    all.extend(own.iter().copied());
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let each = all.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
    each.collect::<Vec<_>>().join(",")
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are of this type")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

/// The verdict and every threshold as JUnit's test cases.
pub(super) fn junit(document: &Document) -> String {
    let is_invalid = document.verdict.state == State::Invalid;
    let missed = document.thresholds.iter().filter(|result| !result.is_met).count();
    let tests = 1 + document.thresholds.len();
    let failures = missed + usize::from(is_invalid);
    let seconds = to_f64(document.runs.iter().map(|run| run.measured_ns).sum()) / 1e9;
    let (command, at) = (xml(&document.command), xml(&document.started_at));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{command}\" \
         tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" timestamp=\"{at}\" \
         time=\"{seconds:.3}\">\n"
    );
    let reasons = document.verdict.reasons.join("; ");
    let word = document.verdict.state.word();
    case(&mut text, "verdict", "the run can be trusted", !is_invalid, &format!("{word} {reasons}"));
    for result in &document.thresholds {
        let found = format!("measured {}", result.shown);
        case(&mut text, "threshold", &result.expression, result.is_met, &found);
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

fn case(text: &mut String, class: &str, name: &str, is_passed: bool, found: &str) {
    let (name, found) = (xml(name), xml(found.trim()));
    // Writing into a string cannot fail.
    let _ = write!(text, "<testcase classname=\"loadgen.{class}\" name=\"{name}\" time=\"0\"");
    if is_passed {
        let _ = writeln!(text, "><system-out>{found}</system-out></testcase>");
    } else {
        let _ = writeln!(text, "><failure message=\"{found}\"/></testcase>");
    }
}

/// Text as XML 1.0 can carry it.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\r' => escaped.push(' '),
            // Not allowed even when escaped.
            control if control < ' ' || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            other => escaped.push(other),
        }
    }
    escaped
}
