//! When each message is due, and who of several threads and connections it belongs to.
//!
//! Not here: clocks. Invariants: a schedule is never re-based, whatever happens to the run; it
//! follows from the scenario alone, on however many threads; over all threads each number is
//! dealt exactly once.

use std::sync::Arc;

use crate::engine::curve::Curve;
use crate::scenario::Rate;

/// An open-loop schedule: message `k` of a constant rate is due at `start + k * period / events`,
/// rounded down.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    start_ns: u64,
    course: Course,
}

/// How the rate goes.
#[derive(Clone, Debug)]
enum Course {
    Constant(Rate),
    Changing(Arc<Curve>),
}

impl Pacer {
    pub(crate) fn new(start_ns: u64, rate: Rate) -> Self {
        Self { start_ns, course: Course::Constant(rate) }
    }

    pub(crate) fn changing(start_ns: u64, curve: Arc<Curve>) -> Self {
        Self { start_ns, course: Course::Changing(curve) }
    }

    /// When message `k` is due; the end of time if that does not fit, or never.
    pub(crate) fn intended_ns(&self, k: u64) -> u64 {
        let elapsed_ns = match &self.course {
            Course::Changing(curve) => curve.due_ns(k),
            Course::Constant(rate) => {
                let (events, period_ns) = (rate.events(), rate.period_ns());
                // The division of 128 bits costs ten times as much, and is seldom needed.
                match k.checked_mul(period_ns) {
                    Some(product) => product / events,
                    None => {
                        let wide = u128::from(k) * u128::from(period_ns) / u128::from(events);
                        u64::try_from(wide).unwrap_or(u64::MAX)
                    }
                }
            }
        };
        self.start_ns.saturating_add(elapsed_ns)
    }

