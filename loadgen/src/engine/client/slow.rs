//! Connections that read slowly, or not at all, beside those that are measured.
//!
//! Invariants: a slow connection reads no more than its bytes per second over any time, apart from
//! what one read gives; whether its server cut it off is looked at when the window is over, at
//! latest; it adds nothing to latencies and to what is expected.

use std::collections::BTreeMap;

use ringwire_ring::Driver;

use super::Client;
use crate::engine::member::Phase;

/// How often the paused are looked at.
const LOOK_NS: u64 = 20_000_000;

const NS_PER_S: u128 = 1_000_000_000;

/// One slow connection.
#[derive(Clone, Copy, Debug)]
struct Reader {
    opened_ns: u64,
    bytes: u64,
    is_paused: bool,
}

/// One thread's slow connections.
#[derive(Debug, Default)]
pub(super) struct SlowPace {
    /// By member.
    readers: BTreeMap<usize, Reader>,
    look_ns: u64,
    /// The window is over: everything is read that there is.
    is_over: bool,
}

impl SlowPace {
    pub(super) fn deadline_ns(&self) -> u64 {
        if self.readers.is_empty() || self.is_over { u64::MAX } else { self.look_ns }
    }
}

impl<D: Driver> Client<D> {
    /// A slow connection is open.
    pub(super) fn opened_slow(&mut self, position: usize) {
        self.ledger.slow_open += 1;
        let reader = Reader { opened_ns: self.now_ns, bytes: 0, is_paused: false };
        self.slow.readers.insert(position, reader);
        self.slow_read(position, 0);
    }

    /// A slow connection has read `bytes`.
    pub(super) fn slow_read(&mut self, position: usize, bytes: u64) {
        let rate = self.plan.scenario.traffic.slow.map_or(0, |slow| slow.bytes_per_s);
        let now_ns = self.now_ns;
        let Some(reader) = self.slow.readers.get_mut(&position) else { return };
        reader.bytes += bytes;
        if !self.slow.is_over && !reader.may_read(rate, now_ns) && !reader.is_paused {
            reader.is_paused = true;
            if let Some(slot) = self.members[position].slot {
                self.driver.receive(slot, false);
            }
        }
    }

    /// Lets those read on whose time has come; all of them once the window is over.
    pub(super) fn pace_slow(&mut self) {
        if self.now_ns < self.slow.deadline_ns() {
            return;
        }
        self.slow.look_ns = self.now_ns + LOOK_NS;
        self.slow.is_over = self.now_ns >= self.control.window_end_ns();
        let rate = self.plan.scenario.traffic.slow.map_or(0, |slow| slow.bytes_per_s);
        for (&position, reader) in &mut self.slow.readers {
            let may_read = self.slow.is_over || reader.may_read(rate, self.now_ns);
            let member = &self.members[position];
            if reader.is_paused
                && may_read
                && member.phase == Phase::Open
                && let Some(slot) = member.slot
            {
                reader.is_paused = false;
                self.driver.receive(slot, true);
            }
        }
    }
}

impl Reader {
    fn may_read(&self, rate: u64, now_ns: u64) -> bool {
        let elapsed_ns = u128::from(now_ns.saturating_sub(self.opened_ns));
        u128::from(self.bytes) * NS_PER_S < u128::from(rate) * elapsed_ns
    }
}
