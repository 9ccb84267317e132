//! What to measure: one target, one transport, one load.
//!
//! Not here: flags, and their defaults. A scenario says everything that the engine needs to know;
//! [`Scenario::check`] refuses what cannot be measured before anything is opened. It also travels:
//! agents are sent one, so everything in it can be serialized, and what is read back is checked.

mod traffic;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ringwire_ring::Address;
use serde::{Deserialize, Serialize};

use crate::engine::plan::{check_texts, text_bytes};
use crate::outcome::Failure;
use crate::secure::Secure;
use crate::speech::Speech;

pub use traffic::{AddressRange, Arrival, PPM, SlowReaders, Sources, Stage, Traffic};

/// Bytes of a payload that carry its publisher, sequence and times.
pub const SIZE_BYTES_MIN: usize = 20;

/// The largest payload a scenario may ask for.
pub const SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most publishers: what a payload's publisher field can tell apart.
pub const PUBLISHERS_MAX: u32 = 1 << 18;

/// How long warm-up and measured window may be together: what a payload's time field can hold.
pub const SPAN_MAX: Duration = Duration::from_secs(3 * 24 * 60 * 60);

const NS_PER_S: u64 = 1_000_000_000;

/// How a subscriber receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// WebSocket.
    Ws,
    /// Server-Sent Events.
    Sse,
    /// A GET that the server answers once there is news.
    LongPoll,
    /// A GET every `poll_interval`.
    Poll,
}

impl Transport {
    /// The name used in flags, tables and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::LongPoll => "longpoll",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// Each message sent comes back on its own connection.
    Echo,
    /// Publishers post, every subscriber receives.
    Fanout,
    /// The connections are held open; with a rate they are pinged.
    Idle,
    /// Connections are opened and closed: each message is one whole cycle.
    Churn,
}

impl Mode {
    /// The name used in flags, tables and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Fanout => "fanout",
            Self::Idle => "idle",
            Self::Churn => "churn",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which engine carries the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineChoice {
    /// io_uring, or else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// A rate as a ratio of integers, so that a schedule made from it has no rounding to gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
pub struct Rate {
    events: u64,
    period_ns: u64,
}

impl Rate {
    /// `events` every `period_ns`; `None` when either is zero.
    #[must_use]
    pub const fn new(events: u64, period_ns: u64) -> Option<Self> {
        if events == 0 || period_ns == 0 { None } else { Some(Self { events, period_ns }) }
    }

    /// `events` every second; `None` for zero.
    #[must_use]
    pub const fn per_second(events: u64) -> Option<Self> {
        Self::new(events, NS_PER_S)
    }

    /// Events of one period.
    #[must_use]
    pub const fn events(self) -> u64 {
        self.events
    }

    /// Length of the period.
    #[must_use]
    pub const fn period_ns(self) -> u64 {
        self.period_ns
    }

    /// Events per second, rounded: for people, never for the schedule.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for display only")]
    pub fn events_per_s(self) -> f64 {
        self.events as f64 * NS_PER_S as f64 / self.period_ns as f64
    }
}

impl TryFrom<(u64, u64)> for Rate {
    type Error = &'static str;

    fn try_from((events, period_ns): (u64, u64)) -> Result<Self, Self::Error> {
        Self::new(events, period_ns).ok_or("a rate of nothing")
    }
}

impl From<Rate> for (u64, u64) {
    fn from(rate: Rate) -> Self {
        (rate.events, rate.period_ns)
    }
}

/// That permessage-deflate (RFC 7692) is offered, and what is compressed where it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// Payloads of fewer bytes go as they are.
    pub threshold_bytes: usize,
}

/// What fills a payload after its stamp: the same in all messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Random digits of base 64: hardly to be compressed.
    #[default]
    Random,
    /// Names and figures, as compressible as JSON.
    Text,
}

/// Where it is read what a server uses, if not of its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gauged {
    /// In a directory of cgroup v2.
    Group(PathBuf),
    /// On a page for Prometheus.
    Metrics(Target),
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where to connect.
    #[serde(with = "address")]
    pub address: Address,
    /// The `Host` header.
    pub host: String,
    /// Path and query. In [`Mode::Fanout`] the channel: subscribed to, and published to without
    /// the query. With several channels, number `i` is the path with `-i` added.
    pub path: String,
}

/// Addresses as they are displayed: `IP:PORT` or `unix:PATH`.
mod address {
    use std::path::PathBuf;

