//! One batch of publications to all subscribers of a channel on this worker.
//!
//! Not here: who they are (`channels::Local`) and the sending (`deliver`). Invariants: each gets
//! the whole batch as one send; the bytes are encoded once for all; nobody is added or moved while
//! it lasts; a subscriber over its byte limit is cut, the others lose nothing.

use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::Position;
use ringwire_protocol::http::encode_response;
use ringwire_ring::{Driver, Shared, Slot};

use super::answer::{JSON_HEADERS, answer_body};
use super::subscribe::transport_of;
use super::{ARENA_BYTES_MIN, Worker};
use crate::app::Application;
use crate::channels::{Batch, Encoding, Fanout, Name};
use crate::connection::Role;
use crate::lane::Flags;
use crate::limits::FANOUT_SLICE;
use crate::metrics::{DropReason, Transport};

impl<D: Driver, A: Application> Worker<D, A> {
    /// Gives `batch` to every live member of `channel`.
    pub(super) fn fan_out(&mut self, channel: &Name, batch: &Arc<Batch>) {
        let Some(mut fanout) = self.local.begin_fanout(channel) else { return };
        let mut members = std::mem::take(&mut self.members);
        while let Some(encoding) = self.local.next_members(&mut fanout, FANOUT_SLICE, &mut members)
        {
            if encoding == Encoding::Poll {
                self.answer_long_polls(batch, &members);
            } else {
                self.deliver_batch(encoding, batch, &members);
            }
            self.make_room(ARENA_BYTES_MIN);
        }
        self.members = members;
        self.end_fanout(fanout);
    }

    /// Closes the ranks and tells the homes who left meanwhile.
    fn end_fanout(&mut self, fanout: Fanout) {
        let mut departures = std::mem::take(&mut self.departures);
        self.local.end_fanout(fanout, |home, request| departures.push((home, request)));
        for (home, request) in departures.drain(..) {
            self.post(home, request);
        }
        self.departures = departures;
    }

    fn deliver_batch(&mut self, encoding: Encoding, batch: &Batch, members: &[u32]) {
        let bytes = batch.joined(encoding);
        let mut shared = None;
        let mut sent = 0;
        let is_compressed = batch.is_compressed(encoding);
        let mark = if is_compressed { Flags::CONTEXT_STALE } else { Flags::NONE };
        for &member in members {
            let Some(slot) = self.table.slot_at(member as usize) else { continue };
            if self.deliver_shared(slot, &bytes, &mut shared, mark) {
                sent += 1;
            }
        }
        let messages = sent * batch.items().len() as u64;
        let transport = transport_of(encoding);
        self.metrics.delivered(transport, messages);
        if transport == Transport::WebSocket {
            self.messages_sent += messages;
        }
    }

    /// Sends bytes that others get too, from the batch if the socket keeps up, and marks who gets
    /// them. False: not sent.
    fn deliver_shared(
        &mut self,
        slot: Slot,
        bytes: &Bytes,
        shared: &mut Option<Shared>,
        mark: Flags,
    ) -> bool {
        let Some(connection) = self.table.find(slot) else { return false };
        connection.lane.flags.set(mark);
        if !connection.may_send() {
            return false;
        }
        if connection.lane.queued_bytes() == 0 {
            if !connection.lane.may_share(&mut self.egress, bytes.len()) {
                self.flush();
                *shared = None;
            }
            let Some(connection) = self.table.find(slot) else { return false };
            if connection.lane.may_share(&mut self.egress, bytes.len()) {
                connection.lane.share(slot, &mut self.egress, bytes, shared);
                return true;
            }
        }
        let Some(connection) = self.table.find(slot) else { return false };
        if connection.lane.accepts(&self.egress) {
            connection.lane.queue(slot, &mut self.egress, bytes.clone());
            return true;
        }
        if matches!(connection.role, Role::WebSocket { .. }) {
            self.close_slow(slot);
        } else {
            self.metrics.dropped(DropReason::SlowConsumer);
            self.begin_end(slot);
        }
        false
    }

    /// Answers the long polls among `members`: the same bytes for all that stay, save pages of
    /// other origins, each of which is told that it may read its answer.
    fn answer_long_polls(&mut self, batch: &Batch, members: &[u32]) {
        let items = batch.joined(Encoding::Poll);
        let body = answer_body(batch.position(), true, &items);
        let mut stays = Vec::with_capacity(192 + body.len());
        encode_response(&mut stays, 200, &JSON_HEADERS, &body, true);
        let stays = Bytes::from(stays);
        let mut shared = None;
        for &member in members {
            let Some(slot) = self.table.slot_at(member as usize) else { continue };
            self.leave_all(slot);
            self.stop_waiting(slot);
            let Some(connection) = self.table.find(slot) else { continue };
            if connection.lane.flags.has_any(Flags::OWN_ANSWER) {
                self.respond(slot, 200, &JSON_HEADERS, &body);
            } else if self.deliver_shared(slot, &stays, &mut shared, Flags::NONE) {
                self.end_request(slot);
            } else {
                continue;
            }
            self.metrics.delivered(Transport::LongPoll, batch.items().len() as u64);
            self.read_again(slot);
        }
    }

    /// The live members of `channel` on this worker have lost what came before `position`.
    pub(super) fn announce_gap(&mut self, channel: &Name, position: Position) {
        let Some(mut fanout) = self.local.begin_fanout(channel) else { return };
        let mut members = std::mem::take(&mut self.members);
        while let Some(encoding) = self.local.next_members(&mut fanout, FANOUT_SLICE, &mut members)
        {
            for &member in &members {
                let Some(slot) = self.table.slot_at(member as usize) else { continue };
                if encoding == Encoding::Poll {
                    self.leave_all(slot);
                    self.answer_items(slot, position, false, &[]);
                } else {
                    self.announce_loss(slot, encoding, position);
                }
                self.make_room(ARENA_BYTES_MIN);
            }
        }
        self.members = members;
        self.end_fanout(fanout);
    }
}
