//! One agent as its controller sees it.
//!
//! Not here: what is said to it. Invariant: what it says it opened is at most its part.

use loadgen::outcome::{Snapshot, Tick};
use loadgen::part::{Part, Ready};
use loadgen::scenario::Scenario;

use super::clock::Offset;
use super::message::{Done, Offer};
use super::sum::Portion;

/// How far an agent is.
#[derive(Debug)]
pub(super) enum State {
    Working,
    Done(Box<Done>),
    /// Why nothing came of it.
    Lost(String),
}

/// One agent of the run.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) offer: Offer,
    pub(super) part: Part,
    /// Its clock against this one; `None` until measured.
    pub(super) offset: Option<Offset>,
    pub(super) ready: Option<Ready>,
    pub(super) tick: Option<Tick>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) heard_ns: u64,
    pub(super) state: State,
}

impl Member {
    pub(super) fn is_working(&self) -> bool {
        matches!(self.state, State::Working)
    }

    /// What people call each thread of its last snapshot.
    pub(super) fn thread_names(&self) -> Vec<String> {
        let count = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.threads.len());
        let name = &self.offer.name;
        if count == 1 {
            return vec![name.clone()];
        }
        (0..count).map(|index| format!("{name}.{index}")).collect()
    }
}

/// Whether an agent can have opened this.
pub(super) fn is_sound(ready: &Ready, scenario: &Scenario, part: Part) -> bool {
    let sum = |counts: &[u32]| counts.iter().map(|&count| u64::from(count)).sum::<u64>();
    ready.subscribers.len() == ready.publishers.len()
        && (1..=1_024).contains(&ready.subscribers.len())
        && sum(&ready.subscribers) <= u64::from(part.own(scenario.connections))
        && sum(&ready.publishers) <= u64::from(part.own(scenario.publishers))
}

/// What became of it.
pub(super) fn portion(member: Member) -> Portion {
    let Member { offer, part, offset, state, .. } = member;
    let done = match state {
        State::Done(done) => Ok(*done),
        State::Lost(why) => Err(why),
        State::Working => Err("it did not end".to_owned()),
    };
    Portion { name: offer.name, part, offset, done }
}
