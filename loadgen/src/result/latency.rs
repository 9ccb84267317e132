//! Percentiles of a histogram, as a result tells them.
//!
//! Invariant: a percentile that rests on too few samples is `null`.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Percentiles of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) min: Option<u64>,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p99_9: Option<u64>,
    pub(crate) p99_99: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl Latency {
    /// Reads the percentiles that the samples support: at least 10 / (1 - q) of them.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let count = histogram.len();
        let at = |quantile: f64, samples_needed: u64| {
            (count >= samples_needed).then(|| histogram.value_at_quantile(quantile))
        };
        Self {
            count,
            min: (count > 0).then(|| histogram.min()),
            p50: at(0.5, 20),
            p90: at(0.9, 100),
            p99: at(0.99, 1_000),
            p99_9: at(0.999, 10_000),
            p99_99: at(0.9999, 100_000),
            max: (count > 0).then(|| histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: u64) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for value in 1..=count {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn percentiles_need_ten_over_one_minus_q_samples() {
        let has = |count| {
            let latency = Latency::of(&histogram(count));
            let values = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99];
            values.iter().filter(|value| value.is_some()).count()
        };
        let borders = [(20, 1), (100, 2), (1_000, 3), (10_000, 4), (100_000, 5)];
        for (count, expected) in borders {
            assert_eq!(has(count), expected, "{count}");
            assert_eq!(has(count - 1), expected - 1, "{}", count - 1);
        }
    }

    #[test]
    fn an_empty_histogram_is_null_and_never_zero() {
        let latency = Latency::of(&histogram(0));
        assert_eq!(latency, Latency::default());
        let one = Latency::of(&histogram(1));
        assert_eq!((one.count, one.min, one.max, one.p50), (1, Some(1), Some(1), None));
    }
}
