//! `loadgen`: flags in, measurement by the engine, verdict, text, JSON and exit code out.
//!
//! Exit codes: 0 done, 1 else, 2 usage, 96 invalid run, 104 impossible plan, 105 interrupted,
//! 107 server not reached. An interrupted run says so even if it is invalid too.

#![forbid(unsafe_code)]

#[cfg_attr(not(test), expect(dead_code, reason = "agents and `report` read bundles"))]
mod bundle;
mod cli;
mod compare;
mod doctor;
mod machine;
#[cfg_attr(not(test), expect(dead_code, reason = "agents and `report` call it"))]
mod merge;
#[cfg(test)]
#[path = "tests.rs"]
mod random;
mod report;
mod result;
#[cfg(test)]
mod samples;
mod stop;
mod summary;
#[cfg(test)]
#[path = "../tests/schema/validator.rs"]
mod validator;
mod verdict;
mod whole;

use clap::Parser;
use loadgen::outcome::Failure;
use loadgen::scenario::Scenario;
use loadgen::testee::Tally;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::{Cli, Command, CompareFlags, OutputFlags, RunFlags, TesteeFlags, TlsFlags};
use crate::doctor::Facts;
use crate::machine::Machine;
use crate::report::number::Style;
use crate::report::progress::Surface;
use crate::report::title::Title;
use crate::result::{Document, Ended, SCHEMA};
use crate::stop::EXIT_INTERRUPTED;
use crate::verdict::{Evidence, State, Verdict};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the progress of a suite is told.
const CASES_PER_LINE: u32 = 50;
const EXIT_OTHER: u8 = 1;
const EXIT_INVALID: u8 = 96;
const EXIT_UNREACHABLE: u8 = 107;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let stop = Arc::new(AtomicBool::new(false));
    stop::on_signal(Arc::clone(&stop));
    let done = match &cli.command {
        Command::Run(flags) => run(flags, &stop),
        Command::Compare(flags) => compare(flags, &stop),
        Command::Doctor => {
            print(&doctor::text(&doctor::findings(&Facts::read(), style())));
            Ok(0)
        }
        Command::Testee(flags) => testee(flags, &stop),
    };
    let code = done.unwrap_or_else(|failure| {
        eprintln!("loadgen: {failure}");
        if stop.load(Ordering::Relaxed) { EXIT_INTERRUPTED } else { failure.code }
    });
    ExitCode::from(code)
}

fn run(flags: &RunFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    check_outputs(&flags.output)?;
    let scenario = fit(cli::plan::run(flags)?)?;
    warn(&flags.tls);
    let title = Title::of_run(&scenario, flags.url.scheme.name(), style());
    let outcome = surface(&flags.output)
        .show(title, stop, |shown| loadgen::engine::run(&scenario, shown, stop))?;
    let verdict = verdict::judge(&Evidence::of(scenario.rate_per_s.is_some(), &outcome));
    let mut document = document(flags.load.seed, summary::ended(outcome.ended), verdict);
    document.runs.push(summary::run(&scenario, &outcome));
    print(&report::run::text(&document, style(), flags.output.quiet));
    finish(&document, &flags.output)
}

fn compare(flags: &CompareFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    check_outputs(&flags.output)?;
    warn(&flags.tls);
    let surface = surface(&flags.output);
    let unique = format!("{:x}-{}", machine::started_unix_s(), std::process::id());
    let comparison = compare::run(flags, surface, stop, &unique)?;
    let ended = if comparison.is_interrupted { Ended::Interrupted } else { Ended::Completed };
    let nobody = compare::rows::nobody(&comparison);
    let mut document = document(flags.load.seed, ended, compare::rows::verdict(&comparison));
    document.runs = compare::rows::rows(&comparison, flags.rate, nobody.as_ref());
    document.publish_to_nobody = nobody;
    print(&report::comparison::text(&document, style(), flags.output.quiet));
    finish(&document, &flags.output)
}

