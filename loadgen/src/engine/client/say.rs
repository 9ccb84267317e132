//! Saying things: messages, requests and answers to pings, by way of the batch or the outbox.
//!
//! Invariants: the bytes of one connection leave in the order in which they were written; while
//! its socket is full, messages wait as late ones and everything else in its outbox.

use std::io::Write as _;

use bytes::Bytes;
use ringwire_protocol::Position;
use ringwire_protocol::ws::{Opcode, encode_close, encode_compressed_frame, encode_frame};
use ringwire_ring::{BATCH_ARENA_BYTES, Driver, Slot};
use ringwire_transport::Outbox;

use super::Client;
use crate::engine::error::ErrorCode;
use crate::engine::member::{Late, Part, Phase, Speech};
use crate::engine::payload::{PING_BYTES, PUBLISHER_MASK, Ping, Stamp};
use crate::scenario::{Mode, Transport};

/// A batch is handed over at this size, so that its sent time is true for all of it: 64 sends
/// take about a tenth of a millisecond, and larger submits gain nothing measurable.
const BATCH_SENDS: usize = 64;
const BATCH_BYTES: usize = 64 * 1024;

/// As above where each message is compressed on its way: that takes longer than all the rest.
const BATCH_SENDS_COMPRESSED: usize = 8;

/// A message above this goes to the outbox at once.
pub(super) const ARENA_MESSAGE_BYTES_MAX: usize = BATCH_ARENA_BYTES - BATCH_BYTES;

/// Who pings and does not read gets no further pong once so many bytes wait for its socket.
const PONG_BYTES_WAITING_MAX: usize = 64 * 1024;

/// Bytes of a position in a request: 16 digits, a colon, 20 digits.
pub(super) const POSITION_BYTES_MAX: usize = 37;

/// A masked frame with a ping.
const PING_FRAME_BYTES: usize = 6 + PING_BYTES;

/// Messages of a thread that may wait to be sent: 16 MiB of them. What comes on top is never sent,
/// and said so.
pub(super) const LATE_MAX: u64 = 1 << 20;

/// The longest Close frame: a masked header and 125 bytes.
const CLOSE_BYTES_MAX: usize = 131;

impl<D: Driver> Client<D> {
    /// Says what `position` has to say now.
    pub(super) fn pump(&mut self, position: usize) {
        let is_sender = match self.plan.scenario.mode {
            Mode::Echo => true,
            Mode::Fanout => self.members[position].part == Part::Publisher,
            Mode::Idle => self.plan.is_open_loop(),
            Mode::Churn => return self.go_on(position),
        };
        if is_sender {
            self.pump_messages(position);
        } else if self.plan.scenario.transport == Transport::LongPoll {
            let member = &self.members[position];
            if member.phase == Phase::Open && !member.is_asking {
                self.ask(position);
            }
        }
    }

    fn pump_messages(&mut self, position: usize) {
        let in_flight_max = self.plan.in_flight_max;
        while self.members[position].may_send(in_flight_max) {
            if let Some(late) = self.members[position].take_late() {
                self.ledger.waiting -= 1;
                if !self.say(position, Some(late)) {
                    self.ledger.waiting += 1;
                    self.members[position].late.get_or_insert_default().push_front(late);
                    return;
                }
            } else if !self.may_start_message() || !self.say(position, None) {
                return;
            }
        }
    }

    /// Whether a closed loop is to go on.
    pub(super) fn may_start_message(&self) -> bool {
        let has_begun = self.schedule.as_ref().is_some_and(|schedule| schedule.has_started);
        has_begun && !self.plan.is_open_loop() && self.now_ns < self.control.window_end_ns()
    }

    /// Sends a message that was picked up, or sends it when that becomes possible.
    pub(super) fn pick_up(&mut self, position: usize, late: Late) {
        if self.members[position].phase == Phase::Ended {
            self.ledger.error(ErrorCode::Unsent);
            return;
        }
        if self.ledger.waiting >= LATE_MAX {
            self.ledger.error(ErrorCode::Unsent);
            return;
        }
        self.pending += 1;
        let in_flight_max = self.plan.in_flight_max;
        let member = &self.members[position];
        let is_next = member.late.is_none() && member.may_send(in_flight_max);
        if !is_next || !self.say(position, Some(late)) {
            self.members[position].postpone(late);
            self.ledger.waiting += 1;
        }
    }

