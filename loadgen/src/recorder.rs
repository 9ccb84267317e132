//! Where latencies are counted: a fixed array of log-linear buckets, the layout of HdrHistogram
//! with three significant digits.
//!
//! Not here: percentiles; [`Recorder::histogram`] hands the buckets over. Invariants: recording
//! is O(1) and never allocates; two recorders add up to what one would have counted; a value is
//! off by less than one part in 1,024.

use hdrhistogram::Histogram;

/// Buckets of one doubling; twice as many are linear at the bottom.
const HALF: usize = 1024;

/// log2 of [`HALF`].
const HALF_BITS: u32 = HALF.trailing_zeros();

/// Bits of the largest value: 2^42 ns are 73 minutes.
const VALUE_BITS: u32 = 42;

/// The largest value that is told apart from larger ones: above one hour.
pub const VALUE_NS_MAX: u64 = (1 << VALUE_BITS) - 1;

/// Number of buckets.
const BUCKETS: usize = HALF * (VALUE_BITS - HALF_BITS + 1) as usize;

/// Significant decimal digits of the layout.
pub const LAYOUT_DIGITS: u8 = 3;

/// The bucket of `value`.
fn index(value: u64) -> usize {
    let shift = (u64::BITS - 1 - (value | 1).leading_zeros()).saturating_sub(HALF_BITS);
    let index = (u64::from(shift) << HALF_BITS) + (value >> shift);
    usize::try_from(index).expect("buckets are few")
}

/// The smallest value of bucket `index`.
fn lowest(index: usize) -> u64 {
    let shift = (index >> HALF_BITS).saturating_sub(1);
    ((index - (shift << HALF_BITS)) as u64) << shift
}

/// Counts of latencies in nanoseconds, from 1 to [`VALUE_NS_MAX`].
#[derive(Clone, Debug)]
pub struct Recorder {
    buckets: Box<[u64]>,
    clamped: u64,
}

impl Recorder {
    /// All buckets empty.
    #[must_use]
    pub fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), clamped: 0 }
    }

    /// Counts one value. 0 counts as 1; what is above [`VALUE_NS_MAX`] counts as that, and in
    /// [`Recorder::clamped`].
    pub fn record(&mut self, value_ns: u64) {
        self.clamped += u64::from(value_ns > VALUE_NS_MAX);
        self.buckets[index(value_ns.clamp(1, VALUE_NS_MAX))] += 1;
    }

    /// Adds everything that `other` counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.clamped += other.clamped;
    }

    /// Values that were too large for the layout.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// The same counts in the layout's own library.
    ///
    /// # Panics
    /// Never: the bounds are those of the layout.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty_histogram();
        for (index, &count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            histogram.record_n(lowest(index), count).expect("the bounds are the layout's");
        }
        histogram
    }

    /// Moves the counts out, only those that are not zero, and starts again at zero.
    pub fn take_sparse(&mut self) -> Vec<(u32, u64)> {
        let mut sparse = Vec::new();
        for (index, count) in (0_u32..).zip(self.buckets.iter_mut()).filter(|(_, c)| **c > 0) {
            sparse.push((index, std::mem::take(count)));
        }
        self.clamped = 0;
        sparse
    }

    /// Adds what [`Recorder::take_sparse`] moved out of another.
    pub fn add_sparse(&mut self, sparse: &[(u32, u64)]) {
        for &(index, count) in sparse {
            self.buckets[index as usize] += count;
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram of the recorder's layout with nothing in it.
///
/// # Panics
/// Never: the bounds are valid.
#[must_use]
pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, VALUE_NS_MAX, LAYOUT_DIGITS).expect("valid bounds")
}

/// A histogram of what [`Recorder::take_sparse`] moved out; `None` for buckets that the layout does
/// not have, as a file may name.
#[must_use]
pub fn histogram_of(sparse: &[(u32, u64)]) -> Option<Histogram<u64>> {
    let mut histogram = empty_histogram();
    for &(bucket, count) in sparse {
        let bucket = usize::try_from(bucket).ok().filter(|bucket| *bucket < BUCKETS)?;
        histogram.record_n(lowest(bucket), count).ok()?;
    }
    Some(histogram)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Recorder, VALUE_NS_MAX, index, lowest};
    use crate::tests::Random;

    #[test]
    fn buckets_follow_each_other_without_a_hole() {
        for bucket in 0..BUCKETS {
            assert_eq!(index(lowest(bucket)), bucket);
            if bucket > 0 {
                assert_eq!(index(lowest(bucket) - 1), bucket - 1);
            }
        }
        assert_eq!(index(VALUE_NS_MAX), BUCKETS - 1);
    }

    /// Values spread evenly over their magnitudes.
    fn samples(random: &mut Random, count: usize) -> Vec<u64> {
        (0..count).map(|_| (random.next() >> (22 + random.below(41))).max(1)).collect()
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_samples_within_one_bucket() {
        let mut random = Random::seeded();
        for count in [1, 2, 10, 1_000, 50_000] {
            let mut exact = samples(&mut random, count);
            let mut halves = [Recorder::new(), Recorder::new()];
            for (position, &value) in exact.iter().enumerate() {
                halves[position % 2].record(value);
            }
            let [mut recorder, other] = halves;
            recorder.add(&other);
            exact.sort_unstable();
            let histogram = recorder.histogram();
            assert_eq!(histogram.len(), count as u64);
            for per_mille in [1, 100, 500, 900, 990, 999, 1000] {
                let rank = (count * per_mille).div_ceil(1000).max(1);
                let expected = exact[rank - 1];
                let told = histogram.value_at_quantile(per_mille as f64 / 1000.0);
                assert_eq!(index(told), index(expected), "p{per_mille} of {count}");
            }
            assert_eq!(index(histogram.min()), index(exact[0]));
        }
    }

    #[test]
    fn what_is_too_large_is_clamped_and_counted() {
        let mut recorder = Recorder::new();
        for value in [0, VALUE_NS_MAX, VALUE_NS_MAX + 1, u64::MAX] {
            recorder.record(value);
        }
        assert_eq!(recorder.clamped(), 2);
        let histogram = recorder.histogram();
        assert_eq!((histogram.len(), histogram.min()), (4, 1));
        assert_eq!(index(histogram.max()), BUCKETS - 1);
    }

    #[test]
    fn sparse_counts_move_whole() {
        let mut random = Random::seeded();
        let (mut whole, mut moving, mut target) =
            (Recorder::new(), Recorder::new(), Recorder::new());
        for value in samples(&mut random, 10_000) {
            whole.record(value);
            moving.record(value);
            if random.below(100) == 0 {
                target.add_sparse(&moving.take_sparse());
            }
        }
        target.add_sparse(&moving.take_sparse());
        assert_eq!(target.buckets, whole.buckets);
        assert!(moving.take_sparse().is_empty());
    }
}
