//! `loadgen`: flags in, measurement by the engine, verdict, text, JSON and exit code out.
//!
//! Here only which command is meant; what each does is in [`commands`].

#![forbid(unsafe_code)]

mod agents;
mod bundle;
mod cli;
mod commands;
mod compare;
mod diff;
mod doctor;
mod machine;
mod merge;
mod outputs;
#[cfg(test)]
#[path = "tests.rs"]
mod random;
mod report;
mod result;
#[cfg(test)]
mod samples;
mod stats;
mod stop;
mod summary;
mod threshold;
#[cfg(test)]
#[path = "../tests/schema/validator.rs"]
mod validator;
mod verdict;
mod whole;

use clap::Parser;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::{Cli, Command};
use crate::stop::EXIT_INTERRUPTED;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words = match cli::file::expand(std::env::args_os().collect()) {
        Ok(words) => words,
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            return ExitCode::from(failure.code);
        }
    };
    let cli = Cli::parse_from(words);
    let stop = Arc::new(AtomicBool::new(false));
    stop::on_signal(Arc::clone(&stop));
    let done = match &cli.command {
        Command::Run(flags) => commands::run::run(flags, &stop),
        Command::Compare(flags) => commands::compare::compare(flags, &stop),
        Command::Report(flags) => commands::report::report(flags),
        Command::Diff(flags) => commands::report::diff(flags),
        Command::Doctor => Ok(commands::doctor()),
        Command::Agent(flags) => agents::serve(flags, &stop),
        Command::Testee(flags) => commands::testee::testee(flags, &stop),
    };
    let code = done.unwrap_or_else(|failure| {
        eprintln!("loadgen: {failure}");
        if stop.load(Ordering::Relaxed) { EXIT_INTERRUPTED } else { failure.code }
    });
    ExitCode::from(code)
}
