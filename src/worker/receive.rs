//! Bytes in: from the lease to whoever the connection is at the moment.
//!
//! Not here: what the bytes mean. Invariants: bytes are handled in the order they came; what
//! cannot be handled yet is copied out of the lease, counted, and bounded.

use ringwire_ring::{Driver, Errno, Slot};

use super::Worker;
use crate::app::Application;
use crate::connection::{Held, Progress, Role};
use crate::lane::Flags;
use crate::limits::{LINGER_BYTES_MAX, WAITING_INPUT_BYTES_MAX};
use crate::metrics::DropReason;

impl<D: Driver, A: Application> Worker<D, A> {
    pub(super) fn received(&mut self, slot: Slot, bytes: &mut [u8]) {
        let tick = self.tick();
        let Some(connection) = self.table.find(slot) else { return };
        connection.touched_tick = tick;
        connection.lane.flags.clear(Flags::PING_SENT);
        let is_proxy = connection.lane.flags.has(Flags::PROXY_DUE);
        self.metrics.bytes_received.add(bytes.len() as u64);
        let is_secure = connection.lane.tls.is_some();
        if is_proxy {
            self.received_of_proxy(slot, bytes);
        } else if is_secure {
            self.received_tls(slot, bytes);
        } else {
            self.received_plain(slot, bytes);
        }
    }

    /// Bytes for the connection, none of them encrypted any more.
    pub(super) fn received_plain(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(connection) = self.table.find(slot) else { return };
        let Some(held) = &mut connection.held else {
            let mut progress = Progress::new();
            let used = self.feed(slot, bytes, &mut progress);
            if used < bytes.len() || progress.chunked.is_some() {
                let held = Held { bytes: bytes[used..].to_vec(), start: 0, progress };
                self.hold(slot, Box::new(held));
            }
            return;
        };
        if held.bytes.is_empty() {
            // A body in chunks, which is taken as it comes.
            return self.resume_with(slot, bytes);
        }
        held.bytes.extend_from_slice(bytes);
        self.held_bytes += bytes.len();
        self.resume_held(slot);
    }

    /// Hands held bytes to the connection again.
    pub(super) fn resume_held(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        let Some(mut held) = connection.held.take() else { return };
        self.held_bytes -= held.kept_bytes();
        let Held { bytes, start, progress } = &mut *held;
        *start += self.feed(slot, &mut bytes[*start..], progress);
        held.forget_handled();
        self.hold_on(slot, held);
    }

    /// Goes on with what is held, which has no bytes of its own, and `bytes`.
    fn resume_with(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(connection) = self.table.find(slot) else { return };
        let Some(mut held) = connection.held.take() else { return };
        self.held_bytes -= held.kept_bytes();
        let used = self.feed(slot, bytes, &mut held.progress);
        held.bytes = bytes[used..].to_vec();
        self.hold_on(slot, held);
    }

    /// Keeps what is left, if anything is, or reads on.
    fn hold_on(&mut self, slot: Slot, held: Box<Held>) {
        if held.is_needed() {
            self.hold(slot, held);
        } else {
            self.receive_on(slot);
        }
        self.end_with_peer(slot);
    }

    fn hold(&mut self, slot: Slot, held: Box<Held>) {
        let Some(connection) = self.table.find(slot) else { return };
        if matches!(connection.role, Role::Lingering { .. }) {
            return;
        }
        self.held_bytes += held.kept_bytes();
        let is_blocked = connection.is_blocked();
        let is_request = matches!(connection.role, Role::Request);
        let is_stopped = connection.lane.flags.has_any(Flags::STOPS_READING);
        let is_long = held.bytes.len() - held.start > WAITING_INPUT_BYTES_MAX;
        connection.held = Some(held);
        if is_request && !is_blocked && !connection.lane.flags.has(Flags::REQUEST_BEGUN) {
            // The first byte of a request starts its clock; later ones do not move it.
            connection.lane.flags.set(Flags::REQUEST_BEGUN);
            self.set_deadline(slot, self.limits.header_timeout_ns);
        }
        if is_stopped || (is_blocked && is_long) {
            self.stop_reading(slot);
        } else {
            self.receive_on(slot);
        }
    }