/// What `--insecure` gives up.
fn warn(tls: &TlsFlags) {
    if tls.insecure {
        eprintln!("loadgen: --insecure: whoever stands in between can read and change everything");
    }
}

fn testee(flags: &TesteeFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    let plan = cli::plan::testee(flags)?;
    warn(&flags.tls);
    let surface = Surface::of(flags.quiet, true, true);
    let progress = |tally: &Tally| {
        if tally.done.is_multiple_of(CASES_PER_LINE) {
            surface.line(&format!("cases={} of={}", tally.done, tally.chosen));
        }
    };
    let Tally { cases, done, silent, .. } = loadgen::testee::run(&plan, &progress, stop)?;
    let agent = &plan.agent;
    print(&format!(
        "{done} of {cases} cases as {agent}, {silent} without an end; reports updated\n"
    ));
    Ok(0)
}

/// Refuses what this machine cannot open, and says all that it limits.
fn fit(scenario: Scenario) -> Result<Scenario, Failure> {
    let facts = Facts::read();
    let scenario = cli::traffic::widen(scenario, &facts);
    let fitted = cli::plan::fit(&scenario, &facts).inspect_err(|_| {
        eprint!("{}", doctor::text(&doctor::findings(&facts, style())));
    });
    fitted.map(|()| scenario)
}

/// Better now than after minutes of measuring.
fn check_outputs(output: &OutputFlags) -> Result<(), Failure> {
    for path in &output.out {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if !folder.unwrap_or_else(|| Path::new(".")).is_dir() || path.is_dir() {
            let path = path.display();
            let line = format!("--out json={path}: not a file in a directory that exists");
            return Err(Failure::configuration(line));
        }
    }
    Ok(())
}

fn document(seed: u64, ended: Ended, verdict: Verdict) -> Document {
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
    }
}

/// Writes what was asked for, and the exit code.
fn finish(document: &Document, output: &OutputFlags) -> Result<u8, Failure> {
    let mut code = exit_code(document.ended, document.verdict.state);
    for path in &output.out {
        let written = bundle::json(document).and_then(|text| whole::write(path, &text));
        if let Err(error) = written {
            eprintln!("loadgen: {} was not written: {error}", path.display());
            code = if code == EXIT_INTERRUPTED { code } else { EXIT_OTHER };
        }
    }
    Ok(code)
}

/// Interrupted before invalid, invalid before all that is said about the server.
const fn exit_code(ended: Ended, state: State) -> u8 {
    match (ended, state) {
        (Ended::Interrupted, _) => EXIT_INTERRUPTED,
        (_, State::Invalid) => EXIT_INVALID,
        (Ended::Aborted, _) => EXIT_UNREACHABLE,
        (Ended::Completed, State::Valid | State::Suspect) => 0,
    }
}

fn surface(output: &OutputFlags) -> Surface {
    Surface::of(output.quiet, output.no_tui, output.no_color)
}

fn style() -> Style {
    Style::of_locale(|name| std::env::var(name).ok())
}

/// To stdout; whoever closed it does not want the rest.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_comes_before_invalid_before_the_rest() {
        let table = [
            (Ended::Completed, State::Valid, 0),
            (Ended::Completed, State::Suspect, 0),
            (Ended::Completed, State::Invalid, EXIT_INVALID),
            (Ended::Aborted, State::Valid, EXIT_UNREACHABLE),
            (Ended::Aborted, State::Invalid, EXIT_INVALID),
            (Ended::Interrupted, State::Valid, EXIT_INTERRUPTED),
            (Ended::Interrupted, State::Invalid, EXIT_INTERRUPTED),
        ];
        for (ended, state, expected) in table {
            assert_eq!(exit_code(ended, state), expected, "{ended:?} {state:?}");
        }
        assert_eq!(Failure::unreachable("").code, EXIT_UNREACHABLE);
    }
}
