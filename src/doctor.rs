//! `ringwire doctor`: what this machine limits, what that binds, and the command that cures it.
//!
//! Not here: changing anything. Invariants: one line for each finding; every finding that is not
//! `ok` has a cure; what the system does not say is told as such, not left out.

use std::fmt;
use std::io::{self, Write};

use ringwire_ring::Features;

use crate::machine::Machine;

mod checks;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// Binds below [`CONNECTIONS_AIM`].
    Limit,
    /// Binds nothing, but costs speed, repeatability or a feature.
    Warn,
}

/// A limit that leaves room for so many connections is `ok`.
pub const CONNECTIONS_AIM: u64 = 100_000;

/// One thing found out about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub verdict: Verdict,
    /// What was looked at, by the name the system gives it.
    pub name: &'static str,
    /// What was found.
    pub value: String,
    /// What it binds.
    pub binds: String,
    /// The command that cures it; never empty unless the verdict is `ok`.
    pub cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Limit => "limit",
            Verdict::Warn => "warn",
        };
        write!(f, "{verdict:<5}  {}={}: {}", self.name, self.value, self.binds)?;
        if self.verdict != Verdict::Ok {
            write!(f, "; cure: {}", self.cure)?;
        }
        Ok(())
    }
}

/// Everything found out about `machine`. `ring` is what the start-up probe of io_uring said: what
/// it may use, or why it may not, with the cure.
pub fn findings(machine: &Machine, ring: &Result<Features, String>) -> Vec<Finding> {
    let mut findings = vec![checks::kernel(machine), checks::io_uring(ring)];
    findings.extend(checks::descriptors(machine));
    findings.extend(checks::queues(machine));
    findings.extend(checks::network(machine));
    findings.extend(checks::memory(machine));
    findings.extend(checks::processors(machine));
    findings
}

/// Writes the findings, a line each, and how many limit.
///
/// # Errors
/// What the output says.
pub fn report(findings: &[Finding], output: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        writeln!(output, "{finding}")?;
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    writeln!(
        output,
        "{} ok, {} limit below {CONNECTIONS_AIM} connections, {} warn",
        count(Verdict::Ok),
        count(Verdict::Limit),
        count(Verdict::Warn)
    )
}
