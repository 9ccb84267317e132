//! What this machine limits, and the command that cures it.
//!
//! Facts are read once, findings are a pure function of them. A plan that cannot fit is refused
//! from the same facts before anything is opened.

use loadgen::scenario::EngineChoice;

use crate::machine;
use crate::report::number::Style;

/// Descriptors a process needs besides its connections: rings, files, the terminal.
const DESCRIPTORS_RESERVED: u64 = 32;
/// A backlog below this drops connects that arrive at once.
const BACKLOG_WANTED: u64 = 4_096;
/// Kernel and user memory that one open connection takes at both ends, about.
const CONNECTION_BYTES: u64 = 16 * 1024;

/// Kernel memory that a connection under load may take in its queues, about.
const TCP_CONNECTION_BYTES: u64 = 4 * 1024;
/// Stolen time that disturbs a measurement.
const STEAL_SHARE_MAX: f64 = 0.02;

/// What the findings are made from.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) descriptors_max: u64,
    pub(crate) port_range: Option<(u64, u64)>,
    pub(crate) backlog_max: Option<u64>,
    pub(crate) syn_backlog_max: Option<u64>,
    pub(crate) conntrack_max: Option<u64>,
    pub(crate) congestion_control: Option<String>,
    pub(crate) governor: Option<String>,
    /// Bytes that all TCP sockets of the machine may take before the kernel drops.
    pub(crate) tcp_memory_bytes: Option<u64>,
    /// Processor time taken by other virtual machines since boot, 0 to 1.
    pub(crate) steal_share: Option<f64>,
    pub(crate) memory_available_bytes: Option<u64>,
    /// Whether io_uring works, or else why not and the cure.
    pub(crate) uring: Result<(), String>,
}

impl Facts {
    /// Reads this machine; raises the soft limit of descriptors to the hard one.
    pub(crate) fn read() -> Self {
        let number = |name: &str| machine::sysctl(name).and_then(|text| text.parse().ok());
        let range = machine::sysctl("net.ipv4.ip_local_port_range");
        let memory = machine::content("/proc/meminfo").unwrap_or_default();
        let available = machine::field(&memory, "MemAvailable");
        Self {
            descriptors_max: ringwire_ring::descriptors_max(),
            port_range: range.and_then(|text| pair(&text)),
            backlog_max: number("net.core.somaxconn"),
            syn_backlog_max: number("net.ipv4.tcp_max_syn_backlog"),
            conntrack_max: number("net.netfilter.nf_conntrack_max"),
            congestion_control: machine::sysctl("net.ipv4.tcp_congestion_control"),
            governor: machine::governor(),
            tcp_memory_bytes: machine::sysctl("net.ipv4.tcp_mem").and_then(|text| pages(&text)),
            steal_share: loadgen::outcome::steal_share_since_boot(),
            memory_available_bytes: available.and_then(|text| machine::kibibytes(&text)),
            uring: ringwire_ring::probe().map(|_| ()).map_err(|refusal| refusal.to_string()),
        }
    }

    /// Ports that connections to one address can come from.
    pub(crate) fn ports_count(&self) -> Option<u64> {
        let (low, high) = self.port_range?;
        Some((high + 1).saturating_sub(low))
    }

    /// Connections that descriptors allow: io_uring has a table per thread, epoll one per process.
    fn descriptor_connections(&self, threads: u64, engine: EngineChoice) -> u64 {
        let usable = self.descriptors_max.saturating_sub(DESCRIPTORS_RESERVED);
        let is_uring = match engine {
            EngineChoice::Auto => self.uring.is_ok(),
            EngineChoice::Uring => true,
            EngineChoice::Epoll => false,
        };
        if is_uring { usable.saturating_mul(threads) } else { usable }
    }

    /// Source addresses that `connections` to one address need: some ports of each are left for
    /// others.
    pub(crate) fn addresses_needed(&self, connections: u64) -> u64 {
        let usable = self.ports_count().map_or(u64::MAX, |ports| (ports - ports / 8).max(1));
        let is_one_enough = self.ports_count().is_none_or(|ports| connections <= ports);
        if is_one_enough { 1 } else { connections.div_ceil(usable) }
    }

    /// Whether `connections` can be opened from here, from `sources` addresses in turn, or else
    /// one line with the cure.
    pub(crate) fn fit(
        &self,
        connections: u64,
        sources: u64,
        threads: u64,
        engine: EngineChoice,
    ) -> Result<(), String> {
        if let Some(ports) = self.ports_count()
            && connections.div_ceil(sources.max(1)) > ports
        {
            let needed = self.addresses_needed(connections);
            let addresses = if sources > 1 { "addresses" } else { "address" };
            return Err(format!(
                "{connections} connections need as many ports, this machine has {ports} for each \
                 of {sources} source {addresses}; cure: {PORTS_CURE}, or --source-ip with \
                 {needed} addresses"
            ));
        }
        self.fit_descriptors(connections, threads, engine)
    }

