//! Why a program of this package ends: the exit code and the one line it says.
//!
//! Not here: what a peer did wrong; that never ends the program. Invariant: the line names what
//! failed, where, and the cure, and has no line break.

use std::fmt;

/// Exit code for a configuration, a machine or a kernel that cannot (`EX_CONFIG`).
pub const CODE_CONFIGURATION: u8 = 78;
/// Exit code for everything that is neither usage nor configuration.
pub const CODE_OTHER: u8 = 1;

/// The end of the program: what `main` prints, and with which code it exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code of the process.
    pub code: u8,
    /// What failed, where, and the cure. One line, without the program's name.
    pub line: String,
}

impl Failure {
    /// The configuration, the machine or the kernel cannot: exit code 78.
    pub fn configuration(line: impl Into<String>) -> Self {
        Self { code: CODE_CONFIGURATION, line: line.into() }
    }

    /// Anything else: exit code 1.
    pub fn other(line: impl Into<String>) -> Self {
        Self { code: CODE_OTHER, line: line.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Failure {}
