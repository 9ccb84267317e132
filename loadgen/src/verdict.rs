//! Whether a run can be trusted: a pure function from what was measured.
//!
//! *Invalid* says that the numbers are about this generator, not about the server. *Suspect* says
//! that the generator was close to its own limits, or that something else disturbed it. Each
//! reason names what was found and, where there is one, the cure. Whether the server did well is
//! said by the findings, and never makes a run invalid.

mod doubts;
mod findings;
mod steady;

use hdrhistogram::Histogram;
use loadgen::outcome::{Interval, LOCAL_ERROR_PREFIX, Outcome, Surroundings};
use serde::{Deserialize, Serialize};

pub(crate) use self::findings::findings;
use crate::report::number::Style;
use crate::result::Check;

/// Lag that is never held against an open loop: timers and scheduling of a quiet machine.
const LAG_ALLOWED_NS: u64 = 2_000_000;
/// A closed loop whose thread is this busy measures the thread.
const CLOSED_BUSY_SHARE: f64 = 0.95;
/// An open loop whose thread is this busy has no room left.
const OPEN_BUSY_SHARE: f64 = 0.90;
/// A server that uses this much of one processor counts as busy.
const SERVER_BUSY_SHARE: f64 = 0.95;

/// How far a run can be trusted; the worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Valid,
    Suspect,
    Invalid,
}

impl State {
    /// The word at the head of a report.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Suspect => "SUSPECT",
            Self::Invalid => "INVALID",
        }
    }
}

/// A state and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    pub(crate) reasons: Vec<String>,
}

impl Verdict {
    /// Nothing found so far.
    pub(crate) const fn valid() -> Self {
        Self { state: State::Valid, reasons: Vec::new() }
    }

    /// One more finding.
    pub(crate) fn add(&mut self, state: State, reason: String) {
        self.state = self.state.max(state);
        self.reasons.push(reason);
    }

    /// Takes over what was found about `part`, naming it in each reason.
    pub(crate) fn merge(&mut self, part: &str, other: Self) {
        self.state = self.state.max(other.state);
        for reason in other.reasons {
            self.reasons.push(format!("{part}: {reason}"));
        }
    }
}

/// What the rules look at.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Evidence {
    pub(crate) is_open_loop: bool,
    pub(crate) lag_p99_ns: u64,
    pub(crate) lag_p99_9_ns: u64,
    pub(crate) intended_p99_ns: u64,
    pub(crate) intended_p99_9_ns: u64,
    pub(crate) offered_count: u64,
    pub(crate) picked_up_count: u64,
    /// CPU time over real time of each measuring thread.
    pub(crate) thread_busy_share: Vec<f64>,
    /// CPU time of the server over real time; above 1 with several threads.
    pub(crate) server_busy_share: Option<f64>,
    /// Errors whose cause is this machine, by code.
    pub(crate) local_errors: Vec<(String, u64)>,
    pub(crate) impossible: u64,
    /// Latencies; `None` where none are to be had.
    pub(crate) samples: Option<u64>,
    /// Of whole intervals, as long as the load was meant to be even.
    pub(crate) p50_ns: Vec<f64>,
    pub(crate) received_per_s: Vec<f64>,
    /// Received in the window, and what sends in it should have made; of an open loop.
    pub(crate) answered: Option<(u64, u64)>,
    pub(crate) blocked_p99_ns: u64,
    /// Open when the window began, and the least that were; unless it was to be otherwise.
    pub(crate) connections: Option<(u64, u64)>,
    /// In flight on average, and rate times mean latency; of request and reply.
    pub(crate) in_flight: Option<(f64, f64)>,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) surroundings: Surroundings,
}

