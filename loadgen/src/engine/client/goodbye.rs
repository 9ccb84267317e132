//! Ending a run: WebSockets by Close, everything else by closing.
//!
//! Invariant: from here on nothing counts as an error.

use ringwire_ring::Driver;

use super::Client;
use crate::engine::member::{Phase, Speech};

/// How long the peers' Close is awaited: who closes first keeps the port in TIME_WAIT, and that
/// should be the server.
const GOODBYE_NS: u64 = 1_000_000_000;

impl<D: Driver> Client<D> {
    /// Says Close where that can be said, and closes the rest.
    pub(super) fn say_goodbye(&mut self) {
        self.goodbye_until_ns = Some(self.now_ns.saturating_add(GOODBYE_NS));
        self.end_schedule();
        let mut others = Vec::new();
        for position in 0..self.members.len() {
            let member = &self.members[position];
            let is_ws = member.phase == Phase::Open && matches!(member.speech, Speech::Ws(..));
            if member.is_closing {
                continue;
            }
            if is_ws && member.outbox.is_none() {
                self.write_close(position, 1000);
            } else if member.phase != Phase::Ended {
                self.notify_close(position);
                others.push(position);
            }
        }
        self.flush();
        for position in others {
            self.end(position);
        }
    }
}
