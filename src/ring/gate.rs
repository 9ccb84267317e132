//! How many clients an engine may accept right now: by its table, by the process's permits, and
//! by what the machine had left when last asked.
//!
//! Not here: the accepting itself. Invariant: an engine never has more accepts under way than
//! permits in hand, nor than free entries in its table.

use std::sync::Arc;

use crate::bells::Bells;
use crate::permits::Permits;

/// Single accepts under way at once.
const SINGLES_MAX: u32 = 256;

/// A reserve below this is not worth a multishot accept: half of it would be too short a queue.
const RESERVE_MIN: u32 = 256;

const BACKOFF_MIN_NS: u64 = 10_000_000;
const BACKOFF_MAX_NS: u64 = 1_000_000_000;

/// How to accept until the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Any number: there is room for all that one wait can bring.
    Many,
    /// At most so many on all listeners together, waiting for clients to come; one for each
    /// listener at least.
    Singles(u32),
    /// Room or permits are too little for any to lie idle: look at the queues, and claim for what
    /// is there.
    Ask,
}

/// The room of one engine.
pub(crate) struct Gate {
    worker: usize,
    bells: Arc<Bells>,
    permits: Arc<Permits>,
    slots_max: u32,
    used: u32,
    /// Permits claimed and not yet used.
    spare: u32,
    /// Permits that accepted connections hold.
    admitted: u32,
    /// Connections without a permit: only if one wait brought more than the reserve.
    debt: u32,
    reserve: u32,
    /// Multishot accepts are of no use to the engine.
    only_singles: bool,
    backoff_ns: u64,
    retry_at_ns: u64,
}

impl Gate {
    pub(crate) fn new(
        worker: usize,
        bells: Arc<Bells>,
        permits: Arc<Permits>,
        slots_max: u32,
    ) -> Self {
        let reserve = (slots_max.min(permits.connections_max()) / 4).clamp(1, 2048);
        Self {
            worker,
            bells,
            permits,
            slots_max,
            used: 0,
            spare: 0,
            admitted: 0,
            debt: 0,
            reserve,
            only_singles: false,
            backoff_ns: 0,
            retry_at_ns: 0,
        }
    }

    /// From now on accepts are planned one at a time.
    pub(crate) fn plan_singles(&mut self) {
        self.only_singles = true;
    }

    /// The longest queue of each of `listeners` with which all together cannot outrun the
    /// reserve; `None`: any, as clients are accepted one at a time.
    pub(crate) fn backlog_max(&self, listeners: u32) -> Option<u32> {
        self.has_many().then(|| (self.reserve / 2 / listeners.max(1)).max(1))
    }

    fn has_many(&self) -> bool {
        self.reserve >= RESERVE_MIN && !self.only_singles
    }

    /// Room below which multishot accepting ends, and permits it keeps in hand while it lasts.
    pub(crate) fn reserve(&self) -> u32 {
        self.reserve
    }

    /// Entries in use.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Decides how to accept on `listeners`, and claims or returns permits accordingly; `armed` of
    /// them are bound to accepts under way.
    pub(crate) fn plan(&mut self, armed: u32, listeners: u32) -> Plan {
        let slots_free = self.slots_max.saturating_sub(self.used);
        let permits_free = self.spare.saturating_add(self.permits.available());
        let is_scarce = self.permits.is_scarce();
        if self.has_many()
            && slots_free >= self.reserve + SINGLES_MAX.min(self.reserve)
            && permits_free / 4 >= self.reserve
            && !is_scarce
            && self.hold(self.reserve.max(armed)) >= self.reserve
        {
            return Plan::Many;
        }
        let by_permits = permits_free / 4;
        if is_scarce || by_permits == 0 {
            self.hold(armed);
            return Plan::Ask;
        }
        let least = listeners.clamp(1, SINGLES_MAX);
        let want = (slots_free / 4).clamp(least, SINGLES_MAX).min(by_permits).min(slots_free);
        let count = self.hold(want.max(armed)).min(want);
        if count < least {
            // An accept that waits at one listener would keep the others' clients waiting.
            self.hold(armed);
            return Plan::Ask;
        }
        Plan::Singles(count)
    }

    /// Claims permits for up to `most` accepts made at once; says for how many there is room.
    pub(crate) fn claim(&mut self, most: u32) -> u32 {
        let want = most.min(self.slots_max.saturating_sub(self.used));
        let held = self.hold(want);
        if held == 0 && want > 0 { self.wait_for_permit() } else { held }
    }

    /// Whether there is still no permit since this worker began to wait for one.
    pub(crate) fn is_waiting(&self) -> bool {
        self.permits.is_waiting(self.worker) && self.permits.available() == 0
    }

    /// Whether the table has a free entry.
    pub(crate) fn has_slot(&self) -> bool {
        self.used < self.slots_max
    }

    /// Whether one more client could be accepted.
    pub(crate) fn has_room(&self) -> bool {
        self.used < self.slots_max && (self.spare > 0 || self.permits.available() > 0)
    }

    /// Notes that this worker waits, tells those who may hold spare permits, and looks again.
    fn wait_for_permit(&mut self) -> u32 {
        if self.permits.wait(self.worker) {
            self.bells.ring_each(!(1 << (self.worker % 64)));
        }
        self.hold(1)
    }

    /// Brings the spare permits to `want` if possible; says how many there are.
    pub(crate) fn hold(&mut self, want: u32) -> u32 {
        if self.spare < want {
            self.spare += self.permits.claim(want - self.spare);
        } else if self.spare > want {
            let excess = self.spare - want;
            self.spare = want;
            self.give_back(excess);
        }
        self.spare
    }

