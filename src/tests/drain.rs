//! The end of service: everybody is told in their own words, the workers leave together, and
//! nothing is left.
//!
//! Not here: the signal and the exit code (`live`, `cli`).

use ringwire_protocol::poll::parse_answer;
use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::echo::UPGRADE;
use super::wire::{Heard, body, close_payload, frame, heard, post, stream, upgrade};
use super::world::{Plan, World, is_whole};
use crate::metrics::{State, Transport};

const INDEX: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const LONG_POLL: &str = "GET /channels/a?wait=30 HTTP/1.1\r\nHost: h\r\n\r\n";

fn going_away() -> Heard {
    Heard::Close(1001, "the server is going away".to_owned())
}

/// A client that does what a client does: it answers a Close, and ends when the server does.
struct Polite {
    peer: RawPeer,
    websocket: bool,
    answered: bool,
    ended: bool,
}

impl Polite {
    fn new(peer: RawPeer, websocket: bool) -> Self {
        Self { peer, websocket, answered: false, ended: false }
    }

    fn step(&mut self) {
        if self.websocket
            && !self.answered
            && matches!(heard(&self.peer.received()).last(), Some(Heard::Close(..)))
        {
            self.answered = true;
            self.peer.send(&frame(Opcode::Close, &close_payload(1001)));
        }
        if !self.ended && self.peer.is_ended() {
            self.ended = true;
            self.peer.fin();
        }
    }
}

/// Runs until all workers have left, which they may do only when nobody is left.
fn run_until_done(world: &World, clients: &mut [Polite]) {
    world.run_until(|| {
        clients.iter_mut().for_each(Polite::step);
        if world.is_any_done() {
            assert_eq!(world.live(), 0, "a worker leaves while another has connections");
        }
        world.is_done()
    });
    assert_eq!((world.live(), world.held_bytes()), (0, 0));
}

fn begun(peers: &[RawPeer]) -> bool {
    peers.iter().all(|peer| peer.received().windows(4).any(|four| four == b"\r\n\r\n"))
}

fn text_of(peer: &RawPeer) -> String {
    String::from_utf8_lossy(&peer.received()).into_owned()
}

#[test]
fn everybody_is_told_and_the_workers_leave_together() {
    each_seed(12, |seed| {
        let faults = if seed % 2 == 0 { Faults::none() } else { Faults::lossless() };
        let world = World::new(&Plan { workers: 3, faults, ..Plan::new(seed) });
        let sockets: Vec<_> = (0..8)
            .map(|number| {
                let peer = world.connect();
                let request = if number < 4 { UPGRADE.to_owned() } else { upgrade("a", "") };
                peer.send(request.as_bytes());
                peer
            })
            .collect();
        let streams: Vec<_> = (0..3).map(|_| world.connect()).collect();
        streams.iter().for_each(|peer| peer.send(stream("a", "").as_bytes()));
        let idle: Vec<_> = (0..3).map(|_| world.connect()).collect();
        idle.iter().for_each(|peer| peer.send(INDEX.as_bytes()));
        let answered = |peer: &RawPeer| is_whole(&peer.received());
        world.run_until(|| begun(&sockets) && begun(&streams) && idle.iter().all(answered));
        let polls: Vec<_> = (0..3).map(|_| world.connect()).collect();
        polls.iter().for_each(|peer| peer.send(LONG_POLL.as_bytes()));
        let silent = world.connect();
        world.run_until(|| {
            world.connections(Transport::LongPoll, State::Open) == 3 && world.live() == 18
        });
        idle.iter().for_each(|peer| drop(peer.take_received()));

        world.drain();
        let all = sockets.iter().map(|peer| Polite::new(peer.clone(), true));
        let others = streams.iter().chain(&idle).chain(&polls).chain([&silent]);
        let others = others.map(|peer| Polite::new(peer.clone(), false));
        let mut clients: Vec<_> = all.chain(others).collect();
        let began_ns = world.sim.now_ns();
        run_until_done(&world, &mut clients);
        // Nobody had to be waited for.
        assert!(world.sim.now_ns() - began_ns < 4_000_000_000, "{}", world.sim.now_ns());

        for client in &clients {
            assert_eq!(client.peer.ending(), Some(Ok(())), "{}", text_of(&client.peer));
        }
        for peer in &sockets {
            assert_eq!(heard(&peer.received()), [going_away()]);
        }
        for peer in &streams {
            assert!(peer.received().ends_with(b"retry: 1000\n\n"), "{}", text_of(peer));
        }
        for peer in &idle {
            assert_eq!(peer.received(), b"", "an idle connection ends without a word");
        }
        for peer in &polls {
            let received = peer.received();
            assert!(received.starts_with(b"HTTP/1.1 200 "), "{}", text_of(peer));
            assert!(text_of(peer).contains("Connection: close\r\n"), "{}", text_of(peer));
            let answer = parse_answer(body(&received)).expect("a poll's answer");
            assert!(answer.recovered && answer.items.is_empty());
        }
        assert!(text_of(&silent).starts_with("HTTP/1.1 503 "), "{}", text_of(&silent));
    });
}