    use ringwire_ring::Address;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(address: &Address, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        let text = String::deserialize(from)?;
        match text.strip_prefix("unix:") {
            Some(path) if (1..=Address::PATH_BYTES_MAX).contains(&path.len()) => {
                Ok(Address::Unix(PathBuf::from(path)))
            }
            Some(_) => Err(D::Error::custom("a Unix socket's path has 1 to 107 bytes")),
            None => text.parse().map(Address::Tcp).map_err(D::Error::custom),
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scenario {
    /// Where the server is.
    pub target: Target,
    /// How subscribers receive. [`Mode::Echo`] needs [`Transport::Ws`].
    pub transport: Transport,
    /// What the connections do.
    pub mode: Mode,
    /// Connections besides the publishers'. None in [`Mode::Fanout`] measures publishing to nobody.
    pub connections: u32,
    /// Length of the measured window.
    pub duration: Duration,
    /// Time under load before the window, not recorded.
    pub warmup: Duration,
    /// Open loop: messages (echo), publications (fan-out), pings (idle) or cycles (churn) in
    /// total. `None`: closed loop, and no pings.
    pub rate_per_s: Option<Rate>,
    /// Messages without a reply per connection. Closed loop: 1 if not given; open loop: unlimited
    /// if not given. Echo only; a publisher always has one.
    pub in_flight: Option<u32>,
    /// Connections opened per second; as fast as 1,000 pending allow if not given.
    pub connect_rate_per_s: Option<u32>,
    /// Threads, each with its driver and its share of the connections.
    pub threads: usize,
    /// Thread `i` is pinned to `cpus[i % len]`; not at all when empty.
    pub cpus: Vec<usize>,
    /// Bytes of one payload.
    pub size_bytes: usize,
    /// What fills it after its stamp.
    pub payload: Payload,
    /// Publishers in fan-out, on top of `connections`.
    pub publishers: u32,
    /// Channels that subscribers and publications are dealt over.
    pub channels: u32,
    /// Time between two polls of one connection.
    pub poll_interval: Duration,
    /// Where the payloads' padding comes from.
    pub seed: u64,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// Subprotocols offered in an upgrade.
    pub subprotocols: Vec<String>,
    /// Whether compression is offered in an upgrade. [`Transport::Ws`] only.
    pub compression: Option<Compression>,
    /// TLS, for `wss` and `https`.
    pub secure: Option<Secure>,
    /// Which engine carries the client.
    pub engine: EngineChoice,
    /// The server's process, if its cost is to be measured.
    pub server_pid: Option<u32>,
    /// Where else that is read, if no process is named.
    pub server_gauged: Option<Gauged>,
    /// What is special about the load.
    pub traffic: Traffic,
    /// What is said and understood beside our own payload.
    pub speech: Speech,
}

impl Scenario {
    /// The longest that a message may be, where it is a template that can be understood.
    #[must_use]
    pub fn message_bytes(&self) -> Option<usize> {
        text_bytes(self)
    }

    /// Whether load and connections are to stay as they are all through the window.
    #[must_use]
    pub fn is_even(&self) -> bool {
        let traffic = &self.traffic;
        let is_plain = traffic.stages.is_empty() && traffic.storms.is_empty();
        is_plain && traffic.slow.is_none() && self.mode != Mode::Churn
    }

    /// Every server that load goes to.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let publishing = self.speech.publishing.as_ref();
        std::iter::once(&self.target).chain(publishing.map(|publishing| &publishing.target))
    }

    /// Whether this can be measured at all.
    ///
    /// # Errors
    /// Code 104 with the rule that is broken.
    pub fn check(&self) -> Result<(), Failure> {
        let wrong = |line: &str| Err(Failure::configuration(line));
        if self.mode == Mode::Echo && self.transport != Transport::Ws {
            return wrong("--mode echo needs a ws:// URL: only WebSocket carries replies");
        }
        if self.connections == 0 && self.mode != Mode::Fanout {
            return wrong("--connections must be at least 1");
        }
        if self.mode == Mode::Fanout && !(1..=PUBLISHERS_MAX).contains(&self.publishers) {
            return wrong("--publishers must be from 1 to 262144");
        }
        if !(1..=65_536).contains(&self.channels) {
            return wrong("--channels must be from 1 to 65536");
        }
        let size_bytes_min = if self.speech.message.is_some() { 0 } else { SIZE_BYTES_MIN };
        if !(size_bytes_min..=SIZE_BYTES_MAX).contains(&self.size_bytes) {
            return wrong("--size must be from 20 bytes (publisher, sequence and times) to 16m");
        }
        if self.threads == 0 || self.threads > 1024 {
            return wrong("--threads must be from 1 to 1024");
        }
        if self.duration.is_zero() || self.duration.saturating_add(self.warmup) > SPAN_MAX {
            return wrong("--duration must be above 0, and with --warmup at most 72h");
        }
        if self.transport == Transport::Poll && self.poll_interval.is_zero() {
            return wrong("--poll-interval must be above 0");
        }
        if self.compression.is_some() && self.transport != Transport::Ws {
            return wrong("--compression on needs a ws:// URL: it is WebSocket's");
        }
        if self.in_flight == Some(0) {
            return wrong("--in-flight must be at least 1");
        }
        if self.connect_rate_per_s == Some(0) {
            return wrong("--connect-rate must be at least 1");
        }
        self.speech.check(self)?;
        if !self.target.path.starts_with('/') {
            return wrong("the URL's path must begin with /");
        }
        if !self.target.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("the URL's path must be percent-encoded: printable ASCII without spaces");
        }
        if let Some(line) = self.traffic.broken_rule(self) {
            return wrong(line);
        }
        check_texts(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_checked_as_what_was_typed() {
        let rate = Rate::new(3, 7).unwrap();
        assert_eq!(
            serde_json::from_str::<Rate>(&serde_json::to_string(&rate).unwrap()).ok(),
            Some(rate)
        );
        assert!(serde_json::from_str::<Rate>("[0, 7]").is_err());
        assert!(serde_json::from_str::<Rate>("[7, 0]").is_err());
        for address in ["127.0.0.1:80", "[::1]:80", "unix:/run/s"] {
            let target = format!(r#"{{"address": "{address}", "host": "h", "path": "/"}}"#);
            let target: Target = serde_json::from_str(&target).unwrap();
            assert_eq!(target.address.to_string(), address);
            let again = serde_json::to_string(&target).unwrap();
            assert_eq!(serde_json::from_str::<Target>(&again).unwrap(), target);
        }
        let long = format!("unix:/{}", "x".repeat(107));
        for address in ["h:80", "unix:", "", long.as_str()] {
            let target = format!(r#"{{"address": "{address}", "host": "h", "path": "/"}}"#);
            assert!(serde_json::from_str::<Target>(&target).is_err(), "{address}");
        }
    }
}
