//! A server on the simulated kernel that delays what it passes on, loses and damages some of it,
//! and writes down everything that it does.
//!
//! Not here: what follows for a result. Invariant: whatever leaves the server is in its log, with
//! the virtual time at which it came and at which it left.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use ringwire_protocol::http::{
    Body, HeadLimits, HeadScanner, encode_response, encode_response_head, parse_request,
    query_value,
};
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Limits, Opcode, Role, check_upgrade, encode_close, encode_frame,
    encode_switching,
};
use ringwire_protocol::{Epoch, Position, poll, sse};
use ringwire_ring::sim::{DriverOptions, Sim, SimDriver};
use ringwire_ring::{Accepting, Completion, Driver, Slot};

use super::sim::SERVER;

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 10 };
const EPOCH: Epoch = Epoch(7);

/// How long a message is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Law {
    /// All alike.
    Constant(u64),
    /// Anything from the first up to the second.
    Uniform(u64, u64),
    /// Seven of a hundred for the second time, the others for the first. (Seven, so that no
    /// percentile that is reported lies where one ends and the other begins.)
    Bimodal(u64, u64),
    /// For the first time until that much time has passed since the first message; then for the
    /// last.
    Until(u64, u64, u64),
}

/// What becomes of a message, in parts of a thousand; of the rest nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mischief {
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) damaged: u64,
    /// Passed on behind the next one.
    pub(super) swapped: u64,
}

/// One message that left the server.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    pub(super) received_ns: u64,
    pub(super) sent_ns: u64,
    /// The connection it left by.
    pub(super) slot: Slot,
    pub(super) payload: Vec<u8>,
    pub(super) is_damaged: bool,
}

/// A message on its way through.
#[derive(Clone, Debug)]
struct Item {
    received_ns: u64,
    payload: Vec<u8>,
}

/// What is kept until its time.
enum Kept {
    Echo(Slot, Item),
    Publication(Item),
}

/// What a connection speaks.
enum Speech {
    Http,
    Echo(Inbound),
    Subscriber(Inbound),
    Stream,
}

struct Peer {
    speech: Speech,
    bytes: Vec<u8>,
    out: Vec<u8>,
    is_sending: bool,
    is_closing: bool,
    /// A long poll waits for what comes after this.
    waits_since: Option<usize>,
}

/// The server.
pub(super) struct DelayServer {
    sim: Sim,
    driver: SimDriver,
    law: Law,
    mischief: Mischief,
    pings: usize,
    /// How long after the first message it stands still, and for how long.
    stall: Option<(u64, u64)>,
    first_ns: Option<u64>,
    peers: HashMap<Slot, Peer>,
    /// In the order in which they came.
    order: Vec<Slot>,
    kept: BTreeMap<(u64, u64), Kept>,
    serial: u64,
    channel: Vec<Item>,
    /// What is to leave a connection behind its next message.
    swapped: HashMap<Slot, Item>,
    pub(super) log: Vec<Passed>,
    pub(super) polls: Vec<(Slot, u64)>,
}

impl DelayServer {
    pub(super) fn new(sim: &Sim, law: Law) -> Self {
        let mut driver = sim.driver(DriverOptions::default());
        let listener = sim.listener(SERVER.parse::<std::net::SocketAddr>().unwrap());
        driver.listen(listener).unwrap();
        driver.accept(Accepting::On);
        Self {
            sim: sim.clone(),
            driver,
            law,
            mischief: Mischief::default(),
            pings: 0,
            stall: None,
            first_ns: None,
            peers: HashMap::new(),
            order: Vec::new(),
            kept: BTreeMap::new(),
            serial: 0,
            channel: Vec::new(),
            swapped: HashMap::new(),
            log: Vec::new(),
            polls: Vec::new(),
        }
    }

    pub(super) fn with_stall(mut self, after_first_ns: u64, length_ns: u64) -> Self {
        self.stall = Some((after_first_ns, length_ns));
        self
    }

    /// With the first message of a connection it sends so many pings, and reads no more.
    pub(super) fn with_pings(mut self, count: usize) -> Self {
        self.pings = count;
        self
    }

    pub(super) fn with_mischief(mut self, mischief: Mischief) -> Self {
        self.mischief = mischief;
        self
    }

    /// From when until when it stood still.
    pub(super) fn stalled_ns(&self) -> Option<(u64, u64)> {
        let (after_first_ns, length_ns) = self.stall?;
        let from_ns = self.first_ns? + after_first_ns;
        Some((from_ns, from_ns + length_ns))
    }

