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

/// Buckets that are looked at together when most are empty.
const SCAN: usize = 16;

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

    /// The counts that are not zero.
    #[must_use]
    pub fn sparse(&self) -> Sparse {
        let mut sparse = Packer::default();
        for (chunk, start) in self.buckets.chunks(SCAN).zip((0..).step_by(SCAN)) {
            if chunk.iter().any(|&count| count > 0) {
                (start..).zip(chunk).for_each(|(index, &count)| sparse.push(index, count));
            }
        }
        sparse.done()
    }

    /// As [`Recorder::sparse`], and starts again at zero.
    pub fn take_sparse(&mut self) -> Sparse {
        let sparse = self.sparse();
        sparse.buckets().for_each(|(index, _)| self.buckets[index] = 0);
        self.clamped = 0;
        sparse
    }

    /// Adds what [`Recorder::sparse`] told of another.
    pub fn add_sparse(&mut self, sparse: &Sparse) {
        for (index, count) in sparse.buckets() {
            if let Some(bucket) = self.buckets.get_mut(index) {
                *bucket += count;
            }
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// The counts of a [`Recorder`] that are not zero, packed: for each the distance from the bucket
/// before and the count, as numbers to the base 128. About three bytes a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse(Box<[u8]>);

impl Sparse {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets().map(|(_, count)| count).sum()
    }

    /// The smallest value that at least `quantile` of the values do not exceed, as the top of its
    /// bucket, as [`Histogram::value_at_quantile`] has it; `None` without a value.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank of fewer than 2^53 values, from 0 to 1 of them"
    )]
    pub fn value_at_quantile(&self, quantile: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        bucket.map(|(index, _)| lowest(index + 1) - 1)
    }

    /// The largest value, as the top of its bucket.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.buckets().last().map(|(index, _)| lowest(index + 1) - 1)
    }

    /// Adds everything that `other` counted.
    pub fn add(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        } else if !other.is_empty() {
            *self = self.sum(other);
        }
    }

    fn sum(&self, other: &Self) -> Self {
        let mut sum = Packer::default();
        let (mut mine, mut theirs) = (self.buckets().peekable(), other.buckets().peekable());
        loop {
            let (index, count) = match (mine.peek().copied(), theirs.peek().copied()) {
                (Some(a), Some(b)) if a.0 == b.0 => (a.0, a.1 + b.1),
                (Some(a), Some(b)) => {
                    if a.0 < b.0 {
                        a
                    } else {
                        b
                    }
                }
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => break,
            };
            sum.push(index, count);
            mine.next_if(|bucket| bucket.0 == index);
            theirs.next_if(|bucket| bucket.0 == index);
        }
        sum.done()
    }

    /// What was counted since this was `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = Packer::default();
        let mut earlier = earlier.buckets().peekable();
        for (index, count) in self.buckets() {
            while earlier.next_if(|bucket| bucket.0 < index).is_some() {}
            let before = earlier.next_if(|bucket| bucket.0 == index).map_or(0, |bucket| bucket.1);
            rest.push(index, count.saturating_sub(before));
        }
        rest.done()
    }

    /// The same counts in the layout's own library.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty_histogram();
        for (index, count) in self.buckets() {
            // Never refused: the bounds are the layout's.
            let _ = histogram.record_n(lowest(index), count);
        }
        histogram
    }

    /// Bucket by bucket: its number and its count.
    fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        let (mut rest, mut index) = (&self.0[..], 0);
        std::iter::from_fn(move || {
            index += usize::try_from(unpack(&mut rest)?).ok()?;
            let bucket = (index, unpack(&mut rest)?);
            index += 1;
            Some(bucket)
        })
    }
}

/// Writes a [`Sparse`].
#[derive(Debug, Default)]
struct Packer {
    bytes: Vec<u8>,
    /// The bucket after the last that was written.
    next: usize,
}

impl Packer {
    /// The count of a bucket after those before.
    fn push(&mut self, index: usize, count: u64) {
        if count > 0 {
            pack(&mut self.bytes, (index - self.next) as u64);
            pack(&mut self.bytes, count);
            self.next = index + 1;
        }
    }

    fn done(self) -> Sparse {
        Sparse(self.bytes.into_boxed_slice())
    }
}

fn pack(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        bytes.push(number.to_le_bytes()[0] | 128);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn unpack(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
        shift += 7;
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

/// A histogram of buckets and their counts; `None` for buckets that the layout does
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
    use super::{BUCKETS, Recorder, Sparse, VALUE_NS_MAX, index, lowest};
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

    #[test]
    fn packed_counts_tell_what_the_histogram_tells() {
        let mut random = Random::seeded();
        for count in [0, 1, 7, 1_000, 30_000] {
            let (mut one, mut other) = (Recorder::new(), Recorder::new());
            for value in samples(&mut random, count) {
                if random.below(3) == 0 { &mut one } else { &mut other }.record(value);
            }
            let first = one.sparse();
            let mut sum = first.clone();
            sum.add(&other.sparse());
            one.add(&other);
            let histogram = one.histogram();
            assert_eq!(sum, one.sparse());
            assert_eq!(sum.since(&other.sparse()), first);
            assert_eq!(sum.since(&Sparse::default()), sum);
            assert_eq!(sum.histogram(), histogram);
            assert_eq!((sum.count(), sum.is_empty()), (count as u64, count == 0));
            assert_eq!(sum.max(), (count > 0).then(|| histogram.max()));
            for quantile in [0.001, 0.5, 0.99, 0.999, 1.0] {
                let told = (count > 0).then(|| histogram.value_at_quantile(quantile));
                assert_eq!(sum.value_at_quantile(quantile), told, "{quantile} of {count}");
            }
        }
        let mut full = Recorder::new();
        full.buckets.fill(u64::MAX);
        assert_eq!(full.sparse().buckets().count(), BUCKETS);
        assert_eq!(full.take_sparse().buckets().map(|(_, count)| count).max(), Some(u64::MAX));
        assert_eq!(full.sparse(), Sparse::default());
    }
}
