//! What RFC 6455 asks of a server that only its bytes on the wire can show.
//!
//! Not here: how frames are read (`ringwire_protocol`), refusals (`input`).

use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::{Faults, each_seed};

use super::echo::UPGRADE;
use super::puppet::{Theatre, say, text};
use super::wire::{Heard, body, close_payload, frame, heard};
use super::world::{Plan, World};

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2
//= type=test
//# Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless it
//# already received a Close frame.
#[test]
fn a_ping_is_answered_in_its_own_words_and_not_after_a_close() {
    let world = World::new(&Plan::new(1));
    for len in [0, 1, 4, 124, 125] {
        let peer = world.open(UPGRADE);
        let payload = vec![0x5A; len];
        peer.send(&frame(Opcode::Ping, &payload));
        world.run_until(|| heard(&peer.received()) == [Heard::Pong(payload.clone())]);
        let mut bytes = frame(Opcode::Close, &close_payload(1000));
        bytes.extend(frame(Opcode::Ping, &payload));
        peer.send(&bytes);
        world.run_until(|| peer.is_ended());
        let all = heard(&peer.received());
        assert_eq!(all.last(), Some(&Heard::Close(1000, String::new())));
        assert_eq!(all.len(), 2, "{all:?}");
        peer.fin();
    }
    world.run_empty();
}

/// First byte and length of every frame; none may be masked.
fn frames(received: &[u8]) -> Vec<(u8, usize)> {
    let mut frames = Vec::new();
    let mut rest = body(received);
    while let [first, second, more @ ..] = rest {
        assert!(*second < 0x80, "a server's frame is masked");
        let (len, after) = match second {
            126 => (usize::from(u16::from_be_bytes([more[0], more[1]])), &more[2..]),
            127 => panic!("longer than any message of this test"),
            short => (usize::from(*short), more),
        };
        frames.push((*first, len));
        rest = &after[len..];
    }
    frames
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
//= type=test
//# A server MUST NOT mask any frames that it sends to the client.
#[test]
fn a_server_masks_nothing() {
    let theatre = Theatre::new(&Plan::new(1));
    let peer = theatre.open();
    peer.send(&frame(Opcode::Ping, b"ping"));
    for words in ["text", "send 10", "send 126", "send 60000", "close 4000 bye"] {
        say(&peer, words);
    }
    peer.send(&frame(Opcode::Close, &close_payload(4000)));
    theatre.world.run_until(|| peer.is_ended());
    let expected = [(0x8A, 4), (0x81, 4), (0x82, 10), (0x82, 126), (0x82, 60_000), (0x88, 5)];
    assert_eq!(frames(&peer.received()), expected);
    theatre.end(&[&peer]);
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
//= type=test
//# The frame(s) that have been formed MUST be transmitted over the underlying network
//# connection.
#[test]
fn what_is_sent_is_transmitted_whatever_the_kernel_takes_at_once() {
    each_seed(5, |seed| {
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { faults: Faults::lossless(), flags, ..Plan::new(seed) };
        let theatre = Theatre::new(&plan);
        let peer = theatre.open();
        say(&peer, "send 5000");
        say(&peer, "behind");
        theatre.world.run_until(|| heard(&peer.received()).len() == 2);
        let told = [Heard::Binary(vec![b'x'; 5000]), text("behind")];
        assert_eq!(heard(&peer.received()), told);
        theatre.end(&[&peer]);
    });
}
