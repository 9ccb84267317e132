//! What the kernel counted on the sockets while the window was open.
//!
//! Invariant: only connections that were the same at its begin and end are counted, so that what
//! is told is the difference of two readings of one socket.

use ringwire_ring::{Driver, Slot, TcpInfo, descriptors_max};

use super::Client;
use crate::engine::member::Part;
use crate::engine::plan::Plan;

/// Connections of all threads whose sockets are looked at, at most.
const SOCKETS_MAX: u64 = 512;

/// One socket when the window began.
#[derive(Debug)]
pub(super) struct Sighting {
    member: u32,
    slot: Slot,
    before: TcpInfo,
}

/// Every so many sockets are looked at. Each may take a descriptor, of which most are left alone.
pub(super) fn stride(plan: &Plan) -> u32 {
    let sockets_max = SOCKETS_MAX.min(descriptors_max() / 4).max(1);
    let stride = u64::from(plan.scenario.connections).div_ceil(sockets_max).max(1);
    u32::try_from(stride).unwrap_or(u32::MAX)
}

impl<D: Driver> Client<D> {
    /// The window begins or ends: looks at the sockets.
    pub(super) fn look_at_sockets(&mut self) {
        let is_in_window = self.ledger.is_in_window();
        if is_in_window == self.was_in_window {
            return;
        }
        self.was_in_window = is_in_window;
        if !is_in_window {
            for Sighting { member, slot, before } in std::mem::take(&mut self.sightings) {
                if self.members[member as usize].slot == Some(slot)
                    && let Some(after) = self.driver.tcp_info(slot)
                {
                    self.ledger.sockets.add_socket(&before, &after);
                }
            }
            return;
        }
        let stride = stride(&self.plan) as usize;
        for (member, position) in self.members.iter().zip(0..) {
            if let Some(slot) = member.slot
                && member.part == Part::Subscriber
                && slot.index().is_multiple_of(stride)
                && let Some(before) = self.driver.tcp_info(slot)
            {
                self.sightings.push(Sighting { member: position, slot, before });
            }
        }
    }
}
