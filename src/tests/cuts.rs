//! The same bytes, cut at every length, get the same answers.
//!
//! Not here: what the answers should be in each case (`input`, `channels`). Every world has the
//! same seed, so that even the epochs are the same.

use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::{Faults, each_seed};

use super::echo::UPGRADE;
use super::wire::{Heard, close_payload, frame, heard, post, upgrade};
use super::world::{Plan, World};

/// Bytes of one client, and how to see that all of its answers are there.
struct Script {
    bytes: Vec<u8>,
    is_answered: fn(&[u8]) -> bool,
}

impl Script {
    /// HTTP requests, and frames behind an upgrade, all pipelined.
    fn echo() -> Self {
        let mut bytes = post("a", "first").into_bytes();
        bytes.extend(post("a", "second").into_bytes());
        bytes.extend(b"GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n");
        bytes.extend(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        bytes.extend(UPGRADE.as_bytes());
        bytes.extend(fragments("H\u{e9}l", "l\u{20ac}o"));
        bytes.extend(frame(Opcode::Text, "na\u{ef}ve".as_bytes()));
        bytes.extend(frame(Opcode::Binary, &[0xff; 130]));
        bytes.extend(frame(Opcode::Text, b""));
        bytes.extend(frame(Opcode::Close, &close_payload(1000)));
        Self { bytes, is_answered: |received| received.ends_with(&[0x88, 2, 0x03, 0xe8]) }
    }

    /// A publication, and frames that are published behind an upgrade to the same channel.
    fn channel() -> Self {
        let mut bytes = post("a", "zero").into_bytes();
        bytes.extend(upgrade("a", "Sec-WebSocket-Protocol: ringwire.json.1\r\n").as_bytes());
        bytes.extend(fragments("on", "e"));
        bytes.extend(frame(Opcode::Text, b"two"));
        bytes.extend(frame(Opcode::Binary, b"three"));
        Self { bytes, is_answered: |received| received.ends_with(b"\"data_base64\":\"dGhyZWU=\"}") }
    }

    /// What comes back when the bytes are sent in pieces that end at `cuts`.
    fn play(&self, plan: &Plan, cuts: impl Iterator<Item = usize>) -> Vec<u8> {
        let world = World::new(plan);
        let peer = world.connect();
        let mut from = 0;
        for at in cuts {
            peer.send(&self.bytes[from..at]);
            from = at;
            // Long enough for the piece to be received before the next is sent.
            world.pass_ms(1);
        }
        peer.send(&self.bytes[from..]);
        world.run_until(|| (self.is_answered)(&peer.received()) || peer.is_ended());
        peer.fin();
        world.run_until(|| peer.is_ended());
        assert_eq!(peer.ending(), Some(Ok(())), "reset after {} bytes", peer.received().len());
        world.run_empty();
        peer.take_received()
    }
}

/// A text in two fragments with a ping in between, and a ping behind it.
fn fragments(first: &str, second: &str) -> Vec<u8> {
    let mut bytes = frame(Opcode::Text, first.as_bytes());
    bytes[0] &= 0x7f;
    bytes.extend(frame(Opcode::Ping, b"between"));
    bytes.extend(frame(Opcode::Continuation, second.as_bytes()));
    bytes.extend(frame(Opcode::Ping, b"behind"));
    bytes
}

/// The answers to the whole script at once, which are looked at closely.
fn expected_echo(script: &Script, plan: &Plan) -> Vec<u8> {
    let expected = script.play(plan, std::iter::empty());
    let begin = expected.windows(13).position(|line| line == b"HTTP/1.1 101 ").expect("a 101");
    let http = String::from_utf8(expected[..begin].to_vec()).expect("ASCII");
    assert_eq!(http.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{http}");
    assert_eq!(http.matches("\"offset\":1}").count(), 1, "{http}");
    assert_eq!(http.matches("\"offset\":2}").count(), 1, "{http}");
    assert_eq!(http.matches("\"offset\":2,\"recovered\":true,\"items\":[]}").count(), 1, "{http}");
    let text = |text: &str| Heard::Text(text.to_owned());
    assert_eq!(
        heard(&expected[begin..]),
        [
            Heard::Pong(b"between".to_vec()),
            text("H\u{e9}ll\u{20ac}o"),
            Heard::Pong(b"behind".to_vec()),
            text("na\u{ef}ve"),
            Heard::Binary(vec![0xff; 130]),
            text(""),
            Heard::Close(1000, String::new()),
        ]
    );
    expected
}

fn expected_channel(script: &Script, plan: &Plan) -> Vec<u8> {
    let expected = script.play(plan, std::iter::empty());
    let begin = expected.windows(13).position(|line| line == b"HTTP/1.1 101 ").expect("a 101");
    let all = heard(&expected[begin..]);
    let pongs = all.iter().filter(|heard| matches!(heard, Heard::Pong(_))).count();
    let texts: Vec<_> = all
        .iter()
        .filter_map(|heard| match heard {
            Heard::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!((pongs, texts.len()), (2, 4), "{all:?}");
    assert!(texts[0].ends_with("\"offset\":1,\"recovered\":true}"), "{all:?}");
    assert_eq!(texts[1], "{\"offset\":2,\"data\":\"one\"}");
    assert_eq!(texts[2], "{\"offset\":3,\"data\":\"two\"}");
    expected
}

#[test]
fn requests_and_frames_cut_in_two_anywhere_get_the_same_answers() {
    let plan = Plan::new(1);
    let script = Script::echo();
    let expected = expected_echo(&script, &plan);
    for at in 1..script.bytes.len() {
        let answers = script.play(&plan, std::iter::once(at));
        assert!(answers == expected, "cut at {at}: {}", String::from_utf8_lossy(&answers));
    }
}

#[test]
fn requests_and_frames_that_come_byte_by_byte_get_the_same_answers() {
    let plan = Plan::new(1);
    let script = Script::echo();
    let expected = expected_echo(&script, &plan);
    let answers = script.play(&plan, 1..script.bytes.len());
    assert!(answers == expected, "{}", String::from_utf8_lossy(&answers));
}

/// Pongs are not part of the order: they overtake what the home has not given back yet.
fn without_pongs(answers: &[u8]) -> (Vec<u8>, Vec<Heard>) {
    let begin = answers.windows(13).position(|line| line == b"HTTP/1.1 101 ").expect("a 101");
    let mut rest = heard(&answers[begin..]);
    rest.retain(|heard| !matches!(heard, Heard::Pong(_)));
    let end = answers.windows(4).rposition(|four| four == b"\r\n\r\n").expect("a head");
    (answers[..end].to_vec(), rest)
}

#[test]
fn frames_to_a_channel_cut_anywhere_are_published_once_and_in_order() {
    let plan = Plan { workers: 2, ..Plan::new(2) };
    let script = Script::channel();
    let expected = without_pongs(&expected_channel(&script, &plan));
    for at in 1..script.bytes.len() {
        let answers = script.play(&plan, std::iter::once(at));
        assert_eq!(without_pongs(&answers), expected, "cut at {at}");
    }
    let answers = script.play(&plan, 1..script.bytes.len());
    assert_eq!(without_pongs(&answers), expected, "byte by byte");
}

#[test]
fn faults_that_lose_nothing_change_no_answer() {
    each_seed(10, |seed| {
        let flags = || vec!["--ping-interval", "1h"];
        let script = Script::echo();
        let expected = expected_echo(&script, &Plan { flags: flags(), ..Plan::new(seed) });
        let plan = Plan { faults: Faults::lossless(), flags: flags(), ..Plan::new(seed) };
        let answers = script.play(&plan, std::iter::empty());
        assert!(answers == expected, "{}", String::from_utf8_lossy(&answers));
    });
}