    pub(super) fn turn(&mut self) {
        let deadline_ns = self.kept.first_key_value().map_or(u64::MAX, |((at_ns, _), _)| *at_ns);
        let mut completions = Vec::new();
        self.driver.turn(deadline_ns, &mut completions).unwrap();
        for completion in completions {
            match completion {
                Completion::Accepted { slot, .. } => self.accept(slot),
                Completion::Received { slot, lease } => self.receive(slot, &lease),
                Completion::Sent { slot, result } => {
                    let Some(peer) = self.peers.get_mut(&slot) else { continue };
                    peer.is_sending = false;
                    match result {
                        Ok(()) => self.flush(slot),
                        Err(_) => self.close(slot),
                    }
                }
                Completion::Ended { slot, .. } => self.close(slot),
                _ => {}
            }
        }
        let now_ns = self.sim.now_ns();
        while let Some(entry) = self.kept.first_entry().filter(|entry| entry.key().0 <= now_ns) {
            match entry.remove() {
                Kept::Echo(slot, item) => self.pass(slot, item),
                Kept::Publication(item) => self.publish(item),
            }
        }
        for slot in self.order.clone() {
            self.flush(slot);
        }
    }

    fn accept(&mut self, slot: Slot) {
        let peer = Peer {
            speech: Speech::Http,
            bytes: Vec::new(),
            out: Vec::new(),
            is_sending: false,
            is_closing: false,
            waits_since: None,
        };
        self.peers.insert(slot, peer);
        self.order.push(slot);
        self.driver.receive(slot, true);
    }

