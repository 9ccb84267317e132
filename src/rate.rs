//! How often something may happen: a token bucket that is kept as one time.
//!
//! Not here: any clock, and what happens too often. Invariant: in any span of `s` seconds no more
//! than `burst + s * rate` are let through.

use std::num::NonZeroU32;

const SECOND_NS: u64 = 1_000_000_000;

/// A rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    interval_ns: u64,
    /// What a full bucket is worth.
    burst_ns: u64,
}

/// How full a bucket is: the time at which it will be full again. The default is full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    full_at_ns: u64,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU32, burst: u64) -> Self {
        let interval_ns = (SECOND_NS / u64::from(per_second.get())).max(1);
        Self { interval_ns, burst_ns: interval_ns.saturating_mul(burst.max(1)) }
    }

    /// Takes one from the bucket, if there is one.
    #[inline]
    pub(crate) fn take(self, bucket: &mut Bucket, now_ns: u64) -> bool {
        let full_at_ns = bucket.full_at_ns.max(now_ns).saturating_add(self.interval_ns);
        let is_there = full_at_ns - now_ns <= self.burst_ns;
        if is_there {
            bucket.full_at_ns = full_at_ns;
        }
        is_there
    }

    /// Takes one from the bucket, though there may be none: it has happened already. If there is
    /// none left, says when half of them are back.
    pub(crate) fn charge(self, bucket: &mut Bucket, now_ns: u64) -> Option<u64> {
        bucket.full_at_ns = bucket.full_at_ns.max(now_ns).saturating_add(self.interval_ns);
        let is_empty = bucket.full_at_ns - now_ns > self.burst_ns.saturating_sub(self.interval_ns);
        is_empty.then(|| (bucket.full_at_ns - self.burst_ns / 2).max(now_ns + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{Bucket, Rate, SECOND_NS};

    fn rate(per_second: u32, burst: u64) -> Rate {
        Rate::new(NonZeroU32::new(per_second).unwrap(), burst)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rate, mut bucket) = (rate(10, 5), Bucket::default());
        let start_ns = 77 * SECOND_NS;
        let taken = (0..20).filter(|_| rate.take(&mut bucket, start_ns)).count();
        assert_eq!(taken, 5);
        // A tenth of a second brings one back, not more and not less.
        for step in 1..=30 {
            let now_ns = start_ns + step * SECOND_NS / 10;
            assert!(rate.take(&mut bucket, now_ns));
            assert!(!rate.take(&mut bucket, now_ns));
        }
        // However long it rests, the burst stays what it is.
        let taken = (0..20).filter(|_| rate.take(&mut bucket, start_ns * 9)).count();
        assert_eq!(taken, 5);
    }

    #[test]
    fn who_is_charged_too_much_waits_until_half_is_back() {
        let (rate, mut bucket) = (rate(10, 4), Bucket::default());
        let now_ns = SECOND_NS;
        let waits: Vec<_> = (0..6).map(|_| rate.charge(&mut bucket, now_ns)).collect();
        let at = |tenths: u64| Some(now_ns + tenths * SECOND_NS / 10);
        assert_eq!(waits, [None, None, None, at(2), at(3), at(4)]);
        assert_eq!(rate.charge(&mut bucket, now_ns + 4 * SECOND_NS / 10), None);
        assert!(self::rate(1, 1).charge(&mut Bucket::default(), 5).is_some());
    }
}