    /// As [`Facts::fit`] where no ports are needed: over a Unix socket.
    pub(crate) fn fit_descriptors(
        &self,
        connections: u64,
        threads: u64,
        engine: EngineChoice,
    ) -> Result<(), String> {
        let descriptors = self.descriptor_connections(threads, engine);
        if connections > descriptors {
            let wanted = connections.div_ceil(threads.max(1)) + DESCRIPTORS_RESERVED;
            return Err(format!(
                "{connections} connections do not fit the descriptor limit of {}; cure: {}",
                self.descriptors_max,
                descriptors_cure(wanted),
            ));
        }
        Ok(())
    }
}

const PORTS_CURE: &str = "sysctl -w net.ipv4.ip_local_port_range='1024 65535'";

fn descriptors_cure(wanted: u64) -> String {
    format!("ulimit -Hn {wanted} && ulimit -Sn {wanted} (as root, or in limits.conf)")
}

/// The last of the three numbers of pages, in bytes.
fn pages(text: &str) -> Option<u64> {
    text.split_whitespace().nth(2)?.parse::<u64>().ok()?.checked_mul(4_096)
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// What it bounds or does, and the command that changes it; `None`: nothing to do.
    pub(crate) cure: Option<String>,
}

impl Finding {
    fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), cure: None }
    }

    fn cured_if(mut self, is_short: bool, cure: impl Into<String>) -> Self {
        self.cure = is_short.then(|| cure.into());
        self
    }
}

/// Everything found, what binds first.
pub(crate) fn findings(facts: &Facts, style: Style) -> Vec<Finding> {
    let mut all = vec![binding(facts, style)];
    let descriptors = format!("{} a process", style.count(facts.descriptors_max));
    all.push(
        Finding::new("descriptors", descriptors)
            .cured_if(facts.descriptors_max < 65_536, descriptors_cure(1_048_576)),
    );
    if let (Some((low, high)), Some(count)) = (facts.port_range, facts.ports_count()) {
        let value = format!("{low}-{high}: {} to one address", style.count(count));
        all.push(Finding::new("ports", value).cured_if(count < 60_000, PORTS_CURE));
    }
    let backlogs = [
        ("accept backlog", facts.backlog_max, "net.core.somaxconn"),
        ("SYN backlog", facts.syn_backlog_max, "net.ipv4.tcp_max_syn_backlog"),
    ];
    for (name, value, setting) in backlogs {
        let Some(value) = value else { continue };
        let cure = format!("sysctl -w {setting}={BACKLOG_WANTED}");
        let finding = Finding::new(name, style.count(value));
        all.push(finding.cured_if(value < BACKLOG_WANTED, cure));
    }
    if let Some(value) = facts.conntrack_max {
        let cure = "sysctl -w net.netfilter.nf_conntrack_max=1048576";
        let finding = Finding::new("conntrack", format!("{} flows", style.count(value)));
        all.push(finding.cured_if(value < 262_144, cure));
    }
    if let Some(name) = &facts.congestion_control {
        let cure = "bbr paces sends; for short runs: sysctl -w \
                    net.ipv4.tcp_congestion_control=cubic";
        all.push(Finding::new("congestion", name.clone()).cured_if(name == "bbr", cure));
    }
    let governor = facts.governor.clone().unwrap_or_else(|| "not told by this machine".to_owned());
    let is_slow = facts.governor.as_deref().is_some_and(|name| name != "performance");
    let cure = "cpupower frequency-set -g performance";
    all.push(Finding::new("governor", governor).cured_if(is_slow, cure));
    if let Some(bytes) = facts.tcp_memory_bytes {
        let connections = facts.ports_count().unwrap_or(65_536);
        let is_short = bytes / TCP_CONNECTION_BYTES < connections;
        let cure = "sysctl -w net.ipv4.tcp_mem='1048576 2097152 4194304'";
        #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
        let value = format!("{} for all sockets", style.memory(bytes as f64));
        all.push(Finding::new("TCP memory", value).cured_if(is_short, cure));
    }
    if let Some(share) = facts.steal_share {
        let cure = "others take processors away: measure on a host of your own";
        let value = format!("{} since boot", style.share(share));
        all.push(Finding::new("CPU steal", value).cured_if(share > STEAL_SHARE_MAX, cure));
    }
    all.push(match &facts.uring {
        Ok(()) => Finding::new("io_uring", "works"),
        Err(why) => Finding::new("io_uring", "does not work here").cured_if(true, why.clone()),
    });
    all
}

