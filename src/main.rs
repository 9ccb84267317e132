//! The `ringwire` program: reads what it was told, serves, and says with its exit code how it
//! ended. Everything else is the library's.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use mimalloc::MiMalloc;
use ringwire::cli::{self, Command, Stop};
use ringwire::failure::Failure;
use ringwire::machine::Machine;
use ringwire::{doctor, server};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
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
        Command::Serve(config) => server::run(&config),
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
