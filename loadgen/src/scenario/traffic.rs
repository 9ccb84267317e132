//! How load arrives beyond a constant rate: stages, storms, slow readers, where it comes from.
//!
//! Not here: when anything happens; that is the engine's. Invariant: `Traffic::default()` is a
//! scenario without any of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Mode, Rate, Scenario, Transport};
use crate::engine::curve::Curve;

/// Parts of a whole in [`SlowReaders::share_ppm`].
pub const PPM: u64 = 1_000_000;

/// The most stages of one scenario.
const STAGES_MAX: usize = 1_000;

/// The most storms of one scenario.
const STORMS_MAX: usize = 100;

/// How the messages of an open loop are spread over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrival {
    /// Evenly.
    #[default]
    Constant,
    /// As a Poisson process of the same rate, from the seed.
    Poisson,
}

/// A part of a schedule whose rate goes from that before to its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// How long it takes; zero steps.
    pub lasts: Duration,
    /// The rate at its end; `None`: nothing is sent.
    pub rate: Option<Rate>,
}

/// Connections that read slowly, and are left out of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowReaders {
    /// How many of all, in parts per million.
    pub share_ppm: u64,
    /// What each reads; 0: nothing at all.
    pub bytes_per_s: u64,
}

impl SlowReaders {
    /// Whether connection `number` is one of them: they are spread evenly over the numbers.
    #[must_use]
    pub fn includes(self, number: u32) -> bool {
        let before = u64::from(number) * self.share_ppm / PPM;
        (u64::from(number) + 1) * self.share_ppm / PPM > before
    }
}

/// Consecutive addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// How many, at least 1.
    pub count: u64,
}

impl AddressRange {
    /// Address `index` of it.
    fn nth(self, index: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                IpAddr::V4(Ipv4Addr::from(u32::from(first).wrapping_add(index)))
            }
            IpAddr::V6(first) => {
                IpAddr::V6(u128::from(first).wrapping_add(u128::from(index)).into())
            }
        }
    }
}

/// The addresses that connections are made from, in turn; none: the kernel chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// In the order given.
    pub ranges: Vec<AddressRange>,
}

impl Sources {
    /// How many addresses there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count))
    }

    /// The address of connection `number`.
    #[must_use]
    pub fn of(&self, number: u32) -> Option<IpAddr> {
        let mut index = u64::from(number).checked_rem(self.count())?;
        for range in &self.ranges {
            if index < range.count {
                return Some(range.nth(index));
            }
            index -= range.count;
        }
        None
    }
}

/// What is special about the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How an open loop's messages are spread.
    pub arrival: Arrival,
    /// The rate over the window, in place of a constant one; `rate_per_s` is then its mean. In
    /// warm-up the rate is that which the first of them begins with.
    pub stages: Vec<Stage>,
    /// `rate_per_s` is for all planned connections (publishers) together: those that did not open
    /// take their share of it along.
    pub is_rate_per_connection: bool,
    /// The window ends after this many messages, or with the scenario's duration.
    pub count: Option<u64>,
    /// When all connections are dropped, from the window's start, ascending.
    pub storms: Vec<Duration>,
    /// Each connection waits up to this long before it opens again.
    pub storm_jitter: Duration,
    /// Connections that read slowly.
    pub slow: Option<SlowReaders>,
    /// Where connections come from.
    pub sources: Sources,
    /// A polling connection is used again for the next request.
    pub is_keep_alive: bool,
    /// [`Mode::Churn`]: each connection sends one message and awaits it before it closes.
    pub is_churn_echo: bool,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            arrival: Arrival::Constant,
            stages: Vec::new(),
            is_rate_per_connection: false,
            count: None,
            storms: Vec::new(),
            storm_jitter: Duration::ZERO,
            slow: None,
            sources: Sources::default(),
            is_keep_alive: true,
            is_churn_echo: false,
        }
    }
}

