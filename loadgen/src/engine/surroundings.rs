//! What else went on on this machine while the window was open: stolen and slowed processors,
//! queues of the kernel that overflowed.
//!
//! Not here: whether that is bad. Invariant: what this machine does not tell is `None`.

use std::fs;

use crate::outcome::Surroundings;

/// Counters of the machine at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// Stolen and all time of all processors, in ticks.
    ticks: Option<(u64, u64)>,
    throttles: Option<u64>,
    frequency_khz: Option<u64>,
    listen_overflows: Option<u64>,
    backlog_drops: Option<u64>,
    retransmits: Option<u64>,
}

impl Sight {
    pub(crate) fn take() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (netstat, snmp) = (read("/proc/net/netstat"), read("/proc/net/snmp"));
        Self {
            ticks: ticks(&read("/proc/stat")),
            throttles: each_processor("thermal_throttle/core_throttle_count").reduce(|a, b| a + b),
            frequency_khz: each_processor("cpufreq/scaling_cur_freq").max(),
            listen_overflows: counter(&netstat, "TcpExt", "ListenOverflows"),
            backlog_drops: counter(&netstat, "TcpExt", "TCPBacklogDrop"),
            retransmits: counter(&snmp, "Tcp", "RetransSegs"),
        }
    }

    /// What happened between two looks.
    #[expect(clippy::cast_precision_loss, reason = "shares")]
    pub(crate) fn since(&self, before: &Self) -> Surroundings {
        let more = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let steal_share = self.ticks.zip(before.ticks).and_then(|(now, then)| {
            share(now.0.saturating_sub(then.0), now.1.saturating_sub(then.1))
        });
        let frequencies = before.frequency_khz.zip(self.frequency_khz);
        Surroundings {
            steal_share,
            throttles: more(self.throttles, before.throttles),
            frequency_ratio: frequencies.and_then(|(then, now)| share(now, then)),
            listen_overflows: more(self.listen_overflows, before.listen_overflows),
            backlog_drops: more(self.backlog_drops, before.backlog_drops),
            retransmits: more(self.retransmits, before.retransmits),
            in_flight_mean: None,
        }
    }
}

/// Processor time that went to other virtual machines since this one booted, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a share")]
pub(crate) fn steal_share_since_boot() -> Option<f64> {
    let (stolen, all) = Sight::take().ticks?;
    (all > 0).then(|| stolen as f64 / all as f64)
}

/// A number of each processor that has the file.
fn each_processor(file: &'static str) -> impl Iterator<Item = u64> {
    let number = move |processor: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{processor}/{file}");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    (0..).map_while(number)
}

/// Stolen and all ticks of the first line of `/proc/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // Guests' time, which comes after, is in the users' already.
    Some((*ticks.get(7)?, ticks.iter().take(8).sum()))
}

/// A counter of `/proc/net/netstat` or `snmp`: a line of names, then one of values.
pub(crate) fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let of_group = |line: &&str| line.split(':').next() == Some(group);
    let mut lines = text.lines().filter(of_group).map(str::split_whitespace);
    let position = lines.next()?.position(|word| word == name)?;
    lines.next()?.nth(position)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Sight, counter, ticks};

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "cpu  100 0 50 800 10 0 0 40 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(ticks(stat), Some((40, 1_000)));
        assert_eq!(ticks("cpu  1 2 3\n"), None);
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 3\n\
                       IpExt: ListenOverflows\nIpExt: 9\n";
        assert_eq!(counter(netstat, "TcpExt", "ListenOverflows"), Some(22));
        assert_eq!(counter(netstat, "IpExt", "ListenOverflows"), Some(9));
        assert_eq!(counter(netstat, "TcpExt", "TCPBacklogDrop"), None);
        assert_eq!(counter("", "TcpExt", "ListenOverflows"), None);
    }

    #[test]
    fn what_is_not_told_is_none_and_the_rest_is_a_difference() {
        let before =
            Sight { ticks: Some((10, 1_000)), frequency_khz: Some(2_000), ..Sight::default() };
        let after = Sight {
            ticks: Some((30, 2_000)),
            frequency_khz: Some(1_500),
            throttles: Some(3),
            ..before.clone()
        };
        let between = after.since(&before);
        assert_eq!((between.steal_share, between.throttles), (Some(0.02), None));
        assert_eq!((between.frequency_ratio, between.retransmits), (Some(0.75), None));
        let here = Sight::take();
        assert_eq!(here.since(&here).listen_overflows.unwrap_or(0), 0);
        assert!(here.ticks.is_some());
    }
}