    pub(super) fn stop_reading(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if !connection.lane.flags.has(Flags::RECEIVE_OFF) {
            connection.lane.flags.set(Flags::RECEIVE_OFF);
            self.driver.receive(slot, false);
        }
    }

    /// Reading goes on unless something else stops it, and what was held in between is handled
    /// before this turn ends.
    pub(super) fn read_again(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if connection.lane.flags.has_any(Flags::STOPS_READING) {
            return;
        }
        if connection.held.is_some() {
            self.ready.push(slot);
            return;
        }
        let is_over = matches!(connection.role, Role::Request)
            && connection.lane.flags.has(Flags::PEER_ENDED);
        if is_over {
            self.begin_end(slot);
        } else {
            self.receive_on(slot);
        }
    }

    fn receive_on(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if connection.lane.flags.has(Flags::RECEIVE_OFF) {
            connection.lane.flags.clear(Flags::RECEIVE_OFF);
            self.driver.receive(slot, true);
        }
    }

    /// Lets the connection take from `bytes` what it can; says how many it took.
    fn feed(&mut self, slot: Slot, bytes: &mut [u8], progress: &mut Progress) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            let Some(connection) = self.table.find(slot) else { return bytes.len() };
            if connection.is_blocked() {
                break;
            }
            let rest = &mut bytes[used..];
            let taken = match &mut connection.role {
                Role::WebSocket { .. } => self.feed_websocket(slot, rest),
                Role::Request => self.feed_request(slot, rest, progress),
                Role::Waiting(_) => 0,
                // A client has nothing to say on an event stream.
                Role::Stream | Role::Free => rest.len(),
                Role::Lingering { discarded_bytes } => {
                    let more = u32::try_from(rest.len()).unwrap_or(u32::MAX);
                    *discarded_bytes = discarded_bytes.saturating_add(more);
                    if *discarded_bytes > LINGER_BYTES_MAX {
                        self.tear_down(slot);
                    }
                    return bytes.len();
                }
            };
            if taken == 0 {
                break;
            }
            used += taken;
        }
        used
    }

    /// The peer will send nothing more.
    pub(super) fn ended(&mut self, slot: Slot, result: Result<(), Errno>) {
        let Some(connection) = self.table.find(slot) else { return };
        connection.lane.flags.set(Flags::PEER_ENDED);
        if result.is_err() {
            self.metrics.dropped(DropReason::Reset);
            self.tear_down(slot);
            return;
        }
        if connection.lane.tls.is_some() && !self.ended_tls(slot) {
            return;
        }
        let Some(connection) = self.table.find(slot) else { return };
        match &connection.role {
            // Whoever asked may have closed its own direction only, and waits for the answer.
            Role::Waiting(waiting) if waiting.pending.is_of_a_moment() => {}
            // Its last words are still on their way.
            Role::Lingering { .. } if !connection.lane.is_idle() => {}
            Role::Waiting(_) | Role::Stream | Role::Free | Role::Lingering { .. } => {
                self.tear_down(slot);
            }
            // What is held may be whole requests and messages, which only had to wait.
            Role::Request | Role::WebSocket { .. } if connection.held.is_some() => {
                self.ready.push(slot);
            }
            Role::Request | Role::WebSocket { .. } => self.begin_end(slot),
        }
    }

    /// Ends a connection whose peer will send nothing more, after its held bytes were looked at:
    /// what is left of them does not wait for anything but the rest that never comes.
    fn end_with_peer(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if !connection.lane.flags.has(Flags::PEER_ENDED) {
            return;
        }
        let is_over = match &connection.role {
            Role::Request | Role::WebSocket { .. } => !connection.is_blocked(),
            // Nobody is there any more who would read news; what was answered before is sent.
            Role::Stream => true,
            Role::Waiting(waiting) => !waiting.pending.is_of_a_moment(),
            Role::Lingering { .. } | Role::Free => false,
        };
        if is_over {
            self.begin_end(slot);
        }
    }
}
