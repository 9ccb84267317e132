//! What storms, churn and slow readers come to in a result.
//!
//! Pure functions. A storm is over at the start of the first whole interval that is as good as
//! those before the first storm: its p99 is at most a quarter, or 1 ms, above theirs, and nine
//! tenths of the deliveries are there.

use loadgen::outcome::{Interval, Outcome};
use loadgen::recorder::Sparse;
use loadgen::scenario::{Arrival, Mode, Rate, Scenario};

use crate::result::{Churn, Latency, Slow, Stage, Storm, per};

/// How far the p99 of a storm that is over may be above that before it.
const ABOVE_NS: u64 = 1_000_000;

/// How messages are spread over time, where that is not evenly.
pub(super) fn arrival(scenario: &Scenario) -> Option<String> {
    match scenario.traffic.arrival {
        Arrival::Constant => None,
        Arrival::Poisson => Some("poisson".to_owned()),
    }
}

/// The stages of the schedule.
pub(super) fn stages(scenario: &Scenario) -> Vec<Stage> {
    let stages = scenario.traffic.stages.iter();
    stages
        .map(|stage| Stage {
            lasts_ns: u64::try_from(stage.lasts.as_nanos()).unwrap_or(u64::MAX),
            rate_per_s: stage.rate.map_or(0.0, Rate::events_per_s),
        })
        .collect()
}

/// Every storm that took place.
pub(super) fn storms(scenario: &Scenario, outcome: &Outcome) -> Vec<Storm> {
    let times = &scenario.traffic.storms;
    let times = times.iter().map(|at| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
    let first_ns = times.clone().next().unwrap_or(u64::MAX);
    let before = Before::of(&outcome.intervals, first_ns);
    let storm = |(at_ns, storm): (u64, &loadgen::outcome::Storm)| Storm {
        at_ns,
        dropped: storm.dropped,
        reopened: storm.reopened,
        reopen_ns: Latency::of(&storm.reopen),
        p99_before_ns: before.as_ref().map(|before| before.p99_ns),
        recovered_after_ns: before
            .as_ref()
            .and_then(|before| before.recovered_after_ns(&outcome.intervals, at_ns)),
    };
    times.zip(&outcome.storms).map(storm).collect()
}

/// What an interval was like before the first storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Before {
    p99_ns: u64,
    length_ns: u64,
    /// In nine tenths of an interval of that length.
    received_min: u64,
}

impl Before {
    fn of(intervals: &[Interval], storm_ns: u64) -> Option<Self> {
        let quiet = intervals.iter().take_while(|i| i.start_ns + i.length_ns <= storm_ns);
        let (mut latencies, mut received, mut count) = (Sparse::default(), 0, 0);
        for interval in quiet {
            latencies.add(&interval.latencies);
            received += interval.received;
            count += 1;
        }
        Some(Self {
            p99_ns: latencies.value_at_quantile(0.99)?,
            length_ns: intervals.first()?.length_ns,
            received_min: (received * 9).checked_div(10 * count)?,
        })
    }

    fn recovered_after_ns(&self, intervals: &[Interval], storm_ns: u64) -> Option<u64> {
        let p99_max_ns = (self.p99_ns + self.p99_ns / 4).max(self.p99_ns + ABOVE_NS);
        let is_good = |interval: &&Interval| {
            interval.start_ns >= storm_ns
                && interval.length_ns == self.length_ns
                && interval.received >= self.received_min
                && interval.p99_ns.is_some_and(|p99_ns| p99_ns <= p99_max_ns)
        };
        Some(intervals.iter().find(is_good)?.start_ns - storm_ns)
    }
}

/// The cycles, where they are the load.
pub(super) fn churn(scenario: &Scenario, outcome: &Outcome) -> Option<Churn> {
    (scenario.mode == Mode::Churn).then(|| Churn {
        cycles: outcome.messages_received,
        cycles_per_s: per(outcome.messages_received, outcome.measured_ns).map(|rate| rate * 1e9),
        cycle_ns: Latency::of(&outcome.intended),
    })
}

/// The connections that read slowly.
pub(super) fn slow(scenario: &Scenario, outcome: &Outcome) -> Option<Slow> {
    scenario.traffic.slow.map(|slow| Slow {
        connections: outcome.slow_open,
        bytes_per_s: slow.bytes_per_s,
        closed_by_server: outcome.slow_closed,
    })
}

#[cfg(test)]
mod tests {
    use loadgen::outcome::Interval;
    use loadgen::recorder::Recorder;

    use super::Before;

    const S: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    /// Seconds with that many deliveries, each that late.
    fn seconds<const N: usize>(told: [(u64, u64); N]) -> Vec<Interval> {
        let second = |(number, (received, latency_ns)): (u64, (u64, u64))| {
            let mut recorder = Recorder::new();
            (0..received).for_each(|_| recorder.record(latency_ns));
            let latencies = recorder.sparse();
            Interval {
                start_ns: number * S,
                length_ns: S,
                received,
                p99_ns: latencies.value_at_quantile(0.99),
                latencies,
                ..Interval::default()
            }
        };
        (0..).zip(told).map(second).collect()
    }

    #[test]
    fn a_storm_is_over_with_the_first_whole_second_that_is_as_good_as_before() {
        let told = seconds([
            (100, 8 * MS),
            (100, 8 * MS),
            (10, 8 * MS),
            (100, 300 * MS),
            (89, 8 * MS),
            (100, 10 * MS - 20_000),
            (100, 8 * MS),
        ]);
        let before = Before::of(&told, 2 * S).unwrap();
        assert_eq!(before.received_min, 90);
        assert_eq!(before.recovered_after_ns(&told, 2 * S), Some(3 * S));
        // The second of the storm itself is no whole second after it.
        let during = 2 * S + 500 * MS;
        let before = Before::of(&told, during).unwrap();
        assert_eq!(before.recovered_after_ns(&told, during), Some(2 * S + 500 * MS));
        assert_eq!(before.recovered_after_ns(&told[..5], during), None, "not within the window");
    }

    #[test]
    fn small_latencies_may_rise_by_a_millisecond_and_no_seconds_before_say_nothing() {
        let told = seconds([(50, 100_000), (50, 1_050_000), (50, 1_200_000)]);
        let before = Before::of(&told, S).unwrap();
        assert_eq!(before.recovered_after_ns(&told, S), Some(0));
        assert_eq!(before.recovered_after_ns(&told, S + 1), None);
        assert_eq!(Before::of(&told, S - 1), None);
        assert_eq!(Before::of(&seconds([(0, 1), (5, 1)]), S), None);
    }
}