    fn give_back(&self, count: u32) {
        let waiting = self.permits.release(count);
        if waiting != 0 {
            self.bells.ring_each(waiting);
        }
    }

    /// Whether clients should come here rather than to the port's other listeners. It turns at
    /// two marks, so that one connection more or less does not change it each time.
    pub(crate) fn wants_newcomers(&self, does_now: bool) -> bool {
        let slots_free = self.slots_max.saturating_sub(self.used);
        let room = slots_free.min(self.spare.saturating_add(self.permits.available()));
        let low = self.reserve / 8;
        if does_now { room > low } else { room > low * 2 }
    }

    /// A client was accepted.
    pub(crate) fn admit(&mut self) {
        self.used += 1;
        self.backoff_ns = 0;
        if self.spare == 0 {
            self.spare = self.permits.claim(1);
        }
        if self.spare == 0 {
            self.debt += 1;
        } else {
            self.spare -= 1;
            self.admitted += 1;
        }
    }

    /// A connection this side opened: it takes an entry and no permit.
    pub(crate) fn admit_own(&mut self) {
        self.used += 1;
    }

    /// An accepted client's entry is free again.
    pub(crate) fn leave(&mut self) {
        self.used -= 1;
        if self.debt > 0 {
            self.debt -= 1;
        } else {
            self.admitted -= 1;
            self.give_back(1);
        }
    }

    /// An entry of this side's own is free again.
    pub(crate) fn leave_own(&mut self) {
        self.used -= 1;
    }

    /// Accepting failed for want of something: not again before a while has passed.
    pub(crate) fn back_off(&mut self, now_ns: u64) {
        self.backoff_ns = (self.backoff_ns * 2).clamp(BACKOFF_MIN_NS, BACKOFF_MAX_NS);
        self.retry_at_ns = now_ns + self.backoff_ns;
    }

    /// When to try again, if that is still to come.
    pub(crate) fn retry_at_ns(&self, now_ns: u64) -> Option<u64> {
        (self.retry_at_ns > now_ns).then_some(self.retry_at_ns)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.give_back(self.spare + self.admitted);
    }
}

/// Whether a failed accept is the client's affair, to be forgotten at once.
pub(crate) fn is_passing(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECANCELED
            | libc::EAGAIN
            | libc::EINTR
            | libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::EPROTO
            | libc::EPERM
            | libc::ETIMEDOUT
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ENOPROTOOPT
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Gate, Plan};
    use crate::bells::Bells;
    use crate::permits::Permits;

    fn gate(worker: usize, slots_max: u32, permits: &Arc<Permits>) -> Gate {
        let bells = Arc::new(Bells::new(2).unwrap());
        Gate::new(worker, bells, Arc::clone(permits), slots_max)
    }

    #[test]
    fn singles_never_exceed_room_and_multishot_keeps_its_reserve() {
        let permits = Arc::new(Permits::new(10_000));
        let mut gate = gate(0, 2000, &permits);
        assert_eq!(gate.plan(0, 1), Plan::Many);
        while gate.plan(0, 1) == Plan::Many {
            assert!(2000 - gate.used() >= gate.reserve());
            gate.admit();
        }
        while let Plan::Singles(count @ 1..) = gate.plan(0, 1) {
            assert!(gate.used() + count <= 2000);
            gate.admit();
        }
        assert_eq!((gate.used(), gate.plan(0, 1)), (2000, Plan::Ask));
        gate.leave();
        assert_eq!(gate.plan(0, 1), Plan::Singles(1));
        drop(gate);
        assert_eq!(permits.available(), 10_000);
    }

    #[test]
    fn the_last_permits_go_to_whoever_has_a_client() {
        let permits = Arc::new(Permits::new(4));
        let (mut one, mut other) = (gate(0, 100, &permits), gate(1, 100, &permits));
        assert_eq!(other.plan(0, 1), Plan::Singles(1));
        // It idles with a permit; the first needs them all.
        for _ in 0..3 {
            assert_eq!(one.plan(0, 1), Plan::Ask);
            assert_eq!(one.claim(1), 1);
            one.admit();
        }
        assert_eq!(one.claim(1), 0);
        assert!(permits.is_scarce());
        assert_eq!(other.plan(1, 1), Plan::Ask);
        assert_eq!(permits.available(), 0, "bound to an accept that is still under way");
        assert_eq!(other.plan(0, 1), Plan::Ask);
        assert!(!permits.is_scarce(), "giving it back is news to those who wait");
        assert_eq!(one.claim(5), 1);
        one.admit();
        assert_eq!((one.claim(1), other.claim(1)), (0, 0));
        drop(one);
        assert_eq!(other.claim(9), 4);
    }

    #[test]
    fn backing_off_doubles_to_a_second_and_ends_with_success() {
        let permits = Arc::new(Permits::new(3));
        let mut gate = gate(0, 100, &permits);
        let mut waits = Vec::new();
        for _ in 0..9 {
            gate.back_off(5);
            waits.push(gate.retry_at_ns(5).unwrap() - 5);
        }
        let wanted = [10, 20, 40, 80, 160, 320, 640, 1000, 1000].map(|ms| ms * 1_000_000);
        assert_eq!(waits, wanted);
        gate.admit();
        gate.back_off(5);
        assert_eq!(gate.retry_at_ns(5), Some(10_000_005));
        assert_eq!(gate.retry_at_ns(10_000_005), None);
    }
}
