//! Whether a run can be trusted: a pure function from what was measured.
//!
//! *Invalid* says that the numbers are about this generator, not about the server. *Suspect* says
//! that the generator was close to its own limits. Each reason names what was found and, where
//! there is one, the cure. Whether the server did well is not asked here.

use hdrhistogram::Histogram;
use loadgen::outcome::{LOCAL_ERROR_PREFIX, Outcome};
use serde::{Deserialize, Serialize};

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

    fn add(&mut self, state: State, reason: String) {
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
        }
    }
}

/// Applies every rule.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::valid();
    for (code, count) in &evidence.local_errors {
        let reason = format!("this machine ran short: {code} {count} times; see `loadgen doctor`");
        verdict.add(State::Invalid, reason);
    }
    if evidence.impossible > 0 {
        let count = evidence.impossible;
        let reason = format!("{count} messages carried a sequence or time that was never sent");
        verdict.add(State::Invalid, reason);
    }
    if evidence.is_open_loop {
        judge_open(evidence, &mut verdict);
    } else {
        judge_closed(evidence, &mut verdict);
    }
    verdict
}

fn judge_open(evidence: &Evidence, verdict: &mut Verdict) {
    let lag_max_ns = LAG_ALLOWED_NS.max(evidence.intended_p99_ns / 10);
    if evidence.lag_p99_ns > lag_max_ns {
        let found = milliseconds(evidence.lag_p99_ns);
        let allowed = milliseconds(lag_max_ns);
        let cure = "lower --rate, add --threads, or free a processor";
        let reason = format!("schedule lag p99 {found} ms is above {allowed} ms; {cure}");
        verdict.add(State::Invalid, reason);
    }
    // 99.5 % as integers: picked / offered < 995 / 1000.
    let picked = u128::from(evidence.picked_up_count) * 1_000;
    if picked < u128::from(evidence.offered_count) * 995 {
        let (picked, offered) = (evidence.picked_up_count, evidence.offered_count);
        let cure = "lower --rate or add --threads";
        let reason = format!("only {picked} of {offered} sends were picked up in time; {cure}");
        verdict.add(State::Invalid, reason);
    }
    // Without a reported p99.9 there is nothing to spoil; and what invalidates already is not worth
    // a second line.
    let is_reported = evidence.intended_p99_9_ns > 0 && verdict.state < State::Invalid;
    if is_reported && evidence.lag_p99_9_ns > evidence.intended_p99_9_ns / 10 {
        let found = milliseconds(evidence.lag_p99_9_ns);
        let reported = milliseconds(evidence.intended_p99_9_ns);
        let reason =
            format!("schedule lag p99.9 {found} ms is over 10 % of the p99.9 of {reported} ms");
        verdict.add(State::Suspect, reason);
    }
    if let Some((thread, share)) = busiest(evidence)
        && share > OPEN_BUSY_SHARE
    {
        let percent = share * 100.0;
        let cure = "use more --threads or less --rate";
        let reason = format!("generator thread {thread} was {percent:.0} % busy; {cure}");
        verdict.add(State::Suspect, reason);
    }
}

fn judge_closed(evidence: &Evidence, verdict: &mut Verdict) {
    let Some((thread, share)) = busiest(evidence) else { return };
    if share < CLOSED_BUSY_SHARE {
        return;
    }
    let found = format!("generator thread {thread} was {:.0} % busy", share * 100.0);
    match evidence.server_busy_share {
        Some(server) if server >= SERVER_BUSY_SHARE => {}
        Some(server) => {
            let percent = server * 100.0;
            let cure = "use more --threads";
            let reason = format!("{found} while the server used {percent:.0} % of one CPU; {cure}");
            verdict.add(State::Invalid, reason);
        }
        // Whether it is the server's limit or ours cannot be told.
        None => {
            let reason = format!("{found} and the server was not measured; add --server-pid");
            verdict.add(State::Suspect, reason);
        }
    }
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