    /// Sends one message; `false` if it turns out that the connection cannot. In a closed loop
    /// (`None`) the message is intended when it is sent.
    fn say(&mut self, position: usize, due: Option<Late>) -> bool {
        let Some(origin_ns) = self.schedule.as_ref().map(|schedule| schedule.origin_ns) else {
            return false;
        };
        if self.plan.scenario.mode == Mode::Idle {
            return due.is_some_and(|due| self.say_ping(position, due, origin_ns));
        }
        let is_echo = self.plan.scenario.mode == Mode::Echo;
        let sent = self.members[position].sent;
        let channels = self.plan.channels.len() as u64;
        let channel = usize::try_from(sent % channels).expect("below the channels");
        let bytes = match (&self.plan.script, is_echo) {
            (Some(script), _) => self.plan.frame_bytes_max() + script.message_bytes_max(),
            (None, true) => self.plan.frame_bytes_max(),
            (None, false) => self.plan.publication_bytes(channel),
        };
        let wire_bytes = self.wire_bytes_max(position, bytes);
        let Some(slot) = self.prepare(position, wire_bytes) else { return false };
        let stamp_ns = self.stamp_ns;
        let Some(due) = due.or_else(|| self.claim(stamp_ns)) else { return false };
        let member = &mut self.members[position];
        let stamp = Stamp {
            publisher: member.number & PUBLISHER_MASK,
            sequence: if is_echo { sent } else { sent / channels },
            intended_ns: due.intended_ns.saturating_sub(origin_ns),
            delay_ns: stamp_ns.saturating_sub(due.intended_ns),
        };
        member.sent += 1;
        if !is_echo {
            member.channel = u32::try_from(channel).expect("channels are counted in 32 bits");
            member.is_of_window = self.ledger.is_of_window(due.intended_ns);
        }
        self.ledger.sent(due.intended_ns, due.picked_up_ns, stamp_ns);
        if self.plan.script.is_some() {
            self.say_scripted(position, slot, stamp, due);
            return true;
        }
        if is_echo {
            self.ledger.count_payload(self.plan.format.size_bytes());
        }
        let key = if is_echo { self.keys.next(&mut self.driver) } else { [0; 4] };
        if is_echo && self.compresses(position) {
            self.say_compressed(position, slot, stamp, key);
            return true;
        }
        let plan = &self.plan;
        let encode = |out: &mut [u8]| match is_echo {
            true => plan.write_frame(out, stamp, key),
            false => plan.write_publication(out, channel, stamp),
        };
        if wire_bytes > ARENA_MESSAGE_BYTES_MAX || self.members[position].tls.is_some() {
            let mut frame = std::mem::take(&mut self.frame);
            frame.resize(bytes, 0);
            let len = encode(&mut frame);
            frame.truncate(len);
            self.send_on(position, slot, &frame);
            self.frame = frame;
            return true;
        }
        let len = encode(self.batch.arena());
        self.push(position, slot, len);
        true
    }

    /// A message of a closed loop, if the run's count allows another one.
    pub(super) fn claim(&mut self, stamp_ns: u64) -> Option<Late> {
        if self.ledger.is_of_window(stamp_ns) {
            self.control.claim()?;
            self.claimed += 1;
        }
        self.pending += 1;
        Some(Late { intended_ns: stamp_ns, picked_up_ns: stamp_ns })
    }

    /// Sends a ping that tells what its pong needs.
    fn say_ping(&mut self, position: usize, due: Late, origin_ns: u64) -> bool {
        let bytes = self.wire_bytes_max(position, PING_FRAME_BYTES);
        let Some(slot) = self.prepare(position, bytes) else { return false };
        let sequence = self.members[position].sent;
        let ping = Ping {
            sequence,
            intended_ns: due.intended_ns.saturating_sub(origin_ns),
            delay_ns: self.stamp_ns.saturating_sub(due.intended_ns),
        };
        self.members[position].sent += 1;
        self.ledger.sent(due.intended_ns, due.picked_up_ns, self.stamp_ns);
        let key = self.keys.next(&mut self.driver);
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        encode_frame(&mut frame, Opcode::Ping, &ping.encode(), Some(key));
        self.send_on(position, slot, &frame);
        self.frame = frame;
        true
    }

    /// Whether messages to `position` are compressed: agreed on, and large enough.
    pub(super) fn compresses(&self, position: usize) -> bool {
        let is_agreed = matches!(self.members[position].speech, Speech::Ws(_, Some(_)));
        is_agreed && self.plan.is_worth_compressing
    }

