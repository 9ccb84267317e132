//! What an agent lets a plan do: where its load may go, and how much of this machine it may take.
//!
//! Plans come from whoever may publish at the NATS server, so nothing in them is taken for granted.
//! Invariant: names are resolved when the agent starts, on its own machine, and a plan's target is
//! compared as an address: what a plan calls it plays no part.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use loadgen::outcome::Failure;
use loadgen::part::Part;
use loadgen::scenario::{Mode, Scenario};
use ringwire_ring::Address;

use crate::cli::units;
use crate::doctor::Facts;

/// The most agents of one run.
pub(super) const AGENTS_MAX: u32 = 1_000;
/// Clocks that are further apart than this are no clocks.
const CLOCK_SLACK_NS_MAX: u64 = 60_000_000_000;
/// What every subscriber remembers of every publisher takes 24 bytes: 1.5 GiB at most.
const PAIRS_MAX: u64 = 1 << 26;
/// The most headers, and their and other texts' most bytes.
const HEADERS_MAX: usize = 1_000;
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A place that load may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Any of these addresses, at this port or any.
    Tcp(Vec<IpAddr>, Option<u16>),
    /// This socket.
    Unix(PathBuf),
}

impl Allowed {
    /// `HOST`, `HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// Code 104 when the host cannot be found.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Tcp(vec![ip], None));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(vec![address.ip()], Some(address.port())));
        }
        let wrong = |what: &str| {
            let cure = "use HOST, HOST:PORT or unix:PATH";
            Failure::configuration(format!("--allow-target {text}: {what}; {cure}"))
        };
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong("not a port"))?)),
            None => (text, None),
        };
        let found = (host, port.unwrap_or(0)).to_socket_addrs();
        let found = found.map_err(|error| wrong(&format!("not found ({error})")))?;
        Ok(Self::Tcp(found.map(|address| address.ip()).collect(), port))
    }

    fn includes(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::Tcp(ips, port), Address::Tcp(address)) => {
                let is_port = port.is_none_or(|port| port == address.port());
                is_port && ips.iter().any(|ip| ip.to_canonical() == address.ip().to_canonical())
            }
            (Self::Unix(path), Address::Unix(other)) => path == other,
            _ => false,
        }
    }
}

/// The scenario with the addresses that its connections come from here; refuses what must not or
/// cannot be carried out.
pub(super) fn check(
    mut scenario: Scenario,
    part: Part,
    targets: &[Allowed],
) -> Result<Scenario, Failure> {
    let wrong = |line: &str| Err(Failure::configuration(line));
    let is_part = part.index < part.of && part.of <= AGENTS_MAX;
    if !is_part || part.clock_slack_ns > CLOCK_SLACK_NS_MAX {
        return wrong("the part makes no sense");
    }
    for target in scenario.targets() {
        if !targets.is_empty() && !targets.iter().any(|allowed| allowed.includes(&target.address)) {
            return Err(Failure::configuration(format!(
                "the target {} is not one that --allow-target allows here",
                target.address
            )));
        }
        let is_visible = target.host.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || target.host.len() > 255 || target.path.len() > TEXT_BYTES_MAX {
            return wrong("the target's host or path makes no sense");
        }
    }
    if scenario.headers.len() > HEADERS_MAX || scenario.subprotocols.len() > HEADERS_MAX {
        return wrong("more than 1000 headers or subprotocols");
    }
    for (name, value) in &scenario.headers {
        let header = format!("{name}: {value}");
        if header.len() > TEXT_BYTES_MAX || units::header(&header).is_err() {
            return wrong("a header makes no sense");
        }
    }
    if scenario.subprotocols.iter().any(|name| units::header(&format!("{name}:")).is_err()) {
        return wrong("a subprotocol makes no sense");
    }
    let publishers = if scenario.mode == Mode::Fanout { scenario.publishers } else { 0 };
    let subscribers = part.own(scenario.connections);
    if u64::from(subscribers) * u64::from(publishers) > PAIRS_MAX {
        let line = "too many subscribers times publishers for one agent's memory: use more agents";
        return wrong(line);
    }
    scenario.check()?;
    let own =
        Scenario { connections: subscribers, publishers: part.own(publishers), ..scenario.clone() };
    let facts = Facts::read();
    let own = crate::cli::traffic::widen(own, &facts);
    crate::cli::plan::fit(&own, &facts)?;
    scenario.traffic.sources = own.traffic.sources;
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::scenario;

    const PART: Part = Part { index: 1, of: 2, clock_slack_ns: 0 };

    fn refusal(change: impl FnOnce(&mut Scenario), part: Part, targets: &[Allowed]) -> String {
        let mut scenario = scenario();
        change(&mut scenario);
        check(scenario, part, targets).map_or_else(|failure| failure.line, |_| String::new())
    }

    #[test]
    fn a_target_is_compared_as_an_address_whatever_it_is_called() {
        let allow = |text: &str| vec![Allowed::parse(text).unwrap()];
        for text in ["127.0.0.1", "127.0.0.1:1", "localhost", "localhost:1", "::ffff:127.0.0.1"] {
            assert_eq!(refusal(|_| (), PART, &allow(text)), "", "{text}");
        }
        for text in ["127.0.0.2", "127.0.0.1:2", "[::1]:1", "::1", "unix:/x"] {
            let told =
                refusal(|scenario| scenario.target.host = text.to_owned(), PART, &allow(text));
            assert!(told.contains("127.0.0.1:1 is not one that --allow-target"), "{text}: {told}");
        }
        assert_eq!(refusal(|_| (), PART, &[]), "");
        assert_eq!(Allowed::parse("no.such.host.invalid").unwrap_err().code, 104);
        assert_eq!(Allowed::parse("localhost:x").unwrap_err().code, 104);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_a_line() {
        type Change = fn(&mut Scenario);
        let table: [(Change, &str); 8] = [
            (|scenario| scenario.target.host = "a b".to_owned(), "host"),
            (|scenario| scenario.target.path = "x".to_owned(), "path"),
            (|scenario| scenario.headers = vec![("a b".to_owned(), String::new())], "header"),
            (|scenario| scenario.headers = vec![("a".to_owned(), "x\r\nb".to_owned())], "header"),
            (|scenario| scenario.subprotocols = vec!["a,b".to_owned()], "subprotocol"),
            (|scenario| (scenario.connections, scenario.publishers) = (20_000, 200_000), "memory"),
            (|scenario| scenario.threads = 0, "--threads"),
            (|scenario| scenario.duration = std::time::Duration::MAX, "--duration"),
        ];
        for (change, expected) in table {
            let told = refusal(change, PART, &[]);
            assert!(told.contains(expected), "{expected}: {told}");
        }
        for part in [
            Part { index: 2, ..PART },
            Part { of: 0, ..PART },
            Part { of: 5_000, ..PART },
            Part { clock_slack_ns: u64::MAX, ..PART },
        ] {
            assert!(refusal(|_| (), part, &[]).contains("part"), "{part:?}");
        }
    }
}
