//! What one subscriber has of one publisher: which sequence numbers came, came again, came late.
//!
//! Not here: how many should have come; that is known only to the publishers. Invariant: of a
//! sequence's arrivals exactly one is not a duplicate, as long as it is at most 64 numbers late;
//! later ones are judged by whether anything is missing at all.

use crate::engine::payload::SEQUENCE_BITS;

/// Sequences below the highest whose arrival is remembered one by one.
const WINDOW: u64 = 64;

/// How an arrival relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next, or one beyond it.
    New,
    /// For the first time, after a later one.
    Reordered,
    /// Again.
    Duplicate,
}

/// The arrivals of one publisher's messages at one subscriber, from sequence 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tracker {
    /// One past the highest that came.
    next: u64,
    /// Bit `i`: `next - 1 - i` came.
    seen: u64,
    /// How many below `next` did not come.
    missing: u64,
}

impl Tracker {
    /// Takes the low [`SEQUENCE_BITS`] of an arriving sequence; all of it, and how it came.
    pub(crate) fn arrive(&mut self, sequence: u64) -> (u64, Arrival) {
        let ahead = ahead(self.next, sequence);
        if ahead >= 0 {
            let skipped = ahead.unsigned_abs();
            self.missing += skipped;
            self.next += skipped + 1;
            self.seen = if skipped < WINDOW { self.seen << skipped << 1 | 1 } else { 1 };
            return (self.next - 1, Arrival::New);
        }
        let behind = ahead.unsigned_abs();
        let full = self.next.saturating_sub(behind);
        (full, self.arrive_late(behind))
    }

    /// An arrival `behind` numbers below `next`.
    fn arrive_late(&mut self, behind: u64) -> Arrival {
        if behind > self.next {
            return Arrival::Duplicate;
        }
        if behind <= WINDOW {
            let bit = 1 << (behind - 1);
            if self.seen & bit != 0 {
                return Arrival::Duplicate;
            }
            self.seen |= bit;
            self.missing -= 1;
            return Arrival::Reordered;
        }
        let remembered = self.next.min(WINDOW);
        let missing_remembered = remembered - u64::from(self.seen.count_ones());
        if self.missing > missing_remembered {
            self.missing -= 1;
            return Arrival::Reordered;
        }
        Arrival::Duplicate
    }

    /// What [`Tracker::arrive`] would make of `sequence`, all of it.
    pub(crate) fn unwrap(&self, sequence: u64) -> Option<u64> {
        self.next.checked_add_signed(ahead(self.next, sequence))
    }
}

/// How far `sequence`, of which only the low bits are known, is ahead of `next`; negative: behind.
fn ahead(next: u64, sequence: u64) -> i64 {
    let unused = u64::BITS - SEQUENCE_BITS;
    // Shifted up and down again, the difference takes its sign from its own highest bit.
    (sequence.wrapping_sub(next) << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Arrival, SEQUENCE_BITS, Tracker};
    use crate::tests::Random;

    fn arrivals<const N: usize>(sequences: [u64; N]) -> [Arrival; N] {
        let mut tracker = Tracker::default();
        sequences.map(|sequence| tracker.arrive(sequence).1)
    }

    #[test]
    fn order_gaps_duplicates_and_late_ones_are_told_apart() {
        use Arrival::{Duplicate, New, Reordered};
        assert_eq!(arrivals([0, 1, 2]), [New, New, New]);
        assert_eq!(
            arrivals([0, 3, 3, 1, 1, 2]),
            [New, New, Duplicate, Reordered, Duplicate, Reordered]
        );
        assert_eq!(arrivals([5, 0, 5, 4]), [New, Reordered, Duplicate, Reordered]);
        // Beyond the window, what may be missing counts as missing.
        assert_eq!(arrivals([0, 200, 100, 0]), [New, New, Reordered, Reordered]);
        assert_eq!(arrivals([0, 1, 64, 65, 0]), [New, New, New, New, Duplicate]);
    }

    #[test]
    fn within_the_window_it_agrees_with_a_set_of_all_that_came() {
        let mut random = Random::seeded();
        for _ in 0..500 {
            let (mut tracker, mut oracle) = (Tracker::default(), BTreeSet::new());
            // Begin anywhere, so that the wire's bits wrap in the middle.
            let start = if random.below(2) == 0 { 0 } else { (1 << SEQUENCE_BITS) - 50 };
            tracker.next = start;
            tracker.seen = if start == 0 { 0 } else { u64::MAX };
            let mut highest = start;
            for _ in 0..200 {
                let lowest = highest.saturating_sub(40).max(start);
                let sequence = lowest + random.below(highest - lowest + 10);
                let expected = match (oracle.insert(sequence), sequence >= highest) {
                    (false, _) => Arrival::Duplicate,
                    (true, true) => Arrival::New,
                    (true, false) => Arrival::Reordered,
                };
                highest = highest.max(sequence + 1);
                let wire = sequence & ((1 << SEQUENCE_BITS) - 1);
                assert_eq!(tracker.unwrap(wire), Some(sequence));
                assert_eq!(tracker.arrive(wire), (sequence, expected));
            }
            assert_eq!(tracker.missing, highest - start - oracle.len() as u64);
        }
    }

    #[test]
    fn a_number_below_zero_is_a_duplicate_and_does_no_harm() {
        let mut tracker = Tracker::default();
        tracker.arrive(0);
        assert_eq!(tracker.unwrap((1 << SEQUENCE_BITS) - 5), None);
        assert_eq!(tracker.arrive((1 << SEQUENCE_BITS) - 5).1, Arrival::Duplicate);
        assert_eq!(tracker.arrive(1), (1, Arrival::New));
    }
}