impl Evidence {
    /// The evidence in one outcome.
    #[expect(clippy::cast_precision_loss, reason = "a share of busy time needs no 53 bits")]
    pub(crate) fn of(is_open_loop: bool, outcome: &Outcome) -> Self {
        let at = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile);
        let share = |cpu_ns: u64| cpu_ns as f64 / outcome.measured_ns.max(1) as f64;
        let local = outcome.errors.iter().filter(|(code, _)| code.starts_with(LOCAL_ERROR_PREFIX));
        Self {
            is_open_loop,
            lag_p99_ns: at(&outcome.schedule_lag, 0.99),
            lag_p99_9_ns: at(&outcome.schedule_lag, 0.999),
            intended_p99_ns: at(&outcome.intended, 0.99),
            intended_p99_9_ns: at(&outcome.intended, 0.999),
            offered_count: outcome.offered_count,
            picked_up_count: outcome.picked_up_count,
            thread_busy_share: outcome.generator.thread_busy_share.clone(),
            server_busy_share: outcome.server.as_ref().map(|server| share(server.cpu_ns)),
            local_errors: local.map(|(code, count)| (code.clone(), *count)).collect(),
            impossible: outcome.impossible,
            samples: outcome.has_latencies.then(|| outcome.intended.len()),
            p50_ns: series(outcome, |interval| interval.p50_ns.map(|ns| ns as f64)),
            received_per_s: series(outcome, |interval| {
                let per_ns = interval.received as f64 / interval.length_ns.max(1) as f64;
                outcome.has_latencies.then_some(per_ns * 1e9)
            }),
            answered: is_open_loop.then(|| answered(outcome)),
            blocked_p99_ns: at(&outcome.send_blocked, 0.99),
            connections: outcome.is_even.then(|| connections(outcome)),
            in_flight: outcome.surroundings.in_flight_mean.map(|seen| {
                let per_ns = outcome.messages_received as f64 / outcome.measured_ns.max(1) as f64;
                (seen, per_ns * outcome.intended.mean())
            }),
            refused: outcome.connections_refused.into(),
            lost: outcome.connections_lost.into(),
            surroundings: outcome.surroundings,
        }
    }

    /// Whether the server fell behind what was sent.
    fn is_server_full(&self) -> bool {
        let behind = self
            .answered
            .filter(|(answered, due)| u128::from(*answered) * 100 < u128::from(*due) * 98);
        behind.is_some()
    }

    /// Whether sends waited for the peer.
    fn is_blocked(&self) -> bool {
        self.blocked_p99_ns > LAG_ALLOWED_NS.max(self.intended_p99_ns / 10)
    }
}

/// A figure of every whole interval of an even load.
fn series(outcome: &Outcome, figure: impl Fn(&Interval) -> Option<f64>) -> Vec<f64> {
    let length_ns = outcome.intervals.iter().map(|interval| interval.length_ns).max();
    let whole = outcome.intervals.iter().filter(|i| Some(i.length_ns) == length_ns);
    if outcome.is_even { whole.filter_map(figure).collect() } else { Vec::new() }
}

/// What came in the window, and what its sends should have made in it.
fn answered(outcome: &Outcome) -> (u64, u64) {
    let per_send = outcome.messages_expected.checked_div(outcome.sent_count).unwrap_or(0);
    (outcome.deliveries_in_window, outcome.offered_count.saturating_mul(per_send))
}

/// Connections at the window's begin, and the least of any interval's end.
fn connections(outcome: &Outcome) -> (u64, u64) {
    let begun = u64::from(outcome.connections_open);
    let ends = outcome.intervals.iter().filter_map(|interval| interval.connections_open);
    (begun, ends.min().map_or(begun, u64::from).min(begun))
}

/// What is being found, rule by rule.
#[derive(Debug)]
struct Bench {
    verdict: Verdict,
    checks: Vec<Check>,
}

impl Bench {
    /// One rule was looked at; `reason` says why it did not come out well.
    fn rule(
        &mut self,
        name: &str,
        measured: String,
        limit: String,
        state: State,
        reason: impl FnOnce() -> String,
    ) {
        if state > State::Valid {
            self.verdict.add(state, reason());
        }
        self.checks.push(Check { name: name.to_owned(), measured, limit, state });
    }
}

/// Applies every rule.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    examine(evidence).0
}

/// Applies every rule, and says what each of them looked at.
pub(crate) fn examine(evidence: &Evidence) -> (Verdict, Vec<Check>) {
    let mut bench = Bench { verdict: Verdict::valid(), checks: Vec::new() };
    judge_machine(evidence, &mut bench);
    if evidence.is_open_loop {
        judge_open(evidence, &mut bench);
    } else {
        judge_closed(evidence, &mut bench);
    }
    doubts::examine(evidence, &mut bench);
    (bench.verdict, bench.checks)
}

fn judge_machine(evidence: &Evidence, bench: &mut Bench) {
    let each = evidence.local_errors.iter().map(|(code, count)| format!("{code} {count} times"));
    let short = each.collect::<Vec<_>>().join(", ");
    let state = if short.is_empty() { State::Valid } else { State::Invalid };
    let told = if short.is_empty() { "none".to_owned() } else { short.clone() };
    bench.rule("Shortages of this machine", told, "none".to_owned(), state, || {
        format!("this machine ran short: {short}; see `loadgen doctor`")
    });
    let count = evidence.impossible;
    let state = if count > 0 { State::Invalid } else { State::Valid };
    bench.rule("Impossible messages", count.to_string(), "none".to_owned(), state, || {
        format!("{count} messages carried a sequence or time that was never sent")
    });
}

