//! How far an agent's clock is from the controller's, and how far off that may be.
//!
//! Of many exchanges the one with the shortest round trip bounds the error best: whatever the way
//! there and back take, the offset is off by at most half of it. Pure: times are arguments.

/// One exchange: sent and received by the controller's clock, and in between by the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) asked_ns: u64,
    pub(super) received_ns: u64,
    pub(super) answered_ns: u64,
    pub(super) heard_ns: u64,
}

/// The agent's clock minus the controller's, and the greatest error of that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) offset_ns: i64,
    pub(super) bound_ns: u64,
}

impl Exchange {
    /// What this exchange alone tells; `None` if it makes no sense.
    fn offset(self) -> Option<Offset> {
        let trip = i128::from(self.heard_ns) - i128::from(self.asked_ns);
        let stay = i128::from(self.answered_ns) - i128::from(self.received_ns);
        if stay < 0 || trip < stay {
            return None;
        }
        let there = i128::from(self.received_ns) - i128::from(self.asked_ns);
        let back = i128::from(self.answered_ns) - i128::from(self.heard_ns);
        // Rounded away from nothing: a bound is not too small by half a nanosecond.
        let bound = (trip - stay + 1) / 2 + 1;
        Some(Offset {
            offset_ns: i64::try_from((there + back).div_euclid(2)).ok()?,
            bound_ns: u64::try_from(bound).ok()?,
        })
    }
}

/// The best of several exchanges.
pub(super) fn best(exchanges: impl IntoIterator<Item = Exchange>) -> Option<Offset> {
    exchanges.into_iter().filter_map(Exchange::offset).min_by_key(|offset| offset.bound_ns)
}

/// What holds for a whole run that was begun by `before`: clocks drift, and what they drifted by is
/// part of the error.
pub(super) fn over_run(before: Offset, after: Offset) -> Offset {
    let drift_ns = after.offset_ns.abs_diff(before.offset_ns);
    let bound_ns = before.bound_ns.max(after.bound_ns.saturating_add(drift_ns));
    Offset { bound_ns, ..before }
}

/// `at_ns` of the controller's clock by the agent's.
pub(super) fn by_agent(at_ns: u64, offset: Offset) -> u64 {
    at_ns.saturating_add_signed(offset.offset_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_true_offset_is_always_within_the_bound() {
        let mut random = Random::seeded();
        for _ in 0..2_000 {
            let truth = i64::try_from(random.below(1 << 40)).unwrap() - (1 << 39);
            let mut now_ns = 1 << 50;
            let mut exchanges = Vec::new();
            let mut shortest_ns = u64::MAX;
            for _ in 0..1 + random.below(20) {
                let (there, stay, back) =
                    (random.below(1 << 22), random.below(1 << 20), random.below(1 << 22));
                let received_ns = (now_ns + there).saturating_add_signed(truth);
                exchanges.push(Exchange {
                    asked_ns: now_ns,
                    received_ns,
                    answered_ns: received_ns + stay,
                    heard_ns: now_ns + there + stay + back,
                });
                shortest_ns = shortest_ns.min(there + back);
                now_ns += 1 << 24;
            }
            let told = best(exchanges).unwrap();
            assert!(told.offset_ns.abs_diff(truth) <= told.bound_ns, "{told:?} {truth}");
            assert!(told.bound_ns <= shortest_ns / 2 + 2);
        }
    }

    #[test]
    fn what_makes_no_sense_tells_nothing() {
        let exchange = Exchange { asked_ns: 100, received_ns: 9, answered_ns: 5, heard_ns: 200 };
        assert_eq!(best([exchange]), None);
        let quicker_than_light = Exchange { answered_ns: 500, ..exchange };
        assert_eq!(best([quicker_than_light]), None);
        let edge = Exchange { asked_ns: 0, received_ns: 0, answered_ns: u64::MAX, heard_ns: 0 };
        assert_eq!(best([edge]), None);
        let far =
            Exchange { asked_ns: 0, received_ns: u64::MAX, answered_ns: u64::MAX, heard_ns: 0 };
        assert_eq!(best([far]), None);
        assert_eq!(best([]), None);
    }

    #[test]
    fn drift_is_part_of_the_bound() {
        let before = Offset { offset_ns: -500, bound_ns: 40 };
        let after = Offset { offset_ns: -620, bound_ns: 30 };
        assert_eq!(over_run(before, after), Offset { offset_ns: -500, bound_ns: 150 });
        assert_eq!(over_run(before, before), before);
        assert_eq!(by_agent(1_000, before), 500);
        assert_eq!(by_agent(100, before), 0);
    }
}
