//! Intervals that claim no more than the numbers bear: no assumption of a normal distribution.
//!
//! Pure. Sources: order statistics for a median, and Hodges and Lehmann's estimate with the bounds
//! of the Mann-Whitney test for a ratio (Hollander, Wolfe and Chicken, Nonparametric Statistical
//! Methods, 3rd edition, chapters 3.6 and 4.3); within one run the block bootstrap (Kunsch 1989;
//! percentile interval, Efron 1979): a dozen blocks, as neighbouring intervals are alike and only
//! long blocks are nearly independent. Invariants: nothing below five repetitions has an interval
//! over runs; a bootstrap is seeded, so it says the same each time.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;

use crate::result::Estimate;

/// Repetitions below which there is no interval over runs.
pub(crate) const RUNS_MIN: usize = 5;
/// Intervals of a run below which there is no interval within it.
const INTERVALS_MIN: usize = 10;
/// Blocks that a run's intervals are gathered into, at most.
const BLOCKS_MAX: usize = 12;
/// Resamples of a bootstrap.
const RESAMPLES: usize = 1_000;
/// What either tail of a 95 % interval may hold.
const TAIL: f64 = 0.025;
/// Pairs of sizes up to which the Mann-Whitney distribution is counted out.
const EXACT_SUM_MAX: usize = 40;
/// 97.5 % of the normal distribution lie below this.
const NORMAL: f64 = 1.959_964;

/// The median of repetitions and the interval of order statistics that holds the true one in 95 %
/// of all cases or more; with exactly five, whose whole range does in 93.75 %.
pub(crate) fn median(values: &[f64]) -> Option<Estimate> {
    let sorted = sorted(values)?;
    let count = sorted.len();
    if count < RUNS_MIN {
        return None;
    }
    // The k-th smallest lies above the median if fewer than k of count coins show heads.
    let (mut below, mut term, mut rank) = (0.0, 0.5_f64.powi(i32::try_from(count).ok()?), 0);
    while below + term <= TAIL && rank < count / 2 {
        below += term;
        rank += 1;
        term *= to_f64(count + 1 - rank) / to_f64(rank);
    }
    let rank = rank.max(1);
    let value = middle(&sorted);
    Some(Estimate { value, low: sorted[rank - 1], high: sorted[count - rank] })
}

/// How many times as great `new` is, and a 95 % interval; `None` with fewer than five a side, or
/// with values that have no ratio.
pub(crate) fn ratio(old: &[f64], new: &[f64]) -> Option<Estimate> {
    if old.len().min(new.len()) < RUNS_MIN || old.iter().chain(new).any(|value| *value <= 0.0) {
        return None;
    }
    let pairs = old.iter().flat_map(|old| new.iter().map(move |new| (new / old).ln()));
    let differences = sorted(&pairs.collect::<Vec<f64>>())?;
    let rank = mann_whitney_rank(old.len(), new.len());
    let (low, high) = (differences[rank - 1], differences[differences.len() - rank]);
    Some(Estimate { value: middle(&differences).exp(), low: low.exp(), high: high.exp() })
}

/// Which of the ordered pair differences bounds the interval, from 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank, not negative and small"
)]
fn mann_whitney_rank(one: usize, other: usize) -> usize {
    if one + other > EXACT_SUM_MAX {
        let pairs = to_f64(one * other);
        let deviation = (pairs * to_f64(one + other + 1) / 12.0).sqrt();
        return ((pairs / 2.0 - NORMAL * deviation).floor() as usize).max(1);
    }
    let ways = mann_whitney_ways(one, other);
    let all: f64 = ways.iter().sum();
    let mut below = 0.0;
    let mut rank = 0;
    while rank < ways.len() && (below + ways[rank]) / all <= TAIL {
        below += ways[rank];
        rank += 1;
    }
    rank.max(1)
}

/// In how many orders of two samples each value of the statistic U comes about.
fn mann_whitney_ways(one: usize, other: usize) -> Vec<f64> {
    // Gaussian binomial coefficients, one sample's member after another: multiply by
    // (1 - q^(other + i)) and divide by (1 - q^i).
    let length = one * other + 1;
    let mut ways = vec![0.0; length];
    ways[0] = 1.0;
    for member in 1..=one {
        let step = other + member;
        for index in (step..length).rev() {
            ways[index] -= ways[index - step];
        }
        for index in member..length {
            ways[index] += ways[index - member];
        }
    }
    ways
}

/// What one run gives to a bootstrap: its intervals gathered into blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Distinct latencies, in order.
    values: Vec<u64>,
    /// Of each block: position in `values`, and count.
    counts: Vec<Vec<(usize, u64)>>,
}

