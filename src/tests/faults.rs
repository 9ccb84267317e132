//! Every fault at once, resets included, while clients of every kind read and write one channel:
//! what must never happen while it lasts, and what must have happened some time after it ends.
//!
//! Not here: exact answers (`channels`). Invariant of the script: every client comes back after
//! each end and goes on from its last position, as a good client does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringwire_protocol::poll::{parse_answer, parse_item, parse_position, parse_published};
use ringwire_protocol::ws::{Cursor, Event, Inbound, Opcode, Role};
use ringwire_protocol::{Epoch, Position, sse};
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::wire::{LIMITS, body, frame, position_of, post, stream, upgrade};
use super::world::{Plan, World, is_whole};

/// What each place of the stream holds, as whoever heard of it first was told.
type Truth = Rc<RefCell<BTreeMap<(Epoch, u64), String>>>;

/// How long a client waits before it polls or connects again.
const PAUSE_NS: u64 = 50_000_000;

/// How a client listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Positions,
    Bare,
    Stream,
    Poll,
    LongPoll,
}

/// What a reader has been told, and that it is told nothing twice and misses nothing in silence.
struct Reader {
    truth: Truth,
    last: Option<Position>,
    gaps: u32,
}

impl Reader {
    /// The server says from where it goes on.
    fn begins(&mut self, at: Position, recovered: bool) {
        match self.last {
            Some(last) if recovered => assert_eq!(at, last, "not where the client asked"),
            Some(last) => {
                let behind = at.epoch == last.epoch && at.offset < last.offset;
                assert!(!behind, "a gap goes backwards: {last} to {at}");
                self.gaps += 1;
            }
            None => {}
        }
        self.last = Some(at);
    }

    fn item(&mut self, offset: u64, payload: &[u8]) {
        let last = self.last.expect("an item after its beginning");
        assert_eq!(offset, last.offset + 1, "a hole or a duplicate after {last}");
        self.last = Some(Position { offset, ..last });
        self.agrees(Position { offset, ..last }, payload);
    }

    fn agrees(&self, at: Position, payload: &[u8]) {
        let payload = String::from_utf8(payload.to_vec()).expect("text");
        let mut truth = self.truth.borrow_mut();
        let known = truth.entry((at.epoch, at.offset)).or_insert_with(|| payload.clone());
        assert_eq!(*known, payload, "two payloads at {at}");
    }
}

/// What has been made of the present connection.
struct Link {
    peer: RawPeer,
    /// Bytes of the head, or of an answer, that is not whole yet.
    unread: Vec<u8>,
    inbound: Option<Inbound>,
    events: Option<sse::Parser>,
    is_asking: bool,
}

/// A client that always comes back.
struct Client {
    kind: Kind,
    reader: Reader,
    link: Option<Link>,
    not_before_ns: u64,
    connects: u32,
    /// The outbox is so small that a good reader may be too slow.
    may_be_cut: bool,
}

impl Client {
    fn new(kind: Kind, truth: &Truth) -> Self {
        let reader = Reader { truth: Rc::clone(truth), last: None, gaps: 0 };
        Self { kind, reader, link: None, not_before_ns: 0, connects: 0, may_be_cut: false }
    }

    fn step(&mut self, world: &World) {
        let now_ns = world.sim.now_ns();
        let Some(mut link) = self.link.take() else {
            if now_ns >= self.not_before_ns {
                self.connects += 1;
                self.link = Some(self.connect(world));
            }
            return;
        };
        let received = link.peer.take_received();
        let is_over = self.read(&mut link, received) || link.peer.is_ended();
        if is_over {
            link.peer.fin();
            self.wait(world);
            return;
        }
        let polls = matches!(self.kind, Kind::Poll | Kind::LongPoll);
        if polls && !link.is_asking && now_ns >= self.not_before_ns {
            link.is_asking = true;
            link.peer.send(self.request().as_bytes());
            if self.kind == Kind::Poll {
                self.wait(world);
            }
        }
        self.link = Some(link);
    }

    fn wait(&mut self, world: &World) {
        self.not_before_ns = world.sim.now_ns() + PAUSE_NS;
        world.sim.alarm(self.not_before_ns);
    }

    fn connect(&self, world: &World) -> Link {
        let peer = world.connect();
        let polls = matches!(self.kind, Kind::Poll | Kind::LongPoll);
        if !polls {
            peer.send(self.request().as_bytes());
        }
        if self.kind == Kind::Bare {
            peer.send(&frame(Opcode::Text, format!("said {}", self.connects).as_bytes()));
        }
        Link { peer, unread: Vec::new(), inbound: None, events: None, is_asking: !polls }
    }

    fn request(&self) -> String {
        let since = self.reader.last.map(|last| last.to_string());
        let query = since.as_ref().map_or(String::new(), |since| format!("?since={since}"));
        match self.kind {
            Kind::Positions => {
                upgrade(&format!("a{query}"), "Sec-WebSocket-Protocol: ringwire.json.1\r\n")
            }
            Kind::Bare => upgrade(&format!("a{query}"), ""),
            Kind::Stream => {
                let id = since.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
                stream("a", &id)
            }
            Kind::LongPoll if since.is_some() => {
                format!("GET /channels/a{query}&wait=5 HTTP/1.1\r\nHost: h\r\n\r\n")
            }
            Kind::Poll | Kind::LongPoll => {
                format!("GET /channels/a{query} HTTP/1.1\r\nHost: h\r\n\r\n")
            }
        }
    }

