//! How fast clients are let in: where that is limited, accepting pauses and goes on by the clock.
//!
//! Not here: the accepting. Invariant: while accepting pauses the worker sleeps until it goes on;
//! nobody who was accepted is dropped for it.

use std::num::NonZeroU32;

use ringwire_ring::{Accepting, Driver};

use super::Worker;
use crate::app::Application;
use crate::rate::{Bucket, Rate};

/// A worker's share of `--connection-rate-limit`.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    bucket: Bucket,
    /// While accepting pauses: when it goes on.
    resume_at_ns: Option<u64>,
}

impl Pace {
    /// A tenth of a second's worth may come at once.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let rate = Rate::new(per_second, u64::from(per_second.get() / 10));
        Self { rate, bucket: Bucket::default(), resume_at_ns: None }
    }
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// A client was accepted: pauses accepting if they come too fast.
    pub(super) fn pace_accepting(&mut self) {
        if self.is_draining() {
            return;
        }
        let Some(pace) = &mut self.pace else { return };
        if let Some(resume_at_ns) = pace.rate.charge(&mut pace.bucket, self.now_ns) {
            if pace.resume_at_ns.is_none() {
                self.driver.accept(Accepting::Paused);
                self.metrics.accept_pauses.add(1);
            }
            pace.resume_at_ns = Some(resume_at_ns);
        }
    }

    /// Goes on accepting once it may.
    pub(super) fn resume_accepting(&mut self) {
        if self.is_draining() {
            return;
        }
        let Some(pace) = &mut self.pace else { return };
        if pace.resume_at_ns.is_some_and(|resume_at_ns| resume_at_ns <= self.now_ns) {
            pace.resume_at_ns = None;
            self.driver.accept(Accepting::On);
        }
    }

    /// When accepting goes on; `u64::MAX` while it does not pause.
    pub(super) fn accepting_at_ns(&self) -> u64 {
        let paused = self.pace.as_ref().and_then(|pace| pace.resume_at_ns);
        paused.filter(|_| !self.is_draining()).unwrap_or(u64::MAX)
    }
}
