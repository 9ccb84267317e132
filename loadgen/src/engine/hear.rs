//! What received bytes mean to one connection.
//!
//! Not here: what is done about it, or any socket; the client reads [`Heard`] and acts. Invariant:
//! nothing a server sends can panic here, and what is held for it is bounded.

mod foreign;

use ringwire_protocol::http::{HeadLimits, HeadScanner, Response, parse_response};
use ringwire_protocol::poll::parse_answer;
use ringwire_protocol::ws::{
    Cursor, DeflateOffer, Event, Inbound, Limits, Role, Violation, accept_key, check_switching,
};
use ringwire_protocol::{Position, sse};

use crate::engine::answer::{ANSWER_BYTES_MAX, Answer};
use crate::engine::chunked::Chunks;
use crate::engine::codec::{Codec, Workshop};
use crate::engine::error::ErrorCode;
use crate::engine::fairness::Sketch;
use crate::engine::ledger::Ledger;
use crate::engine::member::{Aside, HEARD, Member, Opening, Part, Phase, Speech, Stream};
use crate::engine::payload::{PUBLISHER_MASK, Ping, Stamp};
use crate::engine::plan::Plan;
use crate::engine::script::Who;
use crate::engine::sequence::{Arrival, Tracker};
use crate::scenario::{Mode, SIZE_BYTES_MAX};
use crate::speech::PollStyle;

const WS_LIMITS: Limits = Limits { message_bytes_max: SIZE_BYTES_MAX, empty_fragments_max: 1024 };

/// How far the receiver's clock reading may be behind the sender's: both read the same clock, but
/// not at the same place of their turns.
const CLOCK_SLACK_NS: u64 = 1_000_000;

/// The longest line of a refusal that is quoted.
const QUOTE_BYTES_MAX: usize = 200;

/// What the client has to do after hearing something.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The subscription, or the upgrade, is there.
    pub(crate) is_open: bool,
    /// The upgrade is there: what is said first is to be said.
    pub(crate) is_upgraded: bool,
    /// The connection may have something to say now.
    pub(crate) is_ready: bool,
    /// Payloads of pings to be answered, each behind its length.
    pub(crate) pings: Vec<u8>,
    /// Answers that messages want at once, by number.
    pub(crate) answers: Vec<usize>,
    /// The peer closed its WebSocket with this code.
    pub(crate) closed: Option<u16>,
    /// A publication of the window was accepted.
    pub(crate) is_accepted: bool,
    /// For people: why the first answer is a refusal.
    pub(crate) refusal: Option<String>,
}

/// One connection listening.
#[derive(Debug)]
pub(crate) struct Ear<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) workshop: &'a mut Workshop,
    /// Those of this connection, by publisher.
    pub(crate) trackers: &'a mut [Tracker],
    pub(crate) now_ns: u64,
    /// `None` before the run begins.
    pub(crate) origin_ns: Option<u64>,
    pub(crate) heard: Heard,
    /// Of the connection's latencies, if it is one of those looked at.
    pub(crate) sketch: Option<&'a mut Sketch>,
    /// The connection's own figures.
    number: u32,
    sent: u64,
    answered: u64,
    position: Option<Position>,
    awaits_since_ns: u64,
    aside: Option<Box<Aside>>,
    /// What messages to and from it fill in.
    who: Who,
    /// It is open only once it is told so.
    is_awaiting_ready: bool,
    /// It is not open.
    is_opening: bool,
    /// What it is told counts.
    is_measured: bool,
}