    /// Reads on; says whether the connection is over.
    fn read(&mut self, link: &mut Link, received: Vec<u8>) -> bool {
        if link.inbound.is_some() {
            return self.read_frames(link, received);
        }
        if link.events.is_some() {
            self.read_events(link, &received);
            return false;
        }
        link.unread.extend(received);
        if matches!(self.kind, Kind::Poll | Kind::LongPoll) {
            return self.read_answer(link);
        }
        let Some(end) = link.unread.windows(4).position(|four| four == b"\r\n\r\n") else {
            return false;
        };
        let rest = link.unread.split_off(end + 4);
        let head = String::from_utf8(std::mem::take(&mut link.unread)).expect("ASCII");
        if !head.starts_with("HTTP/1.1 101 ") && !head.starts_with("HTTP/1.1 200 ") {
            assert_try_later(&head);
            return true;
        }
        if self.kind == Kind::Stream {
            link.events = Some(sse::Parser::new(1 << 16));
            self.read_events(link, &rest);
            return false;
        }
        if self.kind == Kind::Bare {
            let line = head.lines().find_map(|line| line.strip_prefix("Ringwire-Position: "));
            let at: Position = line.expect("a position").parse().expect("a position");
            // Whether it is lost, the Close behind it says.
            self.reader.begins(at, self.reader.last == Some(at));
        }
        link.inbound = Some(Inbound::new(Role::Client));
        self.read_frames(link, rest)
    }

    fn read_frames(&mut self, link: &mut Link, mut bytes: Vec<u8>) -> bool {
        let inbound = link.inbound.as_mut().expect("a WebSocket");
        let mut cursor = Cursor::new(&mut bytes);
        while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("correct frames") {
            match event {
                Event::Message { payload, .. } if self.kind == Kind::Bare => {
                    let next = self.reader.last.expect("a beginning").offset + 1;
                    self.reader.item(next, payload);
                }
                Event::Message { payload, .. } => match parse_item(payload) {
                    Ok(item) => self.reader.item(item.offset, &item.payload),
                    Err(_) => {
                        let (at, recovered) = parse_position(payload).expect("a position");
                        self.reader.begins(at, recovered);
                    }
                },
                Event::Ping(_) => link.peer.send(&frame(Opcode::Pong, b"")),
                Event::Compressed { .. } => panic!("compression was not offered"),
                Event::Pong(_) => {}
                Event::Close(close) => {
                    let close = close.expect("a code");
                    match close.code.0 {
                        3010 => self.reader.begins(close.reason.parse().expect("E:O"), false),
                        3008 if self.may_be_cut => {}
                        3012 => {}
                        code => panic!("closed with {code}: {}", close.reason),
                    }
                    return true;
                }
            }
        }
        false
    }

    fn read_events(&mut self, link: &mut Link, mut bytes: &[u8]) {
        let parser = link.events.as_mut().expect("an event stream");
        while let Some(event) = parser.next(&mut bytes).expect("small events") {
            let at = event.position().expect("each event has an id");
            if event.name == b"reset" {
                self.reader.begins(at, false);
                continue;
            }
            if self.reader.last.is_none() {
                // Its first id was cut off with the stream before; this is the beginning then.
                self.reader.begins(Position { offset: at.offset - 1, ..at }, true);
            }
            assert_eq!(self.reader.last.map(|last| last.epoch), Some(at.epoch));
            self.reader.item(at.offset, event.data);
        }
        if self.reader.last.is_none()
            && let Ok(at) = String::from_utf8_lossy(parser.last_id()).parse()
        {
            self.reader.begins(at, true);
        }
    }

    fn read_answer(&mut self, link: &mut Link) -> bool {
        if !is_whole(&link.unread) {
            return false;
        }
        let answer = std::mem::take(&mut link.unread);
        link.is_asking = false;
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            assert_try_later(&String::from_utf8_lossy(&answer));
            return true;
        }
        let answer = parse_answer(body(&answer)).expect("a poll's answer");
        if !answer.recovered || self.reader.last.is_none() {
            assert!(answer.items.is_empty());
            self.reader.begins(answer.position, answer.recovered);
        }
        for item in &answer.items {
            self.reader.item(item.offset, &item.payload);
        }
        assert_eq!(self.reader.last, Some(answer.position));
        false
    }
}

/// The only refusals that a client that did nothing wrong may get.
fn assert_try_later(head: &str) {
    let later = ["HTTP/1.1 503 ", "HTTP/1.1 408 "].iter().any(|start| head.starts_with(start));
    assert!(later, "{head}");
}

/// Publishes one text after the other, each until its receipt is there.
struct Publisher {
    name: u32,
    link: Option<Link>,
    next: u32,
    end: u32,
    reader: Reader,
}

