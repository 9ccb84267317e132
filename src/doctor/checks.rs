//! The single checks: where each fact stands, what it binds, from where on it is enough.
//!
//! Not here: how a finding is written.

use ringwire_ring::Features;

use super::{CONNECTIONS_AIM, Finding, Verdict};
use crate::machine::Machine;

/// Room beside the connections: rings, listeners, files, the admin listener.
const DESCRIPTORS_BESIDE: u64 = 64;
/// A power of two above the aim with room to spare; the kernel's own default of `fs.nr_open`.
const DESCRIPTORS_CURE: u64 = 1_048_576;
/// Connects that may arrive between two turns of a busy worker and wait in the backlog.
const BACKLOG_AIM: u64 = 4096;
const PAGE_BYTES: u64 = 4096;
const MEBI: u64 = 1 << 20;

fn ok(name: &'static str, value: impl Into<String>, binds: impl Into<String>) -> Finding {
    let (value, binds) = (value.into(), binds.into());
    Finding { verdict: Verdict::Ok, name, value, binds, cure: String::new() }
}

impl Finding {
    fn unless(mut self, enough: bool, verdict: Verdict, cure: impl Into<String>) -> Self {
        if !enough {
            self.verdict = verdict;
            self.cure = cure.into();
        }
        self
    }
}

/// A number that binds below `aim`, cured by `sysctl`.
fn sysctl(
    machine: &Machine,
    name: &'static str,
    aim: u64,
    cure: u64,
    binds: impl Into<String>,
) -> Finding {
    let path = format!("proc/sys/{}", name.replace('.', "/"));
    match machine.number(&path) {
        Some(value) => ok(name, value.to_string(), binds).unless(
            value >= aim,
            Verdict::Limit,
            format!("sysctl -w {name}={cure}"),
        ),
        None => ok(name, "unknown", "this system does not say"),
    }
}

pub(super) fn kernel(machine: &Machine) -> Finding {
    let Some(version) = machine.kernel() else {
        return ok("kernel", "unknown", "this system does not say");
    };
    let (enough, verdict, binds) = match version {
        (6, 18..) | (7.., _) => (true, Verdict::Ok, "everything ringwire uses"),
        (6, 1..) => (false, Verdict::Warn, "io_uring without incremental receive buffers"),
        _ => (false, Verdict::Limit, "too old for the uring engine; epoll is used instead"),
    };
    let value = format!("{}.{}", version.0, version.1);
    ok("kernel", value, binds).unless(enough, verdict, "boot Linux 6.18 or newer")
}

pub(super) fn io_uring(ring: &Result<Features, String>) -> Finding {
    let features = match ring {
        Ok(features) => features,
        Err(refusal) => {
            let binds = "the uring engine does not run here; --engine auto takes epoll";
            return ok("io_uring", "no", binds).unless(false, Verdict::Limit, refusal);
        }
    };
    let parts = [
        ("deferred completions", features.deferred_completions),
        ("plain submissions", features.plain_submissions),
        ("absolute timeout", features.absolute_timeout),
        ("capped receive", features.capped_receive),
        ("incremental buffers", features.incremental_buffers),
        ("silent sends", features.silent_sends),
        ("ring messages", features.ring_messages),
    ];
    let missing: Vec<&str> =
        parts.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return ok("io_uring", "yes", "the uring engine runs with all it knows to use");
    }
    let binds = format!("the uring engine runs without {}", missing.join(", "));
    ok("io_uring", "yes", binds).unless(false, Verdict::Warn, "boot Linux 6.18 or newer")
}