/// The lowest of the limits on connections to one address, and what sets it.
fn binding(facts: &Facts, style: Style) -> Finding {
    let descriptors = facts.descriptor_connections(1, EngineChoice::Auto);
    let memory = facts.memory_available_bytes.map(|bytes| bytes / CONNECTION_BYTES);
    let candidates = [
        (Some(descriptors), "descriptors of one thread"),
        (facts.ports_count(), "ports"),
        (memory, "memory, with 16 KiB a connection"),
        (facts.conntrack_max, "conntrack"),
    ];
    let least = candidates.into_iter().filter_map(|(count, what)| Some((count?, what))).min();
    let (count, what) = least.unwrap_or((descriptors, "descriptors"));
    let value = format!("about {} to one address, bound by {what}", style.count(count));
    Finding::new("connections", value)
}

/// The findings as text, a line each, cures indented below.
pub(crate) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let state = if finding.cure.is_some() { "LIMIT" } else { "ok" };
        text.push_str(&format!("{state:<6} {:<15} {}\n", finding.name, finding.value));
        if let Some(cure) = &finding.cure {
            text.push_str(&format!("{:<6} {:<15} cure: {cure}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { is_utf8: false };

    fn facts() -> Facts {
        Facts {
            descriptors_max: 20_032,
            port_range: Some((32_768, 60_999)),
            backlog_max: Some(4_096),
            syn_backlog_max: Some(512),
            conntrack_max: None,
            congestion_control: Some("cubic".to_owned()),
            governor: Some("powersave".to_owned()),
            tcp_memory_bytes: Some(1 << 20),
            steal_share: Some(0.1),
            memory_available_bytes: Some(8 << 30),
            uring: Ok(()),
        }
    }

    #[test]
    fn ports_bind_one_address() {
        let facts = Facts { descriptors_max: 1_000_000, ..facts() };
        assert_eq!(facts.fit(28_232, 1, 1, EngineChoice::Auto), Ok(()));
        assert_eq!(facts.fit_descriptors(28_233, 1, EngineChoice::Auto), Ok(()));
        let line = facts.fit(28_233, 1, 1, EngineChoice::Auto).unwrap_err();
        assert!(line.contains("28232") && line.contains("ip_local_port_range"), "{line}");
        assert!(line.ends_with("--source-ip with 2 addresses"), "{line}");
        assert_eq!(facts.fit(56_464, 2, 1, EngineChoice::Auto), Ok(()));
        assert!(facts.fit(56_465, 2, 1, EngineChoice::Auto).is_err());
        // An eighth of each address's ports is left for others: TIME_WAIT, other programs.
        assert_eq!([28_232, 28_233, 100_000].map(|n| facts.addresses_needed(n)), [1, 2, 5]);
    }

    #[test]
    fn descriptors_bind_a_thread_of_uring_and_a_process_of_epoll() {
        let facts = facts();
        assert_eq!(facts.fit(20_000, 1, 1, EngineChoice::Auto), Ok(()));
        let line = facts.fit(20_001, 1, 1, EngineChoice::Auto).unwrap_err();
        assert!(line.contains("ulimit -Hn 20033"), "{line}");
        assert_eq!(facts.fit(20_001, 1, 2, EngineChoice::Uring), Ok(()));
        assert!(facts.fit(20_001, 1, 2, EngineChoice::Epoll).is_err());
        let blocked = Facts { uring: Err("blocked".to_owned()), ..facts };
        assert!(blocked.fit(20_001, 1, 2, EngineChoice::Auto).is_err());
    }

    #[test]
    fn findings_name_what_binds_and_the_cure() {
        let text = text(&findings(&facts(), STYLE));
        let first = "ok     connections     about 20 000 to one address, bound by descriptors";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("LIMIT  SYN backlog     512\n"), "{text}");
        assert!(text.contains("cure: sysctl -w net.ipv4.tcp_max_syn_backlog=4096"), "{text}");
        assert!(text.contains("ok     accept backlog  4 096\n"), "{text}");
        assert!(text.contains("LIMIT  governor        powersave\n"), "{text}");
        assert!(text.contains("LIMIT  TCP memory      1.00 MiB for all sockets\n"), "{text}");
        assert!(text.contains("LIMIT  CPU steal       10.0 % since boot\n"), "{text}");
        assert!(text.contains("ok     io_uring        works\n"), "{text}");
        assert!(!text.contains("conntrack"), "{text}");
    }

    #[test]
    fn a_blocked_uring_prints_its_cure() {
        let facts = Facts { uring: Err("EPERM: allow it in seccomp".to_owned()), ..facts() };
        let text = text(&findings(&facts, STYLE));
        assert!(text.contains("LIMIT  io_uring"), "{text}");
        assert!(text.contains("cure: EPERM: allow it in seccomp"), "{text}");
    }
}
