//! What this machine and this process have, read from `/proc` and `/sys`.
//!
//! Not here: any judgement ([`crate::doctor`]). Invariant: what the system does not say is `None`,
//! never a guess.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel's files are; another place only in tests.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// A machine described by the files below `root`.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The text of a file, trimmed; `None` if it cannot be read. `path` begins without a slash.
    pub fn text(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The number a file holds, and nothing else.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Memory this process may use, in bytes: the machine's, or the control group's if less.
    pub fn memory_bytes(&self) -> Option<u64> {
        let total = kilobytes(&self.text("proc/meminfo")?, "MemTotal:")?;
        // Inside a container the group's own files are at the root of the mount.
        let limits = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let limit = limits.iter().filter_map(|path| self.number(path)).min();
        Some(limit.map_or(total, |limit| limit.min(total)))
    }

    /// Memory free for use without swapping, in bytes.
    pub fn memory_available_bytes(&self) -> Option<u64> {
        kilobytes(&self.text("proc/meminfo")?, "MemAvailable:")
    }

    /// The CPUs this process may run on.
    pub fn cpus_allowed(&self) -> Option<Vec<usize>> {
        let status = self.text("proc/self/status")?;
        cpu_list(field(&status, "Cpus_allowed_list:")?).ok()
    }
}

/// CPU time of this process, in nanoseconds; the kernel counts it here in hundredths of a second.
pub(crate) fn process_cpu_ns() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces and parentheses itself.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)?.checked_mul(10_000_000)
}

/// Resident memory of this process, in bytes.
pub(crate) fn process_resident_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// What stands after `name` on its line.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let number: u64 = field(text, name)?.strip_suffix(" kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// A list of CPUs as the kernel and `taskset` write it: `0,2-3`. In the order given, none twice.
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    /// More than any kernel is built for.
    const CPU_MAX: usize = 8191;
    let number = |part: &str| match part.trim().parse::<usize>() {
        Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
        _ => Err(format!("{part:?} is not a CPU number (a list looks like 0,2-3)")),
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(format!("{part:?} counts downwards (a list looks like 0,2-3)"));
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice"));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}