pub(super) fn descriptors(machine: &Machine) -> Vec<Finding> {
    let aim = CONNECTIONS_AIM + DESCRIPTORS_BESIDE;
    let nofile = match machine.process_limit("Max open files") {
        Some((_, hard)) => {
            let hard = hard.unwrap_or(u64::MAX);
            let room = hard.saturating_sub(DESCRIPTORS_BESIDE);
            ok(
                "RLIMIT_NOFILE",
                hard.to_string(),
                format!("about {room} connections: of each worker on uring, of all on epoll"),
            )
            .unless(
                hard >= aim,
                Verdict::Limit,
                format!(
                    "ulimit -Hn {DESCRIPTORS_CURE} as root (systemd: LimitNOFILE=, docker: \
                     --ulimit nofile=)"
                ),
            )
        }
        None => ok("RLIMIT_NOFILE", "unknown", "this system does not say"),
    };
    vec![
        nofile,
        sysctl(
            machine,
            "fs.nr_open",
            aim,
            DESCRIPTORS_CURE,
            "the most that RLIMIT_NOFILE can be raised to",
        ),
        sysctl(
            machine,
            "fs.file-max",
            2 * aim,
            4 * DESCRIPTORS_CURE,
            "open files of the machine, sockets of every program included",
        ),
    ]
}

pub(super) fn queues(machine: &Machine) -> Vec<Finding> {
    vec![
        sysctl(
            machine,
            "net.core.somaxconn",
            BACKLOG_AIM,
            BACKLOG_AIM,
            "clients that may wait to be accepted, of each listener",
        ),
        sysctl(
            machine,
            "net.ipv4.tcp_max_syn_backlog",
            BACKLOG_AIM,
            BACKLOG_AIM,
            "half-open connects before SYN cookies; the excess waits for a resend",
        ),
    ]
}

pub(super) fn network(machine: &Machine) -> Vec<Finding> {
    vec![ports(machine), conntrack(machine), congestion(machine)]
}

fn ports(machine: &Machine) -> Finding {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    /// Nearly all that are not reserved.
    const AIM: u64 = 50_000;
    let range = machine.text("proc/sys/net/ipv4/ip_local_port_range").and_then(|text| {
        let (first, last) = text.split_once(char::is_whitespace)?;
        Some((first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?))
    });
    let Some((first, last)) = range else {
        return ok(NAME, "unknown", "this system does not say");
    };
    let ports = (last + 1).saturating_sub(first);
    ok(
        NAME,
        format!("{first}-{last}"),
        format!("{ports} connections from one address to one: clients on this machine, proxies"),
    )
    .unless(ports >= AIM, Verdict::Limit, format!("sysctl -w {NAME}='1024 65535'"))
}

fn conntrack(machine: &Machine) -> Finding {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    let path = "proc/sys/net/netfilter/nf_conntrack_max";
    if machine.number(path).is_none() {
        return ok(NAME, "off", "connections are not tracked");
    }
    // A connection between two programs of this machine is one entry, and entries outlive it.
    let binds = "connections tracked; beyond it packets are dropped in silence";
    sysctl(machine, NAME, 2 * CONNECTIONS_AIM, DESCRIPTORS_CURE, binds)
}

fn congestion(machine: &Machine) -> Finding {
    const NAME: &str = "net.ipv4.tcp_congestion_control";
    let Some(value) = machine.text("proc/sys/net/ipv4/tcp_congestion_control") else {
        return ok(NAME, "unknown", "this system does not say");
    };
    let usual = matches!(value.as_str(), "cubic" | "bbr" | "bbr3");
    ok(NAME, value, "throughput on paths that lose packets").unless(
        usual,
        Verdict::Warn,
        format!("sysctl -w {NAME}=cubic"),
    )
}

pub(super) fn memory(machine: &Machine) -> Vec<Finding> {
    /// A reckoning on the safe side, kernel and ringwire together; results/ has measurements.
    const CONNECTION_BYTES: u64 = 8 * 1024;
    let mut found = Vec::new();
    found.push(match (machine.memory_available_bytes(), machine.memory_bytes()) {
        (Some(available), Some(total)) => {
            let usable = available.min(total);
            let room = usable / CONNECTION_BYTES;
            let (usable, total) = (usable / MEBI, total / MEBI);
            ok(
                "memory",
                format!("{usable} MiB of {total} MiB"),
                format!("room for about {room} idle connections, reckoned at 8 KiB each"),
            )
            .unless(
                room >= CONNECTIONS_AIM,
                Verdict::Limit,
                "free memory, raise the control group's limit, or lower --history-bytes-max",
            )
        }
        _ => ok("memory", "unknown", "this system does not say"),
    });
    found.push(tcp_memory(machine));
    found.push(slow_reader(machine));
    found.push(locked(machine));
    found
}

