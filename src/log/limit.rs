//! The limit on identical lines: ten a second of each, per logger.
//!
//! Not here: any clock; the time is an argument. Invariant: fixed memory, whatever is said: a
//! table of a few recent lines by hash, the longest unheard given up for a new one.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Identical lines let through in one second.
pub(super) const LINES_PER_SECOND_MAX: u32 = 10;
/// Different lines told apart.
const ENTRIES: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    /// When this line's second began.
    began_ns: u64,
    heard_ns: u64,
    lines: u32,
}

/// Remembers what was said lately.
#[derive(Debug)]
pub(super) struct Limiter {
    entries: Vec<Entry>,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Whether `message` may be said at `now_ns`; counts it if so. A clock that steps back begins
    /// a new second.
    pub(super) fn allows(&mut self, now_ns: u64, message: &str) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(message);
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.hash == hash) else {
            self.remember(Entry { hash, began_ns: now_ns, heard_ns: now_ns, lines: 1 });
            return true;
        };
        entry.heard_ns = now_ns;
        if now_ns < entry.began_ns || now_ns - entry.began_ns >= SECOND_NS {
            entry.began_ns = now_ns;
            entry.lines = 0;
        }
        if entry.lines >= LINES_PER_SECOND_MAX {
            return false;
        }
        entry.lines += 1;
        true
    }

    fn remember(&mut self, entry: Entry) {
        if self.entries.len() < ENTRIES {
            self.entries.push(entry);
            return;
        }
        if let Some(oldest) = self.entries.iter_mut().min_by_key(|entry| entry.heard_ns) {
            *oldest = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limiter: &mut Limiter, now_ns: u64, message: &str, times: u32) -> u32 {
        (0..times).map(|_| u32::from(limiter.allows(now_ns, message))).sum()
    }

    #[test]
    fn ten_identical_lines_a_second() {
        let mut limiter = Limiter::new();
        assert_eq!(allowed(&mut limiter, 5, "full", 25), 10);
        assert_eq!(allowed(&mut limiter, 5 + SECOND_NS - 1, "full", 25), 0);
        assert_eq!(allowed(&mut limiter, 5 + SECOND_NS, "full", 25), 10);
    }

    #[test]
    fn different_lines_do_not_share_a_limit() {
        let mut limiter = Limiter::new();
        assert_eq!(allowed(&mut limiter, 0, "one", 20), 10);
        assert_eq!(allowed(&mut limiter, 0, "two", 20), 10);
    }

    #[test]
    fn many_different_lines_take_no_more_memory_and_forget_the_oldest() {
        let mut limiter = Limiter::new();
        assert_eq!(allowed(&mut limiter, 0, "first", 20), 10);
        for number in 1..=1000_u64 {
            assert!(limiter.allows(number, &format!("line {number}")));
        }
        assert_eq!(limiter.entries.len(), ENTRIES);
        assert!(limiter.allows(1001, "first"), "forgotten, so it counts from the start");
    }

    #[test]
    fn a_clock_that_steps_back_does_not_silence() {
        let mut limiter = Limiter::new();
        assert_eq!(allowed(&mut limiter, 10 * SECOND_NS, "full", 20), 10);
        assert_eq!(allowed(&mut limiter, SECOND_NS, "full", 20), 10);
    }
}