    /// How many messages are due before `end_ns`.
    pub(crate) fn count_before(&self, end_ns: u64) -> u64 {
        let elapsed_ns = end_ns.saturating_sub(self.start_ns);
        match &self.course {
            Course::Changing(curve) => curve.count_before(elapsed_ns),
            Course::Constant(rate) => {
                let events = u128::from(elapsed_ns) * u128::from(rate.events());
                u64::try_from(events.div_ceil(rate.period_ns().into())).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Fractions of an event that a Poisson process is counted in.
const PARTS: u64 = 1 << 32;

/// The arrivals of a Poisson process of one event per unit, from a seed.
#[derive(Clone, Debug)]
struct Arrivals {
    random: u64,
    /// The next event's number, and the place of the one before in [`PARTS`] of a unit.
    next: u64,
    place: u128,
}

impl Arrivals {
    fn new(seed: u64) -> Self {
        Self { random: seed ^ 0x5eed_0fa2_217a_1537, next: 0, place: 0 }
    }

    /// The place of event `k`; each call's is that of the last, or a later one.
    fn place_of(&mut self, k: u64) -> u128 {
        while self.next <= k {
            self.place += u128::from(self.gap());
            self.next += 1;
        }
        self.place
    }

    /// The next gap, distributed exponentially.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "53 random bits; a gap is at most 37 units"
    )]
    fn gap(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let uniform = ((mixed(self.random) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-uniform.ln() * PARTS as f64) as u64
    }
}

/// The bits of `z` stirred (the end of splitmix64).
pub(crate) fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A pacer's times as messages arrive by them: evenly, or as a Poisson process along it.
///
/// Every thread goes through all arrivals and keeps its own, so that no two have to agree.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    pacer: Pacer,
    arrivals: Option<Arrivals>,
    seed: u64,
    /// The last answer of [`Timetable::first_from`], and to what.
    found: (u64, u64),
    /// All its answers about Poisson arrivals, in the order of time: going back to one is free.
    told: Vec<(u64, u64)>,
}

impl Timetable {
    pub(crate) fn even(pacer: Pacer) -> Self {
        Self { pacer, arrivals: None, seed: 0, found: (0, 0), told: Vec::new() }
    }

    pub(crate) fn poisson(pacer: Pacer, seed: u64) -> Self {
        Self { pacer, arrivals: Some(Arrivals::new(seed)), seed, found: (0, 0), told: Vec::new() }
    }

    /// When message `k` is due; `k` never falls.
    pub(crate) fn intended_ns(&mut self, k: u64) -> u64 {
        let Some(arrivals) = &mut self.arrivals else { return self.pacer.intended_ns(k) };
        let place = arrivals.place_of(k);
        let Ok(whole) = u64::try_from(place / u128::from(PARTS)) else { return u64::MAX };
        let (from_ns, to_ns) = (self.pacer.intended_ns(whole), self.pacer.intended_ns(whole + 1));
        if to_ns == u64::MAX {
            return u64::MAX;
        }
        let part_ns = u128::from(to_ns - from_ns) * (place % u128::from(PARTS)) / u128::from(PARTS);
        from_ns + u64::try_from(part_ns).unwrap_or(u64::MAX)
    }

    /// The first message that is due at `at_ns` or later. Of Poisson arrivals best asked with
    /// times that rise.
    pub(crate) fn first_from(&mut self, at_ns: u64) -> u64 {
        if self.arrivals.is_none() {
            return self.pacer.count_before(at_ns);
        }
        if let Ok(at) = self.told.binary_search_by_key(&at_ns, |(at_ns, _)| *at_ns) {
            return self.told[at].1;
        }
        let (asked_ns, mut k) = self.found;
        if at_ns < asked_ns {
            self.arrivals = Some(Arrivals::new(self.seed));
            k = 0;
        }
        while self.intended_ns(k) < at_ns {
            k += 1;
        }
        self.found = (at_ns, k);
        if self.told.last().is_none_or(|(last_ns, _)| *last_ns < at_ns) {
            self.told.push((at_ns, k));
        }
        k
    }

    /// Just after the last message before number `end`, if that is due before `by_ns`. Asked with
    /// times that rise, and of a timetable of its own.
    pub(crate) fn end_of(&mut self, end: u64, by_ns: u64) -> Option<u64> {
        while self.found.1 < end {
            let at_ns = self.intended_ns(self.found.1);
            if at_ns >= by_ns {
                return None;
            }
            self.found = (at_ns, self.found.1 + 1);
        }
        Some(self.found.0.saturating_add(1))
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
        let indices = (0..counts[thread]).map(|own| index(counts, thread, own)).collect();
        Self { indices, total, position: 0, base: 0 }
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

    /// The number of the member's first event, which is its index among the members of all threads.
    pub(crate) fn index(&self, member: usize) -> u32 {
        self.indices[member]
    }

    /// Members of all threads.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

/// The index, among the members of all threads, of member `own` of thread `thread`.
fn index(counts: &[u32], thread: usize, own: u32) -> u32 {
    let earlier: u32 = counts.iter().map(|&count| count.min(own)).sum();
    let beside = counts[..thread].iter().filter(|&&count| count > own).count();
    earlier + u32::try_from(beside).expect("threads are few")
}

/// How many of the events below `number` are dealt to thread `thread`: quickly, however many
/// members there are.
pub(crate) fn dealt_below(counts: &[u32], thread: usize, number: u64) -> u64 {
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    let (rounds, rest) = (number / total.max(1), number % total.max(1));
    // Indices rise: halves what is in question until nothing is.
    let (mut begun, mut end) = (0, counts[thread]);
    while begun < end {
        let middle = begun + (end - begun) / 2;
        if u64::from(index(counts, thread, middle)) < rest {
            begun = middle + 1;
        } else {
            end = middle;
        }
    }
    rounds * u64::from(counts[thread]) + u64::from(begun)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the test's own making")]
mod tests {
    use super::{Pacer, Share, Timetable, dealt_below};
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
                let below = |thread| dealt_below(&counts, thread, number);
                assert_eq!((0..threads).map(below).sum::<u64>(), number, "{counts:?}");
                for thread in 0..threads {
                    let share = Share::new(&counts, thread);
                    let own = (0..number)
                        .filter(|k| share.indices.iter().any(|i| k % total == u64::from(*i)));
                    assert_eq!(below(thread), own.count() as u64, "{counts:?} {thread}");
                }
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

    #[test]
    fn poisson_arrivals_have_the_rate_the_spread_and_the_order_of_one() {
        let pacer = pacer(7, 1_000, 1_000_000_000);
        let mut table = Timetable::poisson(pacer.clone(), 3);
        let times: Vec<u64> = (0..100_000).map(|k| table.intended_ns(k)).collect();
        assert!(times.is_sorted());
        // 100 s at 1,000 a second, give or take three times the root of 100,000.
        assert!(times[99_999].abs_diff(100_000_000_000) < 1_000_000_000, "{}", times[99_999]);
        // Gaps: a share of exp(-x) is longer than x times the mean; memory-less.
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let longer = |ms: u64| gaps.iter().filter(|gap| **gap > ms * 1_000_000).count();
        assert!(longer(1).abs_diff(36_788) < 600, "{}", longer(1));
        assert!(longer(3).abs_diff(4_979) < 300, "{}", longer(3));
        // Another seed is another process; the same one is the same, wherever it begins.
        let mut again = Timetable::poisson(pacer.clone(), 3);
        assert_eq!(again.intended_ns(5_000), times[5_000]);
        assert_ne!(Timetable::poisson(pacer.clone(), 4).intended_ns(5_000), times[5_000]);
        let mut table = Timetable::poisson(pacer, 3);
        let places = [77, 77, 4_000, 3, 90_000];
        assert_eq!(places.map(|k| table.first_from(times[k])), [77, 77, 4_000, 3, 90_000]);
    }
}
