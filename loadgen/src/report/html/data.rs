//! The result inside its own page: what was drawn can be read again, without the network.
//!
//! Not here: histograms, which are in bundles. Invariant: above 100 KB the intervals are left out
//! and the page says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use maud::{Markup, html};
use std::fmt::Write as _;
use std::io::Write as _;

use super::part;
use crate::compare::row_name;
use crate::result::{Document, Interval};

/// The two links together may be this long.
const LINK_BYTES_MAX: usize = 100_000;

/// The section of the two links.
pub(super) fn links(document: &Document) -> Markup {
    let mut plain = document.clone();
    for run in &mut plain.runs {
        run.histograms = None;
        for interval in &mut run.intervals {
            interval.histogram = None;
        }
    }
    let json = json_link(&plain);
    let csv = format!("data:text/csv;base64,{}", STANDARD.encode(intervals(&plain)));
    let is_whole = json.len() + csv.len() <= LINK_BYTES_MAX;
    let json = if is_whole { json } else { without_intervals(plain) };
    let content = html! {
        p.links {
            a download="result.json.gz" href=(json) { "result.json.gz" }
            @if is_whole { " " a download="intervals.csv" href=(csv) { "intervals.csv" } }
        }
        @if !is_whole {
            p.small {
                "Without the intervals, which would make this page too large: they are in the \
                 bundle of the run (" code { "--out bundle=PATH" } ")."
            }
        }
    };
    html! { div.raw { (part("raw", "Raw data", "Inside this file; nothing is fetched.", &content)) } }
}

fn without_intervals(mut document: Document) -> String {
    for run in &mut document.runs {
        run.intervals.clear();
    }
    json_link(&document)
}

fn json_link(document: &Document) -> String {
    let json = serde_json::to_vec(document).unwrap_or_default();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Memory takes every byte; and if it did not, a reader would see a gzip file that is cut off.
    let _ = encoder.write_all(&json);
    let gzip = encoder.finish().unwrap_or_default();
    format!("data:application/gzip;base64,{}", STANDARD.encode(gzip))
}

/// Every interval of every row as comma-separated values.
fn intervals(document: &Document) -> String {
    let mut text = "row,start_ns,messages_sent,messages_received,errors,latency_p50_ns,\
                    latency_p99_ns,latency_max_ns,connections_open\n"
        .to_owned();
    for run in &document.runs {
        let name = field(&row_name(run));
        for interval in &run.intervals {
            let Interval { start_ns, messages_sent, messages_received, errors, .. } = interval;
            let _ = write!(text, "{name},{start_ns},{messages_sent},{messages_received},{errors}");
            for value in [
                interval.latency_p50_ns,
                interval.latency_p99_ns,
                interval.latency_max_ns,
                interval.connections_open,
            ] {
                text.push(',');
                if let Some(value) = value {
                    let _ = write!(text, "{value}");
                }
            }
            text.push('\n');
        }
    }
    text
}

/// A field as RFC 4180 has it.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
