//! How many connections fit: descriptor tables and memory.
//!
//! Not here: the tables themselves. Invariant: what is promised at the start can be held.

use ringwire_ring::descriptors_max;

use crate::config::Config;
use crate::machine::Machine;

/// Entries of a descriptor table that are kept free: accepting stops before the table is full.
const RESERVE: u32 = 500;

/// The largest direct-descriptor table the kernel makes.
const TABLE_MAX: u64 = 1 << 20;

/// Descriptors of a process that are not connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// Kernel and user memory of a connection, with a margin: 3.8 KB of sockets, 0.9 KB of an armed
/// receive, 0.2 KB here.
const CONNECTION_BYTES: u64 = 6 * 1024;

/// The listener's queue, where there is room for all of it.
const BACKLOG_MAX: u32 = 4096;

/// What fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Connections of the process.
    pub(crate) connections_max: u32,
    /// Entries of one worker's tables.
    pub(crate) slots_max: u32,
}

impl Room {
    /// Connections that may wait in one worker's listener.
    pub(crate) fn backlog(self, workers: usize) -> u32 {
        let share = self.connections_max / u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        share.clamp(1, BACKLOG_MAX)
    }
}

/// What fits for this configuration, on this machine.
pub(crate) fn room(config: &Config, engine: &str) -> Room {
    let workers = config.workers.max(1) as u64;
    let descriptors = descriptors_max();
    let (slots, all) = if engine == "uring" {
        // Each ring has a table of its own, as large as RLIMIT_NOFILE allows.
        let slots = descriptors.min(TABLE_MAX);
        (slots, slots.saturating_sub(u64::from(RESERVE)) * workers)
    } else {
        let listeners = config.listeners.len().saturating_sub(1) as u64 * workers;
        let slots = descriptors.saturating_sub(OTHER_DESCRIPTORS + listeners);
        (slots, slots)
    };
    let memory = Machine::this().memory_available_bytes().unwrap_or(u64::MAX);
    let fits = all.min(memory / CONNECTION_BYTES).max(1);
    let fits = u32::try_from(fits).unwrap_or(u32::MAX);
    let connections_max =
        config.connections_max.unwrap_or(fits).min(u32::try_from(all).unwrap_or(u32::MAX)).max(1);
    // A table never needs more entries than there are connections, and the reserve.
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    Room { connections_max, slots_max: slots.min(connections_max.saturating_add(RESERVE)) }
}
