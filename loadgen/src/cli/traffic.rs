//! Flags about how load arrives, and from where; [`plan`] makes a scenario's traffic of them.
//!
//! Invariant: two flags that say the same thing differently are refused, never ranked.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use loadgen::outcome::Failure;
use loadgen::scenario::{
    AddressRange, Arrival, Mode, PPM, Rate, SPAN_MAX, Scenario, SlowReaders, Sources, Stage,
    Traffic,
};
use ringwire_ring::Address;

use super::plan::rate;
use super::units::{self, Fraction};
use super::{RunFlags, SwitchFlag};
use crate::doctor::Facts;
use crate::machine;

const NS_PER_S: u64 = 1_000_000_000;

/// What is measured when nothing says how long.
const DURATION: Duration = Duration::from_secs(10);

/// Addresses of 127.0.0.0/8 that connections may be made from.
const LOOPBACK_COUNT: u64 = (1 << 24) - 2;

/// Flags about how load arrives, and from where.
#[derive(Debug, Args)]
pub(crate) struct TrafficFlags {
    /// Open loop: messages (fanout: publications; churn: cycles) per second of each connection
    #[arg(short = 'r', long, env = "LOADGEN_MESSAGE_RATE", value_name = "PER_SECOND")]
    #[arg(value_parser = units::rate, conflicts_with = "rate")]
    message_rate: Option<Fraction>,
    /// How an open loop is spread over time; poisson follows from --seed
    #[arg(long, env = "LOADGEN_ARRIVAL", default_value = "constant")]
    arrival: ArrivalFlag,
    /// The rate goes to RATE over TIME, linearly from that before (0 at first); TIME 0 steps.
    /// Repeatable; instead of --duration and --rate
    #[arg(long, env = "LOADGEN_STAGE", value_name = "TIME:RATE", value_delimiter = ',')]
    #[arg(value_parser = stage)]
    stage: Vec<StageFlag>,
    /// End after this many messages; with --duration at whichever is first
    #[arg(long, env = "LOADGEN_COUNT", value_name = "N", value_parser = units::count)]
    count: Option<u64>,
    /// churn: send one message on each connection and await it
    #[arg(long, env = "LOADGEN_CHURN_ECHO", default_value = "off")]
    churn_echo: SwitchFlag,
    /// idle: ping each connection this often, and measure the pongs
    #[arg(long, env = "LOADGEN_PING_INTERVAL", value_name = "TIME")]
    #[arg(value_parser = units::duration_ns)]
    ping_interval: Option<u64>,
    /// Drop all connections at this time of the measured time and open them again, repeatable
    #[arg(long, env = "LOADGEN_STORM", value_name = "TIME", value_delimiter = ',')]
    #[arg(value_parser = units::duration_ns)]
    storm: Vec<u64>,
    /// Each dropped connection waits a random time up to this before it opens again
    #[arg(long, env = "LOADGEN_STORM_JITTER", default_value = "0", value_name = "TIME")]
    #[arg(value_parser = units::duration_ns)]
    storm_jitter: u64,
    /// This share of the subscribers reads slowly, and is left out of latencies: 0.1, 10%
    #[arg(long, env = "LOADGEN_SLOW_SHARE", value_name = "SHARE", value_parser = share)]
    slow_share: Option<u64>,
    /// What each of them reads; 0: nothing at all [default: 0]
    #[arg(long, env = "LOADGEN_SLOW_RATE", value_name = "BYTES_PER_S")]
    #[arg(value_parser = units::size, requires = "slow_share")]
    slow_rate: Option<u64>,
    /// Connect from these addresses in turn: A, A-B, A/BITS, or auto: all that this machine has
    #[arg(long, env = "LOADGEN_SOURCE_IP", value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = source)]
    source_ip: Vec<SourceFlag>,
    /// Use a polling connection again for the next request
    #[arg(long, env = "LOADGEN_KEEPALIVE", default_value = "on")]
    pub(crate) keepalive: SwitchFlag,
}