impl<'a> Ear<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        ledger: &'a mut Ledger,
        workshop: &'a mut Workshop,
        trackers: &'a mut [Tracker],
        now_ns: u64,
        origin_ns: Option<u64>,
    ) -> Self {
        Self {
            plan,
            ledger,
            workshop,
            trackers,
            now_ns,
            origin_ns,
            heard: Heard::default(),
            sketch: None,
            number: 0,
            sent: 0,
            answered: 0,
            position: None,
            awaits_since_ns: 0,
            aside: None,
            who: Who::default(),
            is_awaiting_ready: false,
            is_opening: false,
            is_measured: true,
        }
    }

    /// The same, for a connection that templates call `who`.
    pub(crate) fn of(self, who: Who) -> Self {
        Self { who, ..self }
    }

    /// Takes in all of `bytes` for `member`.
    pub(crate) fn hear(&mut self, member: &mut Member, bytes: &mut [u8]) -> Result<(), ErrorCode> {
        self.number = member.number;
        self.sent = member.sent;
        self.answered = member.answered;
        self.position = member.position;
        self.awaits_since_ns = member.awaits_since_ns;
        self.aside = member.aside.take();
        let awaits_ready = self.plan.script.as_ref().is_some_and(|script| script.awaits_ready());
        self.is_opening = member.phase == Phase::Opening;
        self.is_awaiting_ready = awaits_ready && self.is_opening && member.part == Part::Subscriber;
        self.is_measured = !member.is_slow;
        let result = self.hear_speech(member, bytes);
        member.aside = self.aside.take();
        self.heard.is_ready |= self.answered != member.answered;
        member.answered = self.answered;
        member.position = self.position;
        member.awaits_since_ns = self.awaits_since_ns;
        result
    }

    fn hear_speech(&mut self, member: &mut Member, bytes: &mut [u8]) -> Result<(), ErrorCode> {
        match &mut member.speech {
            Speech::None => Err(ErrorCode::HttpMalformed),
            Speech::Ws(inbound, codec) => self.hear_ws(inbound, codec.as_deref_mut(), bytes),
            Speech::Sse(stream) => self.hear_sse(stream, bytes),
            Speech::Http(reader) => {
                let Some(answer) = reader.read(bytes, |answer| {
                    let must_reconnect = !answer.head.keep_alive;
                    let result = match member.part {
                        Part::Publisher => self.published(answer, member.is_of_window),
                        Part::Subscriber => self.polled(answer),
                    };
                    (must_reconnect, result)
                })?
                else {
                    return Ok(());
                };
                member.is_asking = false;
                member.is_proven = true;
                member.must_reconnect = answer.0;
                self.heard.is_ready = true;
                answer.1
            }
            Speech::Opening(opening) => {
                opening.bytes.extend_from_slice(bytes);
                let limits = HeadLimits::default();
                let Some(end) = opening
                    .scanner
                    .find_end(&opening.bytes, &limits)
                    .map_err(|_| ErrorCode::HttpMalformed)?
                else {
                    return Ok(());
                };
                let mut rest = opening.bytes.split_off(end);
                let speech = self.opened(opening, &rest)?;
                member.speech = speech;
                self.heard.is_upgraded = matches!(member.speech, Speech::Ws(..));
                match member.part {
                    Part::Publisher => self.heard.is_open = true,
                    Part::Subscriber if self.is_awaiting_ready => {}
                    Part::Subscriber => self.subscribed(),
                }
                if rest.is_empty() { Ok(()) } else { self.hear_speech(member, &mut rest) }
            }
        }
    }

    /// The head of the first answer is complete.
    fn opened(&mut self, opening: &Opening, rest: &[u8]) -> Result<Speech, ErrorCode> {
        let response = parse_response(&opening.bytes).map_err(|_| ErrorCode::HttpMalformed)?;
        if !opening.key.is_empty() {
            if response.status != 101 {
                self.heard.refusal = Some(quote(&response, rest));
                return Err(ErrorCode::UpgradeStatus(response.status));
            }
            let offered = &self.plan.scenario.subprotocols;
            let offer = self.plan.scenario.compression.map(|_| DeflateOffer::default());
            let key = &opening.key;
            let switched =
                check_switching(&response, key, offered, offer.as_ref()).map_err(|bad| {
                    self.heard.refusal = Some(bad.to_string());
                    mismatch(&response, key, offered)
                })?;
            return Ok(match switched.deflate {
                None => Speech::Ws(Inbound::new(Role::Client), None),
                Some(agreed) => {
                    self.ledger.compressed.agreed(agreed);
                    let codec = Box::new(Codec::new(agreed));
                    //= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
                    //# MUST NOT use them unless the server indicates that it wishes to use the
                    //# extension.
                    Speech::Ws(Inbound::with_deflate(Role::Client), Some(codec))
                }
            });
        }
        if response.status != 200 {
            self.heard.refusal = Some(quote(&response, rest));
            return Err(ErrorCode::HttpStatus(response.status));
        }
        let is_stream = response
            .header("content-type")
            .and_then(|value| value.get(..17))
            .is_some_and(|value| value.eq_ignore_ascii_case(b"text/event-stream"));
        if !is_stream {
            return Err(ErrorCode::SseContentType);
        }
        let chunks = response.is_chunked.then(Chunks::new);
        let parser = sse::Parser::new(ANSWER_BYTES_MAX);
        Ok(Speech::Sse(Box::new(Stream { chunks, parser })))
    }

    /// The subscription, or the upgrade, is there.
    fn subscribed(&mut self) {
        self.heard.is_open = true;
        self.ledger.upgrade.record(self.now_ns.saturating_sub(self.awaits_since_ns));
        self.awaits_since_ns = self.now_ns;
    }

    fn hear_ws(
        &mut self,
        inbound: &mut Inbound,
        mut codec: Option<&mut Codec>,
        bytes: &mut [u8],
    ) -> Result<(), ErrorCode> {
        let violated = |violation: Violation| ErrorCode::WsViolation(violation.close_code());
        let mut cursor = Cursor::new(bytes);
        loop {
            match inbound.next(&mut cursor, &WS_LIMITS).map_err(violated)? {
                None => return Ok(()),
                Some(Event::Message { payload, .. }) => self.message(payload),
                Some(Event::Compressed { kind, payload }) => {
                    let codec = codec.as_deref_mut();
                    let codec = codec.ok_or(Violation::ReservedBits).map_err(violated)?;
                    let inflated = codec.inflate(payload, kind, &WS_LIMITS, self.workshop);
                    let plain = inflated.map_err(violated)?;
                    self.ledger.compressed.messages_received += 1;
                    self.message(&plain);
                    self.workshop.keep(plain);
                }
                Some(Event::Ping(payload)) => {
                    let len = u8::try_from(payload.len()).unwrap_or(u8::MAX);
                    self.heard.pings.push(len);
                    self.heard.pings.extend_from_slice(&payload[..usize::from(len)]);
                }
                Some(Event::Pong(payload)) => self.pong(payload),
                Some(Event::Close(frame)) => {
                    self.heard.closed = Some(frame.map_or(1005, |frame| frame.code.0));
                }
            }
        }
    }

    /// A ping of ours is answered; those before it that were not never will be.
    fn pong(&mut self, payload: &[u8]) {
        let Some((origin_ns, ping)) = self.origin_ns.zip(Ping::decode(payload)) else { return };
        let due_ns = origin_ns.checked_add(ping.intended_ns);
        let sent_ns = due_ns.and_then(|due_ns| due_ns.checked_add(ping.delay_ns));
        let Some((due_ns, sent_ns)) = due_ns.zip(sent_ns) else { return };
        if ping.sequence >= self.sent || sent_ns > self.now_ns + CLOCK_SLACK_NS {
            self.ledger.impossible += 1;
            return;
        }
        let is_new = ping.sequence >= self.answered;
        let arrival = if is_new { Arrival::New } else { Arrival::Duplicate };
        self.answered = self.answered.max(ping.sequence + 1);
        self.ledger.received(arrival, due_ns, ping.delay_ns, self.now_ns);
    }

    fn hear_sse(&mut self, stream: &mut Stream, bytes: &[u8]) -> Result<(), ErrorCode> {
        let Stream { chunks, parser } = stream;
        let mut rest = bytes;
        let Some(chunks) = chunks else { return self.events(parser, rest) };
        while let Some(data) = chunks.next(&mut rest)? {
            self.events(parser, data)?;
        }
        if chunks.is_done() { Err(ErrorCode::SseEnded) } else { Ok(()) }
    }

    fn events(&mut self, parser: &mut sse::Parser, mut bytes: &[u8]) -> Result<(), ErrorCode> {
        while let Some(event) = parser.next(&mut bytes).map_err(|_| ErrorCode::SseMalformed)? {
            if event.name.is_empty() || event.name == b"message" {
                self.message(event.data);
            } else if event.name == sse::RESET.as_bytes() {
                self.ledger.error(ErrorCode::PositionLost);
            } else if let Some(payload) = event.binary() {
                self.message(&payload);
            }
        }
        Ok(())
    }

    /// A subscriber's poll was answered.
    fn polled(&mut self, answer: &Answer<'_>) -> Result<(), ErrorCode> {
        let style = self.plan.scenario.speech.poll_style;
        if self.position.is_none() && style != Some(PollStyle::Ringwire) {
            let is_told = style == Some(PollStyle::Nchan)
                || self.aside.as_ref().is_some_and(|aside| !aside.validators.is_empty());
            if is_told || foreign::is_validated(&answer.head) {
                return self.polled_by_validators(answer);
            }
        }
        if answer.head.status != 200 {
            self.heard.refusal = Some(quote(&answer.head, answer.body));
            return Err(ErrorCode::HttpStatus(answer.head.status));
        }
        let told = parse_answer(answer.body).map_err(|bad| {
            self.heard.refusal = Some(bad.to_string());
            ErrorCode::PollMalformed
        })?;
        if self.position.replace(told.position).is_none() {
            self.subscribed();
        } else if !told.recovered {
            self.ledger.error(ErrorCode::PositionLost);
        }
        for item in &told.items {
            self.message(&item.payload);
        }
        Ok(())
    }

    /// A publication was answered.
    fn published(&mut self, answer: &Answer<'_>, is_of_window: bool) -> Result<(), ErrorCode> {
        self.answered = self.sent;
        match answer.head.status {
            200..=299 => self.heard.is_accepted = is_of_window,
            status => self.ledger.error(ErrorCode::PublishStatus(status)),
        }
        Ok(())
    }

    /// A message arrived, by whatever transport.
    fn message(&mut self, payload: &[u8]) {
        if !self.is_measured {
            return;
        }
        if let Some(script) = &self.plan.script
            && script.is_foreign()
        {
            return self.foreign_message(script, payload);
        }
        let mode = self.plan.scenario.mode;
        let Some(origin_ns) = self.origin_ns.filter(|_| mode != Mode::Idle) else { return };
        self.note_first(origin_ns);
        self.ledger.count_payload(payload.len());
        let stamp = self.plan.format.decode(payload).filter(|stamp| match mode {
            Mode::Echo | Mode::Churn => stamp.publisher == self.number & PUBLISHER_MASK,
            Mode::Fanout | Mode::Idle => (stamp.publisher as usize) < self.trackers.len(),
        });
        if mode == Mode::Churn {
            self.ledger.corrupted += u64::from(stamp.is_none());
            self.answered = self.sent;
            return;
        }
        match stamp {
            Some(stamp) => drop(self.arrived(stamp, origin_ns)),
            None => self.damaged(),
        }
    }

    /// A message came, and may be the connection's first.
    fn note_first(&mut self, origin_ns: u64) {
        if self.awaits_since_ns != HEARD {
            let since_ns = self.awaits_since_ns.max(origin_ns);
            self.ledger.first_message.record(self.now_ns.saturating_sub(since_ns));
            self.awaits_since_ns = HEARD;
        }
    }

    /// A message that was changed on its way.
    fn damaged(&mut self) {
        self.ledger.corrupted += 1;
        // In a closed loop the next message waits for this reply, whatever became of it.
        let is_echo = self.plan.scenario.mode == Mode::Echo;
        self.answered = self.sent.min(self.answered + u64::from(is_echo));
    }

    /// One of our stamps, from a publisher that there is; its whole sequence, unless it cannot be
    /// or came before.
    fn arrived(&mut self, stamp: Stamp, origin_ns: u64) -> Option<u64> {
        let is_echo = self.plan.scenario.mode == Mode::Echo;
        let intended_ns = origin_ns + stamp.intended_ns;
        let slack_ns = CLOCK_SLACK_NS + self.plan.part.clock_slack_ns;
        if intended_ns + stamp.delay_ns > self.now_ns + slack_ns {
            self.ledger.impossible += 1;
            return None;
        }
        // Of several replies to one message each has its own tracker: the first that has not seen
        // the sequence is this one's.
        let trackers = match is_echo {
            true => &mut self.trackers[..],
            false => std::slice::from_mut(&mut self.trackers[stamp.publisher as usize]),
        };
        let was_sent = |sequence: Option<u64>| sequence.is_some_and(|s| s < self.sent);
        let (last, first) = (trackers.len() - 1, trackers.first()?);
        if is_echo && !was_sent(first.unwrap(stamp.sequence)) {
            self.ledger.impossible += 1;
            return None;
        }
        let mut place = 0;
        let (mut sequence, mut arrival) = trackers[0].arrive(stamp.sequence);
        while arrival == Arrival::Duplicate && place < last {
            place += 1;
            (sequence, arrival) = trackers[place].arrive(stamp.sequence);
        }
        if is_echo && place == last && arrival != Arrival::Duplicate {
            self.answered = self.sent.min(self.answered + 1);
        }
        self.ledger.received(arrival, intended_ns, stamp.delay_ns, self.now_ns);
        if arrival == Arrival::Duplicate {
            return None;
        }
        self.sketch_latency(intended_ns);
        Some(sequence)
    }

    /// Notes a message for the connection's own distribution.
    fn sketch_latency(&mut self, intended_ns: u64) {
        if let Some(sketch) = &mut self.sketch
            && self.ledger.is_of_window(intended_ns)
        {
            sketch.record(self.now_ns.saturating_sub(intended_ns));
        }
    }
}

/// In what a 101 that cannot be accepted does not fit its request.
fn mismatch(response: &Response<'_>, key: &str, offered: &[String]) -> ErrorCode {
    let header = |name| response.header(name);
    let is_unasked = |value: &[u8]| !offered.iter().any(|name| name.as_bytes() == value);
    if header("sec-websocket-accept") != Some(&accept_key(key.as_bytes())[..]) {
        ErrorCode::UpgradeAccept
    } else if header("sec-websocket-protocol").is_some_and(is_unasked) {
        ErrorCode::UpgradeSubprotocol
    } else if header("sec-websocket-extensions").is_some() {
        ErrorCode::UpgradeExtension
    } else {
        ErrorCode::UpgradeAnswer
    }
}

/// Status and first line of a refusal, for people.
pub(crate) fn quote(response: &Response<'_>, body: &[u8]) -> String {
    let line = body.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(QUOTE_BYTES_MAX)]);
    format!("{} {}", response.status, line.trim()).trim_end().to_owned()
}

/// An answer's head that is to come, for an upgrade with `key`.
pub(crate) fn opening(key: String) -> Speech {
    Speech::Opening(Box::new(Opening { bytes: Vec::new(), scanner: HeadScanner::new(), key }))
}
