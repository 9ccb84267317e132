//! Joining a channel, catching up with it, and leaving it.
//!
//! Not here: positions and history (`channels`), the fan-out to those who are live. Invariant: the
//! 101, the head of an event stream and the first answer of a poll are sent only once the home has
//! answered, so that what is published after the client sees them arrives.

use ringwire_protocol::{Position, poll, sse, ws};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use super::websocket::POSITION_LOST;
use crate::app::Application;
use crate::channels::{Arrival, Encoding, Name, Slice, Terms, join};
use crate::connection::{Pending, Role};
use crate::lane::Flags;
use crate::limits::POLL_ANSWER_BYTES_MAX;
use crate::metrics::{DropReason, Transport};

/// Headers of an event stream. It is not chunked: its end is the connection's.
const STREAM_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
];

impl<D: Driver, A: Application> Worker<D, A> {
    /// Begins an event stream; its head is sent when the home has answered.
    pub(super) fn open_stream(&mut self, slot: Slot, channel: Name, since: Option<Position>) {
        self.wait_for(slot, Pending::Stream { since });
        self.subscribe(slot, &channel, since, Encoding::Sse);
    }

    /// Answers HEAD for an event stream: its head, and nothing of it.
    pub(super) fn show_stream_head(&mut self, slot: Slot) {
        let head = self.begin_response(slot, &STREAM_HEADERS);
        self.say(slot, head);
        self.begin_end(slot);
    }

    /// Begins a long poll; it is answered when there is news, or after `seconds`.
    pub(super) fn open_long_poll(
        &mut self,
        slot: Slot,
        channel: Name,
        since: Option<Position>,
        seconds: u64,
    ) {
        let deadline_ns = self.now_ns.saturating_add(seconds * 1_000_000_000);
        self.wait_for(slot, Pending::LongPoll { position: None });
        self.wheel.set(slot.number(), deadline_ns);
        self.subscribe(slot, &channel, since, Encoding::Poll);
    }

    /// Asks the home to let the connection in.
    pub(super) fn subscribe(
        &mut self,
        slot: Slot,
        channel: &Name,
        since: Option<Position>,
        encoding: Encoding,
    ) {
        if self.table.find(slot).is_none() {
            return;
        }
        let once = encoding == Encoding::Poll;
        let slice_bytes_max = if once { POLL_ANSWER_BYTES_MAX } else { self.slice_bytes_max(slot) };
        let terms = Terms { encoding, since, slice_bytes_max, once };
        if let Some((home, request)) = self.local.join(slot.number(), channel, terms) {
            self.post(home, request);
        }
    }

    /// Half the outbox, shared by the channels the connection is in, so that one that catches up
    /// with all of them does not overrun it by itself.
    fn slice_bytes_max(&self, slot: Slot) -> usize {
        let channels = self.local.channels_of(slot.number()).count().max(1);
        (self.limits.backpressure_bytes_max / 2 / channels).max(1)
    }

    pub(super) fn unsubscribe(&mut self, slot: Slot, channel: &Name) {
        if self.table.find(slot).is_some()
            && let Some((home, request)) = self.local.leave(slot.number(), channel)
        {
            self.post(home, request);
        }
    }

    /// Takes the connection out of every channel.
    pub(super) fn leave_all(&mut self, slot: Slot) {
        if self.table.find(slot).is_none() {
            return;
        }
        let mut departures = std::mem::take(&mut self.departures);
        self.local.leave_all(slot.number(), |home, request| departures.push((home, request)));
        for (home, request) in departures.drain(..) {
            self.post(home, request);
        }
        self.departures = departures;
    }

    /// The home has let a connection in.
    pub(super) fn subscribed(&mut self, slice: &Slice) {
        let Some(slot) = self.arrive(slice) else { return };
        let Some(connection) = self.table.find(slot) else { return };
        match &connection.role {
            Role::Waiting(waiting) => match &waiting.pending {
                Pending::Stream { .. } => self.begin_stream(slot, slice),
                Pending::LongPoll { .. } => self.begin_long_poll(slot, slice),
                Pending::Join { .. } => self.begin_join(slot, slice),
                Pending::Publish | Pending::Read | Pending::Upgrade(_) => {}
            },
            _ => self.deliver_slice(slot, slice, true),
        }
    }

    /// The next slice for one that is catching up.
    pub(super) fn caught_up(&mut self, slice: &Slice) {
        if let Some(slot) = self.arrive(slice) {
            self.deliver_slice(slot, slice, false);
        }
    }

    /// Attaches whom the slice is for; `None` if that one has left.
    fn arrive(&mut self, slice: &Slice) -> Option<Slot> {
        match self.local.arrive(slice) {
            Arrival::For { connection, live } => {
                let slot = self.table.slot_at(connection as usize)?;
                if !live {
                    self.pulls.push(slot);
                }
                Some(slot)
            }
            Arrival::Gone(departure) => {
                if let Some((home, request)) = departure {
                    self.post(home, request);
                }
                None
            }
        }
    }

