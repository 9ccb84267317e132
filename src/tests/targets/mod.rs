//! What the fuzz targets of the server do, as plain functions: any bytes in, a panic is a finding.
//!
//! Not here: where the bytes come from: libFuzzer (`src/fuzz/`), or the corpus (`corpus`).

mod config;
mod connection;
#[path = "../../protocol/fuzz/input.rs"]
mod input;

pub(crate) use config::config;
pub(crate) use connection::connection;

/// Takes any bytes; a panic is a finding.
#[cfg(test)]
pub(crate) type Target = fn(&[u8]);

/// Every target by its name, which is also that of its part of the corpus.
#[cfg(test)]
pub(crate) const TARGETS: &[(&str, Target)] = &[("config", config), ("connection", connection)];
