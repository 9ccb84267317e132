//! Bytes out, and the end of a connection.
//!
//! Not here: what is said. Invariants: FIN follows the last byte; a connection is closed only
//! after its peer had the chance to read what was said; a table entry is given back before its
//! slot can return.

use ringwire_ring::{Driver, Errno, Failure, Shutdown, Slot};

use super::Worker;
use super::websocket::write_pong;
use crate::app::{Application, Context, Reply};
use crate::connection::Role;
use crate::lane::Flags;
use crate::metrics::DropReason;

impl<D: Driver, A: Application> Worker<D, A> {
    /// Hands the batch to the kernel, and starts the sends of those it could not serve whole.
    pub(super) fn flush(&mut self) {
        if !self.egress.cork.is_empty() {
            self.uncork();
        }
        self.hand_over();
        while let Some(slot) = self.egress.due.pop() {
            let Some(connection) = self.table.find(slot) else { continue };
            connection.lane.flags.clear(Flags::SEND_DUE);
            if let Some(bytes) = connection.lane.take() {
                self.driver.send(slot, bytes);
            }
        }
        while let Some(slot) = self.egress.broken.pop() {
            self.metrics.dropped(DropReason::Tls);
            self.tear_down(slot);
        }
    }

    /// Hands the batch to the kernel.
    pub(super) fn hand_over(&mut self) {
        if !self.egress.batch.is_empty() {
            self.driver.batch(&mut self.egress.batch);
            for slot in self.egress.batch.slots() {
                if let Some(connection) = self.table.find(slot) {
                    connection.lane.flags.clear(Flags::IN_BATCH);
                }
            }
            let mut failures = self.egress.batch.take_failures();
            self.egress.batch.clear();
            for failure in failures.drain(..) {
                self.unsent(failure);
            }
            self.egress.batch.reuse_failures(failures);
        }
    }

    fn unsent(&mut self, failure: Failure) {
        let Failure { slot, unsent, error } = failure;
        let Some(connection) = self.table.find(slot) else { return };
        if error.is_some() {
            self.metrics.dropped(DropReason::Reset);
            self.tear_down(slot);
        } else {
            connection.lane.return_unsent(slot, &mut self.egress, unsent);
        }
    }

    /// A waiting send is over.
    pub(super) fn sent(&mut self, slot: Slot, result: Result<(), Errno>) {
        let tick = self.tick();
        let Some(connection) = self.table.find(slot) else { return };
        if result.is_err() {
            self.metrics.dropped(DropReason::Reset);
            return self.tear_down(slot);
        }
        // The peer's kernel takes bytes: a sign of life.
        connection.touched_tick = tick;
        connection.lane.flags.clear(Flags::PING_SENT);
        if connection.lane.sent(&mut self.egress) {
            self.drained(slot);
        } else if let Some(bytes) = connection.lane.take() {
            self.driver.send(slot, bytes);
        }
    }

    /// Everything written so far is with the kernel.
    fn drained(&mut self, slot: Slot) {
        let Self { app, table, egress, effects, messages_sent, pongs, press, .. } = self;
        let Some(connection) = table.find(slot) else { return };
        let lane = &mut connection.lane;
        if lane.flags.has(Flags::FIN_AFTER_LAST) {
            self.ending.push(slot);
            return;
        }
        let before = connection.role.held_bytes();
        match &mut connection.role {
            Role::WebSocket { session, life, contexts, .. } if life.may_send() => {
                if lane.flags.has(Flags::PONG_DUE) {
                    lane.flags.clear(Flags::PONG_DUE);
                    write_pong(
                        slot,
                        lane,
                        egress,
                        &pongs.remove(&slot.number()).unwrap_or_default(),
                    );
                }
                let contexts = contexts.as_deref_mut();
                let reply = Reply { press, contexts, is_asked_in_kind: false };
                let mut context = Context { slot, lane, egress, effects, messages_sent, reply };
                app.on_drain(session, &mut context);
                self.held_bytes = self.held_bytes + connection.role.held_bytes() - before;
                self.perform();
                self.check_overrun(slot);
            }
            // The handshake keeps its own deadline.
            Role::Request if connection.lane.is_handshaking() => {}
            // The peer has read its answers, so that its next request is looked at.
            Role::Request => {
                self.set_deadline(slot, self.limits.keepalive_timeout_ns);
                self.read_again(slot);
            }
            _ => {}
        }
        self.pulls.push(slot);
    }

    /// Cuts a peer to which a handler sent more than its outbox takes.
    pub(super) fn check_overrun(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if connection.lane.flags.has(Flags::OVERRUN) {
            self.close_slow(slot);
        }
    }

    /// Everything is said: FIN once it is out, then the peer's end is awaited.
    pub(super) fn begin_end(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if matches!(connection.role, Role::Lingering { .. }) {
            return;
        }
        connection.lane.flags.set(Flags::FIN_AFTER_LAST);
        connection.lane.flags.clear(Flags::STOPS_READING);
        connection.lane.flags.clear(Flags::PROXY_DUE);
        self.held_bytes -= connection.held_bytes();
        connection.held = None;
        if connection.lane.flags.has(Flags::PONG_DUE) {
            connection.lane.flags.clear(Flags::PONG_DUE);
            self.pongs.remove(&slot.number());
        }
        connection.lane.close_notify(slot, &mut self.egress);
        self.forget_origin(slot);
        self.leave_all(slot);
        let old = self.assign(slot, Role::Lingering { discarded_bytes: 0 });
        if let Some(Role::WebSocket { session, .. }) = old {
            self.app.on_close(session);
        }
        self.set_deadline(slot, self.limits.close_timeout_ns);
        self.read_again(slot);
        self.ending.push(slot);
    }

    /// Takes the next step with every connection whose last byte may be out.
    pub(super) fn end_idle(&mut self) {
        while let Some(slot) = self.ending.pop() {
            let Some(connection) = self.table.find(slot) else { continue };
            let flags = connection.lane.flags;
            if !connection.lane.is_idle() || flags.has(Flags::FIN_SENT) {
                continue;
            }
            if flags.has(Flags::PEER_ENDED) && !flags.has(Flags::FIN_AWAITED) {
                self.tear_down(slot);
            } else {
                connection.lane.flags.set(Flags::FIN_SENT);
                self.driver.shutdown(slot, Shutdown::Write);
            }
        }
    }

    /// Ends the connection now, whatever was still to be said.
    pub(super) fn tear_down(&mut self, slot: Slot) {
        self.leave_all(slot);
        self.forget_origin(slot);
        let Some(mut connection) = self.table.remove(slot) else { return };
        self.part(slot);
        self.metrics.connection_moved(Some(connection.counted), None);
        self.held_bytes -= connection.held_bytes() + connection.lane.wire_bytes();
        if connection.lane.flags.has(Flags::HANDSHAKE_DUE) {
            self.forget_handshake(slot);
        }
        connection.lane.discard(&mut self.egress);
        if connection.lane.flags.has(Flags::PONG_DUE) {
            self.pongs.remove(&slot.number());
        }
        self.wheel.clear(slot.number());
        self.driver.close(slot);
        if let Role::WebSocket { session, .. } = connection.role {
            self.app.on_close(session);
        }
    }
}
