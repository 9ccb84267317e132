//! The same promises over TLS: echo, channels, requests, ends; and peers that mean harm.

use ringwire_protocol::ws::{Opcode, encode_frame};
use ringwire_ring::sim::{Faults, each_seed};

use super::echo::UPGRADE;
use super::secure_peer::{BufferedPeer, SecurePeer, Terms};
use super::wire::{
    Heard, close_payload, events, frame, heard, messages, position_of, post, stream, upgrade,
};
use super::world::{Plan, World, is_whole};
use crate::metrics::{DropReason, HandshakeFailure, State, Transport};

/// A server of TLS, and what its clients need.
fn secure(plan: Plan) -> (World, Terms) {
    let terms = Terms::new();
    let plan = Plan { tls: Some(terms.server.clone()), ..plan };
    (World::new(&plan), terms)
}

/// A WebSocket over TLS that has received its 101, which it keeps.
fn open(world: &World, terms: &Terms, request: &str) -> SecurePeer {
    let peer = world.connect_secure(terms);
    peer.send(request.as_bytes());
    world.run_until(|| is_whole(&peer.received()) || peer.raw.is_ended());
    assert!(peer.received().starts_with(b"HTTP/1.1 101 "), "not upgraded");
    peer
}

fn handshake_failures(world: &World, why: HandshakeFailure) -> u64 {
    world.metrics.iter().map(|metrics| metrics.handshake_failures(why)).sum()
}