#[test]
fn who_waits_to_be_accepted_is_told_to_come_back() {
    each_seed(8, |seed| {
        let world = World::new(&Plan { workers: 2, slots_max: 4, ..Plan::new(seed) });
        let peers: Vec<_> = (0..30).map(|_| world.connect()).collect();
        peers.iter().for_each(|peer| peer.send(UPGRADE.as_bytes()));
        world.pass_ms(10);
        // Both tables are full: the others wait in the listeners' queues.
        let (served, waiting): (Vec<_>, Vec<_>) =
            peers.into_iter().partition(|peer| is_whole(&peer.received()));
        assert_eq!(served.len(), 8);
        assert!(waiting.iter().all(|peer| peer.is_connected() && peer.received().is_empty()));
        world.drain();
        let all = served.into_iter().map(|peer| Polite::new(peer, true));
        let others = waiting.iter().map(|peer| Polite::new(peer.clone(), false));
        let mut clients: Vec<_> = all.chain(others).collect();
        run_until_done(&world, &mut clients);
        for peer in &waiting {
            let answer = text_of(peer);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
            assert_eq!(peer.ending(), Some(Ok(())));
        }
    });
}

#[test]
fn who_has_begun_a_request_may_finish_it() {
    let world = World::new(&Plan { workers: 2, ..Plan::new(1) });
    let sent = [
        INDEX.to_owned(),
        post("a", "0123456789"),
        UPGRADE.to_owned(),
        upgrade("a", ""),
        stream("a", ""),
        LONG_POLL.to_owned(),
        "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
    ];
    let peers: Vec<_> = sent.iter().map(|_| world.connect()).collect();
    for (peer, request) in peers.iter().zip(&sent) {
        peer.send(&request.as_bytes()[..request.len() - 3]);
    }
    let never = world.connect();
    never.send(b"GET / HTT");
    world.pass_ms(10);
    world.drain();
    world.pass_ms(10);
    assert!(peers.iter().all(|peer| peer.received().is_empty() && !peer.is_ended()));
    for (peer, request) in peers.iter().zip(&sent) {
        peer.send(&request.as_bytes()[request.len() - 3..]);
    }
    let websocket = |request: &str| request.contains("websocket");
    let mut clients: Vec<_> = peers
        .iter()
        .zip(&sent)
        .map(|(peer, request)| {
            // Nothing is to be parsed before the head is there.
            let websocket = websocket(request);
            world.run_until(|| begun(std::slice::from_ref(peer)));
            Polite::new(peer.clone(), websocket)
        })
        .collect();
    clients.push(Polite::new(never.clone(), false));
    let began_ns = world.sim.now_ns();
    run_until_done(&world, &mut clients);
    assert!(world.sim.now_ns() - began_ns < 11_000_000_000, "the head's time is over by then");

    for (peer, request) in peers.iter().zip(&sent) {
        let answer = text_of(peer);
        if websocket(request) {
            assert!(answer.starts_with("HTTP/1.1 101 "), "{request}: {answer}");
            assert_eq!(heard(&peer.received()), [going_away()], "{request}");
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
        assert!(answer.contains("Connection: close\r\n"), "{request}: {answer}");
        if request.contains("event-stream") {
            assert!(answer.ends_with("retry: 1000\n\n"), "{request}: {answer}");
        } else {
            assert!(is_whole(&peer.received()), "{request}: {answer}");
        }
        assert_eq!(peer.ending(), Some(Ok(())));
    }
    assert!(text_of(&never).starts_with("HTTP/1.1 408 "), "{}", text_of(&never));
}

#[test]
fn who_publishes_meanwhile_is_answered_or_ended_and_subscribers_hear_it_in_order() {
    each_seed(12, |seed| {
        let faults = if seed % 2 == 0 { Faults::none() } else { Faults::lossless() };
        // These clients do not answer pings.
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { workers: 3, mesh_capacity: 2, faults, flags, ..Plan::new(seed) };
        let world = World::new(&plan);
        let sockets: Vec<_> = (0..4).map(|_| world.open(&upgrade("a", ""))).collect();
        let publishers: Vec<_> = (0..3).map(|_| world.connect()).collect();
        world.run_until(|| publishers.iter().all(RawPeer::is_connected));
        for peer in &publishers {
            for number in 0..10 {
                peer.send(post("a", &number.to_string()).as_bytes());
            }
        }
        // At any moment of that.
        let (rounds, mut count) = (seed * 7 % 60, 0);
        let until_ns = world.sim.now_ns() + 1_000_000_000;
        world.run_until(|| {
            count += 1;
            count > rounds || world.sim.now_ns() > until_ns
        });
        world.drain();
        let all = sockets.iter().map(|peer| Polite::new(peer.clone(), true));
        let others = publishers.iter().map(|peer| Polite::new(peer.clone(), false));
        let mut clients: Vec<_> = all.chain(others).collect();
        run_until_done(&world, &mut clients);

        let offsets = |answers: &str| -> Vec<u64> {
            let parts = answers.split("\"offset\":").skip(1);
            parts.map(|part| part.split('}').next().and_then(|n| n.parse().ok()).unwrap()).collect()
        };
        let mut confirmed: Vec<_> = publishers.iter().flat_map(|p| offsets(&text_of(p))).collect();
        for peer in &publishers {
            let answer = text_of(peer);
            assert!(offsets(&answer).is_sorted(), "{answer}");
            assert_eq!(peer.ending(), Some(Ok(())), "{answer}");
        }
        confirmed.sort_unstable();
        confirmed.dedup();
        let count: usize = publishers.iter().map(|peer| offsets(&text_of(peer)).len()).sum();
        assert_eq!(confirmed.len(), count, "two publications with one offset");
        // Everybody hears a beginning of the same stream, and then the end of service.
        let heard: Vec<_> = sockets.iter().map(|peer| heard(&peer.received())).collect();
        let longest = heard.iter().max_by_key(|all| all.len()).expect("some");
        for all in &heard {
            let (last, texts) = all.split_last().expect("a Close");
            assert_eq!(last, &going_away());
            assert_eq!(texts, &longest[..texts.len()]);
        }
    });
}

#[test]
fn a_peer_that_never_reads_is_not_waited_for_longer_than_the_drain_timeout() {
    for (flags, end_ms) in [
        (vec!["--drain-timeout", "3s"], 3_000),
        // Its own close timeout comes first.
        (vec!["--drain-timeout", "60s"], 5_000),
    ] {
        let plan = Plan { workers: 2, socket_bytes: 1024, flags, ..Plan::new(1) };
        let world = World::new(&plan);
        let stuck = world.open(UPGRADE);
        stuck.stop_reading();
        stuck.send(&frame(Opcode::Binary, &[7; 20_000]));
        let fine = world.open(UPGRADE);
        world.pass_ms(10);
        assert!(world.held_bytes() > 10_000);
        world.drain();
        let mut clients = [Polite::new(fine, true)];
        let began_ns = world.sim.now_ns();
        world.run_until(|| {
            clients.iter_mut().for_each(Polite::step);
            world.is_done()
        });
        let took_ms = (world.sim.now_ns() - began_ns) / 1_000_000;
        assert!((end_ms..end_ms + 200).contains(&took_ms), "left after {took_ms} ms");
        assert_eq!(heard(&clients[0].peer.received()), [going_away()]);
    }
}

#[test]
fn a_server_without_connections_leaves_at_once() {
    let world = World::new(&Plan { workers: 3, ..Plan::new(1) });
    let peer = world.connect();
    let _ = world.exchange(&peer, INDEX);
    peer.fin();
    world.run_empty();
    let began_ns = world.sim.now_ns();
    world.drain();
    world.run_until(|| world.is_done());
    assert!(world.sim.now_ns() - began_ns < 10_000_000);
    let late = world.connect();
    world.run_until(|| late.is_ended());
    assert!(late.ending().is_some_and(|ending| ending.is_err()), "nobody listens any more");
}