    /// Sends a message compressed; there is room for it.
    fn say_compressed(&mut self, position: usize, slot: Slot, stamp: Stamp, key: [u8; 4]) {
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(self.plan.format.size_bytes(), 0);
        self.plan.write_payload(&mut payload, stamp);
        self.send_compressed(position, slot, &payload, key);
        self.payload = payload;
    }

    /// Sends `payload` compressed; there is room for it.
    pub(super) fn send_compressed(
        &mut self,
        position: usize,
        slot: Slot,
        payload: &[u8],
        key: [u8; 4],
    ) {
        let Speech::Ws(_, Some(codec)) = &mut self.members[position].speech else { return };
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        let packed = codec.deflate(payload, &mut self.workshop);
        encode_compressed_frame(&mut frame, Opcode::Text, packed, Some(key));
        self.ledger.compressed.messages_sent += 1;
        self.send_on(position, slot, &frame);
        self.frame = frame;
    }

    /// Sends `bytes` for which [`Self::prepare`] has made room, encrypted where that is due.
    pub(super) fn send_on(&mut self, position: usize, slot: Slot, bytes: &[u8]) {
        if self.members[position].tls.is_some() {
            self.send_sealed(position, Some(slot), bytes);
        } else if bytes.len() <= ARENA_MESSAGE_BYTES_MAX {
            self.batch.arena()[..bytes.len()].copy_from_slice(bytes);
            self.push(position, slot, bytes.len());
        } else {
            self.queue(position, Bytes::copy_from_slice(bytes));
        }
    }

    /// Makes room for a send of `bytes` of `position` in the batch, with a sent time that is now.
    /// `None` if the connection is not one to send on.
    pub(super) fn prepare(&mut self, position: usize, bytes: usize) -> Option<Slot> {
        let slot = self.members[position].slot?;
        let used = BATCH_ARENA_BYTES - self.batch.arena().len();
        let is_split =
            self.members[position].batch == self.batch_number && !self.batch.ends_with(slot);
        let is_slow = self.plan.is_worth_compressing;
        let sends_max = if is_slow { BATCH_SENDS_COMPRESSED } else { BATCH_SENDS };
        if used >= BATCH_BYTES
            || self.batch.len() >= sends_max
            || is_split
            || bytes > ARENA_MESSAGE_BYTES_MAX
        {
            self.flush();
        }
        if self.batch.is_empty() {
            self.stamp_ns = self.driver.clock_ns();
        }
        let member = &self.members[position];
        if member.outbox.is_some() { None } else { member.slot }
    }

    /// Claims the arena's first `len` bytes for `position`.
    pub(super) fn push(&mut self, position: usize, slot: Slot, len: usize) {
        self.batch.push(slot, len);
        self.members[position].batch = self.batch_number;
        self.count_sent(position, len);
    }

