//! A WebSocket's messages come back, whatever the network does.

use ringwire_protocol::ws::{Opcode, encode_frame};
use ringwire_ring::sim::{Faults, each_seed};

use super::world::{Plan, World};

pub(super) const UPGRADE: &str = "GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The frames of some messages as a client sends them, and as the server says them back.
fn conversation(messages: usize, salt: u8) -> (Vec<u8>, Vec<u8>) {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for (number, mark) in (0..messages).zip((0..=u8::MAX).cycle()) {
        let len = [0, 1, 20, 125, 126, 300, 1000][(number + usize::from(salt)) % 7];
        let payload: Vec<u8> = (b'a'..=b'z').cycle().skip(number).take(len).collect();
        encode_frame(&mut asked, Opcode::Text, &payload, Some([salt, 2, 3, mark]));
        encode_frame(&mut answered, Opcode::Text, &payload, None);
    }
    (asked, answered)
}

#[test]
fn one_message_comes_back() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    let answer = world.exchange(&peer, UPGRADE);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    let (asked, answered) = conversation(1, 2);
    peer.send(&asked);
    world.run_until(|| peer.received() == answered);
}

#[test]
fn every_message_comes_back_under_every_lossless_fault() {
    each_seed(10, |seed| {
        // Through buffers of a few bytes a conversation can outlast the patience with a peer that
        // never answers a ping.
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { workers: 2, faults: Faults::lossless(), flags, ..Plan::new(seed) };
        let world = World::new(&plan);
        let peers: Vec<_> = (0..6).map(|_| world.connect()).collect();
        let scripts: Vec<_> = (0..6).map(|salt| conversation(12, salt)).collect();
        for (peer, (asked, _)) in peers.iter().zip(&scripts) {
            peer.send(UPGRADE.as_bytes());
            peer.send(asked);
        }
        let mut waiting: Vec<_> = peers.iter().zip(&scripts).collect();
        world.run_until(|| {
            waiting.retain(|(peer, (_, answered))| !peer.received().ends_with(answered));
            waiting.is_empty()
        });
        for peer in &peers {
            peer.fin();
        }
        world.run_until(|| peers.iter().all(|peer| peer.is_ended()) && world.live() == 0);
        assert_eq!(world.held_bytes(), 0);
    });
}
