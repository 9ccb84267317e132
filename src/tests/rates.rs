//! How often a WebSocket's peer may speak, and how long one message may take.
//!
//! Not here: memory on a real machine (`live/floods`).

use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::echo::UPGRADE;
use super::wire::{Heard, frame, heard, upgrade};
use super::world::{Plan, World};
use crate::metrics::DropReason;

fn world(flags: &[&'static str]) -> World {
    World::new(&Plan { flags: flags.to_vec(), ..Plan::new(1) })
}

/// What a WebSocket heard until its end.
fn heard_to_the_end(world: &World, peer: &RawPeer) -> Vec<Heard> {
    world.run_until(|| peer.is_ended());
    assert_eq!(peer.ending(), Some(Ok(())), "reset");
    heard(&peer.received())
}

fn policy(heard: Option<&Heard>) -> &str {
    match heard {
        Some(Heard::Close(1008, reason)) => reason,
        other => panic!("{other:?} instead of 1008"),
    }
}

#[test]
fn messages_come_at_their_rate_or_not_at_all() {
    let world = world(&["--message-rate-limit", "10", "--ping-interval", "1h"]);
    let peer = world.open(UPGRADE);
    let hello = frame(Opcode::Text, b"hello");
    // Twice a second's worth at once, then one each tenth of a second, for as long as it likes.
    peer.send(&hello.repeat(20));
    for _ in 0..50 {
        world.pass_ms(101);
        peer.send(&hello);
    }
    world.pass_ms(100);
    assert_eq!(heard(&peer.received()), vec![Heard::Text("hello".to_owned()); 70]);
    // Pings are not messages.
    peer.send(&frame(Opcode::Ping, b"").repeat(100));
    world.pass_ms(1);
    assert!(!peer.is_ended());
    peer.send(&hello.repeat(40));
    let all = heard_to_the_end(&world, &peer);
    assert!(policy(all.last()).contains("messages"), "{all:?}");
    let echoes = all.iter().filter(|heard| matches!(heard, Heard::Text(_))).count();
    assert!((70..70 + 21).contains(&echoes), "{echoes} echoes");
    assert_eq!(world.drops(DropReason::MessageRate), 1);
    world.run_empty();
}

#[test]
fn pings_and_pongs_come_at_their_rate_or_not_at_all() {
    for opcode in [Opcode::Ping, Opcode::Pong] {
        let world = world(&["--control-frame-rate", "20"]);
        let peer = world.open(UPGRADE);
        peer.send(&frame(opcode, b"x").repeat(50));
        world.pass_ms(1);
        peer.send(&frame(Opcode::Text, b"hello").repeat(100));
        world.pass_ms(1);
        assert!(!peer.is_ended(), "messages are not counted");
        peer.send(&frame(opcode, b"x").repeat(3));
        let all = heard_to_the_end(&world, &peer);
        assert!(policy(all.last()).contains("pings or pongs"), "{all:?}");
        assert_eq!(world.drops(DropReason::ControlRate), 1);
        world.run_empty();
    }
}

#[test]
fn a_new_connection_in_an_old_slot_has_its_whole_burst() {
    let world = world(&["--message-rate-limit", "1"]);
    for _ in 0..5 {
        let peer = world.open(UPGRADE);
        peer.send(&frame(Opcode::Text, b"a").repeat(2));
        world.run_until(|| heard(&peer.received()).len() == 2);
        peer.fin();
        world.run_empty();
    }
}

#[test]
fn a_message_that_takes_too_long_is_ended_however_it_drips() {
    // With less time than between two pings, and with more.
    for (timeout, seconds) in [("3s", 3), ("30s", 30), ("90s", 90)] {
        let world = world(&["--message-timeout", timeout]);
        let text = frame(Opcode::Text, &[b'x'; 60_000]);
        let mut fragment = frame(Opcode::Text, b"a");
        fragment[0] &= 0x7f;
        let mut more = frame(Opcode::Continuation, b"b");
        more[0] &= 0x7f;
        for (begin, drip) in [(&text[..100], &text[100..101]), (&fragment, &more)] {
            let peer = world.open(UPGRADE);
            peer.send(&frame(Opcode::Text, b"whole"));
            peer.send(begin);
            let begun_ns = world.sim.now_ns();
            while !peer.is_ended() {
                world.pass_ms(500);
                peer.send(drip);
            }
            let took_ms = (world.sim.now_ns() - begun_ns) / 1_000_000;
            assert!((seconds * 1000..seconds * 1000 + 1000).contains(&took_ms), "{took_ms} ms");
            let all = heard(&peer.received());
            assert!(policy(all.last()).contains("took too long"), "{all:?}");
        }
        assert_eq!(world.drops(DropReason::MessageTimeout), 2);
        world.run_empty();
    }
}

#[test]
fn messages_that_are_whole_in_time_go_on_for_ever() {
    let world = world(&["--message-timeout", "2s"]);
    let peer = world.open(UPGRADE);
    let message = frame(Opcode::Text, b"hello");
    // Each receive ends one message and begins the next, so that one is always open.
    peer.send(&message[..4]);
    for _ in 0..100 {
        world.pass_ms(1000);
        peer.send(&message[4..]);
        peer.send(&message[..4]);
    }
    world.pass_ms(10);
    let texts = heard(&peer.received());
    let texts = texts.iter().filter(|heard| matches!(heard, Heard::Text(_))).count();
    assert_eq!((texts, peer.is_ended()), (100, false));
    // And an idle one is pinged as ever, not ended.
    peer.send(&message[4..]);
    world.pass(26);
    assert_eq!(heard(&peer.received()).last(), Some(&Heard::Ping));
    assert_eq!(world.drops(DropReason::MessageTimeout), 0);
    peer.fin();
    world.run_empty();
}

#[test]
fn who_was_told_to_close_wins_no_time_with_further_messages() {
    let world = world(&["--message-timeout", "2s", "--client-publish", "off"]);
    let peer = world.open(&upgrade("a", ""));
    let message = frame(Opcode::Text, b"hello");
    peer.send(&message);
    let begun_ns = world.sim.now_ns();
    peer.send(&message[..4]);
    while !peer.is_ended() && world.sim.now_ns() - begun_ns < 60_000_000_000 {
        world.pass_ms(500);
        peer.send(&message[4..]);
        peer.send(&message[..4]);
    }
    // Five seconds for the peer's Close.
    let took_ms = (world.sim.now_ns() - begun_ns) / 1_000_000;
    assert!((5000..6000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(world.drops(DropReason::CloseTimeout), 1);
    world.run_empty();
}

#[test]
fn a_peer_that_dies_within_a_message_is_given_up() {
    for timeout in ["2s", "26s", "30s", "10m"] {
        let world = world(&["--message-timeout", timeout]);
        let peer = world.open(UPGRADE);
        peer.send(&frame(Opcode::Text, b"hello")[..4]);
        let begun_ns = world.sim.now_ns();
        world.run_until(|| peer.is_ended());
        // 25 s to the ping, 8 s for the pong.
        assert!(world.sim.now_ns() - begun_ns < 34_000_000_000, "{timeout}");
        let all = heard(&peer.received());
        let code = if timeout == "10m" { 3012 } else { 1008 };
        assert!(matches!(all.last(), Some(Heard::Close(found, _)) if *found == code), "{all:?}");
        world.run_empty();
    }
}

#[test]
fn who_is_not_read_from_is_not_late() {
    // It does not read its echoes, so its next message is left where it is.
    let flags = vec!["--message-timeout", "5s", "--ping-interval", "1h"];
    let world = World::new(&Plan { socket_bytes: 4096, flags, ..Plan::new(1) });
    let peer = world.open(UPGRADE);
    peer.stop_reading();
    let message = frame(Opcode::Binary, &[7; 3000]);
    peer.send(&message.repeat(40));
    world.pass(60);
    assert!(!peer.is_ended() && peer.unsent_bytes() > 0);
    peer.start_reading();
    world.run_until(|| peer.unsent_bytes() == 0);
    world.run_until(|| heard(&peer.received()).len() == 40);
    assert_eq!(world.drops(DropReason::MessageTimeout), 0);
    peer.fin();
    world.run_empty();
}

#[test]
fn limits_hold_under_every_lossless_fault() {
    each_seed(6, |seed| {
        let flags = vec!["--message-rate-limit", "50", "--ping-interval", "1h"];
        let plan = Plan { workers: 2, faults: Faults::lossless(), flags, ..Plan::new(seed) };
        let world = World::new(&plan);
        let peers: Vec<_> = (0..4).map(|_| world.open(UPGRADE)).collect();
        for peer in &peers {
            peer.send(&frame(Opcode::Text, b"flood").repeat(5000));
        }
        world.run_until(|| peers.iter().all(RawPeer::is_ended));
        for peer in &peers {
            let all = heard(&peer.received());
            assert!(policy(all.last()).contains("messages"), "{:?}", all.last());
        }
        world.run_empty();
    });
}
