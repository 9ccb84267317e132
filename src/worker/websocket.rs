//! A WebSocket's messages in, and its end.
//!
//! Not here: frames (`protocol::ws`). Invariants: after a Close was sent nothing else is; a peer's
//! Close is answered with its own code, and then the server closes first (RFC 6455 section 7.1.1).

use ringwire_protocol::ws::{
    Answer, CLOSE_PAYLOAD_BYTES_MAX, CloseCode, Cursor, Event, HEADER_BYTES_MAX, Life, Limits,
    Opcode, Violation, encode_close, encode_header, frame_len,
};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use crate::app::{Application, Context, Effect, Message, Reply};
use crate::channels::Encoding;
use crate::connection::Role;
use crate::lane::{Egress, Flags, Lane};
use crate::metrics::DropReason;
use crate::press::{Bellows, Contexts};

/// Going away: RFC 6455 section 7.4.1.
pub(super) const GOING_AWAY: u16 = 1001;
/// The peer reads too slowly.
pub(super) const SLOW_CONSUMER: u16 = 3008;
/// The position asked for is lost; the reason names the present one.
pub(super) const POSITION_LOST: u16 = 3010;
/// A ping was not answered.
pub(super) const NO_PONG: u16 = 3012;

/// Effects that are gathered before they are done: what one peer can make a worker keep at once.
const EFFECTS_MAX: usize = 256;

/// Why the loop over a receive's frames stopped.
enum Stop {
    /// All bytes are taken, or the application wants no more for now.
    Rest,
    /// The peer closed, or broke the rules: what to answer.
    Ended(Answer, Option<Violation>),
    /// The peer speaks more often than it may.
    Excess(DropReason),
}

