//! The signals that end or steer the program, taken by one thread that waits for them.
//!
//! Not here: what they lead to. Invariant: no code of ours ever runs in a signal handler.

use std::mem;
use std::time::Duration;

/// A signal the program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
}

const TAKEN: [(libc::c_int, Signal); 3] = [
    (libc::SIGTERM, Signal::Terminate),
    (libc::SIGINT, Signal::Interrupt),
    (libc::SIGHUP, Signal::Hangup),
];

/// The signals of [`Signal`], blocked in every thread and waited for here.
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks the signals in this thread and in all it starts from now on; so call it first.
    ///
    /// # Panics
    /// Never, as the signals named here exist.
    #[must_use]
    pub fn block() -> Self {
        // SAFETY: a signal set is plain integers, for which all-zero is a value.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        for (number, _) in TAKEN {
            // SAFETY: `set` outlives the call.
            let result = unsafe { libc::sigaddset(&raw mut set, number) };
            assert_eq!(result, 0, "signal {number} exists");
        }
        // SAFETY: `set` outlives the call; a null pointer for the old mask is allowed.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        assert_eq!(result, 0, "blocking is a valid request");
        Self { set }
    }

    /// Waits for one signal; `None` when `timeout` passed first.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Signal> {
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let limit: *const libc::timespec = limit.as_ref().map_or(std::ptr::null(), |limit| limit);
        loop {
            // SAFETY: set and timeout outlive the call; a null timeout waits for ever, and no
            // signal details are asked for.
            let number =
                unsafe { libc::sigtimedwait(&raw const self.set, std::ptr::null_mut(), limit) };
            if let Some((_, signal)) = TAKEN.iter().find(|(taken, _)| *taken == number) {
                return Some(*signal);
            }
            // A debugger or a stop signal interrupts a wait without limit: wait on.
            if timeout.is_some() {
                return None;
            }
        }
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signals")
    }
}

#[cfg(test)]
mod tests {
    use super::{Signal, Signals};
    use std::time::Duration;

    #[test]
    fn a_blocked_signal_is_waited_for_by_its_thread() {
        std::thread::spawn(|| {
            let signals = Signals::block();
            assert_eq!(signals.wait(Some(Duration::ZERO)), None);
            // SAFETY: takes no pointers.
            let thread = unsafe { libc::pthread_self() };
            // SAFETY: the thread is this one, in which the signal is blocked.
            let result = unsafe { libc::pthread_kill(thread, libc::SIGHUP) };
            assert_eq!(result, 0);
            assert_eq!(signals.wait(None), Some(Signal::Hangup));
        })
        .join()
        .expect("the thread's assertions hold");
    }
}
