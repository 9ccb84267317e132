//! Bundles: a result with all its histograms, gzipped, from which everything can be made again.
//!
//! Not here: what a result says, and what merging two means. Invariants: what is read is outside
//! input, so every size is bounded before memory is taken, and what is wrong is one line with exit
//! code 104; a bundle without its histograms is the result's JSON, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use loadgen::outcome::Failure;
use loadgen::recorder::{self, LAYOUT_DIGITS};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::result::{Document, SCHEMA};

/// How a gzip file begins (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The largest file that is read, and the most that it may inflate to: a day's intervals of twenty
/// rows are a tenth of it.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// The longest text of one histogram: one with every bucket in use stays below.
const HISTOGRAM_TEXT_BYTES_MAX: usize = 1 << 20;
/// The most that one histogram may inflate to.
const HISTOGRAM_BYTES_MAX: u64 = 1 << 20;
/// The most that one histogram may have counted: sums of many stay far from overflowing.
const COUNT_MAX: u64 = 1 << 53;

/// Cookies of HdrHistogram's V2 encoding, deflated and plain; and the plain one's head.
const COOKIE_DEFLATED: u32 = 0x1c84_9314;
const COOKIE_PLAIN: u32 = 0x1c84_9313;
const HEAD_BYTES: usize = 40;

/// A histogram in the HdrHistogram V2 format, deflated, in base64: as in interval logs.
pub(crate) fn encode_histogram(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    // Writing into memory fails only for counts that no run reaches; then there is no histogram,
    // which readers refuse, rather than a wrong one.
    written.map_or_else(|_| String::new(), |_| STANDARD.encode(&bytes))
}

/// The histogram that [`encode_histogram`] wrote.
///
/// # Errors
/// What is wrong with the text: it may come from anywhere.
pub(crate) fn decode_histogram(text: &str) -> Result<Histogram<u64>, String> {
    if text.len() > HISTOGRAM_TEXT_BYTES_MAX {
        return Err("a histogram of more than 1 MiB".to_owned());
    }
    let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram's base64: {error}"))?;
    let (cookie, rest) = number(&bytes)?;
    let (length, deflated) = number(rest)?;
    if cookie != COOKIE_DEFLATED || usize::try_from(length) != Ok(deflated.len()) {
        return Err("a histogram that is not HdrHistogram V2, deflated".to_owned());
    }
    let plain = bounded(ZlibDecoder::new(deflated), HISTOGRAM_BYTES_MAX)
        .map_err(|what| format!("a histogram: {what}"))?;
    recorder::histogram_of(&counts(&plain)?)
        .ok_or_else(|| "a histogram with values out of range".to_owned())
}

/// Bucket and count of every bucket in use.
///
/// The library's own reader trusts the lengths and counts that it reads; a file may not be trusted.
fn counts(plain: &[u8]) -> Result<Vec<(u32, u64)>, String> {
    let damaged = || "a damaged histogram".to_owned();
    if plain.len() < HEAD_BYTES {
        return Err(damaged());
    }
    let (head, payload) = plain.split_at(HEAD_BYTES);
    let (cookie, head) = number(head)?;
    let (length, head) = number(head)?;
    let (offset, head) = number(head)?;
    let (digits, head) = number(head)?;
    // Lowest value 1, any highest, and a ratio of 1.0 for histograms of floating-point numbers.
    let is_ours = head[..8] == 1_u64.to_be_bytes() && head[16..] == 1.0_f64.to_be_bytes();
    if cookie != COOKIE_PLAIN || offset != 0 || digits != u32::from(LAYOUT_DIGITS) || !is_ours {
        return Err("a histogram of another layout than loadgen's".to_owned());
    }
    if usize::try_from(length) != Ok(payload.len()) {
        return Err(damaged());
    }
    let (mut counts, mut bucket, mut total) = (Vec::new(), 0_u32, 0_u64);
    let mut rest = payload;
    while !rest.is_empty() {
        let (value, left) = varint(rest).ok_or_else(damaged)?;
        rest = left;
        // Zigzag: counts are even, runs of empty buckets odd.
        let is_run = value & 1 == 1;
        let step = if is_run { (value >> 1).saturating_add(1) } else { 1 };
        if !is_run && value > 0 {
            total = total.saturating_add(value >> 1);
            counts.push((bucket, value >> 1));
        }
        let step = u32::try_from(step).map_err(|_| damaged())?;
        bucket = bucket.checked_add(step).ok_or_else(damaged)?;
    }
    if total > COUNT_MAX { Err(damaged()) } else { Ok(counts) }
}

/// A number of four bytes, and what follows it.
fn number(bytes: &[u8]) -> Result<(u32, &[u8]), String> {
    let (number, rest) = bytes.split_first_chunk().ok_or("a histogram that is cut off")?;
    Ok((u32::from_be_bytes(*number), rest))
}

/// A number in LEB128 whose ninth byte, if there is one, is whole.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        let is_last = index == 8 || byte & 0x80 == 0;
        let bits = if index == 8 { *byte } else { byte & 0x7f };
        value |= u64::from(bits) << (7 * index);
        if is_last {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// The result as JSON, without histograms: what `--out json` writes.
pub(crate) fn json(document: &Document) -> io::Result<Vec<u8>> {
    let mut plain = document.clone();
    for run in &mut plain.runs {
        run.histograms = None;
        run.intervals.iter_mut().for_each(|interval| interval.histogram = None);
    }
    let mut text = serde_json::to_vec_pretty(&plain)?;
    text.push(b'\n');
    Ok(text)
}

/// The result with its histograms, gzipped: what `--out bundle` writes.
pub(crate) fn gzip(document: &Document) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&serde_json::to_vec(document)?)?;
    encoder.finish()
}

/// Reads a result, JSON or bundle, whichever it is.
///
/// # Errors
/// Code 104 with the file and what is wrong with it.
pub(crate) fn read(path: &Path) -> Result<Document, Failure> {
    let wrong = |what: String| Failure::configuration(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let bytes = bounded(file, FILE_BYTES_MAX).map_err(wrong)?;
    parse(&bytes).map_err(wrong)
}

/// The result in `bytes`, JSON or bundle.
///
/// # Errors
/// What is wrong with them, in one line.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, String> {
    parse_within(bytes, FILE_BYTES_MAX)
}

fn parse_within(bytes: &[u8], bytes_max: u64) -> Result<Document, String> {
    let inflated;
    let text = if bytes.starts_with(&GZIP_MAGIC) {
        inflated = bounded(MultiGzDecoder::new(bytes), bytes_max)?;
        &inflated
    } else {
        bytes
    };
    let probe: Probe = serde_json::from_slice(text)
        .map_err(|error| format!("neither a result of loadgen nor a bundle: {error}"))?;
    if probe.schema != SCHEMA {
        let schema: String = probe.schema.chars().take(60).collect();
        return Err(format!(
            "its schema is {schema:?} and this loadgen reads {SCHEMA:?}: use the loadgen of the \
             version that wrote it"
        ));
    }
    serde_json::from_slice(text).map_err(|error| format!("not a whole result: {error}"))
}

/// What says which version the rest is of.
#[derive(Deserialize)]
struct Probe {
    schema: String,
}

/// All that `reader` has, if that is not too much.
fn bounded(reader: impl Read, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut limited = reader.take(bytes_max);
    limited.read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    let mut more = [0];
    // An error after the last byte that counts is none of ours.
    if limited.limit() == 0 && limited.into_inner().read(&mut more).is_ok_and(|count| count > 0) {
        return Err(format!("more than {} MiB: not of loadgen", bytes_max >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