impl Publisher {
    fn new(name: u32, end: u32, truth: &Truth) -> Self {
        let reader = Reader { truth: Rc::clone(truth), last: None, gaps: 0 };
        Self { name, link: None, next: 0, end, reader }
    }

    fn is_done(&self) -> bool {
        self.next == self.end
    }

    fn step(&mut self, world: &World) {
        if self.is_done() {
            return;
        }
        let text = format!("text {} of {}", self.next, self.name);
        let Some(link) = &mut self.link else {
            let (unread, peer) = (Vec::new(), world.connect());
            let link = Link { peer, unread, inbound: None, events: None, is_asking: false };
            self.link = Some(link);
            return;
        };
        if !link.is_asking {
            link.is_asking = true;
            link.peer.send(post("a", &text).as_bytes());
        }
        link.unread.extend(link.peer.take_received());
        if is_whole(&link.unread) {
            let answer = std::mem::take(&mut link.unread);
            link.is_asking = false;
            if answer.starts_with(b"HTTP/1.1 200 ") {
                let at = parse_published(body(&answer)).expect("a receipt");
                self.reader.agrees(at, text.as_bytes());
                self.next += 1;
            } else {
                assert_try_later(&String::from_utf8_lossy(&answer));
            }
        }
        if link.peer.is_ended() {
            link.peer.fin();
            self.link = None;
        }
    }
}

/// Asks, as often as it takes, for the head of the stream.
fn head_of_stream(world: &World) -> Position {
    let peer = world.connect();
    let answer = world.exchange(&peer, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n");
    peer.fin();
    position_of(&answer)
}

/// One run. The connections made, and the gaps that were announced.
fn run(seed: u64, flags: Vec<&'static str>) -> (u32, u32) {
    let faults = Faults { resets: 0.02, ..Faults::all() };
    let mesh_capacity = [1, 2, 3, 8, 64][usize::try_from(seed % 5).expect("small")];
    let plan = Plan { workers: 3, faults, mesh_capacity, flags, ..Plan::new(seed) };
    let world = World::new(&plan);
    let truth = Truth::default();
    let kinds = [Kind::Positions, Kind::Bare, Kind::Stream, Kind::Poll, Kind::LongPoll];
    let mut clients: Vec<_> =
        kinds.iter().cycle().take(10).map(|&kind| Client::new(kind, &truth)).collect();
    let may_be_cut = plan.flags.contains(&"--max-backpressure");
    clients.iter_mut().for_each(|client| client.may_be_cut = may_be_cut);
    let mut publishers: Vec<_> = (0..3).map(|name| Publisher::new(name, 8, &truth)).collect();
    world.run_until(|| {
        clients.iter_mut().for_each(|client| client.step(&world));
        publishers.iter_mut().for_each(|publisher| publisher.step(&world));
        publishers.iter().all(Publisher::is_done)
    });

    world.sim.heal();
    publishers.iter_mut().for_each(|publisher| publisher.end += 1);
    world.run_until(|| {
        clients.iter_mut().for_each(|client| client.step(&world));
        publishers.iter_mut().for_each(|publisher| publisher.step(&world));
        publishers.iter().all(Publisher::is_done)
            && clients.iter().all(|client| client.link.is_some())
    });
    // Bare clients speak when they connect, so the head is known only once all are connected.
    let mut head = head_of_stream(&world);
    let mut looked_ns = world.sim.now_ns();
    loop {
        let begun_ns = world.sim.now_ns();
        world.run_until(|| {
            clients.iter_mut().for_each(|client| client.step(&world));
            clients.iter().all(|client| client.reader.last == Some(head))
                || world.sim.now_ns() > begun_ns + 1_000_000_000
        });
        let now = head_of_stream(&world);
        if now == head && clients.iter().all(|client| client.reader.last == Some(head)) {
            break;
        }
        assert!(world.sim.now_ns() < looked_ns + 120_000_000_000, "they never agree on {head}");
        if now != head {
            (head, looked_ns) = (now, world.sim.now_ns());
        }
    }

    for (number, client) in clients.iter().enumerate() {
        if let Some(link) = &client.link {
            if number % 2 == 0 { link.peer.fin() } else { link.peer.reset() }
        }
    }
    for link in publishers.iter().filter_map(|publisher| publisher.link.as_ref()) {
        link.peer.fin();
    }
    world.run_empty();
    let connects = clients.iter().map(|client| client.connects).sum();
    (connects, clients.iter().map(|client| client.reader.gaps).sum())
}

#[test]
fn whatever_happens_nobody_misses_anything_in_silence() {
    let (mut runs, mut total) = (0, 0);
    each_seed(24, |seed| {
        runs += 1;
        total += run(seed, Vec::new()).0;
    });
    assert!(runs == 1 || total > runs * 10, "nobody was cut off, so this shows nothing");
}

#[test]
fn whatever_happens_with_little_history_each_gap_is_announced() {
    let (mut runs, mut total) = (0, 0);
    each_seed(12, |seed| {
        runs += 1;
        total += run(seed, vec!["--history-size", "3", "--max-backpressure", "64"]).1;
    });
    assert!(runs == 1 || total > 0, "nothing was lost, so this shows nothing");
}
