//! Results as text for people. Everything is made from the result document, never from the
//! engine, so that a stored result prints the same.

mod columns;
pub(crate) mod comparison;
pub(crate) mod diff;
mod errors;
mod facts;
mod head;
pub(crate) mod html;
#[cfg(feature = "tui")]
mod live;
#[cfg_attr(not(feature = "tui"), allow(dead_code, reason = "the live view shows all of it"))]
mod now;
pub(crate) mod number;
#[cfg_attr(not(feature = "tui"), allow(dead_code, reason = "the live view shows all of it"))]
pub(crate) mod progress;
pub(crate) mod run;
#[cfg_attr(not(feature = "tui"), allow(dead_code, reason = "the live view shows all of it"))]
pub(crate) mod title;

use self::number::{INSUFFICIENT, NOT_MEASURED, Style};
use crate::result::Latency;

/// A percentile: its time, or why there is none.
pub(crate) fn percentile(style: Style, latency: &Latency, value: Option<u64>) -> String {
    match value {
        Some(ns) => duration(style, ns),
        None if latency.count == 0 => NOT_MEASURED.to_owned(),
        None => INSUFFICIENT.to_owned(),
    }
}

/// A time in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn duration(style: Style, ns: u64) -> String {
    style.duration(ns as f64)
}

/// A signed time in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn signed_duration(style: Style, ns: i64) -> String {
    style.duration(ns as f64)
}

/// Memory.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn memory(style: Style, bytes: u64) -> String {
    style.memory(bytes as f64)
}

/// What was measured, or that it was not.
pub(crate) fn or_not_measured<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NOT_MEASURED.to_owned(), show)
}
