//! What every program of this package does around serving: reads what it was told, and says with
//! its exit code how it ended.
//!
//! Not here: serving. Invariant: a failure is one line on stderr, under the program's name.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{self, Command, Stop};
use crate::config::Config;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::{Application, doctor, server};

/// The `main` of a program that serves `application` and takes the flags of `ringwire`. Each
/// worker's value is made on its own thread, from the worker's index.
#[must_use]
pub fn main_with<A: Application>(
    application: impl Fn(usize) -> A + Send + Sync + 'static,
) -> ExitCode {
    main_of(|config| server::serve(config, application))
}

/// The `main` of a program that does `serve` with its configuration.
pub fn main_of(serve: impl FnOnce(&Config) -> Result<(), Failure>) -> ExitCode {
    let machine = Machine::this();
    let command = match cli::parse(env::args_os(), &|name| env::var_os(name), &machine) {
        Ok(command) => command,
        Err(Stop::Failure(failure)) => return end(&failure),
        Err(Stop::Usage(error)) => {
            // Help and version are on their way too; who closed the pipe does not want them.
            let _printed = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match command {
        Command::Serve(config) => serve(&config),
        Command::Doctor => examine(&machine),
    };
    outcome.map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS)
}

fn end(failure: &Failure) -> ExitCode {
    // Not `eprintln!`, which panics where stderr is closed.
    let _said = writeln!(io::stderr(), "ringwire: {failure}");
    ExitCode::from(failure.code)
}

fn examine(machine: &Machine) -> Result<(), Failure> {
    let ring = ringwire_ring::probe().map_err(|refusal| refusal.to_string());
    match doctor::report(&doctor::findings(machine, &ring), &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("cannot write the findings: {error}")))
        }
        _ => Ok(()),
    }
}