fn judge_open(evidence: &Evidence, bench: &mut Bench) {
    let lag_max_ns = LAG_ALLOWED_NS.max(evidence.intended_p99_ns / 10);
    let (found, allowed) = (milliseconds(evidence.lag_p99_ns), milliseconds(lag_max_ns));
    let is_late = evidence.lag_p99_ns > lag_max_ns;
    let state = if is_late { State::Invalid } else { State::Valid };
    bench.rule("Schedule lag p99", format!("{found} ms"), format!("{allowed} ms"), state, || {
        let cure = "lower --rate, add --threads, or free a processor";
        format!("schedule lag p99 {found} ms is above {allowed} ms; {cure}")
    });
    // 99.5 % as integers: picked / offered < 995 / 1000.
    let (picked, offered) = (evidence.picked_up_count, evidence.offered_count);
    let is_behind = u128::from(picked) * 1_000 < u128::from(offered) * 995;
    let state = if is_behind { State::Invalid } else { State::Valid };
    let told = format!("{picked} of {offered}");
    bench.rule("Sends picked up in time", told, "99.5 %".to_owned(), state, || {
        let cure = "lower --rate or add --threads";
        format!("only {picked} of {offered} sends were picked up in time; {cure}")
    });
    // Without a reported p99.9 there is nothing to spoil; and what invalidates already is not worth
    // a second line.
    if evidence.intended_p99_9_ns > 0 && bench.verdict.state < State::Invalid {
        let is_late = evidence.lag_p99_9_ns > evidence.intended_p99_9_ns / 10;
        let state = if is_late { State::Suspect } else { State::Valid };
        let found = milliseconds(evidence.lag_p99_9_ns);
        let reported = milliseconds(evidence.intended_p99_9_ns);
        let limit = format!("10 % of {reported} ms");
        bench.rule("Schedule lag p99.9", format!("{found} ms"), limit, state, || {
            format!("schedule lag p99.9 {found} ms is over 10 % of the p99.9 of {reported} ms")
        });
    }
    if let Some((thread, share)) = busiest(evidence) {
        let state = if share > OPEN_BUSY_SHARE { State::Suspect } else { State::Valid };
        bench.rule("Busiest generator thread", percent(share), "90 %".to_owned(), state, || {
            let cure = "use more --threads or less --rate";
            format!("generator thread {thread} was {:.0} % busy; {cure}", share * 100.0)
        });
    }
}

fn judge_closed(evidence: &Evidence, bench: &mut Bench) {
    let Some((thread, share)) = busiest(evidence) else { return };
    let server = evidence.server_busy_share;
    let state = match server {
        _ if share < CLOSED_BUSY_SHARE => State::Valid,
        Some(server) if server >= SERVER_BUSY_SHARE => State::Valid,
        Some(_) => State::Invalid,
        // Whether it is the server's limit or ours cannot be told.
        None => State::Suspect,
    };
    let limit = "95 %, or the server as busy".to_owned();
    bench.rule("Busiest generator thread", percent(share), limit, state, || {
        let found = format!("generator thread {thread} was {:.0} % busy", share * 100.0);
        match server {
            Some(server) => {
                let percent = server * 100.0;
                let cure = "use more --threads";
                format!("{found} while the server used {percent:.0} % of one CPU; {cure}")
            }
            None => format!("{found} and the server was not measured; add --server-pid"),
        }
    });
}

/// A time for people.
fn shown(ns: f64) -> String {
    Style { is_utf8: false }.duration(ns)
}

/// A share for people.
fn percent(share: f64) -> String {
    Style { is_utf8: false }.share(share)
}

