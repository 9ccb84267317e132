//! What happens when nothing happens, in virtual time: nothing early, and nothing much too late.
//!
//! A wheel's tick is 64 ms and a sign of life is noted by the tick, so a deadline comes up to
//! 200 ms late here, and never early.

use ringwire_protocol::poll::parse_answer;
use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::RawPeer;

use super::echo::UPGRADE;
use super::wire::{Heard, body, close_payload, frame, heard, messages, position_of, post};
use super::wire::{stream, upgrade};
use super::world::{Plan, World, is_whole};
use crate::metrics::DropReason;

const INDEX: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn text_of(peer: &RawPeer) -> String {
    String::from_utf8(peer.received()).expect("ASCII")
}

#[test]
fn a_silent_websocket_is_pinged_and_its_pong_keeps_it() {
    let world = World::new(&Plan::new(1));
    let peer = world.open(UPGRADE);
    for round in 0..4 {
        world.pass_ms(24_900);
        assert_eq!(heard(&peer.received()), vec![Heard::Ping; round], "a ping too early");
        world.pass_ms(300);
        assert_eq!(heard(&peer.received()), vec![Heard::Ping; round + 1], "no ping");
        peer.send(&frame(Opcode::Pong, b""));
        world.pass_ms(10);
    }
    assert!(!peer.is_ended());
    assert_eq!(world.drops(DropReason::NoPong), 0);
}

#[test]
fn any_frame_is_as_good_as_a_pong() {
    let world = World::new(&Plan::new(1));
    let peer = world.open(UPGRADE);
    world.pass_ms(25_200);
    assert_eq!(heard(&peer.received()), [Heard::Ping]);
    peer.send(&frame(Opcode::Text, b"here"));
    world.pass(20);
    assert_eq!(heard(&peer.received()), [Heard::Ping, Heard::Text("here".to_owned())]);
    assert!(!peer.is_ended());
}

#[test]
fn a_websocket_that_speaks_is_never_pinged() {
    let world = World::new(&Plan::new(1));
    let peer = world.open(UPGRADE);
    for _ in 0..12 {
        world.pass(10);
        peer.send(&frame(Opcode::Text, b"x"));
    }
    world.pass(1);
    assert_eq!(heard(&peer.received()), vec![Heard::Text("x".to_owned()); 12]);
}

#[test]
fn who_does_not_answer_a_ping_is_told_and_given_up() {
    let world = World::new(&Plan::new(1));
    let peer = world.open(&upgrade("a", ""));
    world.pass_ms(25_200);
    assert_eq!(heard(&peer.received()), [Heard::Ping]);
    world.pass_ms(7_750);
    assert_eq!(heard(&peer.received()), [Heard::Ping], "given up too early");
    world.pass_ms(400);
    let close = Heard::Close(3012, "no pong".to_owned());
    assert_eq!(heard(&peer.received()), [Heard::Ping, close]);
    assert_eq!(peer.ending(), Some(Ok(())), "the server ends too");
    assert_eq!(world.drops(DropReason::NoPong), 1);
    // It never ends its own direction: nobody is there.
    world.pass_ms(5_200);
    assert_eq!(world.live(), 0);
    world.run_empty();
}

#[test]
fn a_slow_reader_that_reads_is_not_taken_for_dead() {
    let flags = vec!["--max-backpressure", "1m"];
    let plan = Plan { socket_bytes: 1024, flags, ..Plan::new(1) };
    let world = World::new(&plan);
    let reader = world.open(&upgrade("a", ""));
    reader.stop_reading();
    let publisher = world.connect();
    let text = "x".repeat(1000);
    for _ in 0..200 {
        let answer = world.exchange(&publisher, &post("a", &text));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // One send of 64 KiB takes longer than the interval of pings, but less than that and the
    // patience with a pong.
    for _ in 0..205 {
        world.pass_ms(430);
        reader.start_reading();
        reader.stop_reading();
        assert!(!reader.is_ended(), "cut after {} bytes", reader.received().len());
    }
    reader.start_reading();
    world.pass(1);
    assert_eq!(messages(&reader.received()), vec![text; 200]);
    assert_eq!(heard(&reader.received()).len(), 200, "no ping and no Close");
    assert_eq!(world.drops(DropReason::NoPong), 0);
}

#[test]
fn a_reader_that_stopped_for_good_is_given_up_though_much_is_queued() {
    let flags = vec!["--max-backpressure", "1m"];
    let plan = Plan { socket_bytes: 1024, flags, ..Plan::new(1) };
    let world = World::new(&plan);
    let reader = world.open(&upgrade("a", ""));
    reader.stop_reading();
    let publisher = world.connect();
    for _ in 0..20 {
        world.exchange(&publisher, &post("a", &"x".repeat(1000)));
    }
    world.pass(32);
    assert_eq!(world.drops(DropReason::NoPong), 0);
    assert!(world.held_bytes() >= 18_000);
    world.pass(2 + 6);
    assert_eq!(world.drops(DropReason::NoPong), 1);
    assert_eq!((world.live(), world.held_bytes()), (0, 0));
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    let _ = world.exchange(&peer, INDEX);
    world.pass_ms(14_900);
    assert!(!peer.is_ended());
    world.pass_ms(200);
    assert_eq!(peer.ending(), Some(Ok(())));
    assert_eq!(peer.received(), b"", "nobody asked, nobody is told");
    assert_eq!(world.drops(DropReason::KeepaliveTimeout), 1);
    peer.fin();
    world.run_empty();
}

#[test]
fn a_body_that_drips_is_given_up_after_the_time_of_the_whole_request() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    peer.send(b"POST /channels/a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    for _ in 0..9 {
        world.pass_ms(1_100);
        peer.send(b"x");
        assert_eq!(peer.received(), b"", "too early");
    }
    world.pass_ms(300);
    assert!(text_of(&peer).starts_with("HTTP/1.1 408 "), "{}", text_of(&peer));
    assert_eq!(world.drops(DropReason::HeaderTimeout), 1);
    peer.fin();
    world.run_empty();
}

