//! How other threads wake a worker: an eventfd that its driver watches.
//!
//! Not here: what the news is. A bell carries no data, may be rung from any thread, and rings
//! once however often it was pressed before the worker looked.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A bell that wakes one worker. Cheap to clone, `Send` and `Sync`.
#[derive(Clone)]
pub struct Doorbell {
    wire: Wire,
}

#[derive(Clone)]
enum Wire {
    Eventfd(Arc<File>),
    /// `sim`: a flag that the simulated worker reads at its next turn.
    Flag(Arc<std::sync::atomic::AtomicBool>),
}

impl Doorbell {
    /// A bell on an eventfd that the driver reads.
    pub(crate) fn eventfd(fd: OwnedFd) -> Self {
        Self { wire: Wire::Eventfd(Arc::new(File::from(fd))) }
    }

    /// A bell on a flag that the driver clears.
    pub(crate) fn flag(flag: Arc<std::sync::atomic::AtomicBool>) -> Self {
        Self { wire: Wire::Flag(flag) }
    }

    /// Wakes the worker, now or at its next wait.
    pub fn ring(&self) {
        match &self.wire {
            // A full counter means that a wake-up is already due, so the error is the success.
            Wire::Eventfd(file) => drop((&**file).write(&1_u64.to_ne_bytes())),
            Wire::Flag(flag) => flag.store(true, std::sync::atomic::Ordering::SeqCst),
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorbell")
    }
}