impl Blocks {
    /// Of the histograms of a run's intervals, in order; `None` if they are too few.
    pub(crate) fn of(intervals: &[Histogram<u64>]) -> Option<Self> {
        if intervals.len() < INTERVALS_MIN {
            return None;
        }
        let recorded = |histogram: &Histogram<u64>| {
            let steps = histogram.iter_recorded();
            steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
        };
        Some(Self::gather(&intervals.iter().map(recorded).collect::<Vec<_>>()))
    }

    /// Of the latencies and their counts in each interval.
    fn gather(intervals: &[Vec<(u64, u64)>]) -> Self {
        let length = intervals.len().div_ceil(BLOCKS_MAX).max(1);
        let mut blocks: Vec<BTreeMap<u64, u64>> = Vec::new();
        for chunk in intervals.chunks(length) {
            let mut block: BTreeMap<u64, u64> = BTreeMap::new();
            for (value, count) in chunk.iter().flatten() {
                let sum = block.entry(*value).or_default();
                *sum = sum.saturating_add(*count);
            }
            blocks.push(block);
        }
        let mut values: Vec<u64> = blocks.iter().flat_map(|block| block.keys().copied()).collect();
        values.sort_unstable();
        values.dedup();
        let position = |value: &u64| values.partition_point(|known| known < value);
        let counts = blocks
            .iter()
            .map(|block| block.iter().map(|(value, count)| (position(value), *count)).collect())
            .collect();
        Self { values, counts }
    }

    /// Quantiles of as many blocks, drawn with replacement; `None` if all drawn are empty.
    fn resampled(&self, quantiles: &[f64], random: &mut Random) -> Option<Vec<f64>> {
        let mut sums = vec![0_u64; self.values.len()];
        for _ in &self.counts {
            for (position, count) in &self.counts[random.below(self.counts.len())] {
                sums[*position] = sums[*position].saturating_add(*count);
            }
        }
        let total = sums.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let at = |quantile: f64| {
            let rank = (quantile * count_to_f64(total)).ceil().max(1.0);
            let mut below = 0.0;
            let found = self.values.iter().zip(&sums).find(|(_, count)| {
                below += count_to_f64(**count);
                below >= rank
            });
            found.map(|(value, _)| count_to_f64(*value))
        };
        quantiles.iter().map(|quantile| at(*quantile)).collect()
    }
}

/// Low and high of the ratio of each quantile, new over old, within one run of each.
pub(crate) fn bootstrap(
    old: &Blocks,
    new: &Blocks,
    quantiles: &[f64],
    seed: u64,
) -> Vec<Option<(f64, f64)>> {
    let mut random = Random(seed);
    let mut ratios: Vec<Vec<f64>> = vec![Vec::with_capacity(RESAMPLES); quantiles.len()];
    for _ in 0..RESAMPLES {
        let (old, new) =
            (old.resampled(quantiles, &mut random), new.resampled(quantiles, &mut random));
        let (Some(old), Some(new)) = (old, new) else { continue };
        for (ratios, (old, new)) in ratios.iter_mut().zip(old.iter().zip(&new)) {
            ratios.push(new / old);
        }
    }
    let bounds = |ratios: &Vec<f64>| {
        let sorted = sorted(ratios)?;
        // Of 1,000: the 25th from either end.
        let rank = RESAMPLES / 40;
        let centre = middle(&sorted);
        // So few blocks show less than all of the spread: widened as Student's distribution is
        // wider than the normal one, and by the share that a mean takes of its own sample.
        let freedom = to_f64(old.counts.len().min(new.counts.len())) - 1.0;
        let student = 1.0 + (NORMAL * NORMAL + 1.0) / (4.0 * freedom);
        let widening = student * ((freedom + 1.0) / freedom).sqrt();
        let widened = |bound: f64| centre * (bound / centre).powf(widening);
        (sorted.len() == RESAMPLES)
            .then(|| (widened(sorted[rank - 1]), widened(sorted[RESAMPLES - rank])))
    };
    ratios.iter().map(bounds).collect()
}

/// A small generator (splitmix64), so that the same numbers give the same interval.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Below `bound`, which is small: the bias is too.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let index = (z ^ (z >> 31)) % u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(index).unwrap_or(0)
    }
}

/// In order; `None` if there are none, or one is no number.
fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty() && sorted.iter().all(|value| value.is_finite())).then_some(sorted)
}

/// The median of values in order, of which there is one at least.
pub(crate) fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[half - 1], sorted[half])
    } else {
        sorted[half]
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of repetitions")]
const fn to_f64(value: usize) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a rank among samples, a time of three digits")]
const fn count_to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