/// `--arrival`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArrivalFlag {
    Constant,
    Poisson,
}

/// One `--stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StageFlag {
    lasts_ns: u64,
    rate: Fraction,
}

/// One `--source-ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceFlag {
    Auto,
    Range(AddressRange),
}

fn stage(text: &str) -> Result<StageFlag, String> {
    let parts = text.split_once(':').ok_or("a stage is TIME:RATE, as in 30s:500")?;
    Ok(StageFlag { lasts_ns: units::duration_ns(parts.0)?, rate: units::rate(parts.1)? })
}

/// A share in parts per million: `0.1`, `10%`.
fn share(text: &str) -> Result<u64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent, PPM / 100),
        None => (text, PPM),
    };
    let ppm = units::rate(number).ok().and_then(|fraction| fraction.times(whole)?.whole());
    ppm.ok_or_else(|| format!("`{text}`: a share is 0.1 or 10%, with at most 6 decimals"))
}

pub(crate) fn source(text: &str) -> Result<SourceFlag, String> {
    if text == "auto" {
        return Ok(SourceFlag::Auto);
    }
    let address = |text: &str| -> Result<IpAddr, String> {
        text.parse().map_err(|_| format!("`{text}` is no IP address"))
    };
    let range = match (text.split_once('/'), text.split_once('-')) {
        (Some((network, bits)), _) => network_of(address(network)?, bits)?,
        (None, Some((first, last))) => {
            let (first, last) = (address(first)?, address(last)?);
            let count = number(last)
                .checked_sub(number(first))
                .filter(|count| first.is_ipv4() == last.is_ipv4() && *count < u128::from(u64::MAX));
            let count = count.ok_or_else(|| format!("`{text}` is no range from low to high"))?;
            AddressRange { first, count: u64::try_from(count).unwrap_or(u64::MAX - 1) + 1 }
        }
        (None, None) => AddressRange { first: address(text)?, count: 1 },
    };
    Ok(SourceFlag::Range(range))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The hosts of a network: in IPv4 without its own and its broadcast address, if it has them.
fn network_of(address: IpAddr, bits: &str) -> Result<AddressRange, String> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| (1..=width).contains(bits));
    let bits: u32 = bits.ok_or_else(|| format!("a network has from 1 to {width} bits"))?;
    let free = width - bits;
    let first = number(address) >> free << free;
    let count = if free >= 63 { u64::MAX >> 1 } else { 1 << free };
    let (skipped, count) = if width == 32 && free >= 2 { (1, count - 2) } else { (0, count) };
    let first = match address {
        IpAddr::V4(_) => {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(first + skipped).unwrap_or(u32::MAX)))
        }
        IpAddr::V6(_) => IpAddr::V6((first + skipped).into()),
    };
    Ok(AddressRange { first, count })
}

/// `scenario` with duration, rate and traffic as the flags say.
pub(crate) fn plan(flags: &RunFlags, mut scenario: Scenario) -> Result<Scenario, Failure> {
    let own = &flags.traffic;
    let wrong = |line: &str| Err(Failure::configuration(line));
    if !own.stage.is_empty() && (flags.rate.is_some() || own.message_rate.is_some()) {
        return wrong("--stage says the rates: leave --rate out, or begin with --stage 0:RATE");
    }
    if !own.stage.is_empty() && flags.duration.is_some() {
        return wrong("--stage says how long it takes: leave --duration out");
    }
    let has_rate = flags.rate.is_some() || own.message_rate.is_some() || !own.stage.is_empty();
    if scenario.mode == Mode::Idle && has_rate {
        return wrong(
            "--mode idle sends nothing: leave --rate out, use --ping-interval, or another --mode",
        );
    }
    if scenario.mode != Mode::Idle && own.ping_interval.is_some() {
        return wrong("--ping-interval needs --mode idle");
    }
    scenario.traffic = traffic(flags, &scenario)?;
    scenario.duration = match (flags.duration, own.count) {
        _ if !own.stage.is_empty() => own.stage.iter().map(|s| nanos(s.lasts_ns)).sum(),
        (Some(duration_ns), _) => nanos(duration_ns),
        (None, Some(_)) => SPAN_MAX.saturating_sub(scenario.warmup),
        (None, None) => DURATION,
    };
    scenario.rate_per_s = total_rate(flags, &scenario)?;
    Ok(scenario)
}

