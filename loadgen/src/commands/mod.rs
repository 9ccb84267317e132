//! What each command does, in which order, and what they have in common.
//!
//! Exit codes: 0 done, 1 else, 2 usage, 96 invalid run, 99 a threshold was missed, 104 impossible
//! plan, 105 interrupted, 107 server not reached. Of several the order is 105, 96, 99, 107.

pub(crate) mod compare;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod testee;
mod watch;

use loadgen::outcome::Failure;
use loadgen::scenario::Scenario;
use std::collections::BTreeMap;
use std::io::Write;

use crate::cli::{self, OutputFlags, TlsFlags};
use crate::doctor::{self, Facts};
use crate::machine::{self, Machine};
use crate::outputs;
use crate::report::number::Style;
use crate::report::progress::Surface;
use crate::result::{self, Document, Ended, SCHEMA};
use crate::stop::EXIT_INTERRUPTED;
use crate::threshold;
use crate::verdict::{State, Verdict};

const EXIT_OTHER: u8 = 1;
const EXIT_INVALID: u8 = 96;
const EXIT_THRESHOLD: u8 = 99;
const EXIT_UNREACHABLE: u8 = 107;

/// `doctor`: what this machine limits.
pub(crate) fn doctor() -> u8 {
    print(&doctor::text(&doctor::findings(&Facts::read(), style())));
    0
}

/// Refuses what this machine cannot open, and says all that it limits.
pub(crate) fn fit(scenario: Scenario) -> Result<Scenario, Failure> {
    let facts = Facts::read();
    let scenario = cli::traffic::widen(scenario, &facts);
    let fitted = cli::plan::fit(&scenario, &facts).inspect_err(|_| {
        eprint!("{}", doctor::text(&doctor::findings(&facts, style())));
    });
    fitted.map(|()| scenario)
}

/// What `--insecure` gives up.
fn warn(tls: &TlsFlags) {
    if tls.insecure {
        eprintln!("loadgen: --insecure: whoever stands in between can read and change everything");
    }
}

/// A result without rows.
pub(crate) fn document(seed: u64, ended: Ended, verdict: Verdict) -> Document {
    Document {
        schema: SCHEMA.to_owned(),
        command: result::command_line(std::env::args()),
        commit: option_env!("RINGWIRE_COMMIT").map(str::to_owned),
        seed,
        started_at: result::utc(machine::started_unix_s()),
        ended,
        verdict,
        machine: Machine::read(),
        runs: Vec::new(),
        publish_to_nobody: None,
        labels: BTreeMap::new(),
        thresholds: Vec::new(),
        checks: Vec::new(),
        findings: Vec::new(),
    }
}

/// Holds the thresholds against the result, shows it, writes what was asked for: the exit code.
pub(crate) fn conclude(
    mut document: Document,
    flags: &OutputFlags,
    text: impl FnOnce(&Document) -> String,
) -> u8 {
    document.labels.extend(flags.label.iter().cloned());
    document.thresholds = threshold::evaluate(&flags.threshold, &document);
    show(&document, flags, text)
}

/// Shows a result as it is and writes what was asked for: the exit code.
fn show(document: &Document, flags: &OutputFlags, text: impl FnOnce(&Document) -> String) -> u8 {
    let text = text(document);
    if flags.out.iter().any(outputs::Output::is_stdout) {
        eprint!("{text}");
    } else {
        print(&text);
    }
    let code = exit_code(document, flags.strict);
    let complaints = outputs::write(&flags.out, document);
    for complaint in &complaints {
        eprintln!("loadgen: {complaint}");
    }
    if complaints.is_empty() || code == EXIT_INTERRUPTED { code } else { EXIT_OTHER }
}

/// Interrupted before invalid, invalid before all that is said about the server.
fn exit_code(document: &Document, is_strict: bool) -> u8 {
    let has_missed = document.thresholds.iter().any(|result| !result.is_met);
    match (document.ended, document.verdict.state) {
        (Ended::Interrupted, _) => EXIT_INTERRUPTED,
        (_, State::Invalid) => EXIT_INVALID,
        (_, State::Suspect) if is_strict => EXIT_INVALID,
        _ if has_missed => EXIT_THRESHOLD,
        (Ended::Aborted, _) => EXIT_UNREACHABLE,
        (Ended::Completed, State::Valid | State::Suspect) => 0,
    }
}

/// Where progress is shown.
pub(crate) fn surface(output: &OutputFlags) -> Surface {
    Surface::of(output.quiet, output.no_tui, output.no_color)
}

/// How numbers look in this terminal.
pub(crate) fn style() -> Style {
    Style::of_locale(|name| std::env::var(name).ok())
}

/// To stdout; whoever closed it does not want the rest.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::ThresholdResult;
    use crate::samples;

    #[test]
    fn interrupted_comes_before_invalid_before_thresholds_before_the_rest() {
        let code = |ended, state, is_met, is_strict| {
            let thresholds = vec![ThresholdResult { is_met, ..ThresholdResult::default() }];
            let verdict = Verdict { state, reasons: Vec::new() };
            let document = Document { ended, verdict, thresholds, ..samples::document() };
            exit_code(&document, is_strict)
        };
        let table = [
            (Ended::Completed, State::Valid, 0, 99),
            (Ended::Completed, State::Suspect, 0, 99),
            (Ended::Completed, State::Invalid, 96, 96),
            (Ended::Aborted, State::Valid, 107, 99),
            (Ended::Aborted, State::Invalid, 96, 96),
            (Ended::Interrupted, State::Valid, 105, 105),
            (Ended::Interrupted, State::Invalid, 105, 105),
        ];
        for (ended, state, met, missed) in table {
            assert_eq!(code(ended, state, true, false), met, "{ended:?} {state:?}");
            assert_eq!(code(ended, state, false, false), missed, "{ended:?} {state:?}");
        }
        assert_eq!(code(Ended::Completed, State::Suspect, true, true), 96);
        assert_eq!(code(Ended::Completed, State::Valid, true, true), 0);
        assert_eq!(Failure::unreachable("").code, EXIT_UNREACHABLE);
    }
}
