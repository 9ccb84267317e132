//! The wheel against an oracle: a sorted map of the same deadlines.

#![cfg(not(loom))]

mod random;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ringwire_transport::{TICK_NS, Wheel};

    use crate::random::{Random, each_seed};

    const ENTRIES: u32 = 200;

    struct Oracle {
        wheel: Wheel,
        deadlines: BTreeMap<u32, u64>,
        now_ns: u64,
        due: Vec<u32>,
    }

    impl Oracle {
        fn new(now_ns: u64) -> Self {
            let wheel = Wheel::new(ENTRIES as usize, now_ns);
            Self { wheel, deadlines: BTreeMap::new(), now_ns, due: Vec::new() }
        }

        fn set(&mut self, index: u32, deadline_ns: u64) {
            self.wheel.set(index, deadline_ns);
            self.deadlines.remove(&index);
            if deadline_ns != u64::MAX {
                // A deadline in the past is one of now: lateness counts from there.
                self.deadlines.insert(index, deadline_ns);
            }
        }

        fn clear(&mut self, index: u32) {
            self.wheel.clear(index);
            self.deadlines.remove(&index);
        }

        fn expire(&mut self, now_ns: u64) {
            self.now_ns = now_ns;
            self.wheel.expire(now_ns, &mut self.due);
            for index in self.due.drain(..) {
                let deadline = self.deadlines.remove(&index).expect("fired without a deadline");
                assert!(deadline <= now_ns, "{index} fired {} ns early", deadline - now_ns);
            }
            let ticked = now_ns / TICK_NS * TICK_NS;
            for (index, &deadline) in &self.deadlines {
                assert!(deadline > ticked, "{index} is late by {} ns", now_ns - deadline);
            }
            self.check_next();
        }

        /// Never after the earliest deadline's tick, and never without need.
        fn check_next(&self) {
            let next = self.wheel.next_deadline_ns();
            let Some(&earliest) = self.deadlines.values().min() else {
                assert_eq!(next, None);
                return;
            };
            let latest = earliest.max(self.now_ns).div_ceil(TICK_NS).saturating_mul(TICK_NS);
            assert!(next.expect("something is set") <= latest);
        }
    }

    fn deadline(random: &mut Random, now_ns: u64) -> u64 {
        let reach = match random.below(8) {
            0 => 0,
            1 => random.below(2 * TICK_NS),
            2 => random.below(64 * TICK_NS),
            3 => random.below(30_000_000_000),
            4 => random.below(1 << 40),
            5 => random.below(1 << 58),
            6 => return random.below(now_ns.max(1)),
            _ => return u64::MAX - random.below(3) * random.below(3 * TICK_NS),
        };
        now_ns.saturating_add(reach)
    }

    fn pause(random: &mut Random) -> u64 {
        match random.below(40) {
            0 => random.below(1 << 40),
            1 => random.below(1 << 50),
            2 => random.below(1 << 61),
            3..10 => random.below(20_000_000_000),
            10..20 => random.below(TICK_NS * 2),
            _ => random.below(1_000_000),
        }
    }

    #[test]
    fn random_operations_agree_with_a_sorted_map() {
        each_seed(60, |seed| {
            let mut random = Random::new(seed);
            let start = if random.below(2) == 0 { 0 } else { random.below(1 << 62) };
            let mut oracle = Oracle::new(start);
            for _ in 0..2000 {
                let index = u32::try_from(random.below(u64::from(ENTRIES))).expect("small");
                match random.below(10) {
                    0..5 => oracle.set(index, deadline(&mut random, oracle.now_ns)),
                    5..7 => oracle.clear(index),
                    7 => {
                        let next = oracle.wheel.next_deadline_ns().unwrap_or(oracle.now_ns);
                        oracle.expire(next.max(oracle.now_ns));
                    }
                    _ => oracle.expire(oracle.now_ns.saturating_add(pause(&mut random))),
                }
                oracle.check_next();
            }
        });
    }

    #[test]
    fn following_the_next_deadline_reaches_every_timer_on_its_tick() {
        let mut wheel = Wheel::new(ENTRIES as usize, 5);
        for index in 0..ENTRIES {
            wheel.set(index, u64::from(index) * 700_000_000 + 5);
        }
        let (mut due, mut fired, mut looks) = (Vec::new(), 0, 0);
        while let Some(next_ns) = wheel.next_deadline_ns() {
            looks += 1;
            wheel.expire(next_ns, &mut due);
            for index in due.drain(..) {
                let deadline = u64::from(index) * 700_000_000 + 5;
                assert_eq!(next_ns, deadline.div_ceil(TICK_NS) * TICK_NS);
                fired += 1;
            }
        }
        assert_eq!(fired, ENTRIES);
        assert!(looks <= 2 * ENTRIES, "{looks} looks for {ENTRIES} timers");
    }

    #[test]
    fn a_deadline_centuries_away_waits_and_none_at_all_never_fires() {
        let mut wheel = Wheel::new(3, 0);
        wheel.set(0, u64::MAX / 2);
        wheel.set(1, u64::MAX);
        wheel.set(2, u64::MAX - 1);
        let mut due = Vec::new();
        wheel.expire(u64::MAX / 2 - 1, &mut due);
        assert_eq!(due, []);
        wheel.expire(u64::MAX / 2 + TICK_NS, &mut due);
        assert_eq!(due, [0]);
        wheel.clear(2);
        assert_eq!(wheel.next_deadline_ns(), None);
    }

    #[test]
    fn time_that_goes_back_changes_nothing() {
        let mut wheel = Wheel::new(2, 100 * TICK_NS);
        let mut due = Vec::new();
        wheel.set(0, 150 * TICK_NS);
        wheel.expire(120 * TICK_NS, &mut due);
        wheel.expire(3 * TICK_NS, &mut due);
        assert_eq!((due.len(), wheel.next_deadline_ns()), (0, Some(128 * TICK_NS)));
        wheel.expire(150 * TICK_NS, &mut due);
        assert_eq!(due, [0]);
    }

    #[test]
    fn an_entry_keeps_within_its_share_of_an_idle_connection() {
        assert_eq!(Wheel::ENTRY_BYTES, 12);
    }
}