fn nanos(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

fn traffic(flags: &RunFlags, scenario: &Scenario) -> Result<Traffic, Failure> {
    let own = &flags.traffic;
    let stage = |stage: &StageFlag| {
        let rate = (stage.rate.numerator > 0).then(|| rate(stage.rate)).transpose()?;
        Ok(Stage { lasts: nanos(stage.lasts_ns), rate })
    };
    let mut storms: Vec<_> = own.storm.iter().copied().map(nanos).collect();
    storms.sort_unstable();
    storms.dedup();
    Ok(Traffic {
        arrival: match own.arrival {
            ArrivalFlag::Constant => Arrival::Constant,
            ArrivalFlag::Poisson => Arrival::Poisson,
        },
        stages: own.stage.iter().map(stage).collect::<Result<_, Failure>>()?,
        is_rate_per_connection: own.message_rate.is_some() || own.ping_interval.is_some(),
        count: own.count,
        storms,
        storm_jitter: nanos(own.storm_jitter),
        slow: own
            .slow_share
            .map(|share_ppm| SlowReaders { share_ppm, bytes_per_s: own.slow_rate.unwrap_or(0) }),
        sources: sources(&own.source_ip, &scenario.target.address)?,
        is_keep_alive: own.keepalive.is_on(),
        is_churn_echo: own.churn_echo.is_on(),
    })
}

/// The open loop's rate over all, of stages the mean; `None`: closed loop.
fn total_rate(flags: &RunFlags, scenario: &Scenario) -> Result<Option<Rate>, Failure> {
    let own = &flags.traffic;
    let senders = match scenario.mode {
        Mode::Fanout => scenario.publishers,
        Mode::Echo | Mode::Idle | Mode::Churn => scenario.connections,
    };
    let absurd = || Failure::configuration("--message-rate must be above 0 and not absurdly fine");
    if let Some(each) = own.message_rate {
        let total = each.times(senders.into()).ok_or_else(absurd)?;
        return rate(total).map(Some).map_err(|_| absurd());
    }
    if let Some(interval_ns) = own.ping_interval {
        let line = "--ping-interval must be above 0, and --connections too";
        let rate = Rate::new(senders.into(), interval_ns);
        return rate.map(Some).ok_or_else(|| Failure::configuration(line));
    }
    if own.stage.is_empty() {
        return flags.rate.map(rate).transpose();
    }
    let (mut events, mut before) = (0.0, 0.0);
    for stage in &own.stage {
        let after = stage.rate.to_f64();
        events += nanos(stage.lasts_ns).as_secs_f64() * (before + after) / 2.0;
        before = after;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display")]
    let thousandths = (events * 1_000.0 / scenario.duration.as_secs_f64()) as u64;
    Ok(Rate::new(thousandths.max(1), 1_000 * NS_PER_S))
}

/// The addresses that `--source-ip` names, of the target's family.
pub(crate) fn sources(flags: &[SourceFlag], target: &Address) -> Result<Sources, Failure> {
    let target = target.tcp().map(|address| address.ip());
    let mut ranges = Vec::new();
    for flag in flags {
        match (flag, target) {
            (SourceFlag::Range(range), Some(target))
                if range.first.is_ipv4() != target.is_ipv4() =>
            {
                let first = range.first;
                let line = format!("--source-ip {first} is of another family than {target}");
                return Err(Failure::configuration(line));
            }
            (SourceFlag::Range(range), _) => ranges.push(*range),
            (SourceFlag::Auto, Some(target)) => ranges.extend(local_addresses(target)),
            (SourceFlag::Auto, None) => {}
        }
    }
    Ok(Sources { ranges })
}

/// Every address that a connection to `target` can be made from.
fn local_addresses(target: IpAddr) -> Vec<AddressRange> {
    match target {
        IpAddr::V4(target) if target.is_loopback() => vec![loopback(LOOPBACK_COUNT)],
        IpAddr::V6(target) if target.is_loopback() => {
            vec![AddressRange { first: target.into(), count: 1 }]
        }
        target => {
            let all = machine::local_addresses().into_iter();
            let fitting =
                all.filter(|address| address.is_ipv4() == target.is_ipv4() && is_global(*address));
            fitting.map(|first| AddressRange { first, count: 1 }).collect()
        }
    }
}

fn is_global(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !is_link_local
}

fn loopback(count: u64) -> AddressRange {
    AddressRange { first: Ipv4Addr::LOCALHOST.into(), count }
}

/// `scenario` with as many loopback addresses as its connections need, where the target is one,
/// nothing says otherwise, and the ports of one do not suffice.
pub(crate) fn widen(mut scenario: Scenario, facts: &Facts) -> Scenario {
    let is_loopback = scenario
        .target
        .address
        .tcp()
        .is_some_and(|address| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback()));
    let sources = &scenario.traffic.sources;
    let is_auto = *sources == Sources { ranges: vec![loopback(LOOPBACK_COUNT)] };
    let Some(ports) = facts.ports_count().filter(|_| is_loopback) else { return scenario };
    if sources.count() > 0 && !is_auto {
        return scenario;
    }
    let needed = facts.addresses_needed(super::plan::sockets(&scenario));
    let is_enough = needed <= 1 || ports == 0;
    let ranges = if is_enough { vec![] } else { vec![loopback(needed.min(LOOPBACK_COUNT))] };
    scenario.traffic.sources = Sources { ranges };
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::planned;

    const WS: &str = "ws://127.0.0.1:1/";

    fn traffic_of(flags: &str) -> Traffic {
        planned(&format!("{WS} {flags}")).unwrap_or_else(|line| panic!("{line}")).traffic
    }

    fn refusal(flags: &str) -> String {
        let failure = planned(&format!("{WS} {flags}")).unwrap_err();
        assert_eq!(failure.code, 104, "{flags}");
        failure.line
    }

    #[test]
    fn every_flag_reaches_the_traffic() {
        assert_eq!(traffic_of(""), Traffic::default());
        let told = traffic_of(
            "--mode fanout --arrival poisson -r 2 --count 5k --storm 3s,1s --storm-jitter 2s \
             --slow-share 10% --slow-rate 1k --source-ip 127.0.0.2",
        );
        let slow = SlowReaders { share_ppm: 100_000, bytes_per_s: 1_024 };
        assert_eq!(
            (told.arrival, told.count, told.slow),
            (Arrival::Poisson, Some(5_000), Some(slow))
        );
        assert_eq!(told.storms, [Duration::from_secs(1), Duration::from_secs(3)]);
        assert_eq!((told.storm_jitter, told.sources.count()), (Duration::from_secs(2), 1));
        assert!(told.is_rate_per_connection && told.is_keep_alive);
        assert!(traffic_of("--mode churn --churn-echo on").is_churn_echo);
    }

    #[test]
    fn a_rate_per_connection_is_multiplied_and_a_ping_interval_is_one() {
        let rate = |flags: &str| planned(&format!("{WS} {flags}")).unwrap().rate_per_s.unwrap();
        assert_eq!(Some(rate("-c 100 -r 1/3")), Rate::new(100, 3 * NS_PER_S));
        assert_eq!(Some(rate("--mode fanout --publishers 4 -r 5")), Rate::per_second(20));
        assert_eq!(
            Some(rate("--mode idle -c 30 --ping-interval 10s")),
            Rate::new(30, 10 * NS_PER_S)
        );
        assert_eq!(rate("--stage 10s:100,10s:100").events_per_s(), 75.0);
    }

    #[test]
    fn stages_and_counts_say_how_long() {
        let lasts = |flags: &str| planned(&format!("{WS} {flags}")).unwrap().duration;
        assert_eq!(lasts(""), DURATION);
        assert_eq!(lasts("--stage 0:10 --stage 1m:500 --stage 30s:0"), Duration::from_secs(90));
        assert_eq!(lasts("--count 5"), SPAN_MAX);
        assert_eq!(lasts("--count 5 -d 3s"), Duration::from_secs(3));
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_cure() {
        for (flags, expected) in [
            ("--stage 1s:5 -d 5s", "leave --duration out"),
            ("--stage 1s:5 -R 5", "begin with --stage 0:RATE"),
            ("--stage 1s:5 -r 5", "begin with --stage 0:RATE"),
            ("--stage 1s:0", "above 0"),
            ("--stage 0:5", "--duration"),
            ("--stage 1s:200m", "--stage"),
            ("--mode idle -r 5", "--mode idle"),
            ("--ping-interval 5s", "--mode idle"),
            ("--arrival poisson", "--rate"),
            ("-r 0", "--message-rate"),
            ("--count 0", "--count"),
            ("--mode idle --count 5", "--ping-interval"),
            ("--churn-echo on", "--mode churn"),
            ("--mode churn --storm 1s", "--storm"),
            ("--mode churn --in-flight 2", "--in-flight"),
            ("--storm 10s", "within --duration"),
            ("--storm-jitter 1s", "needs --storm"),
            ("--slow-share 0.1", "--mode fanout"),
            ("--mode fanout --slow-share 1", "below 1"),
            ("--keepalive off", "longpoll"),
            ("--source-ip ::1", "another family"),
            ("--unix-socket /x --source-ip 127.0.0.1", "Unix"),
        ] {
            let line = refusal(flags);
            assert!(line.contains(expected), "{flags}: {line}");
        }
    }

    #[test]
    fn sources_are_lists_ranges_networks_and_all_there_are() {
        let all = |text: &str| {
            let SourceFlag::Range(range) = source(text).unwrap() else { panic!("{text}") };
            let sources = Sources { ranges: vec![range] };
            let last = u32::try_from(sources.count() - 1).unwrap_or(u32::MAX);
            let ends = [0, last].map(|number| sources.of(number).unwrap().to_string());
            format!("{}-{}", ends[0], ends[1])
        };
        for (text, expected) in [
            ("127.0.0.9", "127.0.0.9-127.0.0.9"),
            ("127.0.0.250-127.0.1.4", "127.0.0.250-127.0.1.4"),
            ("10.1.2.3/30", "10.1.2.1-10.1.2.2"),
            ("10.1.2.3/31", "10.1.2.2-10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3-10.1.2.3"),
            ("fd00::7/126", "fd00::4-fd00::7"),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
        assert_eq!(traffic_of("--source-ip 127.0.0.2,127.0.1.1-127.0.1.4").sources.count(), 5);
        let elsewhere = planned("ws://192.0.2.1/ --source-ip auto").unwrap().traffic.sources;
        assert!(elsewhere.ranges.iter().all(|range| !range.first.is_loopback()));
    }

    #[test]
    fn loopback_gets_as_many_addresses_as_its_connections_need() {
        let facts = Facts { port_range: Some((10_001, 11_000)), ..Facts::read() };
        for (flags, expected) in [
            ("-c 1000", 0),
            ("-c 1001", 2),
            ("-c 60k", 69),
            ("-c 1000 --source-ip auto", 0),
            ("-c 60k --source-ip auto", 69),
            ("-c 60k --source-ip 127.0.0.3", 1),
        ] {
            let scenario = widen(planned(&format!("{WS} {flags}")).unwrap(), &facts);
            assert_eq!(scenario.traffic.sources.count(), expected, "{flags}");
        }
        let far = widen(planned("ws://192.0.2.1/ -c 60k").unwrap(), &facts);
        assert_eq!(far.traffic.sources.count(), 0);
    }
}
