//! `--out KIND=PATH`: which kinds there are, and how results get into files.
//!
//! Not here: what the terminal shows. Everything is made from the result document alone.
//! Invariants: where a file cannot be written is said before anything is measured; a file is
//! written whole or not at all; one that fails keeps no other from being written.

mod machines;
mod series;

pub(crate) use self::machines::LABELS_TAKEN;

use loadgen::outcome::Failure;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::bundle;
use crate::compare::row_name;
use crate::report;
use crate::result::{Document, Run};
use crate::whole;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Bundle,
    Csv,
    Hgrm,
    Hlog,
    Junit,
    Prom,
    Html,
}

impl Kind {
    const ALL: [(&'static str, Self); 8] = [
        ("json", Self::Json),
        ("bundle", Self::Bundle),
        ("csv", Self::Csv),
        ("hgrm", Self::Hgrm),
        ("hlog", Self::Hlog),
        ("junit", Self::Junit),
        ("prom", Self::Prom),
        ("html", Self::Html),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }
}

/// One `--out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) kind: Kind,
    /// `-` is stdout.
    pub(crate) path: PathBuf,
}

impl Output {
    pub(crate) fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }

    fn shown(&self) -> String {
        format!("--out {}={}", self.kind.name(), self.path.display())
    }
}

/// `KIND=PATH`, as `--out` takes it.
pub(crate) fn parse(text: &str) -> Result<Output, String> {
    let kinds = Kind::ALL.map(|(name, _)| name).join(", ");
    let hint = format!("an output is KIND=PATH with a kind of {kinds}; PATH - is stdout");
    let (name, path) = text.split_once('=').ok_or_else(|| hint.clone())?;
    let kind = Kind::ALL.iter().find(|(known, _)| *known == name);
    let Some((_, kind)) = kind else { return Err(format!("`{name}` is not a kind: {hint}")) };
    if path.is_empty() {
        return Err(format!("`{text}` has no path: {hint}"));
    }
    Ok(Output { kind: *kind, path: path.into() })
}

/// `html=PATH`, as `diff --out` takes it: what two results are to each other is a page.
pub(crate) fn parse_page(text: &str) -> Result<Output, String> {
    parse(text).ok().filter(|output| output.kind == Kind::Html).ok_or_else(|| {
        format!("`{text}`: a comparison of two results is written as html=PATH; PATH - is stdout")
    })
}

/// Refuses what cannot be written: better now than after minutes of measuring.
pub(crate) fn check(outputs: &[Output]) -> Result<(), Failure> {
    let wrong = |output: &Output, what: &str| {
        Err(Failure::configuration(format!("{}: {what}", output.shown())))
    };
    let mut seen: Vec<PathBuf> = Vec::new();
    for output in outputs {
        let place = if output.is_stdout() {
            output.path.clone()
        } else {
            let folder = output.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or_else(|| Path::new("."));
            if !folder.is_dir() || output.path.is_dir() || output.path.file_name().is_none() {
                return wrong(output, "not a file in a directory that exists");
            }
            // One file by two names is one file.
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
            folder.join(output.path.file_name().unwrap_or_default())
        };
        if seen.contains(&place) {
            return wrong(output, "an earlier --out writes there already");
        }
        seen.push(place);
    }
    Ok(())
}

/// Refuses, before anything is written, kinds that need histograms a stored result has not.
pub(crate) fn check_kinds(outputs: &[Output], document: &Document) -> Result<(), Failure> {
    let has_histograms = |run: &Run| run.histograms.is_some() || run.failure.is_some();
    for output in outputs {
        let needs_them = matches!(output.kind, Kind::Bundle | Kind::Hgrm | Kind::Hlog | Kind::Prom);
        if needs_them && !document.runs.iter().all(has_histograms) {
            let line = format!(
                "{}: the result has no histograms; measure with --out bundle=PATH and report that",
                output.shown()
            );
            return Err(Failure::configuration(line));
        }
    }
    Ok(())
}

/// Writes every output; a line for each that could not be.
pub(crate) fn write(outputs: &[Output], document: &Document) -> Vec<String> {
    let mut complaints = Vec::new();
    for output in outputs {
        for (path, bytes) in files(output, document) {
            complaints.extend(put(output, &path, bytes));
        }
    }
    complaints
}

/// Writes the page of a comparison wherever it was asked for; a line for each failure.
pub(crate) fn write_page(outputs: &[Output], page: &str) -> Vec<String> {
    let page = page.as_bytes();
    outputs.iter().filter_map(|output| put(output, &output.path, Ok(page.to_vec()))).collect()
}

/// Writes one file, or says why not.
fn put(output: &Output, path: &Path, bytes: io::Result<Vec<u8>>) -> Option<String> {
    let written = bytes.and_then(|bytes| {
        if output.is_stdout() { to_stdout(&bytes) } else { whole::write(path, &bytes) }
    });
    written.err().map(|error| format!("{} was not written: {error}", path.display()))
}

fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// The files of one output: one, but for percentile spectra, of which a file holds one.
fn files(output: &Output, document: &Document) -> Vec<(PathBuf, io::Result<Vec<u8>>)> {
    if output.kind == Kind::Hgrm && document.runs.len() > 1 && !output.is_stdout() {
        let each = document.runs.iter().filter(|run| run.histograms.is_some());
        let file = |run: &Run| (of_row(&output.path, &row_name(run)), series::spectrum(run));
        return each.map(file).collect();
    }
    vec![(output.path.clone(), render(output.kind, document))]
}

/// `run.hgrm` of row `ws` is `run.ws.hgrm`.
fn of_row(path: &Path, row: &str) -> PathBuf {
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(".");
    name.push(row);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// What a file of this kind holds.
pub(crate) fn render(kind: Kind, document: &Document) -> io::Result<Vec<u8>> {
    match kind {
        Kind::Json => bundle::json(document),
        Kind::Bundle => bundle::gzip(document),
        Kind::Csv => Ok(series::intervals(document).into_bytes()),
        Kind::Hgrm => {
            let spectra: io::Result<Vec<Vec<u8>>> =
                document.runs.iter().map(series::spectrum).collect();
            Ok(spectra?.concat())
        }
        Kind::Hlog => series::log(document),
        Kind::Junit => Ok(machines::junit(document).into_bytes()),
        Kind::Prom => machines::prometheus(document).map(String::into_bytes),
        Kind::Html => Ok(report::html::page(document).into_bytes()),
    }
}

#[cfg(test)]
#[path = "outputs/tests.rs"]
mod tests;
