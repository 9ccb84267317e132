//! Every worker's bell in one place: an eventfd each, and the ring a ring can ring directly.
//!
//! Not here: what the news is. Invariant: a ring's duplicate descriptor stays open as long as the
//! `Bells`, so that its number cannot come to mean another file while a message is under way.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use crate::doorbell::Doorbell;
use crate::driver::Errno;
use crate::sys;

struct Bell {
    doorbell: Doorbell,
    watched: OwnedFd,
    ring: OnceLock<OwnedFd>,
}

/// The bells of all workers of a process; made before the workers, shared by them.
pub struct Bells {
    bells: Box<[Bell]>,
}

impl Bells {
    /// One bell for each of `workers`.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(workers: usize) -> io::Result<Self> {
        let bells = (0..workers).map(|_| Bell::new()).collect::<Result<_, _>>()?;
        Ok(Self { bells })
    }

    /// The bell of `worker`, to be rung from any thread.
    ///
    /// # Panics
    /// When there is no such worker.
    #[must_use]
    pub fn bell(&self, worker: usize) -> Doorbell {
        self.bells[worker].doorbell.clone()
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.bells.len()
    }

    /// Rings the workers whose bit `worker % 64` is set.
    pub(crate) fn ring_each(&self, waiting: u64) {
        for (worker, bell) in self.bells.iter().enumerate() {
            if waiting & 1 << (worker % 64) != 0 {
                bell.doorbell.ring();
            }
        }
    }

    pub(crate) fn ring(&self, worker: usize) {
        if let Some(bell) = self.bells.get(worker) {
            bell.doorbell.ring();
        }
    }

    /// The eventfd that `worker`'s driver watches.
    pub(crate) fn watched(&self, worker: usize) -> Option<BorrowedFd<'_>> {
        self.bells.get(worker).map(|bell| bell.watched.as_fd())
    }

    /// Resets the eventfd of `worker`, whose driver has seen it.
    pub(crate) fn clear(&self, worker: usize) {
        if let Some(bell) = self.bells.get(worker) {
            sys::clear_eventfd(bell.watched.as_raw_fd());
        }
    }

    /// Notes `worker`'s ring, so that others can message it. A worker's second ring is not noted:
    /// its bell is the eventfd.
    pub(crate) fn note_ring(&self, worker: usize, ring: RawFd) -> Result<(), Errno> {
        let duplicate = sys::duplicate(ring)?;
        drop(self.bells[worker].ring.set(duplicate));
        Ok(())
    }

    /// The ring to message for `worker`, if it has one.
    pub(crate) fn ring_of(&self, worker: usize) -> Option<RawFd> {
        self.bells.get(worker)?.ring.get().map(AsRawFd::as_raw_fd)
    }
}

impl Bell {
    fn new() -> io::Result<Self> {
        let watched = sys::eventfd()?;
        let rung = sys::duplicate(watched.as_raw_fd())?;
        Ok(Self { doorbell: Doorbell::eventfd(rung), watched, ring: OnceLock::new() })
    }
}

impl fmt::Debug for Bells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bells({})", self.bells.len())
    }
}
