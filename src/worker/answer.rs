//! The answers of requests that had to ask a channel's home.
//!
//! Not here: event streams and WebSockets (`subscribe`). Invariant: each such request is answered
//! once, and then the connection reads on.

use ringwire_protocol::ws::CloseCode;
use ringwire_protocol::{Position, poll};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use crate::app::Application;
use crate::channels::{Busy, Encoding, Read, join};
use crate::connection::{Pending, Role};
use crate::metrics::{DropReason, Transport};

/// Headers of a poll's answer and of a publication's receipt.
pub(super) const JSON_HEADERS: [(&str, &str); 2] =
    [("Content-Type", "application/json"), ("Cache-Control", "no-store")];

impl<D: Driver, A: Application> Worker<D, A> {
    /// Answers a POST; tells a WebSocket that what it published found no room.
    pub(super) fn answer_publish(&mut self, receipt: u64, result: Result<Position, Busy>) {
        let slot = Slot::from_bits(receipt);
        if result.is_err() {
            self.close_without_room(slot, "no room for the publication: try again later");
        }
        if !self.is_waiting(slot, |pending| matches!(pending, Pending::Publish)) {
            return;
        }
        match result {
            Ok(position) => {
                self.stop_waiting(slot);
                let mut body = Vec::with_capacity(64);
                poll::encode_published(&mut body, position);
                self.respond(slot, 200, &JSON_HEADERS, &body);
                self.read_again(slot);
            }
            Err(Busy) => self.refuse_busy(slot),
        }
    }

    /// Answers a poll.
    pub(super) fn answer_poll(&mut self, read: &Read) {
        let slot = Slot::from_bits(read.reader);
        if self.is_waiting(slot, |pending| matches!(pending, Pending::Read)) {
            self.metrics.delivered(Transport::Http, read.items.len() as u64);
            let items = join(&read.items, Encoding::Poll);
            self.answer_items(slot, read.position, read.recovered, &items);
        }
    }

    /// Ends a long poll without news.
    pub(super) fn answer_long_poll_empty(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        let Role::Waiting(waiting) = &connection.role else { return };
        let Pending::LongPoll { position } = waiting.pending else { return };
        let Some(position) = position else {
            // The home has not answered yet, so there is no position to give.
            return self.refuse_busy(slot);
        };
        self.leave_all(slot);
        self.answer_items(slot, position, true, &[]);
    }

    /// Answers a poll of either kind with `items`, joined as the protocol wants them.
    pub(super) fn answer_items(
        &mut self,
        slot: Slot,
        position: Position,
        recovered: bool,
        items: &[u8],
    ) {
        self.stop_waiting(slot);
        let body = answer_body(position, recovered, items);
        self.respond(slot, 200, &JSON_HEADERS, &body);
        self.read_again(slot);
    }

    /// The home is full.
    pub(super) fn answer_refused(&mut self, asker: u64, read: bool) {
        let slot = if read {
            Some(Slot::from_bits(asker))
        } else {
            self.local.refuse(asker).and_then(|index| self.table.slot_at(index as usize))
        };
        let Some(slot) = slot else { return };
        if self.is_waiting(slot, |_| true) {
            self.refuse_busy(slot);
        } else {
            self.close_without_room(slot, "no room for the subscription: try again later");
        }
    }

    /// Tells a WebSocket that the home could not do what it wanted: never silence.
    fn close_without_room(&mut self, slot: Slot, reason: &str) {
        let Some(connection) = self.table.find(slot) else { return };
        if matches!(connection.role, Role::WebSocket { .. }) && connection.may_send() {
            self.metrics.dropped(DropReason::Memory);
            self.close(slot, CloseCode::POLICY.0, reason);
        }
    }

    /// Whether the connection is there and waits for the kind of answer that `expected` knows.
    fn is_waiting(
        &mut self,
        slot: Slot,
        expected: impl FnOnce(&Pending<A::Session>) -> bool,
    ) -> bool {
        let Some(connection) = self.table.find(slot) else { return false };
        matches!(&connection.role, Role::Waiting(waiting) if expected(&waiting.pending))
    }
}

/// The JSON of a poll's answer.
pub(super) fn answer_body(position: Position, recovered: bool, items: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(96 + items.len());
    poll::encode_answer_head(&mut body, position, recovered);
    body.extend_from_slice(items);
    poll::encode_answer_tail(&mut body);
    body
}
