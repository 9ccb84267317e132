//! What the machine is, as far as a measurement depends on it. Never its name or its owner.
//!
//! Everything is read from `/proc` and `/sys`; what cannot be read is `null`.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Kernel settings that move a measurement or bound it.
const SYSCTLS: [&str; 14] = [
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.somaxconn",
    "net.core.default_qdisc",
    "net.core.rps_sock_flow_entries",
    "net.netfilter.nf_conntrack_max",
    "fs.nr_open",
    "fs.file-max",
    "kernel.sched_autogroup_enabled",
    "kernel.io_uring_disabled",
];

/// What else moves a measurement, and where it is told.
const SETTINGS: [(&str, &str); 10] = [
    ("clock_source", "/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    ("no_turbo", "/sys/devices/system/cpu/intel_pstate/no_turbo"),
    ("boost", "/sys/devices/system/cpu/cpufreq/boost"),
    ("smt", "/sys/devices/system/cpu/smt/control"),
    ("numa_nodes", "/sys/devices/system/node/online"),
    ("idle_driver", "/sys/devices/system/cpu/cpuidle/current_driver"),
    ("isolated_cpus", "/sys/devices/system/cpu/isolated"),
    ("transparent_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled"),
    ("cgroup_cpu_max", "/sys/fs/cgroup/cpu.max"),
    ("cgroup_memory_max", "/sys/fs/cgroup/memory.max"),
];

/// The facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: Option<String>,
    pub(crate) architecture: String,
    pub(crate) cpu_model: Option<String>,
    pub(crate) cpus: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) governor: Option<String>,
    pub(crate) mitigations: BTreeMap<String, String>,
    pub(crate) sysctls: BTreeMap<String, Option<String>>,
    pub(crate) limits: Limits,
    /// Turbo, SMT, NUMA, the clock, limits of the control group; `null` where not told.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, Option<String>>,
}

/// Limits of this process; `null` is unlimited or unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) nofile_soft: Option<u64>,
    pub(crate) nofile_hard: Option<u64>,
    pub(crate) memlock_soft_bytes: Option<u64>,
    pub(crate) memlock_hard_bytes: Option<u64>,
}

impl Machine {
    /// Reads this machine.
    pub(crate) fn read() -> Self {
        let model = field(&content("/proc/cpuinfo").unwrap_or_default(), "model name");
        let memory = field(&content("/proc/meminfo").unwrap_or_default(), "MemTotal");
        let cpus = std::thread::available_parallelism().ok();
        let sysctls = SYSCTLS.iter().map(|name| ((*name).to_owned(), sysctl(name))).collect();
        Self {
            kernel: sysctl("kernel.osrelease"),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu_model: model,
            cpus: cpus.and_then(|count| u64::try_from(count.get()).ok()),
            memory_bytes: memory.and_then(|text| kibibytes(&text)),
            governor: governor(),
            mitigations: mitigations(),
            sysctls,
            settings: SETTINGS.map(|(name, path)| (name.to_owned(), content(path))).into(),
            limits: Limits::parse(&content("/proc/self/limits").unwrap_or_default()),
        }
    }
}

impl Limits {
    /// Reads the lines of `/proc/self/limits` that matter.
    pub(crate) fn parse(text: &str) -> Self {
        let limit = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let mut words = line.unwrap_or_default().split_whitespace();
            let mut number = || words.next().and_then(|word| word.parse().ok());
            (number(), number())
        };
        let (nofile_soft, nofile_hard) = limit("Max open files");
        let (memlock_soft_bytes, memlock_hard_bytes) = limit("Max locked memory");
        Self { nofile_soft, nofile_hard, memlock_soft_bytes, memlock_hard_bytes }
    }
}

/// The trimmed content of a file; `None` if it cannot be read or is empty.
pub(crate) fn content(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim().replace('\t', " ");
    (!text.is_empty()).then_some(text)
}

/// What decides on the processors' frequency.
pub(crate) fn governor() -> Option<String> {
    content("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
}

/// When this process was first seen by `/proc`, in seconds since 1970: about when it started.
/// The calendar only labels a result; no measurement is taken from it.
pub(crate) fn started_unix_s() -> u64 {
    let modified = std::fs::metadata("/proc/self").and_then(|entry| entry.modified());
    let since = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// A kernel setting by its dotted name.
pub(crate) fn sysctl(name: &str) -> Option<String> {
    content(Path::new("/proc/sys").join(name.replace('.', "/")))
}

/// The value of `Name: value`, of the first line that has it.
pub(crate) fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// `123 kB`, as `/proc` writes it, in bytes.
pub(crate) fn kibibytes(text: &str) -> Option<u64> {
    let number = text.strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

fn mitigations() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let Ok(folder) = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return all;
    };
    for file in folder.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if let Some(state) = content(file.path()) {
            all.insert(name, state);
        }
    }
    all
}

/// Addresses of this machine's interfaces, loopback included.
pub(crate) fn local_addresses() -> Vec<IpAddr> {
    let v4 = content("/proc/net/fib_trie").unwrap_or_default();
    let v6 = content("/proc/net/if_inet6").unwrap_or_default();
    let v4 = local_v4(&v4).into_iter().map(IpAddr::V4);
    let v6 = v6.lines().filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok());
    v4.chain(v6.map(|bits| IpAddr::V6(bits.into()))).collect()
}

/// The leaves of the kernel's routing trie that are this machine itself.
fn local_v4(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(address) => leaf = address.parse().ok(),
            None if line.ends_with("/32 host LOCAL") => found.extend(leaf),
            None => {}
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_unlimited_is_null() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            20000                40000                files\n\
                    Max locked memory         unlimited            8388608              bytes\n";
        let limits = Limits::parse(text);
        assert_eq!(limits.nofile_soft, Some(20_000));
        assert_eq!(limits.nofile_hard, Some(40_000));
        assert_eq!(limits.memlock_soft_bytes, None);
        assert_eq!(limits.memlock_hard_bytes, Some(8_388_608));
        assert_eq!(Limits::parse(""), Limits::default());
    }

    #[test]
    fn proc_lines() {
        let text = "processor\t: 0\nmodel name\t: Fast 1\nmodel name\t: Fast 2\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Fast 1"));
        assert_eq!(field(text, "model"), None);
        assert_eq!(kibibytes("16 kB"), Some(16_384));
        assert_eq!(kibibytes("16"), None);
    }

    #[test]
    fn the_leaves_of_the_routing_trie_that_are_ours_are_found_once() {
        let trie = "Main:\n  |-- 10.0.0.0\n     /24 link UNICAST\n  |-- 10.0.0.7\n     /32 host \
                    LOCAL\nLocal:\n  |-- 10.0.0.7\n     /32 host LOCAL\n  |-- 10.0.0.255\n     \
                    /32 link BROADCAST\n";
        assert_eq!(local_v4(trie), [Ipv4Addr::new(10, 0, 0, 7)]);
        assert!(local_addresses().contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