fn last_word(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next_back()?.parse().ok()
}

fn tcp_memory(machine: &Machine) -> Finding {
    const NAME: &str = "net.ipv4.tcp_mem";
    let pages = machine.text("proc/sys/net/ipv4/tcp_mem").and_then(|text| last_word(&text));
    let Some(pages) = pages else {
        return ok(NAME, "unknown", "this system does not say");
    };
    let bytes = pages.saturating_mul(PAGE_BYTES);
    ok(NAME, pages.to_string(), format!("{} MiB of socket buffers in all", bytes / MEBI)).unless(
        bytes >= CONNECTIONS_AIM * 2 * PAGE_BYTES,
        Verdict::Limit,
        format!("sysctl -w {NAME}='196608 262144 393216'"),
    )
}

fn slow_reader(machine: &Machine) -> Finding {
    const NAME: &str = "net.ipv4.tcp_wmem";
    let most = machine.text("proc/sys/net/ipv4/tcp_wmem").and_then(|text| last_word(&text));
    match most {
        Some(bytes) => ok(
            NAME,
            bytes.to_string(),
            "bytes the kernel keeps for one reader that stopped; --send-buffer lowers it",
        ),
        None => ok(NAME, "unknown", "this system does not say"),
    }
}

fn locked(machine: &Machine) -> Finding {
    const NAME: &str = "RLIMIT_MEMLOCK";
    let Some((_, hard)) = machine.process_limit("Max locked memory") else {
        return ok(NAME, "unknown", "this system does not say");
    };
    let value = hard.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    // Since 5.12 the kernel charges a ring's memory to the control group instead.
    let counted = machine.kernel().is_some_and(|version| version < (5, 12));
    let binds = if counted { "the memory of rings" } else { "nothing of ringwire since 5.12" };
    let enough = !counted || hard.is_none_or(|bytes| bytes >= 64 * MEBI);
    ok(NAME, value, binds).unless(enough, Verdict::Limit, "ulimit -l unlimited as root")
}

pub(super) fn processors(machine: &Machine) -> Vec<Finding> {
    let mut found = Vec::new();
    let allowed = machine.cpus_allowed().unwrap_or_default();
    if let Some(cpus) = u64::try_from(allowed.len()).ok().filter(|&cpus| cpus > 0) {
        let quota = quota_hundredths(machine);
        let value = match quota {
            Some(part) => format!("{cpus}, of which {}.{:02} may be used", part / 100, part % 100),
            None => cpus.to_string(),
        };
        found.push(ok("cpus", value, "one worker each").unless(
            quota.is_none_or(|part| part >= cpus * 100),
            Verdict::Warn,
            "raise the group's quota (docker: --cpus=), or start with fewer --workers: a worker \
             out of quota stands still",
        ));
    }
    let first = allowed.first().copied().unwrap_or(0);
    let path = format!("sys/devices/system/cpu/cpu{first}/cpufreq/scaling_governor");
    found.push(match machine.text(&path) {
        Some(governor) => {
            let steady = governor == "performance";
            ok("governor", governor, "how evenly measurements come out").unless(
                steady,
                Verdict::Warn,
                "cpupower frequency-set --governor performance",
            )
        }
        None => ok("governor", "unknown", "this system does not say (a virtual machine?)"),
    });
    found
}