fn handshakes(world: &World, resumed: bool) -> u64 {
    world.metrics.iter().map(|metrics| metrics.handshakes(resumed)).sum()
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-10.6
//= type=test
//# WebSocket implementations MUST support TLS and SHOULD employ it when communicating with
//# their peers.
#[test]
fn every_message_comes_back_under_every_lossless_fault() {
    each_seed(6, |seed| {
        let flags = vec!["--ping-interval", "1h", "--tls-handshake-timeout", "1h"];
        let plan = Plan { workers: 2, faults: Faults::lossless(), flags, ..Plan::new(seed) };
        let (world, terms) = secure(plan);
        let peers: Vec<_> = (0..4)
            .map(|_| SecurePeer::new(world.sim.connect(world.secure_address), &terms))
            .collect();
        world.run_until(|| peers.iter().all(SecurePeer::is_established));
        let (mut asked, mut answered) = (UPGRADE.as_bytes().to_vec(), Vec::new());
        for len in [0, 1, 20, 125, 126, 5000, 40_000, 65_000] {
            let payload: Vec<u8> = (0..=255).cycle().take(len).collect();
            encode_frame(&mut asked, Opcode::Binary, &payload, Some([1, 2, 3, 4]));
            encode_frame(&mut answered, Opcode::Binary, &payload, None);
        }
        for peer in &peers {
            peer.send(&asked);
        }
        world.run_until(|| peers.iter().all(|peer| peer.received().ends_with(&answered)));
        for peer in &peers {
            peer.close_notify();
            peer.raw.fin();
        }
        world.run_until(|| peers.iter().all(|peer| peer.raw.is_ended()) && world.live() == 0);
        assert_eq!(world.held_bytes(), 0);
        assert_eq!(handshakes(&world, false), 4);
    });
}

#[test]
fn answers_of_one_turn_share_their_records() {
    let (world, terms) = secure(Plan::new(1));
    let peer = open(&world, &terms, UPGRADE);
    drop(peer.take_records());
    let asked: Vec<u8> =
        (0..500).flat_map(|_| frame(Opcode::Text, b"twenty bytes of text")).collect();
    peer.send(&asked);
    world.run_until(|| messages(&peer.received()).len() == 500);
    let records = peer.take_records();
    assert!(records.len() <= 3, "500 answers in {} records", records.len());
}

#[test]
fn channels_reach_websockets_streams_and_polls() {
    each_seed(5, |seed| {
        let (world, terms) = secure(Plan { workers: 2, ..Plan::new(seed) });
        let sockets: Vec<_> = (0..3).map(|_| open(&world, &terms, &upgrade("a", ""))).collect();
        let streams: Vec<_> = (0..3)
            .map(|_| {
                let peer = world.connect_secure(&terms);
                peer.send(stream("a", "").as_bytes());
                peer
            })
            .collect();
        let poll = world.connect_secure(&terms);
        poll.send(b"GET /channels/a?wait=30 HTTP/1.1\r\nHost: h\r\n\r\n");
        let attached = || {
            world.connections(Transport::Sse, State::Open) == 3
                && world.connections(Transport::LongPoll, State::Open) == 1
                && world.metrics.iter().map(|m| m.subscriptions.value()).sum::<u64>() == 7
        };
        world.run_until(attached);
        let publisher = world.connect_secure(&terms);
        let answer = world.exchange_secure(&publisher, &post("a", "news"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        world.run_until(|| {
            sockets.iter().all(|peer| messages(&peer.received()) == ["news"])
                && streams
                    .iter()
                    .all(|peer| events(&peer.received()).iter().any(|(_, data)| data == "news"))
                && is_whole(&poll.received())
        });
        assert!(String::from_utf8_lossy(&poll.received()).contains("\"data\":\"news\""));
    });
}

#[test]
fn plain_and_secure_subscribers_get_the_same() {
    each_seed(5, |seed| {
        let (world, terms) = secure(Plan { workers: 2, ..Plan::new(seed) });
        let plain: Vec<_> = (0..5).map(|_| world.open(&upgrade("a", ""))).collect();
        let sealed: Vec<_> = (0..5).map(|_| open(&world, &terms, &upgrade("a", ""))).collect();
        let publisher = world.connect();
        let mut expected = Vec::new();
        for number in 0..30 {
            let news = format!("{number} {}", "x".repeat(number * 100));
            assert!(world.exchange(&publisher, &post("a", &news)).starts_with("HTTP/1.1 200 "));
            expected.push(news);
        }
        world.run_until(|| {
            plain.iter().all(|peer| messages(&peer.received()) == expected)
                && sealed.iter().all(|peer| messages(&peer.received()) == expected)
        });
    });
}

#[test]
fn a_slow_reader_is_bounded_and_cut() {
    let flags = vec!["--max-backpressure", "64k"];
    let (world, terms) = secure(Plan { flags, ..Plan::new(3) });
    let slow = open(&world, &terms, &upgrade("a", ""));
    slow.raw.stop_reading();
    let publisher = world.connect_secure(&terms);
    let body = "x".repeat(16 * 1024);
    let mut held_most = 0;
    for _ in 0..40 {
        drop(world.exchange_secure(&publisher, &post("a", &body)));
        held_most = held_most.max(world.held_bytes());
    }
    assert_eq!(world.drops(DropReason::SlowConsumer), 1);
    assert!(held_most < 2 * 64 * 1024, "{held_most} bytes held");
}

#[test]
fn what_follows_a_slice_within_the_turn_repeats_nothing() {
    let (world, terms) = secure(Plan::new(12));
    let publisher = world.connect_secure(&terms);
    let read = "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n";
    let begin = position_of(&world.exchange_secure(&publisher, read));
    assert!(world.exchange_secure(&publisher, &post("a", "news")).starts_with("HTTP/1.1 200 "));
    // The 101 is gathered, the slice is queued, and then the answer to the Close is gathered.
    let peer = world.connect_secure(&terms);
    let mut asked = upgrade(&format!("a?since={begin}"), "").into_bytes();
    asked.extend(frame(Opcode::Close, &close_payload(1000)));
    peer.send(&asked);
    world.run_until(|| peer.is_closed());
    let expected = [Heard::Text("news".to_owned()), Heard::Close(1000, String::new())];
    assert_eq!(heard(&peer.received()), expected);
}

#[test]
fn close_and_close_notify_come_before_the_end() {
    let (world, terms) = secure(Plan::new(4));
    let peer = open(&world, &terms, UPGRADE);
    peer.send(&frame(Opcode::Close, &close_payload(1000)));
    world.run_until(|| peer.is_closed());
    assert_eq!(heard(&peer.received()), [Heard::Close(1000, String::new())]);
    world.run_until(|| peer.raw.is_ended());
    assert_eq!(peer.failure(), None);
    peer.raw.fin();
    world.run_empty();

    let peer = world.connect_secure(&terms);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(world.exchange_secure(&peer, request).starts_with("HTTP/1.1 200 "));
    world.run_until(|| peer.is_closed());
    peer.raw.fin();
    world.run_empty();
}

#[test]
fn whoever_says_its_end_within_tls_gets_its_answers_and_the_same() {
    each_seed(10, |seed| {
        let (world, terms) = secure(Plan { workers: 2, ..Plan::new(seed) });
        let peer = world.connect_secure(&terms);
        let mut wire = peer.sealed(post("a", "one").as_bytes());
        wire.extend(peer.sealed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        peer.raw.send(&wire);
        peer.close_notify();
        // With its FIN at once or when everything is over.
        if seed % 2 == 0 {
            peer.raw.fin();
        }
        world.run_until(|| peer.is_closed());
        let received = String::from_utf8(peer.received()).unwrap();
        assert_eq!(received.matches("HTTP/1.1 200 OK").count(), 2, "{received}");
        if seed % 2 != 0 {
            peer.raw.fin();
        }
        world.run_empty();
        assert_eq!(world.metrics.iter().map(|m| m.tls_truncated.value()).sum::<u64>(), 0);
    });
}

#[test]
fn a_fin_alone_is_an_end_and_counted() {
    let (world, terms) = secure(Plan::new(5));
    let peer = open(&world, &terms, UPGRADE);
    peer.raw.fin();
    world.run_empty();
    assert_eq!(world.metrics[0].tls_truncated.value(), 1);
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let (world, terms) = secure(Plan::new(6));
    let silent = world.sim.connect(world.secure_address);
    let stuck = SecurePeer::new(world.sim.connect(world.secure_address), &terms);
    // Its ServerHello comes, but it never answers: it is not pumped.
    world.pass(4);
    assert_eq!(world.live(), 2);
    world.pass(2);
    assert!(silent.is_ended() && stuck.raw.is_ended());
    world.run_empty();
    assert_eq!(handshake_failures(&world, HandshakeFailure::Timeout), 2);
    assert_eq!(world.drops(DropReason::HandshakeTimeout), 2);
}

#[test]
fn the_clock_of_the_request_begins_after_the_handshake() {
    let (world, terms) = secure(Plan::new(7));
    let peer = world.connect_secure(&terms);
    world.pass(9);
    assert!(!peer.raw.is_ended());
    world.pass(2);
    world.run_until(|| peer.is_closed());
    assert!(peer.received().starts_with(b"HTTP/1.1 408 "));
    assert_eq!(world.drops(DropReason::HeaderTimeout), 1);
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# If this fails (e.g., the client indicated a host name in the extended client hello
//# "server_name" extension that the server does not host), then close the connection;
//# otherwise, all further communication for the connection (including the server's handshake)
//# MUST run through the encrypted tunnel [RFC5246].
#[test]
fn what_is_not_tls_gets_an_alert_and_the_end() {
    let (world, _terms) = secure(Plan::new(8));
    for words in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "\0\0\0\0\0\0"] {
        let peer = world.sim.connect(world.secure_address);
        peer.send(words.as_bytes());
        world.run_until(|| peer.is_ended());
        let received = peer.take_received();
        assert_eq!((received.len(), received[0]), (7, 21), "{words:?}: not one alert");
        peer.fin();
        world.run_empty();
    }
    assert_eq!(handshake_failures(&world, HandshakeFailure::NotTls), 3);
}

#[test]
fn a_changed_record_ends_the_connection_with_an_alert() {
    let (world, terms) = secure(Plan::new(9));
    let peer = open(&world, &terms, UPGRADE);
    let mut wire = peer.sealed(&frame(Opcode::Text, b"hello"));
    *wire.last_mut().unwrap() ^= 1;
    peer.raw.send(&wire);
    world.run_until(|| peer.raw.is_ended());
    assert!(peer.failure().is_some_and(|failure| failure.to_string().contains("BadRecordMac")));
    assert!(heard(&peer.received()).is_empty(), "nothing was said in between");
    peer.raw.fin();
    world.run_empty();
    assert_eq!(world.drops(DropReason::Tls), 1);
}

/// Turns that the workers have taken.
fn turns(world: &World) -> u64 {
    world.metrics.iter().map(|metrics| metrics.turns()).sum()
}

/// CVE-2024-32650: whoever waits for the end of a handshake after this spins.
#[test]
fn a_close_notify_behind_the_client_hello_does_not_spin() {
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let terms = Terms::speaking(versions);
        let world = World::new(&Plan { tls: Some(terms.server.clone()), ..Plan::new(13) });
        let peer = SecurePeer::new(world.sim.connect(world.secure_address), &terms);
        peer.raw.send(&[21, 3, 3, 0, 2, 1, 0]);
        world.pass_ms(100);
        let before = turns(&world);
        world.pass(4);
        // Ticks of the wheel at most.
        assert!(turns(&world) - before < 100, "{} turns in silence", turns(&world) - before);
        assert_eq!(world.held_bytes(), 0);
        world.pass(7);
        assert!(peer.raw.is_ended(), "not ended after its time");
        peer.raw.fin();
        world.run_empty();
    }
}

#[test]
fn a_flood_of_key_updates_is_refused_and_keeps_nothing() {
    let (world, terms) = secure(Plan::new(14));
    let peer = BufferedPeer::connect(&world, &terms);
    world.pass_ms(10);
    drop(peer.raw.take_received());
    let mut held_most = 0;
    let mut updates = 0;
    while !peer.raw.is_ended() {
        updates += 1;
        assert!(updates < 200, "they went on");
        peer.update_keys();
        world.pass_ms(1);
        held_most = held_most.max(world.held_bytes());
    }
    assert!(updates > 30, "a few are allowed: {updates}");
    assert_eq!(held_most, 0);
    assert!(peer.raw.received().len() < 100, "answered by an alert only");
    peer.raw.fin();
    world.run_empty();
}

#[test]
fn records_of_one_byte_carry_all_and_keep_nothing() {
    let (world, terms) = secure(Plan::new(15));
    let peer = open(&world, &terms, UPGRADE);
    let asked: Vec<u8> = (0..50).flat_map(|_| frame(Opcode::Text, b"hello")).collect();
    let wire: Vec<u8> = asked.chunks(1).flat_map(|byte| peer.sealed(byte)).collect();
    for piece in wire.chunks(7) {
        peer.raw.send(piece);
        world.pass_ms(1);
        // The parts of one record, and of one frame.
        assert!(world.held_bytes() < 512, "{} bytes held", world.held_bytes());
    }
    world.run_until(|| messages(&peer.received()).len() == 50);
    let idle = turns(&world);
    world.pass(1);
    assert!(turns(&world) - idle < 50, "{} turns in silence", turns(&world) - idle);
}

/// Many handshakes at once: no turn takes more steps than it may, and the established connection
/// is answered in between.
#[test]
fn a_flood_of_handshakes_waits_its_turn() {
    let (world, terms) = secure(Plan::new(10));
    let echo = open(&world, &terms, UPGRADE);
    let flood: Vec<_> = (0..100)
        .map(|_| SecurePeer::new(world.sim.connect(world.secure_address), &terms))
        .collect();
    let done = || handshakes(&world, false) + handshakes(&world, true);
    let before = done();
    let (mut waiting, mut waited_most) = (0, 0);
    let mut said = 0;
    world.run_until(|| {
        // Seen after every turn.
        let now = world.metrics[0].tls_waiting.value();
        assert!(now + 3 >= waiting, "{} steps in a turn", waiting - now);
        waiting = now;
        waited_most = waited_most.max(now);
        let heard = messages(&echo.received()).len();
        if heard == said {
            echo.send(&frame(Opcode::Text, b"quick"));
            said += 1;
        }
        flood.iter().filter(|peer| peer.is_established()).count() == flood.len()
    });
    world.run_until(|| done() == before + 100);
    assert!(waited_most > 10, "no flood: {waited_most}");
    assert!(said > 1, "not answered in between");
    assert_eq!(world.metrics[0].tls_waiting.value(), 0);
}

#[test]
fn what_waits_of_handshakes_is_bounded_and_goes_with_its_peer() {
    let (world, terms) = secure(Plan::new(11));
    // A handshake message of 64 KiB whose end never comes.
    let endless = world.sim.connect(world.secure_address);
    endless.send(&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0]);
    let mut held_most = 0;
    for _ in 0..200 {
        endless.send(&[0; 4096]);
        world.pass_ms(1);
        held_most = held_most.max(world.held_bytes());
    }
    assert!(held_most < 200 * 1024, "{held_most} bytes held for one peer");
    let halves: Vec<_> =
        (0..20).map(|_| SecurePeer::new(world.sim.connect(world.secure_address), &terms)).collect();
    for half in &halves {
        half.raw.reset();
    }
    endless.reset();
    world.run_empty();
}

#[test]
fn a_drain_ends_handshakes_at_once_and_says_goodbye_to_the_others() {
    let (world, terms) = secure(Plan::new(12));
    let handshaking = world.sim.connect(world.secure_address);
    handshaking.send(&[22, 3]);
    let peer = open(&world, &terms, UPGRADE);
    let idle = world.connect_secure(&terms);
    assert!(world.exchange_secure(&idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").contains("200 OK"));
    world.drain();
    world.run_until(|| handshaking.is_ended() && idle.is_closed());
    world.run_until(|| heard(&peer.received()).len() == 1);
    assert!(matches!(heard(&peer.received())[..], [Heard::Close(1001, _)]));
    peer.send(&frame(Opcode::Close, &close_payload(1001)));
    world.run_until(|| peer.is_closed());
    for raw in [&peer.raw, &idle.raw] {
        raw.fin();
    }
    world.run_until(|| world.is_done());
}

#[test]
fn whatever_the_network_does_nothing_is_kept() {
    each_seed(20, |seed| {
        let plan = Plan { workers: 2, faults: Faults::all(), ..Plan::new(seed) };
        let (world, terms) = secure(plan);
        let peers: Vec<_> = (0..8)
            .map(|_| SecurePeer::new(world.sim.connect(world.secure_address), &terms))
            .collect();
        let mut asked = vec![false; peers.len()];
        let until = world.sim.now_ns() + 30_000_000_000;
        for _ in 0..60 {
            world.pass_ms(500);
            for (peer, asked) in peers.iter().zip(&mut asked) {
                if !*asked && peer.failure().is_none() && peer.is_established() {
                    peer.send(upgrade("a", "").as_bytes());
                    peer.send(&frame(Opcode::Text, &[b'x'; 3000]));
                    *asked = true;
                }
                peer.pump();
            }
        }
        assert!(world.sim.now_ns() >= until);
        for peer in &peers {
            peer.raw.reset();
        }
        world.run_empty();
    });
}
