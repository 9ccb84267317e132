//! `--abort-on-threshold`: looks once a second and ends a run that has missed a threshold.
//!
//! Invariant: what is missed for want of samples alone ends nothing.

use loadgen::outcome::{Progress, Snapshot, Tick};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::threshold::Threshold;

/// Passes everything on, and stops the run when it is lost.
pub(crate) struct Watch<'w> {
    shown: &'w dyn Progress,
    thresholds: &'w [Threshold],
    stop: &'w AtomicBool,
    missed: OnceLock<()>,
}

impl<'w> Watch<'w> {
    /// Looks at `thresholds`, of which there may be none.
    pub(crate) fn new(
        shown: &'w dyn Progress,
        thresholds: &'w [Threshold],
        stop: &'w AtomicBool,
    ) -> Self {
        Self { shown, thresholds, stop, missed: OnceLock::new() }
    }

    /// Whether the run was ended for a threshold.
    pub(crate) fn has_aborted(&self) -> bool {
        self.missed.get().is_some()
    }
}

impl Progress for Watch<'_> {
    fn tick(&self, tick: &Tick) {
        self.shown.tick(tick);
    }

    fn snapshot(&self, now: Snapshot) {
        let is_missed = self.thresholds.iter().any(|threshold| threshold.is_missed_by(&now));
        // Somebody who stopped it before had another reason.
        if is_missed && !self.stop.swap(true, Ordering::Relaxed) {
            let _first = self.missed.set(());
        }
        if self.shown.is_live() {
            self.shown.snapshot(now);
        }
    }

    fn named(&self, names: &[String]) {
        self.shown.named(names);
    }

    fn is_live(&self) -> bool {
        !self.thresholds.is_empty() || self.shown.is_live()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::threshold::parse;

    #[test]
    fn a_missed_threshold_stops_the_run() {
        let thresholds = [parse("gaps==0").unwrap(), parse("p(50)<1us").unwrap()];
        let stop = AtomicBool::new(false);
        let watch = Watch::new(&(), &thresholds, &stop);
        assert!(watch.is_live() && !watch.has_aborted());
        watch.snapshot(samples::snapshot(10));
        assert!(stop.load(Ordering::Relaxed) && watch.has_aborted());
        assert!(!Watch::new(&(), &[], &stop).is_live());
    }

    #[test]
    fn what_was_stopped_already_was_not_stopped_for_a_threshold() {
        let thresholds = [parse("p(50)<1us").unwrap()];
        let stop = AtomicBool::new(true);
        let watch = Watch::new(&(), &thresholds, &stop);
        watch.snapshot(samples::snapshot(10));
        assert!(!watch.has_aborted());
    }
}
