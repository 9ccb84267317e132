//! Channels across workers: order, no hole, no duplicate, and every gap announced.

use ringwire_protocol::Position;
use ringwire_protocol::poll::{parse_answer, parse_item};
use ringwire_protocol::ws::{Opcode, encode_frame};
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::wire::{body, events, messages, position_of, post, stream, upgrade};
use super::world::{Plan, World};

/// Asks until `count` payloads were read by polls of the given kind.
struct Poller {
    peer: RawPeer,
    since: Position,
    wait: &'static str,
    read: Vec<String>,
    is_waiting: bool,
    next_ns: u64,
}

/// How long a client waits between two polls.
const POLL_INTERVAL_NS: u64 = 200_000_000;

impl Poller {
    fn new(world: &World, wait: &'static str) -> Self {
        let peer = world.connect();
        let answer = world.exchange(&peer, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n");
        Self {
            peer,
            since: position_of(&answer),
            wait,
            read: Vec::new(),
            is_waiting: false,
            next_ns: 0,
        }
    }

    fn step(&mut self, world: &World) {
        if self.is_waiting && super::world::is_whole(&self.peer.received()) {
            self.is_waiting = false;
            let received = self.peer.take_received();
            let answer = parse_answer(body(&received)).expect("a poll's answer");
            assert!(answer.recovered);
            for item in &answer.items {
                assert_eq!(item.offset, self.since.offset + 1, "a hole or a duplicate");
                self.since.offset = item.offset;
                self.read.push(String::from_utf8(item.payload.to_vec()).expect("text"));
            }
            assert_eq!(answer.position, self.since);
        }
        if !self.is_waiting && world.sim.now_ns() >= self.next_ns {
            self.is_waiting = true;
            if self.wait.is_empty() {
                self.next_ns = world.sim.now_ns() + POLL_INTERVAL_NS;
                world.sim.alarm(self.next_ns);
            }
            let (since, wait) = (self.since, self.wait);
            let request =
                format!("GET /channels/a?since={since}{wait} HTTP/1.1\r\nHost: h\r\n\r\n");
            self.peer.send(request.as_bytes());
        }
    }
}

/// Publishes `q0` to `q19`, and again what is refused because too much is on its way.
struct Publisher {
    peer: RawPeer,
    next: usize,
    is_waiting: bool,
}

impl Publisher {
    fn new(world: &World) -> Self {
        Self { peer: world.connect(), next: 0, is_waiting: false }
    }

