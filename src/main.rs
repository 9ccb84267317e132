//! The `ringwire` program: serves `/echo` and `/channels/NAME`. Everything is the library's.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use ringwire::{program, server};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    program::main_of(server::run)
}
