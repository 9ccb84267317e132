//! Saying what templates hold: messages, publications, first words, answers, and requests.
//!
//! Invariants as in `say`; what is said is put together in the thread's own buffers.

use ringwire_protocol::ws::{Opcode, encode_frame};
use ringwire_ring::{Driver, Slot};

use super::Client;
use super::open::number;
use super::say::{POSITION_BYTES_MAX, spell};
use crate::engine::member::{Awaited, Late, Part};
use crate::engine::payload::Stamp;
use crate::engine::script::Who;
use crate::scenario::Mode;

impl<D: Driver> Client<D> {
    /// What templates call a member, and how far it is.
    pub(super) fn who(&self, position: usize) -> Who {
        if self.plan.script.is_none() {
            return Who::default();
        }
        let member = &self.members[position];
        let is_publisher = member.part == Part::Publisher;
        // A subscriber keeps the number that it opened with; a publisher has its stamps'.
        let number = match is_publisher {
            true => member.number.into(),
            false => number(&self.plan, self.thread, position).into(),
        };
        let time_ms = self.unix_base_ms + self.now_ns / super::NS_PER_MS;
        Who { number, is_publisher, channel: member.channel.into(), count: member.sent, time_ms }
    }

    /// Sends one message, for which `prepare` has made room and which is counted as sent.
    pub(super) fn say_scripted(&mut self, position: usize, slot: Slot, stamp: Stamp, due: Late) {
        let sent_before = self.members[position].sent - 1;
        let who = Who { count: sent_before, ..self.who(position) };
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let Some(script) = &self.plan.script else { return };
        if !script.message(&mut payload, who, stamp) {
            payload.resize(self.plan.format.size_bytes(), 0);
            self.plan.write_payload(&mut payload, stamp);
        }
        if !script.is_stamped() {
            let (intended_ns, sent_ns) = (due.intended_ns, self.stamp_ns);
            let awaited = Awaited { intended_ns, sent_ns, count: sent_before, heard: 0 };
            let aside = self.members[position].aside.get_or_insert_default();
            aside.awaited.push_back(awaited);
        }
        let is_echo = self.plan.scenario.mode == Mode::Echo;
        if is_echo || script.publishes_by_websocket() {
            self.ledger.count_payload(if is_echo { payload.len() } else { 0 });
            self.send_message(position, slot, &payload);
        } else {
            let mut request = std::mem::take(&mut self.frame);
            request.clear();
            script.publish_head(&mut request, who, payload.len());
            request.extend_from_slice(&payload);
            self.send_on(position, slot, &request);
            self.frame = request;
        }
        self.payload = payload;
        if self.plan.publishes_by_websocket() {
            self.accept_unanswered(position);
        }
    }

    /// A publication by WebSocket has no answer: written, it counts as accepted.
    fn accept_unanswered(&mut self, position: usize) {
        let member = &mut self.members[position];
        member.answered = member.sent;
        let (channel, is_of_window) = (member.channel as usize, member.is_of_window);
        self.pending = self.pending.saturating_sub(1);
        if is_of_window {
            self.control.accept(channel);
        }
    }

    /// Sends a message of a WebSocket.
    fn send_message(&mut self, position: usize, slot: Slot, payload: &[u8]) {
        let key = self.keys.next(&mut self.driver);
        if self.compresses(position) {
            return self.send_compressed(position, slot, payload, key);
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        encode_frame(&mut frame, Opcode::Text, payload, Some(key));
        self.send_on(position, slot, &frame);
        self.frame = frame;
    }

    /// Says what a subscriber says first.
    pub(super) fn say_first(&mut self, position: usize) {
        let who = self.who(position);
        if who.is_publisher {
            return;
        }
        let count = self.plan.script.as_ref().map_or(0, |script| script.first_count());
        for number in 0..count {
            let mut text = std::mem::take(&mut self.payload);
            text.clear();
            if let Some(script) = &self.plan.script {
                script.first(&mut text, number, who);
            }
            self.write_message(position, &text);
            self.payload = text;
        }
    }

    /// Answers what wants an answer at once.
    pub(super) fn say_answers(&mut self, position: usize, answers: &[usize]) {
        for &number in answers {
            let mut text = std::mem::take(&mut self.payload);
            text.clear();
            if let Some(script) = &self.plan.script {
                text.extend_from_slice(script.answer(number));
            }
            self.write_message(position, &text);
            self.payload = text;
        }
    }

    /// Sends a text that is none of the run's messages.
    fn write_message(&mut self, position: usize, text: &[u8]) {
        let key = self.keys.next(&mut self.driver);
        let mut frame = Vec::new();
        encode_frame(&mut frame, Opcode::Text, text, Some(key));
        self.write(position, &frame);
    }

    /// Asks for what is new, of a server that has its own way, or in words of its user's.
    pub(super) fn ask_foreign(&mut self, position: usize) {
        let who = self.who(position);
        let member = &self.members[position];
        let mut request = std::mem::take(&mut self.frame);
        request.clear();
        let mut text = [0; POSITION_BYTES_MAX];
        let place = member.position.map(|since| spell(&mut text, since));
        match &self.plan.script {
            Some(script) => script.request(&mut request, who, place),
            None => {
                let channel = &self.plan.channels[member.channel as usize];
                request.extend_from_slice(&channel.subscribe);
            }
        }
        if let Some(aside) = member.aside.as_ref().filter(|aside| !aside.validators.is_empty()) {
            request.truncate(request.len().saturating_sub(b"\r\n".len()));
            request.extend_from_slice(&aside.validators);
            request.extend_from_slice(b"\r\n");
        }
        self.write(position, &request);
        self.frame = request;
    }
}