    fn step(&mut self, world: &World) {
        if self.is_waiting && super::world::is_whole(&self.peer.received()) {
            self.is_waiting = false;
            let answer = self.peer.take_received();
            if answer.starts_with(b"HTTP/1.1 200 ") {
                self.next += 1;
            } else {
                assert!(answer.starts_with(b"HTTP/1.1 503 "));
                self.peer = world.connect();
            }
        }
        if !self.is_waiting && self.next < 20 {
            self.is_waiting = true;
            self.peer.send(post("a", &format!("q{}", self.next)).as_bytes());
        }
    }
}

#[test]
fn four_transports_hear_the_same_in_order_from_several_workers() {
    each_seed(12, |seed| {
        let flags = vec!["--ping-interval", "1h", "--history-size", "1000"];
        let plan = Plan {
            workers: 3,
            faults: Faults::lossless(),
            mesh_capacity: [1, 2, 3, 4][usize::try_from(seed % 4).expect("below 4")],
            flags,
            ..Plan::new(seed)
        };
        let world = World::new(&plan);
        let sockets: Vec<_> = (0..3).map(|_| world.connect()).collect();
        let streams: Vec<_> = (0..3).map(|_| world.connect()).collect();
        for (socket, event_stream) in sockets.iter().zip(&streams) {
            socket.send(upgrade("a", "").as_bytes());
            event_stream.send(stream("a", "").as_bytes());
        }
        let heads = |peers: &[RawPeer]| {
            peers.iter().all(|peer| peer.received().windows(4).any(|four| four == b"\r\n\r\n"))
        };
        world.run_until(|| heads(&sockets) && heads(&streams));
        let mut pollers = [Poller::new(&world, "&wait=5"), Poller::new(&world, "")];
        // A socket publishes too, and hears itself.
        let mut frame = Vec::new();
        let published: Vec<_> = (0..20).map(|number| format!("p{number}")).collect();
        for text in &published {
            encode_frame(&mut frame, Opcode::Text, text.as_bytes(), Some([5, 6, 7, 8]));
        }
        sockets[0].send(&frame);
        let mut publisher = Publisher::new(&world);
        world.run_until(|| {
            publisher.step(&world);
            pollers.iter_mut().for_each(|poller| poller.step(&world));
            pollers.iter().all(|poller| poller.read.len() == 40)
                && sockets.iter().all(|peer| messages(&peer.received()).len() == 40)
                && streams.iter().all(|peer| events(&peer.received()).len() == 40)
        });
        let heard = messages(&sockets[0].received());
        for own in ["p", "q"] {
            let mine: Vec<_> = heard.iter().filter(|text| text.starts_with(own)).collect();
            let sent: Vec<_> = (0..20).map(|number| format!("{own}{number}")).collect();
            assert!(mine.into_iter().eq(&sent), "{own} out of order: {heard:?}");
        }
        for socket in &sockets {
            assert_eq!(messages(&socket.received()), heard);
        }
        for event_stream in &streams {
            let data: Vec<_> =
                events(&event_stream.received()).into_iter().map(|(_, data)| data).collect();
            assert_eq!(data, heard);
        }
        for poller in &pollers {
            assert_eq!(poller.read, heard);
        }
    });
}

#[test]
fn who_resumes_while_others_publish_misses_nothing() {
    each_seed(12, |seed| {
        let plan = Plan {
            workers: 2,
            faults: Faults::lossless(),
            mesh_capacity: 2,
            flags: vec!["--ping-interval", "1h"],
            ..Plan::new(seed)
        };
        let world = World::new(&plan);
        let publisher = world.connect();
        let begin =
            position_of(&world.exchange(&publisher, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n"));
        for number in 0..10 {
            world.exchange(&publisher, &post("a", &number.to_string()));
        }
        // Now they publish and join at once.
        for number in 10..20 {
            publisher.send(post("a", &number.to_string()).as_bytes());
        }
        let socket = world.connect();
        let target = format!("a?since={begin}");
        socket.send(upgrade(&target, "Sec-WebSocket-Protocol: ringwire.json.1\r\n").as_bytes());
        let resumed = world.connect();
        resumed.send(stream("a", &format!("Last-Event-ID: {begin}\r\n")).as_bytes());
        let mut count = 0;
        world.run_until(|| {
            let is_begun =
                |peer: &RawPeer| peer.received().windows(4).any(|four| four == b"\r\n\r\n");
            // A publisher may be refused for now, and is ended then.
            let receipts = publisher.received().windows(8).filter(|at| at == b"\"offset\"").count();
            count = 10 + receipts;
            is_begun(&socket)
                && is_begun(&resumed)
                && (receipts == 10 || publisher.is_ended())
                && messages(&socket.received()).len() == count + 1
                && events(&resumed.received()).len() == count
        });
        let received = socket.received();
        let head = String::from_utf8_lossy(&received);
        assert!(head.contains(&format!("Ringwire-Position: {begin}\r\n")), "{head}");
        assert!(head.contains("Sec-WebSocket-Protocol: ringwire.json.1\r\n"), "{head}");
        let texts = messages(&received);
        let first = format!(
            "{{\"epoch\":\"{}\",\"offset\":{},\"recovered\":true}}",
            begin.epoch, begin.offset
        );
        assert_eq!(texts[0], first);
        for (number, text) in (0..).zip(&texts[1..]) {
            let item = parse_item(text.as_bytes()).expect("an item");
            assert_eq!(
                (item.offset, item.payload.as_ref()),
                (number + 1, number.to_string().as_bytes())
            );
        }
        let data = events(&resumed.received()).into_iter().map(|(_, data)| data);
        assert!(data.eq((0..count).map(|number| number.to_string())));
    });
}

#[test]
fn a_lost_position_is_announced_on_every_transport() {
    let world = World::new(&Plan { workers: 2, ..Plan::new(3) });
    let peer = world.connect();
    world.exchange(&peer, &post("a", "one"));
    let now = position_of(&world.exchange(&peer, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n"));
    for since in ["nonsense", "0123456789abcdef:7", &format!("{}:99", now.epoch)] {
        let answer = world
            .exchange(&peer, &format!("GET /channels/a?since={since} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let answer = parse_answer(answer.split("\r\n\r\n").nth(1).expect("a body").as_bytes())
            .map(|answer| (answer.recovered, answer.position, answer.items.len()));
        assert_eq!(answer.ok(), Some((false, now, 0)), "{since}");

        let long = world.exchange(
            &peer,
            &format!("GET /channels/a?since={since}&wait=9 HTTP/1.1\r\nHost: h\r\n\r\n"),
        );
        assert!(long.contains("\"recovered\":false"), "{since}: {long}");

        let event_stream = world.connect();
        event_stream.send(stream("a", &format!("Last-Event-ID: {since}\r\n")).as_bytes());
        world.run_until(|| event_stream.received().ends_with(b"}\n\n"));
        assert_eq!(events(&event_stream.received())[0].0, "reset");

        let socket = world.connect();
        socket.send(upgrade(&format!("a?since={since}"), "").as_bytes());
        let mut close = vec![0x88, u8::try_from(2 + now.to_string().len()).expect("short")];
        close.extend(3010_u16.to_be_bytes());
        close.extend(now.to_string().bytes());
        world.run_until(|| socket.received().ends_with(&close));
        assert!(socket.received().starts_with(b"HTTP/1.1 101 "), "accepted, then closed");

        let spoken = world.connect();
        let offer = "Sec-WebSocket-Protocol: ringwire.json.1\r\n";
        spoken.send(upgrade(&format!("a?since={since}"), offer).as_bytes());
        world.run_until(|| spoken.received().ends_with(b"\"recovered\":false}"));
    }
}

#[test]
fn a_reader_that_stops_is_cut_and_the_others_lose_nothing() {
    let plan = Plan { workers: 2, flags: vec!["--max-backpressure", "16k"], ..Plan::new(5) };
    let world = World::new(&plan);
    let (stuck, reads, hears) = (world.connect(), world.connect(), world.connect());
    for peer in [&stuck, &reads] {
        peer.send(upgrade("a", "").as_bytes());
    }
    hears.send(stream("a", "").as_bytes());
    world.run_until(|| [&stuck, &reads, &hears].iter().all(|peer| !peer.received().is_empty()));
    stuck.stop_reading();
    let publisher = world.connect();
    let text = "x".repeat(1000);
    for _ in 0..200 {
        world.exchange(&publisher, &post("a", &text));
    }
    world.run_until(|| {
        messages(&reads.received()).len() == 200 && events(&hears.received()).len() == 200
    });
    let drops = world.metrics.iter().map(|m| m.drops(crate::metrics::DropReason::SlowConsumer));
    assert_eq!(drops.sum::<u64>(), 1);
    assert!(world.held_bytes() <= 16 * 1024 + 2048, "{} bytes held", world.held_bytes());
    // The close timeout gives its memory back.
    world.pass(6);
    assert_eq!(world.held_bytes(), 0);
    assert_eq!(world.live(), 3);
}
