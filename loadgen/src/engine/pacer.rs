//! When each message is due: a pure function of its number, and who of several threads and
//! connections it belongs to.
//!
//! Not here: clocks. Invariants: a schedule is never re-based, whatever happens to the run; over
//! all threads each number is dealt exactly once.

use crate::scenario::Rate;

/// An open-loop schedule: message `k` is due at `start + k * period / events`, rounded down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    start_ns: u64,
    rate: Rate,
}

impl Pacer {
    pub(crate) fn new(start_ns: u64, rate: Rate) -> Self {
        Self { start_ns, rate }
    }

    /// When message `k` is due; the end of time if that does not fit.
    pub(crate) fn intended_ns(self, k: u64) -> u64 {
        let (events, period_ns) = (self.rate.events(), self.rate.period_ns());
        // The division of 128 bits costs ten times as much, and is seldom needed.
        let elapsed_ns = match k.checked_mul(period_ns) {
            Some(product) => product / events,
            None => {
                let wide = u128::from(k) * u128::from(period_ns) / u128::from(events);
                u64::try_from(wide).unwrap_or(u64::MAX)
            }
        };
        self.start_ns.saturating_add(elapsed_ns)
    }

    /// How many messages are due before `end_ns`.
    pub(crate) fn count_before(self, end_ns: u64) -> u64 {
        let elapsed_ns = u128::from(end_ns.saturating_sub(self.start_ns));
        let count =
            (elapsed_ns * u128::from(self.rate.events())).div_ceil(self.rate.period_ns().into());
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// The part of the numbers that one thread's members (connections, publishers) take: member `i`
/// of all takes number `k` when `k mod total == i`.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// This thread's members among all, ascending.
    indices: Box<[u32]>,
    total: u64,
    /// The next event: its position in `indices`, and `round * total`.
    position: usize,
    base: u64,
}

/// One event of a [`Share`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// The member's position in this thread.
    pub(crate) member: usize,
    /// The event's number among those of all threads.
    pub(crate) number: u64,
}

impl Share {
    /// The share of thread `thread`, when thread `t` has `counts[t]` members: members are dealt in
    /// turn, and threads that have no more are passed over.
    pub(crate) fn new(counts: &[u32], thread: usize) -> Self {
        let total = counts.iter().map(|&count| u64::from(count)).sum();
        let index = |own: u32| {
            let earlier: u32 = counts.iter().map(|&count| count.min(own)).sum();
            let beside = counts[..thread].iter().filter(|&&count| count > own).count();
            earlier + u32::try_from(beside).expect("threads are few")
        };
        Self { indices: (0..counts[thread]).map(index).collect(), total, position: 0, base: 0 }
    }

    /// The next event, `None` when this thread has no members.
    pub(crate) fn peek(&self) -> Option<Due> {
        let index = self.indices.get(self.position)?;
        Some(Due { member: self.position, number: self.base + u64::from(*index) })
    }

    /// Goes on to the event after.
    pub(crate) fn advance(&mut self) {
        self.position += 1;
        if self.position == self.indices.len() {
            self.position = 0;
            self.base += self.total;
        }
    }

    /// How many of the events below `number` are this share's.
    pub(crate) fn count_below(&self, number: u64) -> u64 {
        let (rounds, rest) = (number / self.total.max(1), number % self.total.max(1));
        let begun = self.indices.partition_point(|&index| u64::from(index) < rest);
        rounds * self.indices.len() as u64 + begun as u64
    }

    /// The number of the member's first event, which is its index among the members of all threads.
    pub(crate) fn index(&self, member: usize) -> u32 {
        self.indices[member]
    }

    /// Members of all threads.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the test's own making")]
mod tests {
    use super::{Pacer, Share};
    use crate::scenario::Rate;
    use crate::tests::Random;

    fn pacer(start_ns: u64, events: u64, period_ns: u64) -> Pacer {
        Pacer::new(start_ns, Rate::new(events, period_ns).unwrap())
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_gathers_no_error() {
        let schedule = pacer(1_000, 3, 1_000_000_000);
        assert_eq!(schedule.intended_ns(0), 1_000);
        assert_eq!(schedule.intended_ns(1), 1_000 + 333_333_333);
        assert_eq!(schedule.intended_ns(2), 1_000 + 666_666_666);
        for seconds in [1, 60, 86_400, 3_000_000_000] {
            assert_eq!(schedule.intended_ns(3 * seconds), 1_000 + seconds * 1_000_000_000);
        }
    }

    #[test]
    fn large_numbers_take_the_wide_way_and_the_end_of_time_saturates() {
        let schedule = pacer(5, 7_000_000_000, 1_000_000_000);
        let k = 7_000_000_000 * 86_400;
        assert_eq!(schedule.intended_ns(k), 5 + 86_400 * 1_000_000_000);
        assert_eq!(pacer(5, 1, u64::MAX).intended_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_count_before_a_time_is_the_number_of_events_before_it() {
        let mut random = Random::seeded();
        for _ in 0..2_000 {
            let schedule =
                pacer(random.below(1_000), 1 + random.below(1_000), 1 + random.below(100_000));
            let end_ns = random.below(50_000);
            let count = schedule.count_before(end_ns);
            if count > 0 {
                assert!(schedule.intended_ns(count - 1) < end_ns);
            }
            if end_ns > 1_000 {
                assert!(schedule.intended_ns(count) >= end_ns);
            }
        }
    }

    #[test]
    fn over_all_threads_each_number_is_dealt_once_and_in_order() {
        let mut random = Random::seeded();
        for _ in 0..200 {
            let threads = 1 + random.below(6) as usize;
            let counts: Vec<u32> = (0..threads).map(|_| random.below(8) as u32).collect();
            let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
            let mut dealt = vec![false; total as usize * 3];
            for thread in 0..threads {
                let mut share = Share::new(&counts, thread);
                let mut last = None;
                for _ in 0..counts[thread] * 3 {
                    let due = share.peek().unwrap();
                    assert!(last < Some(due.number));
                    last = Some(due.number);
                    assert_eq!(due.number % total, u64::from(share.index(due.member)));
                    assert!(!std::mem::replace(&mut dealt[due.number as usize], true));
                    share.advance();
                }
            }
            for number in 0..=total * 3 {
                let shares = (0..threads).map(|thread| Share::new(&counts, thread));
                let below: u64 = shares.map(|share| share.count_below(number)).sum();
                assert_eq!(below, number, "{counts:?}");
            }
            assert!(dealt.into_iter().all(|dealt| dealt), "{counts:?}");
        }
        assert_eq!(Share::new(&[0, 4], 0).peek(), None);
    }

    #[test]
    fn equal_threads_take_every_nth_member() {
        let share = Share::new(&[3, 3], 1);
        assert_eq!([0, 1, 2].map(|member| share.index(member)), [1, 3, 5]);
    }
}