impl Traffic {
    /// The rule of this that `scenario` breaks.
    pub(super) fn broken_rule(&self, scenario: &Scenario) -> Option<&'static str> {
        self.broken_schedule(scenario).or_else(|| self.broken_connections(scenario))
    }

    fn broken_schedule(&self, scenario: &Scenario) -> Option<&'static str> {
        let is_open_loop = scenario.rate_per_s.is_some();
        let is_churn = scenario.mode == Mode::Churn;
        let rules = [
            (
                self.arrival == Arrival::Poisson && !is_open_loop,
                "--arrival poisson needs --rate, --message-rate or --stage",
            ),
            (
                scenario.mode == Mode::Idle && is_open_loop && scenario.transport != Transport::Ws,
                "--ping-interval needs a ws:// URL: only WebSocket has pings",
            ),
            (self.stages.len() > STAGES_MAX, "--stage: at most 1000 of them"),
            (
                !self.stages.is_empty() && Curve::new(scenario.warmup, &self.stages).is_none(),
                "--stage: a rate must be at most 100m, of few decimals",
            ),
            (
                !self.stages.is_empty() && self.stages.iter().all(|stage| stage.rate.is_none()),
                "--stage: at least one rate must be above 0",
            ),
            (self.count == Some(0), "--count must be at least 1"),
            (
                self.count.is_some() && scenario.mode == Mode::Idle && !is_open_loop,
                "--count needs messages: --mode idle sends none without --ping-interval",
            ),
            (
                self.is_churn_echo && !(is_churn && scenario.transport == Transport::Ws),
                "--churn-echo needs --mode churn and a ws:// URL",
            ),
            (
                is_churn && scenario.in_flight.is_some(),
                "--in-flight means nothing in --mode churn: leave it out",
            ),
        ];
        rules.into_iter().find_map(|(is_broken, rule)| is_broken.then_some(rule))
    }

    fn broken_connections(&self, scenario: &Scenario) -> Option<&'static str> {
        let is_polling = matches!(scenario.transport, Transport::Poll | Transport::LongPoll);
        let is_slow = self.slow.is_some();
        let late = |storm: &Duration| *storm >= scenario.duration;
        let rules = [
            (
                !self.storms.is_empty() && scenario.mode == Mode::Churn,
                "--storm means nothing in --mode churn, which drops all the time",
            ),
            (self.storms.len() > STORMS_MAX, "--storm: at most 100 of them"),
            (self.storms.iter().any(late), "--storm must lie within --duration"),
            (
                self.storms.is_empty() && !self.storm_jitter.is_zero(),
                "--storm-jitter needs --storm",
            ),
            (
                self.slow.is_some_and(|slow| !(1..PPM).contains(&slow.share_ppm)),
                "--slow-share must be above 0 and below 1",
            ),
            (
                is_slow && (scenario.mode != Mode::Fanout || is_polling),
                "--slow-share needs --mode fanout over ws or sse: a poll's reader asks first",
            ),
            (
                !self.is_keep_alive && !is_polling,
                "--keepalive off needs --transport longpoll or poll",
            ),
            (
                self.sources.count() > 0 && scenario.target.address.tcp().is_none(),
                "--source-ip means nothing over a Unix socket",
            ),
        ];
        rules.into_iter().find_map(|(is_broken, rule)| is_broken.then_some(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressRange, SlowReaders, Sources};

    #[test]
    fn slow_connections_are_as_many_as_the_share_says_and_spread() {
        for (share_ppm, expected) in [(100_000, 100), (333_333, 333), (1, 0), (999_999, 999)] {
            let slow = SlowReaders { share_ppm, bytes_per_s: 0 };
            let are = |from: u32, to: u32| (from..to).filter(|&n| slow.includes(n)).count();
            assert_eq!(are(0, 1_000), expected, "{share_ppm}");
            assert!(are(0, 500).abs_diff(are(500, 1_000)) <= 1);
        }
    }

    #[test]
    fn connections_take_the_addresses_in_turn_over_all_ranges() {
        let range = |first: &str, count| AddressRange { first: first.parse().unwrap(), count };
        let sources = Sources { ranges: vec![range("127.0.0.255", 2), range("::ff", 2)] };
        let told: Vec<_> = (0..5).map(|n| sources.of(n).unwrap().to_string()).collect();
        assert_eq!(told, ["127.0.0.255", "127.0.1.0", "::ff", "::100", "127.0.0.255"]);
        assert_eq!((sources.count(), Sources::default().of(3)), (4, None));
    }
}
