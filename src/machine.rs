//! What this machine and this process have, read from `/proc` and `/sys`.
//!
//! Not here: any judgement ([`crate::doctor`]). Invariant: what the system does not say is `None`,
//! never a guess.

use std::fs;

use ringwire_ring::ProcessClock;

/// The kernel's files, or what stands for them.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Instead of the disk, in tests: paths and texts.
    instead: Option<Vec<(String, String)>>,
}

impl Machine {
    /// This machine.
    pub const fn this() -> Self {
        Self { instead: None }
    }

    /// A machine with these files and no others, paths without their first slash.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let owned = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { instead: Some(files.iter().map(owned).collect()) }
    }

    /// The text of a file, trimmed; `None` if it cannot be read. `path` has no first slash.
    pub fn text(&self, path: &str) -> Option<String> {
        let text = match &self.instead {
            None => fs::read_to_string(format!("/{path}")).ok()?,
            Some(files) => files.iter().find(|(name, _)| name == path)?.1.clone(),
        };
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

    /// Soft and hard limit of this process, by the name `/proc/self/limits` gives it; `None` also
    /// for a limit that is unlimited.
    pub fn process_limit(&self, name: &str) -> Option<(Option<u64>, Option<u64>)> {
        let limits = self.text("proc/self/limits")?;
        let mut words = field(&limits, name)?.split_ascii_whitespace();
        let (soft, hard) = (words.next()?, words.next()?);
        Some((soft.parse().ok(), hard.parse().ok()))
    }

    /// Major and minor version of the kernel.
    pub fn kernel(&self) -> Option<(u32, u32)> {
        let release = self.text("proc/sys/kernel/osrelease")?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// The CPUs this process may run on.
    pub fn cpus_allowed(&self) -> Option<Vec<usize>> {
        let status = self.text("proc/self/status")?;
        cpu_list(field(&status, "Cpus_allowed_list:")?).ok()
    }
}

/// CPU time of this process, user and kernel, in nanoseconds.
pub(crate) fn process_cpu_ns() -> Option<u64> {
    // The clock, because `/proc/self/stat` counts in hundredths of a second.
    ProcessClock::of(0).and_then(|clock| clock.cpu_ns()).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_least_of_machine_and_group() {
        let meminfo = ("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 7 kB\nMemAvailable: 9 kB\n");
        assert_eq!(Machine::of(&[meminfo]).memory_bytes(), Some(1_024_000));
        assert_eq!(Machine::of(&[meminfo]).memory_available_bytes(), Some(9 * 1024));
        let group = ("sys/fs/cgroup/memory.max", "4096\n");
        assert_eq!(Machine::of(&[meminfo, group]).memory_bytes(), Some(4096));
        let unlimited = ("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(Machine::of(&[meminfo, unlimited]).memory_bytes(), Some(1_024_000));
        assert_eq!(Machine::of(&[]).memory_bytes(), None);
    }

    #[test]
    fn limits_cpus_and_kernel_are_read_by_name() {
        let machine = Machine::of(&[
            (
                "proc/self/limits",
                "Max processes 1 2 p\nMax open files   1024   unlimited   files\n",
            ),
            ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-1,3\n"),
            ("proc/sys/kernel/osrelease", "6.18.44-fc\n"),
        ]);
        assert_eq!(machine.process_limit("Max open files"), Some((Some(1024), None)));
        assert_eq!(machine.process_limit("Max nonsense"), None);
        assert_eq!(machine.cpus_allowed(), Some(vec![0, 1, 3]));
        assert_eq!(machine.kernel(), Some((6, 18)));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(process_resident_bytes().unwrap() > 0);
        assert!(Machine::this().cpus_allowed().is_some_and(|cpus| !cpus.is_empty()));
    }
}