    /// Sends bytes that are no message: a request, or an answer to the peer.
    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        match self.prepare(position, self.wire_bytes_max(position, bytes.len())) {
            Some(slot) => self.send_on(position, slot, bytes),
            None if self.members[position].tls.is_some() => {
                self.send_sealed(position, None, bytes);
            }
            None => self.queue(position, Bytes::copy_from_slice(bytes)),
        }
    }

    /// Sends bytes by a send that waits.
    pub(super) fn queue(&mut self, position: usize, bytes: Bytes) {
        if self.members[position].batch == self.batch_number {
            self.flush();
        }
        let member = &mut self.members[position];
        let Some(slot) = member.slot else { return };
        let len = bytes.len();
        let outbox = member.outbox.get_or_insert_with(|| Box::new(Outbox::new()));
        outbox.push(bytes);
        if let Some(bytes) = outbox.take() {
            self.driver.send(slot, bytes);
        }
        self.count_sent(position, len);
    }

    fn count_sent(&mut self, position: usize, bytes: usize) {
        let bytes = bytes as u64;
        let member = &self.members[position];
        let in_window = self.ledger.is_in_window();
        match (member.part, member.was_open) {
            (Part::Subscriber, false) => self.ledger.setup.sent += bytes,
            _ if !in_window => {}
            (Part::Subscriber, true) => self.ledger.wire.sent += bytes,
            (Part::Publisher, _) => self.ledger.publisher_wire.sent += bytes,
        }
    }

    /// Hands the batch over, and keeps what the sockets did not take.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.driver.batch(&mut self.batch);
        let mut failures = self.batch.take_failures();
        for failure in failures.drain(..) {
            let Some(position) = self.owner(failure.slot) else { continue };
            if let Some(errno) = failure.error {
                self.lose(position, ErrorCode::of(errno));
                continue;
            }
            let outbox = self.members[position].outbox.get_or_insert_default();
            outbox.push_front(failure.unsent);
            if let Some(bytes) = outbox.take() {
                self.driver.send(failure.slot, bytes);
            }
        }
        self.batch.reuse_failures(failures);
        self.batch.clear();
        self.batch_number = self.batch_number.wrapping_add(1);
    }

    /// A waiting send is over: sends what waits behind it, or is free again.
    pub(super) fn unblocked(&mut self, position: usize, slot: Slot) {
        let Some(outbox) = &mut self.members[position].outbox else { return };
        outbox.sent();
        match outbox.take() {
            Some(bytes) => self.driver.send(slot, bytes),
            None => {
                self.members[position].outbox = None;
                self.make_ready(position);
            }
        }
    }

    /// Asks for what is new: the first time without a position.
    pub(super) fn ask(&mut self, position: usize) {
        if let Some(id) = self.take_event_id(position) {
            return self.ask_from(position, &id);
        }
        let member = &mut self.members[position];
        member.is_asking = true;
        let was_open = member.was_open;
        if self.plan.script.is_some() || member.aside.is_some() {
            self.ask_foreign(position);
            self.ledger.requests += u64::from(was_open && self.ledger.is_in_window());
            return;
        }
        let channel = &self.plan.channels[member.channel as usize];
        let mut request = [0; 4096];
        let len = match member.position {
            None => fill(&mut request, &[&channel.subscribe]),
            Some(since) => {
                let mut text = [0; POSITION_BYTES_MAX];
                let text = spell(&mut text, since);
                fill(&mut request, &[&channel.poll_head, text, &channel.poll_tail])
            }
        };
        match len {
            Some(len) => self.write(position, &request[..len]),
            None => {
                let since = member.position.map(|since| since.to_string());
                let request = match since {
                    None => channel.subscribe.to_vec(),
                    Some(since) => {
                        [&channel.poll_head, since.as_bytes(), &channel.poll_tail].concat()
                    }
                };
                self.write(position, &request);
            }
        }
        self.ledger.requests += u64::from(was_open && self.ledger.is_in_window());
    }

    /// Asks for an event stream from behind event `id`.
    fn ask_from(&mut self, position: usize, id: &[u8]) {
        let channel = &self.plan.channels[self.members[position].channel as usize];
        let head = channel.subscribe.strip_suffix(b"\r\n").unwrap_or(&channel.subscribe);
        let request = [head, b"Last-Event-ID: ", id, b"\r\n\r\n"].concat();
        self.write(position, &request);
    }

    /// Answers pings whose payloads stand in `pings`, each behind its length.
    pub(super) fn answer_pings(&mut self, position: usize, mut pings: &[u8]) {
        let outbox = self.members[position].outbox.as_ref();
        if outbox.is_some_and(|outbox| outbox.queued_bytes() >= PONG_BYTES_WAITING_MAX) {
            return;
        }
        while let Some((&len, rest)) = pings.split_first() {
            let (payload, rest) = rest.split_at(usize::from(len).min(rest.len()));
            pings = rest;
            let key = self.keys.next(&mut self.driver);
            let mut frame = Vec::new();
            encode_frame(&mut frame, Opcode::Pong, payload, Some(key));
            self.write(position, &frame);
        }
    }

    /// Answers the peer's Close with its own code, and ends.
    pub(super) fn answer_close(&mut self, position: usize, code: u16) {
        if self.goodbye_until_ns.is_none() {
            self.write_close(position, code);
            self.flush();
        }
        self.lose(position, ErrorCode::WsClose(code));
    }

    pub(super) fn write_close(&mut self, position: usize, code: u16) {
        let key = self.keys.next(&mut self.driver);
        let mut frame = [0; CLOSE_BYTES_MAX];
        let len = encode_close(&mut frame, code, "", Some(key));
        self.write(position, &frame[..len]);
    }
}

/// `since` as text, in `out`.
pub(super) fn spell(out: &mut [u8; POSITION_BYTES_MAX], since: Position) -> &[u8] {
    let mut rest = &mut out[..];
    let written = write!(rest, "{since}");
    debug_assert!(written.is_ok(), "the longest position fits");
    let left = rest.len();
    &out[..POSITION_BYTES_MAX - left]
}

/// Writes `parts` to the start of `out`; their length, `None` if they do not fit.
fn fill(out: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut len = 0;
    for part in parts {
        out.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    Some(len)
}
