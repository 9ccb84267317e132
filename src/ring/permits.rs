//! How many connections the whole process may have, shared by its workers.
//!
//! Not here: who closes what when they run out. Invariant: permits claimed and not yet released
//! never exceed `connections_max`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The process-wide limit on connections. Workers claim permits in blocks and give them back.
#[derive(Debug)]
pub struct Permits {
    connections_max: u32,
    available: AtomicU32,
    /// Bit `worker % 64`: the worker could not accept for want of a permit.
    waiting: AtomicU64,
}

impl Permits {
    /// A limit of `connections_max` connections, none of them taken.
    #[must_use]
    pub fn new(connections_max: u32) -> Self {
        Self {
            connections_max,
            available: AtomicU32::new(connections_max),
            waiting: AtomicU64::new(0),
        }
    }

    /// The limit.
    #[must_use]
    pub fn connections_max(&self) -> u32 {
        self.connections_max
    }

    /// Permits nobody has claimed at this moment.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.available.load(Ordering::SeqCst)
    }

    /// Claims up to `want` permits and says how many it got.
    pub(crate) fn claim(&self, want: u32) -> u32 {
        let mut seen = self.available.load(Ordering::SeqCst);
        loop {
            let granted = want.min(seen);
            if granted == 0 {
                return 0;
            }
            let left = seen - granted;
            match self.available.compare_exchange_weak(
                seen,
                left,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return granted,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives `count` permits back; says which workers wait for one (bit `worker % 64`), and
    /// forgets them: they are to be woken.
    #[must_use]
    pub(crate) fn release(&self, count: u32) -> u64 {
        if count == 0 {
            return 0;
        }
        let before = self.available.fetch_add(count, Ordering::SeqCst);
        debug_assert!(before + count <= self.connections_max, "released more than claimed");
        // A waiter sets its bit, then looks at `available` again; here the order is the mirror
        // image, so one of the two sees the other.
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        self.waiting.swap(0, Ordering::SeqCst)
    }

    /// Notes that `worker` waits for a permit. It must look at [`Permits::available`] once more
    /// afterwards. Says whether nobody waited before: then those who hope are to be told.
    pub(crate) fn wait(&self, worker: usize) -> bool {
        self.waiting.fetch_or(1 << (worker % 64), Ordering::SeqCst) == 0
    }

    /// Whether `worker`, or one with the same bit, waits for a permit.
    pub(crate) fn is_waiting(&self, worker: usize) -> bool {
        self.waiting.load(Ordering::SeqCst) & 1 << (worker % 64) != 0
    }

    /// Whether some worker waits for a permit, so that others should hold no spare ones.
    pub(crate) fn is_scarce(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::Permits;

    #[test]
    fn claims_never_exceed_the_limit_and_releases_name_the_waiting() {
        let permits = Permits::new(10);
        assert_eq!(permits.claim(7), 7);
        assert_eq!(permits.claim(7), 3);
        assert_eq!(permits.claim(1), 0);
        assert!(permits.wait(3));
        assert!(!permits.wait(65));
        assert!(permits.is_scarce());
        assert_eq!(permits.release(2), 1 << 3 | 1 << 1);
        assert!(!permits.is_scarce());
        assert_eq!(permits.release(0), 0);
        assert_eq!(permits.available(), 2);
    }

    #[test]
    fn threads_together_never_hold_more_than_the_limit() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let permits = Permits::new(5);
        let held = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..10_000 {
                        let got = permits.claim(1 + round % 3);
                        let now = held.fetch_add(got, Ordering::SeqCst) + got;
                        assert!(now <= 5, "{now} held");
                        held.fetch_sub(got, Ordering::SeqCst);
                        let _ = permits.release(got);
                    }
                });
            }
        });
        assert_eq!(permits.available(), 5);
    }
}
