//! The result inside its own page: what was drawn can be read again, without the network.
//!
//! Not here: histograms, which are in bundles. Invariant: above 100 KB the intervals are left out
//! and the page says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::part;
use crate::bundle;
use crate::outputs::{self, Kind};
use crate::result::Document;

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
    let intervals = outputs::render(Kind::Csv, &plain).unwrap_or_default();
    let csv = format!("data:text/csv;base64,{}", STANDARD.encode(intervals));
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
    let section = part("raw", "Raw data", "Inside this file; nothing is fetched.", &content);
    html! { div.raw { (section) } }
}

fn without_intervals(mut document: Document) -> String {
    for run in &mut document.runs {
        run.intervals.clear();
    }
    json_link(&document)
}

fn json_link(document: &Document) -> String {
    // Memory takes every byte.
    let gzip = bundle::gzip(document).unwrap_or_default();
    format!("data:application/gzip;base64,{}", STANDARD.encode(gzip))
}
