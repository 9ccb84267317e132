//! What happened in a simulated run: a hash of all of it, and the last of it in words.
//!
//! Invariant: equal hashes mean, for every purpose of a test, equal runs.

use std::collections::VecDeque;
use std::fmt;

/// How many events a failed run shows.
const RECENT_MAX: usize = 40;

#[derive(Clone, Copy)]
struct Event {
    at_ns: u64,
    what: &'static str,
    who: u64,
    amount: u64,
}

pub(super) struct Log {
    hash: u64,
    count: u64,
    recent: VecDeque<Event>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, count: 0, recent: VecDeque::new() }
    }

    pub(super) fn note(&mut self, at_ns: u64, what: &'static str, who: u64, amount: u64) {
        for byte in what.bytes() {
            self.mix(u64::from(byte));
        }
        for word in [at_ns, who, amount] {
            self.mix(word);
        }
        self.count += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Event { at_ns, what, who, amount });
    }

    /// Bytes that were handed to somebody.
    pub(super) fn note_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.mix(u64::from(byte));
        }
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Grows with everything that happens.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.recent {
            let Event { at_ns, what, who, amount } = event;
            writeln!(f, "  {at_ns:>16} ns  {what:<12} {who:>6}  {amount}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({} events)", self.count)
    }
}