fn busiest(evidence: &Evidence) -> Option<(usize, f64)> {
    let shares = evidence.thread_busy_share.iter().copied().enumerate();
    shares.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn milliseconds(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000_000, ns / 10_000 % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Evidence {
        Evidence {
            is_open_loop: true,
            lag_p99_ns: 100_000,
            lag_p99_9_ns: 200_000,
            intended_p99_ns: 5_000_000,
            intended_p99_9_ns: 9_000_000,
            offered_count: 1_000,
            picked_up_count: 1_000,
            thread_busy_share: vec![0.2, 0.5],
            ..Evidence::default()
        }
    }

    fn closed(busy: f64, server: Option<f64>) -> Evidence {
        let thread_busy_share = vec![0.1, busy];
        Evidence { thread_busy_share, server_busy_share: server, ..Evidence::default() }
    }

    fn state(evidence: &Evidence) -> State {
        let verdict = judge(evidence);
        assert_eq!(verdict.reasons.is_empty(), verdict.state == State::Valid);
        verdict.state
    }

    #[test]
    fn a_quiet_open_loop_is_valid() {
        assert_eq!(judge(&open()), Verdict::valid());
    }

    #[test]
    fn lag_p99_may_reach_two_milliseconds() {
        let low = Evidence { intended_p99_ns: 1_000_000, intended_p99_9_ns: 100_000_000, ..open() };
        assert_eq!(state(&Evidence { lag_p99_ns: 2_000_000, ..low.clone() }), State::Valid);
        assert_eq!(state(&Evidence { lag_p99_ns: 2_000_001, ..low }), State::Invalid);
    }

    #[test]
    fn lag_p99_may_reach_a_tenth_of_the_p99() {
        let slow = Evidence { intended_p99_ns: 990_000_000, ..open() };
        assert_eq!(state(&Evidence { lag_p99_ns: 99_000_000, ..slow.clone() }), State::Valid);
        assert_eq!(state(&Evidence { lag_p99_ns: 99_000_001, ..slow }), State::Invalid);
    }

    #[test]
    fn fewer_than_995_of_1000_picked_up_is_invalid() {
        assert_eq!(state(&Evidence { picked_up_count: 995, ..open() }), State::Valid);
        assert_eq!(state(&Evidence { picked_up_count: 994, ..open() }), State::Invalid);
        let none = Evidence { offered_count: 0, picked_up_count: 0, ..open() };
        assert_eq!(state(&none), State::Valid);
    }

    #[test]
    fn lag_p99_9_over_a_tenth_of_the_p99_9_is_suspect() {
        assert_eq!(state(&Evidence { lag_p99_9_ns: 900_000, ..open() }), State::Valid);
        assert_eq!(state(&Evidence { lag_p99_9_ns: 900_001, ..open() }), State::Suspect);
    }

    #[test]
    fn an_open_loop_thread_above_90_percent_is_suspect() {
        assert_eq!(state(&Evidence { thread_busy_share: vec![0.90], ..open() }), State::Valid);
        assert_eq!(state(&Evidence { thread_busy_share: vec![0.901], ..open() }), State::Suspect);
    }

    #[test]
    fn a_closed_loop_at_95_percent_is_invalid_unless_the_server_is_busy_too() {
        assert_eq!(state(&closed(0.949, Some(0.1))), State::Valid);
        assert_eq!(state(&closed(0.95, Some(0.1))), State::Invalid);
        assert_eq!(state(&closed(0.95, Some(0.949))), State::Invalid);
        assert_eq!(state(&closed(1.0, Some(0.95))), State::Valid);
        assert_eq!(state(&closed(1.0, Some(1.9))), State::Valid);
        assert_eq!(state(&closed(1.0, None)), State::Suspect);
    }

    #[test]
    fn the_closed_loop_knows_no_lag() {
        let late = Evidence { is_open_loop: false, lag_p99_ns: u64::MAX, ..open() };
        assert_eq!(state(&late), State::Valid);
    }

    #[test]
    fn shortage_on_this_side_and_impossible_sequences_are_invalid() {
        let short = vec![("local.ports".to_owned(), 1)];
        assert_eq!(state(&Evidence { local_errors: short, ..open() }), State::Invalid);
        assert_eq!(state(&Evidence { impossible: 1, ..open() }), State::Invalid);
        assert_eq!(state(&Evidence { impossible: 1, ..closed(0.1, None) }), State::Invalid);
    }

    #[test]
    fn merging_keeps_the_worst_and_names_the_part() {
        let mut all = Verdict::valid();
        all.merge("ws round 1", judge(&Evidence { impossible: 2, ..open() }));
        all.merge("sse round 1", judge(&Evidence { thread_busy_share: vec![1.0], ..open() }));
        assert_eq!(all.state, State::Invalid);
        assert!(all.reasons[0].starts_with("ws round 1: 2 messages"));
        assert!(all.reasons[1].starts_with("sse round 1: generator thread 0 was 100 % busy"));
    }
}