/// CPU time the control group allows, in hundredths of a CPU.
fn quota_hundredths(machine: &Machine) -> Option<u64> {
    let text = machine.text("sys/fs/cgroup/cpu.max")?;
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(100)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::super::{findings, report};
    use super::*;

    fn found(machine: &Machine, name: &str) -> Finding {
        let all = findings(machine, &Ok(Features::all()));
        all.into_iter().find(|finding| finding.name == name).unwrap()
    }

    fn verdict(path: &str, text: &str, name: &str) -> Verdict {
        found(&Machine::of(&[(path, text)]), name).verdict
    }

    #[test]
    fn each_number_has_a_point_from_which_it_is_enough() {
        let cases = [
            ("proc/sys/fs/nr_open", "fs.nr_open", 100_064),
            ("proc/sys/fs/file-max", "fs.file-max", 200_128),
            ("proc/sys/net/core/somaxconn", "net.core.somaxconn", 4096),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "net.ipv4.tcp_max_syn_backlog", 4096),
            ("proc/sys/net/netfilter/nf_conntrack_max", "net.netfilter.nf_conntrack_max", 200_000),
        ];
        for (path, name, enough) in cases {
            assert_eq!(verdict(path, &format!("{enough}\n"), name), Verdict::Ok, "{name}");
            assert_eq!(verdict(path, &format!("{}\n", enough - 1), name), Verdict::Limit, "{name}");
        }
    }

    #[test]
    fn ranges_limits_and_words_are_judged() {
        let ports = "proc/sys/net/ipv4/ip_local_port_range";
        let name = "net.ipv4.ip_local_port_range";
        assert_eq!(verdict(ports, "32768\t60999\n", name), Verdict::Limit);
        assert_eq!(verdict(ports, "1024\t65535\n", name), Verdict::Ok);
        let files = |hard| format!("Max open files  1024  {hard}  files\n");
        let limits = "proc/self/limits";
        assert_eq!(verdict(limits, &files("4096"), "RLIMIT_NOFILE"), Verdict::Limit);
        assert_eq!(verdict(limits, &files("unlimited"), "RLIMIT_NOFILE"), Verdict::Ok);
        let governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        assert_eq!(verdict(governor, "powersave\n", "governor"), Verdict::Warn);
        assert_eq!(verdict(governor, "performance\n", "governor"), Verdict::Ok);
        let release = "proc/sys/kernel/osrelease";
        assert_eq!(verdict(release, "5.15.0\n", "kernel"), Verdict::Limit);
        assert_eq!(verdict(release, "6.1.9\n", "kernel"), Verdict::Warn);
        assert_eq!(verdict(release, "6.18.1\n", "kernel"), Verdict::Ok);
        assert_eq!(verdict(release, "7.0.0-rc1\n", "kernel"), Verdict::Ok);
    }

    #[test]
    fn a_quota_below_the_cpus_is_told() {
        let status = ("proc/self/status", "Cpus_allowed_list:\t0-3\n");
        let quota = |text| Machine::of(&[status, ("sys/fs/cgroup/cpu.max", text)]);
        let finding = found(&quota("150000 100000\n"), "cpus");
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(finding.value, "4, of which 1.50 may be used");
        assert_eq!(found(&quota("max 100000\n"), "cpus").verdict, Verdict::Ok);
        assert_eq!(found(&quota("400000 100000\n"), "cpus").verdict, Verdict::Ok);
    }

    #[test]
    fn io_uring_is_told_by_its_probe() {
        let refusal = "io_uring: setting up a ring: EPERM; allow it".to_owned();
        let refused = io_uring(&Err(refusal.clone()));
        assert_eq!((refused.verdict, refused.cure), (Verdict::Limit, refusal));
        assert_eq!(io_uring(&Ok(Features::all())).verdict, Verdict::Ok);
        let without = Features { capped_receive: false, ..Features::all() };
        let finding = io_uring(&Ok(without));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.binds.ends_with("without capped receive"), "{}", finding.binds);
    }

    #[test]
    fn every_finding_is_one_line_and_has_its_cure() {
        for machine in [Machine::this(), Machine::of(&[])] {
            for ring in [Ok(Features::default()), Err("no".to_owned())] {
                let all = findings(&machine, &ring);
                for finding in &all {
                    let cured = finding.verdict == Verdict::Ok || !finding.cure.is_empty();
                    assert!(cured, "{finding}");
                    assert!(!finding.to_string().contains('\n'), "{finding}");
                }
                let mut text = Vec::new();
                report(&all, &mut text).unwrap();
                assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), all.len() + 1);
            }
        }
    }
}
