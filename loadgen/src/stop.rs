//! The wish to stop, from a signal or from a key: once to end with a summary, twice to end now.
//!
//! Not here: what ending with a summary means; whoever measures looks at the flag. Invariant: a
//! terminal is given back before the program ends.

use ringwire_ring::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Signals this close together are the same wish to stop.
const SAME_WISH: Duration = Duration::from_millis(300);
/// The exit code of a program that was stopped.
pub(crate) const EXIT_INTERRUPTED: u8 = 105;

/// Takes signals from now on: call it first, before any other thread is there.
pub(crate) fn on_signal(stop: Arc<AtomicBool>) {
    let signals = Signals::block();
    std::thread::spawn(move || {
        loop {
            let _signal = signals.wait(None);
            wish(&stop);
            // Tools that stop a program tell its process and its group: one wish, not two.
            while signals.wait(Some(SAME_WISH)).is_some() {}
        }
    });
}

/// The first wish ends the measurement, which is then reported; the second ends the program.
pub(crate) fn wish(stop: &AtomicBool) {
    if stop.swap(true, Ordering::Relaxed) {
        crate::compare::server::kill_running();
        crate::report::progress::give_back_terminal();
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wish_only_raises_the_flag() {
        let stop = AtomicBool::new(false);
        wish(&stop);
        assert!(stop.load(Ordering::Relaxed));
    }
}
