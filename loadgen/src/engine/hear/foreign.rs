//! What the messages and answers of servers mean that speak in their own way.
//!
//! Not here: how messages are told from each other (`script`). Invariant: whatever is no stamp of
//! this run, and no reply that is awaited, is counted as nothing but another message.

use ringwire_protocol::http::Response;

use super::{Ear, quote};
use crate::engine::answer::Answer;
use crate::engine::error::ErrorCode;
use crate::engine::payload::PUBLISHER_MASK;
use crate::engine::script::{Mark, Script, Who};
use crate::engine::sequence::Arrival;
use crate::scenario::Mode;

/// No content, not modified, and that nothing came while the server waited.
const NOTHING_NEW: [u16; 3] = [204, 304, 408];

/// What an answer says of itself, and what that is in the next question.
const VALIDATORS: [(&str, &str); 2] =
    [("last-modified", "If-Modified-Since"), ("etag", "If-None-Match")];

/// What a server may have us repeat.
const VALIDATOR_BYTES_MAX: usize = 2_048;

impl Ear<'_> {
    /// A poll was answered with one message, or with none, and headers that say where that was.
    pub(super) fn polled_by_validators(&mut self, answer: &Answer<'_>) -> Result<(), ErrorCode> {
        let head = &answer.head;
        if !NOTHING_NEW.contains(&head.status) && !(200..300).contains(&head.status) {
            self.heard.refusal = Some(quote(head, answer.body));
            return Err(ErrorCode::HttpStatus(head.status));
        }
        let validators = &mut self.aside.get_or_insert_default().validators;
        let told = VALIDATORS.map(|(asked, _)| head.header(asked));
        if told.iter().flatten().map(|value| value.len()).sum::<usize>() > VALIDATOR_BYTES_MAX {
            return Err(ErrorCode::HttpTooLarge);
        }
        if told.iter().any(Option::is_some) {
            validators.clear();
            for ((_, asked), value) in VALIDATORS.into_iter().zip(told) {
                let Some(value) = value else { continue };
                let line = [asked.as_bytes(), b": ", value, b"\r\n"];
                line.iter().for_each(|part| validators.extend_from_slice(part));
            }
        }
        if std::mem::take(&mut self.is_opening) {
            self.subscribed();
        }
        if !NOTHING_NEW.contains(&head.status) && !answer.body.is_empty() {
            self.message(answer.body);
        }
        Ok(())
    }

    /// A message of a server that speaks in its own way.
    pub(super) fn foreign_message(&mut self, script: &Script, message: &[u8]) {
        if let Some(answer) = script.answer_to(message) {
            if !script.answer(answer).is_empty() {
                self.heard.answers.push(answer);
            }
            self.ledger.other += 1;
            return;
        }
        if self.is_awaiting_ready {
            if script.is_ready(message) {
                self.is_awaiting_ready = false;
                self.subscribed();
            }
            self.ledger.other += 1;
            return;
        }
        let mode = self.plan.scenario.mode;
        let is_publisher = mode == Mode::Fanout && self.trackers.is_empty();
        let Some(origin_ns) = self.origin_ns.filter(|_| mode != Mode::Idle && !is_publisher) else {
            return;
        };
        if !script.is_stamped() {
            return self.reply_in_order(script, message);
        }
        let mut is_ours = false;
        for mark in script.marks(message) {
            let Mark::Stamp(stamp) = mark else {
                is_ours = true;
                self.damaged();
                continue;
            };
            let is_known = match mode {
                Mode::Echo => stamp.publisher == self.number & PUBLISHER_MASK,
                _ => (stamp.publisher as usize) < self.trackers.len(),
            };
            if !is_known {
                continue;
            }
            is_ours = true;
            self.note_first(origin_ns);
            if let Some(sequence) = self.arrived(stamp, origin_ns) {
                let who = self.sender(stamp.publisher, sequence);
                self.expect(script, message, who);
            }
        }
        match is_ours {
            true => self.ledger.count_payload(message.len()),
            false => self.ledger.other += 1,
        }
    }

    /// Who sent a message that arrived here.
    fn sender(&self, publisher: u32, sequence: u64) -> Who {
        if self.plan.scenario.mode == Mode::Echo {
            return Who { count: sequence, ..self.who };
        }
        let channels = self.plan.channels.len() as u64;
        let count = sequence * channels + self.who.channel;
        Who { number: publisher.into(), is_publisher: true, count, ..self.who }
    }

    /// The reply to whatever was sent first and is not answered.
    fn reply_in_order(&mut self, script: &Script, message: &[u8]) {
        let awaited = self.aside.as_mut().map(|aside| &mut aside.awaited);
        let Some((awaited, first)) = awaited.and_then(|all| {
            let first = all.front_mut()?;
            first.heard += 1;
            let first = *first;
            Some((all, first))
        }) else {
            self.ledger.other += 1;
            return;
        };
        if first.heard >= script.replies() {
            awaited.pop_front();
            self.answered = self.sent.min(self.answered + 1);
        }
        if let Some(origin_ns) = self.origin_ns {
            self.note_first(origin_ns);
        }
        self.ledger.count_payload(message.len());
        let delay_ns = first.sent_ns.saturating_sub(first.intended_ns);
        self.ledger.received(Arrival::New, first.intended_ns, delay_ns, self.now_ns);
        self.sketch_latency(first.intended_ns);
        self.expect(script, message, Who { count: first.count, ..self.who });
    }

    fn expect(&mut self, script: &Script, message: &[u8], who: Who) {
        if !script.is_expected(message, who, &mut self.workshop.expected) {
            self.ledger.error(ErrorCode::Unexpected);
        }
    }
}

/// Whether an answer says by its headers where it left off, and not in ringwire's JSON.
pub(super) fn is_validated(head: &Response<'_>) -> bool {
    let is_nothing = NOTHING_NEW.contains(&head.status);
    is_nothing || VALIDATORS.iter().any(|(told, _)| head.header(told).is_some())
}
