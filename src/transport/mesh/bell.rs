//! Who has news for a worker, and whether that worker must be woken to hear of it.
//!
//! Not here: the queues that hold the news, and the doorbell that ends a wait. Invariant: a worker
//! that was told it may sleep is woken by whoever posts after its last look. Two parties each
//! write one word and then read the other's; a sequentially consistent fence between the two steps
//! makes it impossible that both read the old value (the store-buffer litmus test):
//!
//! - sleeping: the worker sets `sleeping`, fence, looks at `news`; the producer sets its bit in
//!   `news`, fence, looks at `sleeping`;
//! - room: a producer whose queue is full sets its bit in `starved`, fence, tries the queue again;
//!   the worker takes items out, fence, looks at `starved`.
//!
//! Fences rather than sequentially consistent accesses, because one fence serves all the workers a
//! turn has news for, and because `loom` models the fence exactly.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// The words of one worker that others write. Alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Bell {
    news: AtomicU64,
    starved: AtomicU64,
    sleeping: AtomicBool,
}

/// The fence between writing one's own word and reading the other's.
pub(super) fn settle() {
    fence(Ordering::SeqCst);
}

impl Bell {
    pub(super) fn new() -> Self {
        Self {
            news: AtomicU64::new(0),
            starved: AtomicU64::new(0),
            sleeping: AtomicBool::new(false),
        }
    }

    /// Producer: the queues of `producers` hold something new. [`settle`] follows.
    pub(super) fn post(&self, producers: u64) {
        self.news.fetch_or(producers, Ordering::Release);
    }

    /// Producer, after [`settle`]: whether the worker sleeps and this caller is the one to wake
    /// it. The flag is taken down, so several producers ring once.
    pub(super) fn must_wake(&self) -> bool {
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed)
    }

    /// Worker: takes the producers with news.
    pub(super) fn take_news(&self) -> u64 {
        // Most looks find nothing, and a load leaves the line shared.
        if self.news.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.news.swap(0, Ordering::Acquire)
    }

    /// Worker: says that it is going to sleep, and looks again. Whether it may.
    pub(super) fn prepare_to_sleep(&self) -> bool {
        // An exchange, so that it falls into one order with the exchanges of `must_wake`.
        self.sleeping.swap(true, Ordering::Relaxed);
        settle();
        if self.news.load(Ordering::Relaxed) == 0 {
            return true;
        }
        self.awake();
        false
    }

    /// Worker: is awake, for whatever reason.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Producer: its queue to this worker is full. [`settle`] and another try follow.
    pub(super) fn starve(&self, producers: u64) {
        self.starved.fetch_or(producers, Ordering::Relaxed);
    }

    /// Worker, after taking items and [`settle`]: which of `producers` wait for room.
    pub(super) fn take_starved(&self, producers: u64) -> u64 {
        if self.starved.load(Ordering::Relaxed) & producers == 0 {
            return 0;
        }
        self.starved.fetch_and(!producers, Ordering::Relaxed) & producers
    }
}

#[cfg(test)]
#[cfg(loom)]
mod model;