impl Stop {
    fn violated(life: &mut Life, violation: Violation) -> Self {
        Self::Ended(life.violated(violation), Some(violation))
    }
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// Takes what frames it can from `bytes`; says how many bytes they had.
    pub(super) fn feed_websocket(&mut self, slot: Slot, bytes: &mut [u8]) -> usize {
        let (tick, now_ns) = (self.tick(), self.now_ns);
        let Self { app, table, egress, effects, limits, messages_sent, metrics, pongs, .. } = self;
        let Self { press, bellows, meters, .. } = self;
        let Some(connection) = table.find(slot) else { return bytes.len() };
        let before = connection.role.held_bytes();
        let Role::WebSocket { inbound, life, session, contexts } = &mut connection.role else {
            return 0;
        };
        let lane = &mut connection.lane;
        let (all, mut messages, mut cursor) = (bytes.len(), 0, Cursor::new(bytes));
        let stop = loop {
            let is_much = effects.len() >= EFFECTS_MAX || bellows.is_spent();
            if lane.flags.has_any(Flags::STOPS_MESSAGES) || is_much {
                break Stop::Rest;
            }
            let event = inbound.next(&mut cursor, &limits.ws);
            // Before anything is inflated.
            if let Some(meters) = meters
                && let Some(reason) = meters.excess(&event, slot, now_ns)
            {
                break Stop::Excess(reason);
            }
            match event {
                Ok(None) => break Stop::Rest,
                // After our Close only the peer's is of interest (RFC 6455 section 1.4).
                Ok(Some(Event::Message { .. } | Event::Compressed { .. } | Event::Ping(_)))
                    if !life.may_send() => {}
                Ok(Some(
                    event @ (Event::Message { kind, .. } | Event::Compressed { kind, .. }),
                )) => {
                    messages += 1;
                    let is_asked_in_kind = matches!(event, Event::Compressed { .. });
                    let own = contexts.as_deref_mut();
                    let payload = match payload_of(event, own, bellows, &limits.ws) {
                        Ok(payload) => payload,
                        Err(violation) => break Stop::violated(life, violation),
                    };
                    let contexts = contexts.as_deref_mut();
                    let reply = Reply { press, contexts, is_asked_in_kind };
                    let mut context = Context { slot, lane, egress, effects, messages_sent, reply };
                    app.on_message(session, Message { kind, payload }, &mut context);
                }
                Ok(Some(Event::Ping(payload))) if lane.queued_bytes() > 0 => {
                    lane.flags.set(Flags::PONG_DUE);
                    pongs.insert(slot.number(), payload.into());
                }
                //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2
                //# Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in
                //# response, unless it already received a Close frame.
                Ok(Some(Event::Ping(payload))) => write_pong(slot, lane, egress, payload),
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(frame))) => {
                    break Stop::Ended(life.received_close(frame.as_ref()), None);
                }
                Err(violation) => break Stop::violated(life, violation),
            }
        };
        let used = all - cursor.remaining();
        let is_open = !inbound.is_at_boundary();
        let begins = connection.note_message(is_open, messages > 0, tick);
        metrics.messages_received.add(messages);
        bellows.release();
        self.held_bytes = self.held_bytes + connection.role.held_bytes() - before;
        self.perform();
        if begins {
            self.watch_message(slot);
        }
        self.defer_rest(slot, all - used);
        if self.stopped(slot, stop) { all } else { used }
    }

    /// The loop over a receive's frames is over; says whether nothing more is of interest.
    fn stopped(&mut self, slot: Slot, stop: Stop) -> bool {
        match stop {
            Stop::Rest => {
                self.check_overrun(slot);
                return false;
            }
            Stop::Excess(reason) => self.fail(slot, reason),
            Stop::Ended(answer, violation) => self.end_websocket(slot, answer, violation),
        }
        true
    }

    /// Ends a WebSocket that broke a rule of this server: it is told which, and not listened to.
    pub(super) fn fail(&mut self, slot: Slot, reason: DropReason) {
        let words = match reason {
            DropReason::MessageRate => "too many messages a second",
            DropReason::ControlRate => "too many pings or pongs a second",
            DropReason::MessageTimeout => "the message took too long to arrive",
            _ => "a rule of this server was broken",
        };
        self.logger.debug(format_args!("failed the WebSocket of {}: {words}", self.name_of(slot)));
        self.metrics.dropped(reason);
        self.close(slot, CloseCode::POLICY.0, words);
        self.begin_end(slot);
    }

    /// Answers the peer's Close or its violation as the protocol says.
    fn end_websocket(&mut self, slot: Slot, answer: Answer, violation: Option<Violation>) {
        if let Some(violation) = violation {
            let name = self.name_of(slot);
            self.logger.debug(format_args!("failed the WebSocket of {name}: {violation}"));
            self.metrics.dropped(match violation.close_code() {
                _ if violation == Violation::DeflateInvalid => DropReason::Protocol,
                1007 => DropReason::Utf8,
                1008 => DropReason::Policy,
                1009 => DropReason::MessageSize,
                _ => DropReason::Protocol,
            });
        }
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7
        //# Similarly, to do so, the server MUST _Close the WebSocket Connection_, and SHOULD
        //# log the problem.
        if let Some(code) = answer.close {
            let reason = violation.map(|violation| violation.to_string()).unwrap_or_default();
            self.write_close(slot, code, &reason);
        }
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# an endpoint considers the WebSocket connection closed and MUST close the underlying
        //# TCP connection.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# The server MUST close the underlying TCP connection immediately;
        self.begin_end(slot);
    }

    /// Cuts a peer that reads slower than it is sent to.
    pub(super) fn close_slow(&mut self, slot: Slot) {
        self.metrics.dropped(DropReason::SlowConsumer);
        self.leave_all(slot);
        self.close(slot, SLOW_CONSUMER, "reads too slowly");
    }

    /// Sends Close, unless one was sent, and waits for the peer's.
    pub(super) fn close(&mut self, slot: Slot, code: u16, reason: &str) {
        let Some(connection) = self.table.find(slot) else { return };
        let Role::WebSocket { life, .. } = &mut connection.role else { return };
        let answer = life.close(CloseCode(code));
        connection.lane.flags.clear(Flags::STOPS_MESSAGES);
        self.recount(slot);
        let Some(code) = answer.close else { return };
        self.write_close(slot, code, reason);
        self.set_deadline(slot, self.limits.close_timeout_ns);
        self.read_again(slot);
    }

    fn write_close(&mut self, slot: Slot, code: CloseCode, reason: &str) {
        let Some(connection) = self.table.find(slot) else { return };
        let mut frame = [0; HEADER_BYTES_MAX + CLOSE_PAYLOAD_BYTES_MAX];
        let len = encode_close(&mut frame, code.0, reason, None);
        //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
        //# The frame(s) that have been formed MUST be transmitted over the underlying network
        //# connection.
        connection.lane.write_all(slot, &mut self.egress, &frame[..len]);
    }

    /// Does what handlers asked for, in their order.
    #[inline]
    pub(super) fn perform(&mut self) {
        if !self.effects.is_empty() {
            self.perform_effects();
        }
    }

    fn perform_effects(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Publish { slot, channel, kind, payload } => {
                    self.publish_message(slot, channel, kind, payload);
                }
                Effect::Subscribe { slot, channel, since } => {
                    let window = self.table.find(slot).and_then(|it| it.lane.flags.window());
                    self.subscribe(slot, &channel, since, Encoding::websocket(false, window));
                }
                Effect::Unsubscribe { slot, channel } => self.unsubscribe(slot, &channel),
                Effect::Close { slot, code, reason } => {
                    let is_policy = CloseCode(code) == CloseCode::POLICY;
                    self.metrics.dropped(match is_policy {
                        true => DropReason::Policy,
                        false => DropReason::Application,
                    });
                    self.close(slot, code, &reason);
                }
                Effect::Resume { slot } => {
                    if let Some(connection) = self.table.find(slot) {
                        connection.lane.flags.clear(Flags::PAUSED);
                    }
                    self.read_again(slot);
                }
            }
        }
        // Handlers do not run in between, so nothing was added: the memory is used again.
        self.effects = effects;
    }
}

/// A message's payload as it was before it was compressed.
fn payload_of<'p>(
    event: Event<'p>,
    contexts: Option<&mut Contexts>,
    bellows: &'p mut Bellows,
    limits: &Limits,
) -> Result<&'p mut [u8], Violation> {
    match event {
        Event::Message { payload, .. } => Ok(payload),
        Event::Compressed { kind, payload } => bellows.inflate(contexts, kind, payload, limits),
        Event::Ping(_) | Event::Pong(_) | Event::Close(_) => Ok(&mut []),
    }
}

/// Answers a ping. While output waits only the latest is answered, once it has drained: RFC 6455
/// section 5.5.3.
pub(super) fn write_pong(slot: Slot, lane: &mut Lane, egress: &mut Egress, payload: &[u8]) {
    lane.write(slot, egress, frame_len(payload.len(), false), |room| {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# A server MUST NOT mask any frames that it sends to the client.
        let header = encode_header(room, Opcode::Pong, true, payload.len(), None);
        room[header..].copy_from_slice(payload);
    });
}
