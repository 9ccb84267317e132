//! One part of a run that several processes carry out together: which members and events are its
//! own, and what it has to hear of the others before it can begin.
//!
//! Not here: how the parts talk. Invariants: over all parts each member and each event is dealt
//! exactly once; a run that is not divided is the one part of one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// Which part of a run this process carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Counted from 0.
    pub index: u32,
    /// How many there are, at least 1.
    pub of: u32,
    /// How far a time that another part wrote may be ahead of this part's clock.
    pub clock_slack_ns: u64,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1, clock_slack_ns: 0 };

    /// Whether there are others.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        self.of > 1
    }

    /// How many of `total` members are its own.
    #[must_use]
    pub fn own(self, total: u32) -> u32 {
        dealt(total, self.index as usize, self.of as usize)
    }

    /// The number, among those of all parts, of its own member `own`.
    #[must_use]
    pub fn number(self, own: u32) -> u32 {
        own.saturating_mul(self.of).saturating_add(self.index)
    }
}

/// How many of `total` fall to `index` of `of`, when they are dealt in turn.
pub(crate) fn dealt(total: u32, index: usize, of: usize) -> u32 {
    let (each, rest) = (total as usize / of, total as usize % of);
    u32::try_from(each + usize::from(index < rest)).expect("a part of 32 bits")
}

/// What a part has open once all its connections are open or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Open connections (without publishers') of each of its threads.
    pub subscribers: Vec<u32>,
    /// Open publishers of each.
    pub publishers: Vec<u32>,
    /// Why the first of those that were refused was, and the cure.
    pub refusal: Option<String>,
}

/// When all parts begin, and among whom the schedule is dealt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The schedule's origin, by this process's monotonic clock.
    pub origin_ns: u64,
    /// Open connections of each thread, over all parts.
    pub subscribers: Vec<u32>,
    /// Open publishers of each thread, over all parts.
    pub publishers: Vec<u32>,
    /// Where in these this part's own threads begin.
    pub first_thread: usize,
}

impl Start {
    /// The start of part `index`, once all parts are ready.
    #[must_use]
    pub fn of(all: &[Ready], index: usize, origin_ns: u64) -> Self {
        let threads = |counts: fn(&Ready) -> &Vec<u32>| all.iter().flat_map(counts).copied();
        let first_thread = all.iter().take(index).map(|ready| ready.subscribers.len()).sum();
        Self {
            origin_ns,
            subscribers: threads(|ready| &ready.subscribers).collect(),
            publishers: threads(|ready| &ready.publishers).collect(),
            first_thread,
        }
    }
}

/// Where a part meets the others. Asked by the conducting thread alone.
pub trait Meeting: fmt::Debug + Send + Sync {
    /// Tells the others what is open here. Called once.
    fn ready(&self, ready: Ready);

    /// When to begin, once that is agreed on.
    fn start(&self) -> Option<Start>;
}

/// What one part measured, and what the others need to know what they should have received.
#[derive(Clone, Debug)]
pub struct Account {
    /// The figures. What fan-out should have delivered is known to all parts together only: here
    /// it is what this part's own publications should have delivered to its own subscribers.
    pub outcome: Outcome,
    /// By channel: publications of the window that the server accepted from this part.
    pub accepted: Vec<u64>,
    /// By channel: this part's subscribers when the run began.
    pub subscribed: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::Part;
    use crate::tests::Random;

    #[test]
    fn over_all_parts_each_member_is_dealt_once() {
        let mut random = Random::seeded();
        for _ in 0..300 {
            let of = 1 + u32::try_from(random.below(9)).unwrap();
            let total = u32::try_from(random.below(200)).unwrap();
            let mut dealt = vec![false; total as usize];
            for index in 0..of {
                let part = Part { index, of, clock_slack_ns: 0 };
                for own in 0..part.own(total) {
                    let number = part.number(own) as usize;
                    assert!(!std::mem::replace(&mut dealt[number], true));
                }
            }
            assert!(dealt.into_iter().all(|dealt| dealt), "{total} over {of}");
        }
        assert_eq!(Part::WHOLE.own(7), 7);
        assert_eq!(Part::WHOLE.number(6), 6);
    }
}
