//! How alike connections are served: a small sketch of each connection's latencies.
//!
//! Not here: whole-run histograms. Invariants: a sketch is 64 bytes and never grows; the p99 it
//! tells is within a factor of 2^(1/4) (19 %) of the exact one, as long as that lies within 14
//! octaves below the connection's greatest latency; counts that grow too large are halved together.

use crate::recorder::Recorder;

/// Connections that are looked at: all, or a sample spread evenly over them.
const CONNECTIONS_MAX: u32 = 10_000;

/// Buckets of one sketch, two an octave.
const BUCKETS: usize = 28;

/// One connection in the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sketch {
    received: u32,
    /// The half octave of the first bucket, in which all below count too.
    base: u16,
    counts: [u16; BUCKETS],
}

const _: () = assert!(size_of::<Sketch>() <= 64, "a sampled connection has one");

/// The half octave of a latency: where its square's highest bit is.
fn half_octave(latency_ns: u64) -> u16 {
    let latency = u128::from(latency_ns.max(1));
    u16::try_from((latency * latency).ilog2()).unwrap_or(u16::MAX)
}

impl Sketch {
    const EMPTY: Self = Self { received: 0, base: 0, counts: [0; BUCKETS] };

    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.received = self.received.saturating_add(1);
        let half_octave = half_octave(latency_ns);
        let above = usize::from(half_octave.saturating_sub(self.base));
        if above >= BUCKETS {
            self.rise(above - (BUCKETS - 1));
        }
        let bucket = above.min(BUCKETS - 1);
        if self.counts[bucket] == u16::MAX {
            self.counts.iter_mut().for_each(|count| *count = count.div_ceil(2));
        }
        self.counts[bucket] += 1;
    }

    /// Moves the buckets up; what falls out at the bottom counts in the first.
    fn rise(&mut self, by: usize) {
        let mut counts = [0_u16; BUCKETS];
        for (index, count) in self.counts.into_iter().enumerate() {
            let bucket = &mut counts[index.saturating_sub(by)];
            *bucket = bucket.saturating_add(count);
        }
        self.counts = counts;
        self.base = self.base.saturating_add(u16::try_from(by).unwrap_or(u16::MAX));
    }

    /// The middle of the bucket in which the p99 lies.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the middle of the highest half octave of 64 bits, never negative"
    )]
    fn p99_ns(&self) -> Option<u64> {
        let total: u64 = self.counts.iter().copied().map(u64::from).sum();
        let rank = (total * 99).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|&count| {
            seen += u64::from(count);
            seen >= rank
        })?;
        let half_octave = f64::from(self.base) + bucket as f64;
        Some(((half_octave + 0.5) / 2.0).exp2() as u64)
    }
}

/// The sketches of one thread's connections.
#[derive(Debug)]
pub(crate) struct Sketches {
    /// Every so many connections has one.
    stride: usize,
    connections: usize,
    /// Made when the first message of the window comes.
    sketches: Vec<Sketch>,
}

impl Sketches {
    /// For `connections` of this thread out of `total` of all.
    pub(crate) fn new(connections: usize, total: u32) -> Self {
        let stride = total.div_ceil(CONNECTIONS_MAX).max(1) as usize;
        Self { stride, connections, sketches: Vec::new() }
    }

    /// That of connection `position`, if it is one of the sample.
    pub(crate) fn of(&mut self, position: usize) -> Option<&mut Sketch> {
        if position >= self.connections || !position.is_multiple_of(self.stride) {
            return None;
        }
        if self.sketches.is_empty() {
            self.sketches = vec![Sketch::EMPTY; self.connections.div_ceil(self.stride)];
        }
        self.sketches.get_mut(position / self.stride)
    }

    /// What all of them come to.
    pub(crate) fn spread(&self) -> Spread {
        let mut spread = Spread::default();
        for sketch in &self.sketches {
            spread.add_connection(sketch);
        }
        spread
    }
}

/// How a figure is spread over connections.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    pub(crate) p99_ns: Recorder,
    connections: u64,
    received: u128,
    received_squared: u128,
}

impl Spread {
    fn add_connection(&mut self, sketch: &Sketch) {
        if let Some(p99_ns) = sketch.p99_ns() {
            self.p99_ns.record(p99_ns);
        }
        let received = u128::from(sketch.received);
        self.connections += 1;
        self.received += received;
        self.received_squared += received * received;
    }

    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.p99_ns.add(&other.p99_ns);
        self.connections += other.connections;
        self.received += other.received;
        self.received_squared += other.received_squared;
    }

    /// Jain's index of messages received: the square of the sum over n times the sum of squares.
    #[expect(clippy::cast_precision_loss, reason = "a share from 0 to 1")]
    pub(crate) fn jain_index(&self) -> Option<f64> {
        let below = self.connections as f64 * self.received_squared as f64;
        (self.received_squared > 0).then(|| (self.received as f64).powi(2) / below)
    }
}

#[cfg(test)]
mod tests {
    use super::{Sketch, Sketches};
    use crate::tests::Random;

    #[test]
    fn the_p99_is_within_a_quarter_octave_of_the_exact() {
        let mut random = Random::seeded();
        for count in [1, 10, 100, 5_000, 200_000] {
            let (mut sketch, mut exact) = (Sketch::EMPTY, Vec::new());
            let (low, octaves) = (5_000 + random.below(1_000_000), 1 + random.below(9));
            for _ in 0..count {
                let value = low + (low << random.below(octaves)) * random.below(1_000) / 1_000;
                sketch.record(value);
                exact.push(value);
            }
            exact.sort_unstable();
            let exact = exact[(count * 99_usize).div_ceil(100).max(1) - 1];
            let ratio = sketch.p99_ns().unwrap() as f64 / exact as f64;
            // Halved counts round up, which moves the rank by a little: one more bucket at most.
            let bound = if count > 60_000 { 1.69 } else { 1.19 };
            assert!((1.0 / bound - 0.01..bound + 0.01).contains(&ratio), "{count}: {ratio}");
        }
    }

    #[test]
    fn a_late_outlier_does_not_wash_away_what_was_before() {
        let mut sketch = Sketch::EMPTY;
        (0..10_000).for_each(|_| sketch.record(1_000_000));
        sketch.record(8_000_000_000);
        sketch.record(0);
        let ratio = sketch.p99_ns().unwrap() as f64 / 1e6;
        assert!((0.8..1.2).contains(&ratio), "{ratio}");
        (0..1_000).for_each(|_| sketch.record(u64::MAX));
        assert!(sketch.p99_ns().unwrap() > 1 << 62);
    }

    #[test]
    fn jains_index_is_one_when_even_and_one_nth_when_one_has_all() {
        let mut even = Sketches::new(4, 4);
        (0..4).for_each(|position| even.of(position).unwrap().record(1_000));
        assert_eq!(even.spread().jain_index(), Some(1.0));
        let mut greedy = Sketches::new(4, 4);
        (0..9).for_each(|_| greedy.of(2).unwrap().record(1_000));
        let mut both = greedy.spread();
        assert_eq!(both.jain_index(), Some(0.25));
        assert_eq!(Sketches::new(4, 4).spread().jain_index(), None);
        both.add(&even.spread());
        assert_eq!(both.p99_ns.histogram().len(), 5);
    }

    #[test]
    fn of_many_connections_a_sample_is_looked_at() {
        let mut sketches = Sketches::new(500_000, 1_000_000);
        assert!(sketches.of(0).is_some() && sketches.of(99).is_none());
        assert!(sketches.of(499_900).is_some() && sketches.of(500_000).is_none());
        assert_eq!(sketches.sketches.len(), 5_000);
    }
}
