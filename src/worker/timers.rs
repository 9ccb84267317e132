//! What happens when nothing happens: one deadline per connection, its earliest.
//!
//! Not here: the wheel. Invariant: traffic moves no entry of the wheel; an expiry looks at the
//! tick that traffic wrote, and sets the next deadline itself.

use ringwire_protocol::http::Refusal;
use ringwire_protocol::sse;
use ringwire_protocol::ws::{Opcode, encode_header, frame_len};
use ringwire_ring::{Driver, Slot};
use ringwire_transport::TICK_NS;

use super::websocket::NO_PONG;
use super::{ARENA_BYTES_MIN, Worker};
use crate::app::Application;
use crate::connection::{Pending, Role};
use crate::lane::Flags;
use crate::metrics::DropReason;

/// Why a deadline matters.
enum Due {
    Request,
    LongPoll,
    Answer,
    WebSocket,
    Stream,
    End,
}

impl<D: Driver, A: Application> Worker<D, A> {
    pub(super) fn expire(&mut self) {
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(self.now_ns, &mut expired);
        for index in expired.drain(..) {
            if let Some(slot) = self.table.slot_at(index as usize) {
                self.due(slot);
                self.make_room(ARENA_BYTES_MIN);
            }
        }
        self.expired = expired;
        self.expire_streams();
    }

    fn due(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        let due = match &connection.role {
            Role::Free => return,
            Role::Request if connection.lane.is_handshaking() => {
                return self.handshake_overdue(slot);
            }
            Role::Request => Due::Request,
            Role::Waiting(waiting) => match &waiting.pending {
                Pending::LongPoll { .. } => Due::LongPoll,
                _ => Due::Answer,
            },
            Role::WebSocket { life, .. } if !life.may_send() => Due::End,
            Role::WebSocket { .. } => Due::WebSocket,
            Role::Stream => Due::Stream,
            Role::Lingering { .. } => Due::End,
        };
        // A slow reader of its last answer is not late while its kernel takes bytes.
        let (queued, touched_tick) = (connection.lane.queued_bytes(), connection.touched_tick);
        let patience_ns = match due {
            Due::Request => self.limits.keepalive_timeout_ns,
            Due::End => self.limits.close_timeout_ns,
            _ => 0,
        };
        let idle_ns = self.idle_ns(touched_tick);
        if queued > 0 && idle_ns < patience_ns {
            return self.set_deadline(slot, patience_ns - idle_ns + TICK_NS);
        }
        match due {
            Due::Request if queued > 0 => {
                self.metrics.dropped(DropReason::KeepaliveTimeout);
                self.tear_down(slot);
            }
            Due::Request => self.request_overdue(slot),
            Due::LongPoll => self.answer_long_poll_empty(slot),
            Due::Answer => {
                let reason = "no answer in time: try again";
                self.refuse(slot, &Refusal { status: 503, reason }, &[("Retry-After", "1")]);
            }
            Due::WebSocket => self.check_life(slot),
            Due::Stream => self.heartbeat(slot),
            Due::End => {
                self.metrics.dropped(DropReason::CloseTimeout);
                self.tear_down(slot);
            }
        }
    }

    fn request_overdue(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if connection.lane.flags.has(Flags::REQUEST_BEGUN) {
            self.metrics.dropped(DropReason::HeaderTimeout);
            let reason = "the request took too long: send its head and body at once";
            self.refuse(slot, &Refusal { status: 408, reason }, &[]);
        } else {
            self.metrics.dropped(DropReason::KeepaliveTimeout);
            self.begin_end(slot);
        }
    }

    /// Pings a peer that was silent, and gives up one that stays so.
    fn check_life(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        let flags = connection.lane.flags;
        let touched_tick = connection.touched_tick;
        let Some(message_left_ns) = self.message_left_ns(slot) else {
            return self.fail(slot, DropReason::MessageTimeout);
        };
        if flags.has(Flags::PING_SENT) {
            // A message's deadline may come before the pong's.
            let patience_ns = self.limits.ping_interval_ns + self.limits.pong_timeout_ns;
            let left_ns = patience_ns.saturating_sub(self.idle_ns(touched_tick));
            if message_left_ns < u64::MAX && left_ns > 2 * TICK_NS {
                return self.set_deadline(slot, left_ns.min(message_left_ns));
            }
            self.metrics.dropped(DropReason::NoPong);
            self.close(slot, NO_PONG, "no pong");
            // Nobody is there to answer the Close.
            return self.begin_end(slot);
        }
        let idle_ns = self.idle_ns(touched_tick);
        if idle_ns < self.limits.ping_interval_ns {
            // A tick more than what is left, as the sign of life may be a tick younger than noted.
            let left_ns = self.limits.ping_interval_ns - idle_ns + TICK_NS;
            return self.set_deadline(slot, left_ns.min(message_left_ns));
        }
        let Some(connection) = self.table.find(slot) else { return };
        // While the application does not read, its choice, a pong could not be seen; but the ping
        // tells of a peer that is gone.
        let sees_pong = !flags.has(Flags::RECEIVE_OFF) || !connection.lane.is_idle();
        if sees_pong {
            connection.lane.flags.set(Flags::PING_SENT);
        }
        if connection.lane.queued_bytes() == 0 {
            connection.lane.write(slot, &mut self.egress, frame_len(0, false), |room| {
                encode_header(room, Opcode::Ping, true, 0, None);
            });
            self.metrics.pings_sent.add(1);
        }
        let limits = &self.limits;
        let delay_ns = if sees_pong { limits.pong_timeout_ns } else { limits.ping_interval_ns };
        self.set_deadline(slot, delay_ns.min(message_left_ns));
    }

    /// Sees to it that a message that has just begun is looked at in time. The next look at the
    /// peer's life is soon enough, and traffic moves no timer, unless messages have less time.
    pub(super) fn watch_message(&mut self, slot: Slot) {
        if !self.table.find(slot).is_some_and(|connection| connection.may_send()) {
            // Its end has a deadline of its own, which no message may move.
            return;
        }
        let limits = &self.limits;
        let look_ns = limits.ping_interval_ns.max(limits.pong_timeout_ns) + 2 * TICK_NS;
        if limits.message_timeout_ns < look_ns {
            let left_ns = limits.message_timeout_ns + TICK_NS;
            self.set_deadline(slot, left_ns.min(limits.ping_interval_ns));
        }
    }

    /// What is left for the message that is arriving (`u64::MAX`: none is); `None` when nothing.
    fn message_left_ns(&mut self, slot: Slot) -> Option<u64> {
        let tick = self.tick();
        // Ticks may say a tick too much.
        let allowed_ns = self.limits.message_timeout_ns + TICK_NS;
        let connection = self.table.find(slot)?;
        if !connection.lane.flags.has(Flags::MESSAGE_OPEN) {
            return Some(u64::MAX);
        }
        if connection.lane.flags.has(Flags::RECEIVE_OFF) {
            // It is not the peer who is late.
            connection.message_tick = tick;
        }
        let began_tick = connection.message_tick;
        let left_ns = allowed_ns.saturating_sub(self.idle_ns(began_tick));
        (left_ns > 0).then_some(left_ns)
    }

    /// A comment, so that proxies and the peer's kernel know that the stream lives.
    fn heartbeat(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        if connection.lane.queued_bytes() == 0 {
            let mut out = Vec::new();
            sse::encode_comment(&mut out, "");
            connection.lane.write_all(slot, &mut self.egress, &out);
        }
        self.set_deadline(slot, self.limits.ping_interval_ns);
    }
}