    fn begin_join(&mut self, slot: Slot, slice: &Slice) {
        let Some(Pending::Join { handshake, session, since, .. }) = self.stop_waiting(slot) else {
            return;
        };
        let begin = if slice.recovered { since.unwrap_or(slice.position) } else { slice.position };
        self.open(slot, &handshake, session, Some(begin));
        if slice.encoding.plain() == Encoding::Json {
            self.say_position(slot, begin, slice.recovered);
        }
        self.deliver_slice(slot, slice, true);
        self.read_again(slot);
    }

    fn begin_stream(&mut self, slot: Slot, slice: &Slice) {
        let Some(Pending::Stream { since }) = self.stop_waiting(slot) else { return };
        let mut out = self.begin_response(slot, &STREAM_HEADERS);
        sse::encode_comment(&mut out, "ringwire");
        if slice.recovered {
            // A client that reconnects before the first event resumes from here.
            sse::encode_position(&mut out, since.unwrap_or(slice.position));
        }
        self.say(slot, out);
        self.assign(slot, Role::Stream);
        self.set_deadline(slot, self.limits.ping_interval_ns);
        self.deliver_slice(slot, slice, true);
        // What came behind the request meanwhile is nothing to a stream, but its end is.
        self.read_again(slot);
        if self.is_draining() {
            self.dismiss(slot);
        }
    }

    fn begin_long_poll(&mut self, slot: Slot, slice: &Slice) {
        let has_news = !slice.recovered || !slice.items.is_empty();
        if has_news || self.is_draining() {
            let items = join(&slice.items, Encoding::Poll);
            self.metrics.delivered(Transport::LongPoll, slice.items.len() as u64);
            self.leave_all(slot);
            return self.answer_items(slot, slice.position, slice.recovered, &items);
        }
        let Some(connection) = self.table.find(slot) else { return };
        if let Role::Waiting(waiting) = &mut connection.role
            && let Pending::LongPoll { position } = &mut waiting.pending
        {
            *position = Some(slice.position);
        }
    }

    /// Writes a slice to a WebSocket or an event stream.
    fn deliver_slice(&mut self, slot: Slot, slice: &Slice, is_first: bool) {
        if !slice.recovered {
            self.metrics.dropped(DropReason::PositionLost);
            // The first message of `ringwire.json.1` has said so already.
            if !(is_first && slice.encoding.plain() == Encoding::Json) {
                self.announce_loss(slot, slice.encoding, slice.position);
            }
        }
        if slice.items.is_empty() {
            return;
        }
        let Some(connection) = self.table.find(slot) else { return };
        if !connection.may_send() {
            return;
        }
        if slice.items.iter().any(|item| item.is_compressed(slice.encoding)) {
            connection.lane.flags.set(Flags::CONTEXT_STALE);
        }
        let bytes = join(&slice.items, slice.encoding);
        let transport = transport_of(slice.encoding);
        self.metrics.delivered(transport, slice.items.len() as u64);
        if transport == Transport::WebSocket {
            self.messages_sent += slice.items.len() as u64;
        }
        connection.lane.queue(slot, &mut self.egress, bytes);
    }

    /// Tells one subscriber that what came before `position` is lost to it.
    pub(super) fn announce_loss(&mut self, slot: Slot, encoding: Encoding, position: Position) {
        match encoding.plain() {
            Encoding::Json => self.say_position(slot, position, false),
            Encoding::Sse => {
                let mut out = Vec::new();
                sse::encode_reset(&mut out, position);
                self.say(slot, out);
            }
            Encoding::Poll => {}
            _ => {
                self.leave_all(slot);
                self.close(slot, POSITION_LOST, &position.to_string());
            }
        }
    }

    /// The first message of `ringwire.json.1`, and one after every gap.
    pub(super) fn say_position(&mut self, slot: Slot, position: Position, recovered: bool) {
        if !self.table.find(slot).is_some_and(|connection| connection.may_send()) {
            return;
        }
        let mut text = Vec::new();
        poll::encode_position(&mut text, position, recovered);
        let mut frame = Vec::with_capacity(ws::frame_len(text.len(), false));
        ws::encode_frame(&mut frame, ws::Opcode::Text, &text, None);
        self.messages_sent += 1;
        self.say(slot, frame);
    }

    /// Asks for the next slices of those whose last one is out.
    pub(super) fn pull(&mut self) {
        while let Some(slot) = self.pulls.pop() {
            let Some(connection) = self.table.find(slot) else { continue };
            if !connection.lane.is_idle() {
                // Asked again when it has drained.
                continue;
            }
            let slice_bytes_max = self.slice_bytes_max(slot);
            let mut requests = std::mem::take(&mut self.departures);
            self.local.advance(slot.number(), slice_bytes_max, |home, request| {
                requests.push((home, request));
            });
            for (home, request) in requests.drain(..) {
                self.post(home, request);
            }
            self.departures = requests;
        }
    }
}

/// How deliveries in an encoding count.
pub(super) fn transport_of(encoding: Encoding) -> Transport {
    match encoding {
        Encoding::Sse => Transport::Sse,
        Encoding::Poll => Transport::LongPoll,
        _ => Transport::WebSocket,
    }
}
