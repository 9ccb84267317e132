//! Who may publish: by POST with a token, by WebSocket where clients may, or with a token.
//!
//! Not here: the file of tokens (`tokens`).

use ringwire_protocol::ws::Opcode;

use super::wire::{Heard, frame, heard, post, upgrade};
use super::world::{Plan, World};
use crate::metrics::DropReason;

const TOKENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/tokens.txt");
const FIRST: &str = "Authorization: Bearer first-token\r\n";

fn world(flags: &[&'static str]) -> World {
    World::new(&Plan { workers: 2, flags: flags.to_vec(), ..Plan::new(1) })
}

/// A publication with lines more.
fn post_with(lines: &str) -> String {
    post("a", "text").replacen("Host: h\r\n", &format!("Host: h\r\n{lines}"), 1)
}

#[test]
fn a_publication_needs_one_of_the_tokens() {
    let world = world(&["--publish-token", TOKENS]);
    for (lines, status) in [
        (FIRST, 200),
        ("authorization: bearer second.token_~+/==\r\n", 200),
        ("", 401),
        ("Authorization: Bearer\r\n", 401),
        ("Authorization: Bearer first-toke\r\n", 401),
        ("Authorization: Bearer first-tokens\r\n", 401),
        ("Authorization: Basic first-token\r\n", 401),
        ("Authorization: first-token\r\n", 401),
        ("Authorization: Bearer first-token\r\nAuthorization: Bearer first-token\r\n", 401),
        ("Cookie: first-token\r\n", 401),
    ] {
        let peer = world.connect();
        let answer = world.exchange(&peer, &post_with(lines));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{lines:?}: {answer}");
        let asks = answer.contains("\r\nWWW-Authenticate: Bearer realm=\"ringwire\"\r\n");
        assert_eq!(asks, status == 401, "{lines:?}: {answer}");
        peer.fin();
    }
    // Reading needs none.
    let peer = world.connect();
    let answer = world.exchange(&peer, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.contains("\"offset\":2,"), "a refused publication was published: {answer}");
    peer.fin();
    world.run_empty();
}

#[test]
fn a_body_is_not_waited_for_from_who_may_not_send_it() {
    let world = world(&["--publish-token", TOKENS]);
    for framing in ["Content-Length: 60000\r\nExpect: 100-continue", "Transfer-Encoding: chunked"] {
        let peer = world.connect();
        let head = format!("POST /channels/a HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n");
        let answer = world.exchange(&peer, &head);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        world.run_until(|| peer.is_ended());
    }
    world.run_empty();
}

/// What a WebSocket client of the channel hears that publishes `hello`, and one that listens.
fn publish(world: &World, lines: &str) -> (Vec<Heard>, Vec<Heard>) {
    let listener = world.open(&upgrade("a", ""));
    let peer = world.open(&upgrade("a", lines));
    peer.send(&frame(Opcode::Text, b"hello"));
    world.run_until(|| heard(&peer.received()).len() == 1);
    // The other one is to hear it too, if anybody does.
    world.pass_ms(100);
    let both = (heard(&peer.received()), heard(&listener.received()));
    peer.fin();
    listener.fin();
    world.run_empty();
    both
}

#[test]
fn clients_publish_where_they_may_or_with_a_token() {
    let hello = vec![Heard::Text("hello".to_owned())];
    let on = world(&["--publish-token", TOKENS]);
    assert_eq!(publish(&on, ""), (hello.clone(), hello.clone()));
    let off = world(&["--publish-token", TOKENS, "--client-publish", "off"]);
    assert_eq!(publish(&off, FIRST), (hello.clone(), hello.clone()));
    for lines in ["", "Authorization: Bearer nonsense\r\n"] {
        let (said, passed_on) = publish(&off, lines);
        let [Heard::Close(1008, reason)] = &said[..] else { panic!("{said:?}") };
        assert!(reason.contains("token"), "{reason}");
        assert_eq!(passed_on, []);
    }
    assert_eq!(off.drops(DropReason::Policy), 2);
    // Without any token nobody brings one.
    let none = world(&["--client-publish", "off"]);
    assert!(matches!(publish(&none, FIRST).0[..], [Heard::Close(1008, _)]));
}

#[test]
fn who_may_not_publish_may_speak_to_the_echo() {
    let world = world(&["--client-publish", "off"]);
    let peer = world.open(super::echo::UPGRADE);
    peer.send(&frame(Opcode::Text, b"hello"));
    world.run_until(|| heard(&peer.received()) == [Heard::Text("hello".to_owned())]);
    peer.fin();
    world.run_empty();
}
