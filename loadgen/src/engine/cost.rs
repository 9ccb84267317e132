//! What the server and this program used: CPU by the kernel's nanosecond clocks, memory by /proc.
//!
//! Not here: when to look. Invariant: a process that cannot be looked at gives no figure, not 0.

use std::fs;

use ringwire_ring::ProcessClock;

use crate::engine::control::Control;
use crate::engine::surroundings::Sight;
use crate::outcome::{Failure, GeneratorCost, ServerCost, Surroundings};

/// CPU time used so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) server_ns: Option<u64>,
    own_ns: Option<u64>,
    thread_ns: Vec<Option<u64>>,
}

impl Reading {
    fn take(server: Option<ProcessClock>, own: Option<ProcessClock>, control: &Control) -> Self {
        let cpu_ns = |clock: ProcessClock| clock.cpu_ns().ok();
        Self {
            server_ns: server.and_then(cpu_ns),
            own_ns: own.and_then(cpu_ns),
            thread_ns: control
                .reports
                .iter()
                .map(|report| report.clock.get().and_then(|clock| clock.cpu_ns().ok()))
                .collect(),
        }
    }
}

impl Reading {
    /// How busy a thread was in the `span_ns` since `before`.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub(crate) fn thread_share(&self, before: &Self, thread: usize, span_ns: u64) -> f64 {
        let of = |reading: &Self| reading.thread_ns.get(thread).copied().flatten();
        let busy_ns = of(self).zip(of(before)).map_or(0, |(now, then)| now.saturating_sub(then));
        busy_ns as f64 / span_ns.max(1) as f64
    }
}

/// Costs over one run.
#[derive(Debug)]
pub(crate) struct Costs {
    server: Option<(u32, ProcessClock)>,
    own: Option<ProcessClock>,
    rss_before_bytes: Option<u64>,
    rss_connected_bytes: Option<u64>,
    rss_after_bytes: Option<u64>,
    own_rss_bytes: Option<u64>,
    start: Reading,
    end: Reading,
    /// The machine at both ends of the window.
    around: (Sight, Sight),
}

impl Costs {
    /// Looks at the server before the first connection.
    pub(crate) fn before_connecting(server_pid: Option<u32>) -> Result<Self, Failure> {
        let server = match server_pid {
            None => None,
            Some(pid) => {
                let clock = ProcessClock::of(pid).map_err(|error| {
                    Failure::configuration(format!(
                        "--server-pid {pid} cannot be looked at ({error}): name a process that runs"
                    ))
                })?;
                Some((pid, clock))
            }
        };
        Ok(Self {
            server,
            own: ProcessClock::of(0).ok(),
            rss_before_bytes: server_pid.and_then(rss_bytes),
            rss_connected_bytes: None,
            rss_after_bytes: None,
            own_rss_bytes: None,
            start: Reading::default(),
            end: Reading::default(),
            around: Default::default(),
        })
    }

    /// All connections are open, nothing was said yet.
    pub(crate) fn connected(&mut self) {
        self.rss_connected_bytes = self.server_rss_bytes();
    }

    pub(crate) fn window_starts(&mut self, control: &Control) {
        self.start = self.read(control);
        self.around.0 = Sight::take();
    }

    pub(crate) fn window_ends(&mut self, control: &Control) {
        self.end = self.read(control);
        self.around.1 = Sight::take();
        self.rss_after_bytes = self.server_rss_bytes();
        self.own_rss_bytes = Self::own_rss_bytes();
    }

    /// What else went on on this machine in the window.
    pub(crate) fn surroundings(&self) -> Surroundings {
        self.around.1.since(&self.around.0)
    }

    /// CPU time used until now.
    pub(crate) fn read(&self, control: &Control) -> Reading {
        Reading::take(self.server.map(|(_, clock)| clock), self.own, control)
    }

    /// Resident memory of the server now.
    pub(crate) fn server_rss_bytes(&self) -> Option<u64> {
        self.server.and_then(|(pid, _)| rss_bytes(pid))
    }

    /// Resident memory of this program now.
    pub(crate) fn own_rss_bytes() -> Option<u64> {
        rss_bytes(std::process::id())
    }

    /// What the server used in the window.
    pub(crate) fn server(&self) -> Option<ServerCost> {
        Some(ServerCost {
            cpu_ns: self.end.server_ns?.checked_sub(self.start.server_ns?)?,
            rss_before_bytes: self.rss_before_bytes?,
            rss_connected_bytes: self.rss_connected_bytes?,
            rss_after_bytes: self.rss_after_bytes?,
        })
    }

    /// What this program used in the window of `measured_ns`.
    #[expect(clippy::cast_precision_loss, reason = "a share for people and a threshold")]
    pub(crate) fn generator(&self, measured_ns: u64) -> GeneratorCost {
        let used = |start: Option<u64>, end: Option<u64>| end?.checked_sub(start?);
        let threads = self.start.thread_ns.iter().zip(&self.end.thread_ns);
        GeneratorCost {
            cpu_ns: used(self.start.own_ns, self.end.own_ns).unwrap_or(0),
            rss_bytes: self.own_rss_bytes,
            thread_busy_share: threads
                .filter_map(|(&start, &end)| used(start, end))
                .map(|busy_ns| busy_ns as f64 / measured_ns.max(1) as f64)
                .collect(),
        }
    }
}

/// Resident memory of a process.
fn rss_bytes(pid: u32) -> Option<u64> {
    parse_rss(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{parse_rss, rss_bytes};

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse_rss("Name:\tx\nVmRSS:\t    5704 kB\nRssAnon:\t1 kB\n"), Some(5704 * 1024));
        assert_eq!(parse_rss("Name:\tzombie\n"), None);
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
    }
}
