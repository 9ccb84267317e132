//! Flags about what is shown and written, and what a run has to reach.
//!
//! Here only form is checked, as in all of `cli`.

use clap::Args;
use std::path::PathBuf;

use super::units;
use crate::outputs::{self, LABELS_TAKEN, Output};
use crate::threshold::{self, Threshold};

/// Flags about what is shown and written.
#[derive(Debug, Args)]
pub(crate) struct OutputFlags {
    /// Write the result, repeatable: json, bundle (with all histograms, for report and diff), html
    /// (a page), csv (intervals), hgrm, hlog (HdrHistogram), prom (Prometheus), junit; path - is
    /// stdout
    #[arg(short, long, env = "LOADGEN_OUT", value_name = "KIND=PATH")]
    #[arg(value_parser = outputs::parse)]
    pub(crate) out: Vec<Output>,
    /// What has to hold, else exit code 99, repeatable: p(99)<20ms, connect.max<1s, gaps==0,
    /// errors<0.1%, rate>=5k
    #[arg(long, env = "LOADGEN_THRESHOLD", value_name = "RULE", value_parser = threshold::parse)]
    pub(crate) threshold: Vec<Threshold>,
    /// Stop as soon as a threshold is missed, looked at once a second
    #[arg(long, env = "LOADGEN_ABORT_ON_THRESHOLD")]
    pub(crate) abort_on_threshold: bool,
    /// A suspect run exits 96, as an invalid one does
    #[arg(long, env = "LOADGEN_STRICT")]
    pub(crate) strict: bool,
    /// A name and a value for the record, repeatable
    #[arg(long, env = "LOADGEN_LABEL", value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// A line a second instead of the live view, also on a terminal
    #[arg(long, env = "LOADGEN_NO_TUI")]
    pub(crate) no_tui: bool,
    /// No colours in the live view; NO_COLOR in the environment says the same
    #[arg(long, env = "LOADGEN_NO_COLOR")]
    pub(crate) no_color: bool,
    /// No progress, and only the verdict and the answer
    #[arg(long, env = "LOADGEN_QUIET")]
    pub(crate) quiet: bool,
}

/// Flags about measuring the same again.
#[derive(Debug, Args)]
pub(crate) struct RepeatFlags {
    /// Measure this often; from 5 on with confidence intervals over the runs
    #[arg(long, env = "LOADGEN_REPEAT", default_value = "1", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) repeat: u32,
    /// Start this server afresh for every run, wait for its line `listening on ADDRESS`, measure
    /// there, and stop it; {port} is filled in, the URL still says scheme and path
    #[arg(long, env = "LOADGEN_SERVER_COMMAND", value_name = "COMMAND")]
    #[arg(conflicts_with_all = ["server_pid", "unix_socket"])]
    pub(crate) server_command: Option<String>,
}

/// Flags of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportFlags {
    /// Results, JSON or bundles; several are parts of one run and are added, which needs bundles
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// Flags of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffFlags {
    /// The result to compare with, JSON or bundle
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    /// The result to compare
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// How far a ratio may lie from 1 and mean nothing: 3%
    #[arg(long, env = "LOADGEN_EQUAL", default_value = "3%", value_name = "SHARE")]
    #[arg(value_parser = equal)]
    pub(crate) equal: f64,
    /// Compare although machines or scenarios differ
    #[arg(long, env = "LOADGEN_FORCE")]
    pub(crate) force: bool,
    /// Write the comparison as a page, repeatable; path - is stdout
    #[arg(short, long, env = "LOADGEN_OUT", value_name = "html=PATH")]
    #[arg(value_parser = outputs::parse_page)]
    pub(crate) out: Vec<Output>,
}

/// A share from 0 to 50 %.
fn equal(text: &str) -> Result<f64, String> {
    let hint = || format!("`{text}`: a share is `3%`, at most 50%");
    let percent = text.strip_suffix('%').ok_or_else(hint)?;
    let share = units::rate(percent.trim_end()).map_err(|_| hint())?.to_f64() / 100.0;
    if share <= 0.5 { Ok(share) } else { Err(hint()) }
}

/// `NAME=VALUE`: names as Prometheus takes them.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || name.starts_with("__") {
        return Err(format!(
            "`{name}`: a label's name is of letters, digits and _, as in `host_1`"
        ));
    }
    if LABELS_TAKEN.contains(&name) {
        return Err(format!("`{name}` is a label of loadgen's own: choose another name"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{equal, label};

    #[test]
    fn shares_are_per_cent() {
        assert_eq!(equal("3%"), Ok(0.03));
        assert_eq!(equal("0%"), Ok(0.0));
        for text in ["3", "51%", "x%", "-1%", ""] {
            assert!(equal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_are_names_that_prometheus_takes() {
        assert_eq!(label("commit=a=b"), Ok(("commit".to_owned(), "a=b".to_owned())));
        for text in ["x", "=v", "1a=v", "a-b=v", "__a=v", "le=1", "row=1"] {
            assert!(label(text).is_err(), "{text}");
        }
    }
}
