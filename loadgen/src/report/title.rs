//! What a run is, in words: the two lines at the head of a live view.
//!
//! Made before anything is measured, from the plan alone.

use loadgen::scenario::{Gauged, Mode, Scenario, Target};

use super::number::Style;
use crate::threshold::Threshold;

/// What is being measured.
#[derive(Debug, Clone)]
pub(crate) struct Title {
    /// `run`, `compare`.
    pub(crate) command: &'static str,
    /// `ws://10.0.0.5:8080/echo`.
    pub(crate) url: String,
    /// `echo, 200 connections, 50 000/s offered, open loop, 64 B`.
    pub(crate) workload: String,
    /// The row's name: `ws`.
    pub(crate) row: String,
    pub(crate) mode: Mode,
    pub(crate) duration_ns: u64,
    pub(crate) warmup_ns: u64,
    /// What the server's cost is read from: `pid 4711`.
    pub(crate) server: Option<String>,
    /// Names of the lines in the table of threads, where those are not threads of this process.
    pub(crate) agents: Vec<String>,
    /// When all connections are dropped, from the window's start.
    pub(crate) storms_ns: Vec<u64>,
    /// What the run has to reach.
    pub(crate) thresholds: Vec<Threshold>,
}

impl Title {
    /// Of one scenario. `scheme` is the URL's.
    pub(crate) fn of_run(scenario: &Scenario, scheme: &str, style: Style) -> Self {
        Self { command: "run", ..Self::of(scenario, scheme, style) }
    }

    /// Of a comparison whose blocks are made from `base`.
    pub(crate) fn of_comparison(base: &Scenario, url: String, style: Style) -> Self {
        let deliveries = base.rate_per_s.map_or(0.0, |rate| {
            rate.events_per_s() * f64::from(base.connections) / f64::from(base.channels)
        });
        let channels = style.count(base.channels.into());
        let workload = format!(
            "{} subscribers, {channels} channel{}, {} B, {}/s offered",
            style.count(base.connections.into()),
            if base.channels == 1 { "" } else { "s" },
            base.size_bytes,
            style.amount(deliveries),
        );
        Self { command: "compare", url, workload, ..Self::of(base, "", style) }
    }

    fn of(scenario: &Scenario, scheme: &str, style: Style) -> Self {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos());
        Self {
            command: "",
            url: url(scheme, &scenario.target),
            workload: workload(scenario, style),
            row: scenario.transport.name().to_owned(),
            mode: scenario.mode,
            duration_ns: nanoseconds(scenario.duration).unwrap_or(u64::MAX),
            warmup_ns: nanoseconds(scenario.warmup).unwrap_or(u64::MAX),
            server: server(scenario),
            agents: Vec::new(),
            storms_ns: scenario
                .traffic
                .storms
                .iter()
                .filter_map(|at| nanoseconds(*at).ok())
                .collect(),
            thresholds: Vec::new(),
        }
    }
}

fn url(scheme: &str, target: &Target) -> String {
    format!("{scheme}://{}{}", target.host, target.path)
}

fn workload(scenario: &Scenario, style: Style) -> String {
    let connections = style.count(scenario.connections.into());
    let rate = scenario.rate_per_s.map(|rate| style.amount(rate.events_per_s()));
    let size = scenario.size_bytes;
    let storms = match scenario.traffic.storms[..] {
        [] => String::new(),
        [_] => ", a storm".to_owned(),
        ref all => format!(", {} storms", all.len()),
    };
    let head = format!("{}, {connections} connections{storms}", scenario.mode);
    match (scenario.mode, rate) {
        (Mode::Echo, Some(rate)) => format!("{head}, {rate}/s offered, open loop, {size} B"),
        (Mode::Echo, None) => format!("{head}, closed loop, {size} B"),
        (Mode::Fanout, Some(rate)) => format!("{head}, {rate} publications/s, {size} B"),
        (Mode::Fanout, None) => format!("{head}, closed loop, {size} B"),
        (Mode::Churn, Some(rate)) => format!("{head}, {rate} opened and closed a second"),
        (_, Some(rate)) => format!("{head}, {rate}/s"),
        (_, None) => head,
    }
}

/// Where it is read what the server uses.
fn server(scenario: &Scenario) -> Option<String> {
    match (scenario.server_pid, &scenario.server_gauged) {
        (Some(pid), _) => Some(format!("pid {pid}")),
        (None, Some(Gauged::Group(_))) => Some("its control group".to_owned()),
        (None, Some(Gauged::Metrics(target))) => Some(format!("metrics of {}", target.host)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::scenario;
    use loadgen::scenario::Rate;

    const STYLE: Style = Style { is_utf8: false };

    #[test]
    fn a_workload_is_one_line() {
        let of = |mode, rate_per_s| {
            let scenario = Scenario { mode, rate_per_s, connections: 1_200, ..scenario() };
            Title::of_run(&scenario, "ws", STYLE).workload
        };
        let rate = Rate::per_second(50_000);
        assert_eq!(
            of(Mode::Echo, rate),
            "echo, 1 200 connections, 50 000/s offered, open loop, 64 B"
        );
        assert_eq!(of(Mode::Echo, None), "echo, 1 200 connections, closed loop, 64 B");
        let churn = "churn, 1 200 connections, 50 000 opened and closed a second";
        assert_eq!(of(Mode::Churn, rate), churn);
        let mut stormy = Scenario { connections: 1_200, ..scenario() };
        stormy.traffic.storms = vec![std::time::Duration::from_secs(5); 2];
        let title = Title::of_run(&stormy, "ws", STYLE);
        assert!(title.workload.contains("1 200 connections, 2 storms, "), "{}", title.workload);
        assert_eq!(title.storms_ns, [5_000_000_000; 2]);
        assert_eq!(
            of(Mode::Fanout, rate),
            "fanout, 1 200 connections, 50 000 publications/s, 64 B"
        );
        assert_eq!(of(Mode::Idle, None), "idle, 1 200 connections");
    }

    #[test]
    fn a_comparison_counts_deliveries() {
        let base = Scenario {
            connections: 5_000,
            channels: 50,
            rate_per_s: Rate::per_second(50),
            ..scenario()
        };
        let title = Title::of_comparison(&base, "http://h:1".to_owned(), STYLE);
        assert_eq!(title.workload, "5 000 subscribers, 50 channels, 64 B, 5 000/s offered");
        assert_eq!(title.command, "compare");
        assert_eq!(title.url, "http://h:1");
    }
}