    fn flush(&mut self, slot: Slot) {
        let Some(peer) = self.peers.get_mut(&slot).filter(|peer| !peer.is_sending) else { return };
        if !peer.out.is_empty() {
            peer.is_sending = true;
            self.driver.send(slot, Bytes::from(std::mem::take(&mut peer.out)));
        } else if peer.is_closing {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: Slot) {
        if self.peers.remove(&slot).is_some() {
            self.order.retain(|other| *other != slot);
            self.driver.close(slot);
        }
    }

    fn receive(&mut self, slot: Slot, bytes: &[u8]) {
        let Some(mut peer) = self.peers.remove(&slot) else { return };
        peer.bytes.extend_from_slice(bytes);
        if matches!(peer.speech, Speech::Http) {
            self.read_requests(slot, &mut peer);
        }
        self.read_frames(slot, &mut peer);
        self.peers.insert(slot, peer);
        self.answer_polls(slot);
    }

    fn read_frames(&mut self, slot: Slot, peer: &mut Peer) {
        let (inbound, is_echo) = match &mut peer.speech {
            Speech::Echo(inbound) => (inbound, true),
            Speech::Subscriber(inbound) => (inbound, false),
            Speech::Http | Speech::Stream => return,
        };
        let mut bytes = std::mem::take(&mut peer.bytes);
        let mut cursor = Cursor::new(&mut bytes);
        while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("good frames") {
            match event {
                Event::Message { .. } if self.pings > 0 => {
                    for _ in 0..self.pings {
                        encode_frame(&mut peer.out, Opcode::Ping, &[b'p'; 125], None);
                    }
                    self.driver.receive(slot, false);
                    break;
                }
                Event::Message { payload, .. } if is_echo => {
                    let item = self.item(payload);
                    self.keep(item, |item| Kept::Echo(slot, item));
                }
                Event::Close(frame) => {
                    let mut close = [0; 131];
                    let code = frame.map_or(1005, |frame| frame.code.0);
                    let len = encode_close(&mut close, code, "", None);
                    peer.out.extend_from_slice(&close[..len]);
                    peer.is_closing = true;
                }
                _ => {}
            }
        }
    }

    fn read_requests(&mut self, slot: Slot, peer: &mut Peer) {
        let limits = HeadLimits::default();
        while let Some(end) = HeadScanner::new().find_end(&peer.bytes, &limits).unwrap() {
            let request = parse_request(&peer.bytes[..end], &limits).unwrap();
            let whole = match request.body {
                Body::Length(length) => end + usize::try_from(length).unwrap(),
                _ => end,
            };
            if peer.bytes.len() < whole {
                return;
            }
            if let Body::Length(_) = request.body {
                let item = self.item(&peer.bytes[end..whole]);
                self.keep(item, Kept::Publication);
                let mut body = Vec::new();
                poll::encode_published(&mut body, self.position());
                encode_response(&mut peer.out, 200, &[], &body, true);
            } else if request.wants_upgrade() {
                let key = check_upgrade(&request).unwrap().key;
                encode_switching(&mut peer.out, key, None, &[]);
                let inbound = Inbound::new(Role::Server);
                peer.speech = match request.path {
                    "/echo" => Speech::Echo(inbound),
                    _ => Speech::Subscriber(inbound),
                };
            } else if request.accepts_event_stream() {
                let headers = [("Content-Type", "text/event-stream")];
                encode_response_head(&mut peer.out, 200, &headers, None, false);
                peer.speech = Speech::Stream;
            } else {
                self.polls.push((slot, self.sim.now_ns()));
                let since = query_value(request.query, "since").unwrap();
                let since = since.map(|since| since.parse::<Position>().unwrap().offset);
                let since = since.map_or(self.channel.len(), |since| since.try_into().unwrap());
                let query = request.query.unwrap_or_default();
                if query.contains("wait=") && query.contains("since=") {
                    peer.waits_since = Some(since);
                } else {
                    self.answer(slot, peer, since);
                }
            }
            peer.bytes.drain(..whole);
        }
    }

    fn item(&mut self, payload: &[u8]) -> Item {
        let received_ns = self.sim.now_ns();
        self.first_ns.get_or_insert(received_ns);
        Item { received_ns, payload: payload.to_vec() }
    }

    fn position(&self) -> Position {
        Position { epoch: EPOCH, offset: self.channel.len() as u64 }
    }

    /// Keeps an item as long as the law says, and the stall.
    fn keep(&mut self, item: Item, kept: impl FnOnce(Item) -> Kept) {
        let delay_ns = match self.law {
            Law::Constant(delay_ns) => delay_ns,
            Law::Uniform(least_ns, most_ns) => least_ns + self.sim.below(most_ns - least_ns),
            Law::Bimodal(often_ns, _) if self.sim.below(100) >= 7 => often_ns,
            Law::Bimodal(_, seldom_ns) => seldom_ns,
            Law::Until(first_ns, after_ns, last_ns) => {
                let since_ns = item.received_ns - self.first_ns.unwrap_or_default();
                if since_ns < after_ns { first_ns } else { last_ns }
            }
        };
        let hold = |at_ns| match self.stalled_ns() {
            Some((from_ns, until_ns)) if (from_ns..until_ns).contains(&at_ns) => until_ns,
            _ => at_ns,
        };
        let due_ns = hold(hold(item.received_ns) + delay_ns);
        self.serial += 1;
        self.kept.insert((due_ns, self.serial), kept(item));
    }

    /// What of `item` goes to `slot` now, noted down.
    fn fated(&mut self, slot: Slot, item: Item) -> Vec<Vec<u8>> {
        let Mischief { lost, twice, damaged, swapped } = self.mischief;
        let mut chance =
            if lost + twice + damaged + swapped > 0 { self.sim.below(1_000) } else { 0 };
        let mut falls_to = |share: u64| {
            let is_it = chance < share;
            chance = if is_it { u64::MAX } else { chance.wrapping_sub(share) };
            is_it
        };
        if falls_to(lost) {
            return Vec::new();
        }
        let count = if falls_to(twice) { 2 } else { 1 };
        let is_damaged = falls_to(damaged);
        if falls_to(swapped) && !self.swapped.contains_key(&slot) {
            self.swapped.insert(slot, item);
            return Vec::new();
        }
        let behind = self.swapped.remove(&slot);
        let mut passed = Vec::new();
        for _ in 0..count {
            passed.push(self.note(slot, item.clone(), is_damaged));
        }
        passed.extend(behind.map(|item| self.note(slot, item, false)));
        passed
    }

    fn note(&mut self, slot: Slot, item: Item, is_damaged: bool) -> Vec<u8> {
        let Item { received_ns, mut payload } = item;
        if is_damaged {
            let at = usize::try_from(self.sim.below(payload.len() as u64)).unwrap();
            payload[at] = b'!';
        }
        let sent_ns = self.sim.now_ns();
        self.log.push(Passed { received_ns, sent_ns, slot, payload: payload.clone(), is_damaged });
        payload
    }

    /// Sends `item` on a connection that takes messages as they come.
    fn pass(&mut self, slot: Slot, item: Item) {
        let payloads = self.fated(slot, item);
        let position = self.position();
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        for payload in payloads {
            match peer.speech {
                Speech::Stream => sse::encode_event(&mut peer.out, position, &payload, true),
                _ => encode_frame(&mut peer.out, Opcode::Text, &payload, None),
            }
        }
    }

    fn publish(&mut self, item: Item) {
        self.channel.push(item.clone());
        for slot in self.order.clone() {
            match self.peers.get(&slot).map(|peer| &peer.speech) {
                Some(Speech::Stream | Speech::Subscriber(_)) => self.pass(slot, item.clone()),
                _ => self.answer_polls(slot),
            }
        }
    }

    /// Answers the long poll of `slot`, if one waits and there is something for it.
    fn answer_polls(&mut self, slot: Slot) {
        let Some(mut peer) = self.peers.remove(&slot) else { return };
        if let Some(since) = peer.waits_since.take_if(|since| *since < self.channel.len()) {
            self.answer(slot, &mut peer, since);
        }
        self.peers.insert(slot, peer);
    }

    /// Answers a poll with everything after `since`.
    fn answer(&mut self, slot: Slot, peer: &mut Peer, since: usize) {
        let mut body = Vec::new();
        poll::encode_answer_head(&mut body, self.position(), true);
        let mut is_first = true;
        for number in since..self.channel.len() {
            let item = self.channel[number].clone();
            for payload in self.fated(slot, item) {
                if !std::mem::take(&mut is_first) {
                    body.push(poll::ITEM_SEPARATOR);
                }
                poll::encode_item(&mut body, (number + 1) as u64, &payload, true);
            }
        }
        poll::encode_answer_tail(&mut body);
        encode_response(&mut peer.out, 200, &[], &body, true);
    }
}
