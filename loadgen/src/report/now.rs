//! How a run is doing this second: the snapshot's histograms as percentiles, a verdict so far.
//!
//! Pure functions of a snapshot, made once a second where the snapshot arrives; what shows it does
//! no arithmetic over histograms. Invariant: too few samples stay `None`, as in a result.

use hdrhistogram::Histogram;
use loadgen::outcome::{LOCAL_ERROR_PREFIX, Phase, Snapshot};

use crate::result::Latency;
use crate::verdict::{Evidence, Verdict, judge};

/// A second's figures, ready to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    pub(crate) snapshot: Snapshot,
    /// Latencies of the last second, from intended.
    pub(crate) last: Latency,
    /// Of the whole window, from intended.
    pub(crate) intended: Latency,
    /// Of the whole window, from sent.
    pub(crate) from_sent: Latency,
    pub(crate) tcp: Latency,
    pub(crate) upgrade: Latency,
    pub(crate) first_message: Latency,
    /// What the rules say so far.
    pub(crate) verdict: Verdict,
    /// Mean rate of the window, per second; one snapshot alone does not tell.
    pub(crate) mean_per_s: Option<f64>,
}

impl Now {
    /// Takes a snapshot; `busy_share` is each thread's mean so far.
    pub(crate) fn of(snapshot: Snapshot, busy_share: &[f64]) -> Self {
        let intended = Latency::of(&snapshot.intended);
        Self {
            last: Latency::of(&snapshot.last),
            from_sent: Latency::of(&snapshot.from_sent),
            tcp: Latency::of(&snapshot.tcp),
            upgrade: Latency::of(&snapshot.upgrade),
            first_message: Latency::of(&snapshot.first_message),
            verdict: judge(&evidence(&snapshot, busy_share)),
            mean_per_s: None,
            intended,
            snapshot,
        }
    }

    /// Whole seconds since the window's start; `None` before it.
    pub(crate) fn second(&self) -> Option<u64> {
        let is_begun = matches!(self.snapshot.tick.phase, Phase::Measuring | Phase::Draining);
        is_begun.then_some(self.snapshot.elapsed_ns / 1_000_000_000)
    }

    /// The latencies dealt over `edges_ns`, each up to and with its edge, and those beyond the
    /// last.
    pub(crate) fn dealt(&self, edges_ns: &[u64]) -> Vec<u64> {
        let histogram = &self.snapshot.intended;
        let mut low_ns = 0;
        let mut counts = Vec::with_capacity(edges_ns.len() + 1);
        for edge_ns in edges_ns {
            counts.push(histogram.count_between(low_ns, *edge_ns));
            low_ns = edge_ns + 1;
        }
        let counted: u64 = counts.iter().sum();
        counts.push(histogram.len().saturating_sub(counted));
        counts
    }
}

/// What of a snapshot the rules of the verdict look at.
fn evidence(snapshot: &Snapshot, busy_share: &[f64]) -> Evidence {
    let at = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile);
    let local = snapshot.errors.iter().filter(|(code, _)| code.starts_with(LOCAL_ERROR_PREFIX));
    Evidence {
        is_open_loop: snapshot.offered.is_some(),
        lag_p99_ns: snapshot.lag_p99_ns,
        intended_p99_ns: at(&snapshot.intended, 0.99),
        intended_p99_9_ns: at(&snapshot.intended, 0.999),
        thread_busy_share: busy_share.to_vec(),
        server_busy_share: snapshot.server.map(|server| server.cpu_share),
        local_errors: local.map(|(code, count)| (code.clone(), *count)).collect(),
        ..Evidence::default()
    }
}

/// Five edges of a histogram that end where 99.9 % of the samples end, and whether they are
/// spaced evenly or by 1, 2, 5, 10.
pub(crate) fn edges_ns(latency: &Latency, is_linear: bool) -> Vec<u64> {
    let Some(top_ns) = latency.p99_9.or(latency.max) else { return Vec::new() };
    let series = |index: u32| [1, 2, 5][index as usize % 3] * 10_u64.pow(index / 3);
    let last = (0..40).find(|index| series(*index) >= top_ns).unwrap_or(40).max(4);
    if is_linear {
        return (1..=5).map(|part| series(last) / 5 * part).collect();
    }
    (last - 4..=last).map(series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::snapshot;
    use crate::verdict::State;

    #[test]
    fn edges_are_one_two_five_and_end_where_nearly_all_end() {
        let of = |p99_9| Latency { p99_9: Some(p99_9), ..Latency::default() };
        let wanted = [1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000];
        assert_eq!(edges_ns(&of(12_600_000), false), wanted);
        assert_eq!(edges_ns(&of(20_000_000), false), wanted);
        let even = [4_000_000, 8_000_000, 12_000_000, 16_000_000, 20_000_000];
        assert_eq!(edges_ns(&of(12_600_000), true), even);
        assert_eq!(edges_ns(&of(1), false), [1, 2, 5, 10, 20]);
        assert!(edges_ns(&Latency::default(), false).is_empty());
    }

    #[test]
    fn every_sample_is_dealt_once() {
        let now = Now::of(snapshot(38), &[]);
        let dealt = now.dealt(&edges_ns(&now.intended, false));
        assert_eq!(dealt.len(), 6);
        assert_eq!(dealt.iter().sum::<u64>(), now.intended.count);
    }

    #[test]
    fn the_verdict_so_far_is_by_the_rules_of_the_verdict() {
        let state = |change: fn(&mut Snapshot), busy: &[f64]| {
            let mut changed = snapshot(38);
            change(&mut changed);
            Now::of(changed, busy).verdict.state
        };
        assert_eq!(state(|_| {}, &[0.5]), State::Valid);
        assert_eq!(state(|_| {}, &[0.5, 0.95]), State::Suspect);
        assert_eq!(state(|snapshot| snapshot.lag_p99_ns = 900_000_000, &[]), State::Invalid);
        let short = |snapshot: &mut Snapshot| {
            snapshot.errors.insert("local.ports".to_owned(), 1);
        };
        assert_eq!(state(short, &[]), State::Invalid);
    }

    #[test]
    fn seconds_count_from_the_windows_start() {
        assert_eq!(Now::of(snapshot(38), &[]).second(), Some(38));
        let mut before = snapshot(0);
        before.tick.phase = Phase::Warmup;
        assert_eq!(Now::of(before, &[]).second(), None);
    }
}