#[test]
fn a_later_request_has_its_own_time_from_its_first_byte() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    let _ = world.exchange(&peer, INDEX);
    world.pass(12);
    peer.send(b"GET / HT");
    // Later than the idle connection would have ended, and without moving the clock.
    world.pass_ms(5_000);
    peer.send(b"TP/1.1\r\n");
    world.pass_ms(4_900);
    assert_eq!(peer.received(), b"", "too early");
    world.pass_ms(300);
    assert!(text_of(&peer).starts_with("HTTP/1.1 408 "), "{}", text_of(&peer));
    peer.fin();
    world.run_empty();
}

#[test]
fn a_request_in_time_is_answered_and_the_connection_waits_anew() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    for _ in 0..3 {
        peer.send(&INDEX.as_bytes()[..9]);
        world.pass(9);
        let answer = world.exchange(&peer, &INDEX[9..]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        world.pass(14);
        assert!(!peer.is_ended());
    }
}

#[test]
fn who_was_told_to_go_and_stays_is_cut_after_the_close_timeout() {
    let world = World::new(&Plan::new(1));
    let peer = world.open(UPGRADE);
    peer.send(b"\x81\x01x");
    world.pass_ms(10);
    let told = heard(&peer.received());
    assert!(matches!(told[..], [Heard::Close(1002, _)]), "{told:?}");
    assert_eq!(peer.ending(), Some(Ok(())));
    world.pass_ms(4_800);
    assert_eq!(world.live(), 1, "cut too early");
    world.pass_ms(400);
    assert_eq!(world.live(), 0);
    assert_eq!(world.drops(DropReason::CloseTimeout), 1);
    world.run_empty();
}

#[test]
fn a_close_of_the_server_waits_for_the_peers_but_not_forever() {
    let world = World::new(&Plan::new(1));
    let target = "a?since=0123456789abcdef:7";
    let (silent, polite) = (world.open(&upgrade(target, "")), world.open(&upgrade(target, "")));
    for peer in [&silent, &polite] {
        world.run_until(|| !heard(&peer.received()).is_empty());
        let told = heard(&peer.received());
        assert!(matches!(told[..], [Heard::Close(3010, _)]), "{told:?}");
        assert!(!peer.is_ended(), "it may still say its Close");
    }
    polite.send(&frame(Opcode::Close, &close_payload(3010)));
    world.pass_ms(100);
    assert_eq!(polite.ending(), Some(Ok(())), "both have closed");
    assert!(!silent.is_ended());
    world.pass_ms(5_200);
    assert!(silent.is_ended());
    polite.fin();
    world.run_empty();
}

#[test]
fn a_long_poll_without_news_is_answered_when_its_wait_is_over() {
    let world = World::new(&Plan { workers: 2, ..Plan::new(1) });
    let peer = world.connect();
    let now = position_of(&world.exchange(&peer, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n"));
    for (query, wait_ms) in [
        (format!("since={now}&wait=2"), 2_000),
        ("wait=3".to_owned(), 3_000),
        (format!("since={now}&wait=99"), 30_000),
        (format!("wait=1&since={now}"), 1_000),
    ] {
        peer.send(format!("GET /channels/a?{query} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        world.pass_ms(wait_ms - 10);
        assert_eq!(peer.received(), b"", "{query}: too early");
        world.pass_ms(200);
        let received = peer.take_received();
        assert!(is_whole(&received), "{query}: no answer");
        let answer = parse_answer(body(&received)).expect("a poll's answer");
        assert_eq!((answer.position, answer.recovered, answer.items.len()), (now, true, 0));
    }
    assert!(!peer.is_ended(), "the connection is kept");
}

#[test]
fn an_event_stream_without_news_has_a_heartbeat() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    peer.send(stream("a", "").as_bytes());
    world.run_until(|| peer.received().ends_with(b"\n\n"));
    let _ = peer.take_received();
    for _ in 0..3 {
        let began_ns = world.sim.now_ns();
        world.pass_ms(24_900);
        assert_eq!(peer.received(), b"", "too early");
        world.run_until(|| !peer.received().is_empty());
        assert_eq!(peer.take_received(), b": \n\n");
        assert!(world.sim.now_ns() - began_ns < 25_200_000_000, "too late");
    }
    assert!(!peer.is_ended());
}
