//! What bad input gets: a clear answer, the end of the connection, and nothing kept.

use ringwire_protocol::ws::{Opcode, encode_frame};
use ringwire_ring::sim::each_seed;

use super::echo::UPGRADE;
use super::wire::{post, stream};
use super::world::{Plan, World};

/// Requests, and the status each is refused with.
const REFUSED: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
    ("POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
    (
        "POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        400,
    ),
    (
        "POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
         Transfer-Encoding: chunked\r\n\r\nx",
        400,
    ),
    ("POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
    ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505),
    ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ("GET /channels/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /channels/a%20b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /channels/a?wait=soon HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("DELETE /channels/a HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
    ("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", 426),
    ("GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n", 403),
    ("GET / HTTP/1.1\r\nHost: a\r\nOrigin: null\r\n\r\n", 403),
];

fn status(answer: &str) -> u16 {
    let line = answer.lines().next().unwrap_or_default();
    line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

#[test]
fn every_refused_request_is_told_why_and_its_connection_ends() {
    let world = World::new(&Plan::new(1));
    for &(request, expected) in REFUSED {
        let peer = world.connect();
        let answer = world.exchange(&peer, request);
        assert_eq!(status(&answer), expected, "{request:?} got {answer:?}");
        assert!(answer.contains("Connection: close\r\n"), "{request:?} got {answer:?}");
        let reason = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(reason.len() > 10 && reason.ends_with('\n'), "{request:?} got {answer:?}");
        world.run_until(|| peer.is_ended());
        assert_eq!(peer.ending(), Some(Ok(())), "{request:?} was reset instead of ended");
    }
    world.pass(10);
    assert_eq!((world.live(), world.held_bytes()), (0, 0));
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let world = World::new(&Plan::new(1));
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let large_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(120));
    for (request, expected) in [(long_line, 414), (large_head, 431), (many, 431)] {
        let peer = world.connect();
        assert_eq!(status(&world.exchange(&peer, &request)), expected);
        world.run_until(|| peer.is_ended());
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# If the server does not wish to accept this connection, it MUST return an appropriate HTTP
//# error code (e.g., 403 Forbidden) and abort the WebSocket handshake described in this
//# section.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# If this version does not match a version understood by the server, the server MUST abort the
//# WebSocket handshake described in this section and instead send an appropriate HTTP error
//# code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field indicating
//# the version(s) the server is capable of understanding.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# If the requested service is not available, the server MUST send an appropriate HTTP error
//# code (such as 404 Not Found) and abort the WebSocket handshake.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.4
//= type=test
//# If the server doesn't support the requested version, it MUST respond with a
//# |Sec-WebSocket-Version| header field (or multiple |Sec-WebSocket-Version| header fields)
//# containing all versions it is willing to use.
//= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.2
//= type=test
//# To do so, the server MUST simply _Close the WebSocket Connection_ (Section 7.1.1).
#[test]
fn upgrades_that_break_a_rule_are_refused() {
    let world = World::new(&Plan::new(1));
    let with = |from: &str, to: &str| UPGRADE.replace(from, to);
    for (request, expected) in [
        (with("Version: 13", "Version: 8"), 426),
        (with("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (with("GET /echo", "POST /echo"), 405),
        (with("Host: h\r\n", "Host: h\r\nContent-Length: 3\r\n"), 400),
        (with("/echo", "/nowhere"), 404),
        (with("/echo", "/channels/a%20b"), 400),
        (with("Host: h\r\n", "Host: h\r\nOrigin: http://evil\r\n"), 403),
    ] {
        let peer = world.connect();
        let answer = world.exchange(&peer, &request);
        assert_eq!(status(&answer), expected, "{request:?} got {answer:?}");
        if expected == 426 {
            assert!(answer.contains("Sec-WebSocket-Version: 13\r\n"), "{answer:?}");
        }
        world.run_until(|| peer.is_ended());
    }
}

/// Opens a WebSocket, sends `bytes`, and gives what came back when the connection ended.
fn provoke(world: &World, bytes: &[u8]) -> Vec<u8> {
    let peer = world.connect();
    let answer = world.exchange(&peer, UPGRADE);
    assert_eq!(status(&answer), 101, "{answer}");
    peer.send(bytes);
    world.run_until(|| peer.is_ended());
    assert_eq!(peer.ending(), Some(Ok(())), "{bytes:02x?} was answered by a reset");
    peer.take_received()
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7
//= type=test
//# Similarly, to do so, the server MUST _Close the WebSocket Connection_, and SHOULD log the
//# problem.
#[test]
fn frames_that_break_a_rule_are_closed_with_the_code_of_the_rule() {
    let world = World::new(&Plan::new(1));
    let key = Some([1, 2, 3, 4]);
    let framed = |opcode, payload: &[u8]| {
        let mut out = Vec::new();
        encode_frame(&mut out, opcode, payload, key);
        out
    };
    let mut reserved = framed(Opcode::Text, b"x");
    reserved[0] |= 0x40;
    let mut unfinished = framed(Opcode::Text, &[b'a'; 100]);
    unfinished[0] &= 0x7f;
    unfinished.extend(framed(Opcode::Text, b"another"));
    for (bytes, code) in [
        (b"\x81\x01x".to_vec(), 1002),
        (reserved, 1002),
        (unfinished, 1002),
        (framed(Opcode::Continuation, b"x"), 1002),
        (framed(Opcode::Close, &[0x03, 0xed]), 1002),
        (framed(Opcode::Text, b"\xff"), 1007),
        // The declared length alone is enough.
        (b"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0".to_vec(), 1009),
    ] {
        let answer = provoke(&world, &bytes);
        let code = u16::to_be_bytes(code);
        assert_eq!(answer[0], 0x88, "{bytes:02x?} got {answer:02x?}");
        assert_eq!(answer[2..4], code, "{bytes:02x?} got {answer:02x?}");
        assert!(answer.len() > 8, "no reason for {bytes:02x?}");
    }
    world.pass(10);
    assert_eq!((world.live(), world.held_bytes()), (0, 0));
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
//= type=test
//# After both sending and receiving a Close message, an endpoint considers the WebSocket
//# connection closed and MUST close the underlying TCP connection.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
//= type=test
//# The server MUST close the underlying TCP connection immediately; the client SHOULD wait for
//# the server to close the connection but MAY close the connection at any time after sending
//# and receiving a Close message, e.g., if it has not received a TCP Close from the server in a
//# reasonable time period.
#[test]
fn a_close_is_answered_with_its_own_code_and_the_server_ends_first() {
    let world = World::new(&Plan::new(1));
    let mut close = Vec::new();
    encode_frame(&mut close, Opcode::Close, &3333_u16.to_be_bytes(), Some([9; 4]));
    assert_eq!(provoke(&world, &close), [0x88, 2, 0x0d, 0x05]);
    let mut empty = Vec::new();
    encode_frame(&mut empty, Opcode::Close, &[], Some([9; 4]));
    assert_eq!(provoke(&world, &empty), [0x88, 0]);
}

#[test]
fn slow_requests_end_after_their_time_however_they_drip() {
    let world = World::new(&Plan::new(1));
    let silent = world.connect();
    let dripping = world.connect();
    dripping.send(b"GET / HTTP/1.1\r\n");
    for _ in 0..9 {
        world.pass(1);
        dripping.send(b"X: y\r\n");
        assert!(!dripping.is_ended());
    }
    world.pass(2);
    for peer in [silent, dripping] {
        let answer = String::from_utf8(peer.take_received()).expect("ASCII");
        assert_eq!(status(&answer), 408, "{answer}");
    }
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let world = World::new(&Plan::new(1));
    let peer = world.connect();
    let mut request =
        String::from("POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    request.push_str("GET /channels/a HTTP/1.1\r\nHost: a\r\n\r\n");
    request.push_str("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    peer.send(request.as_bytes());
    world.run_until(|| peer.is_ended());
    let answers = String::from_utf8(peer.take_received()).expect("ASCII");
    let offsets: Vec<_> = answers.match_indices("\"offset\":1").map(|(at, _)| at).collect();
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
    assert_eq!(offsets.len(), 2, "{answers}");
    assert!(answers.ends_with("\r\n\r\n"), "HEAD has no body: {answers}");
}

#[test]
fn a_stream_that_is_asked_for_behind_a_request_ends_with_its_peer() {
    for ask in [stream("a", ""), "GET /channels/a?wait=30 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()] {
        each_seed(8, |seed| {
            let world = World::new(&Plan { workers: 2, ..Plan::new(seed) });
            let peer = world.connect();
            let bytes: String = (0..8).map(|_| post("a", "x")).chain([ask.clone()]).collect();
            peer.send(bytes.as_bytes());
            peer.fin();
            world.run_until(|| peer.is_ended());
            world.run_empty();
            let answers = String::from_utf8(peer.take_received()).expect("ASCII");
            assert!(answers.matches("\"offset\":").count() >= 8, "{answers}");
        });
    }
}

#[test]
fn what_comes_behind_a_request_for_a_stream_is_not_kept_and_its_end_is_seen() {
    each_seed(8, |seed| {
        let world = World::new(&Plan { workers: 2, ..Plan::new(seed) });
        let peer = world.connect();
        peer.send(stream("a", "").as_bytes());
        peer.send(&[b'x'; 100_000]);
        world.run_until(|| peer.received().starts_with(b"HTTP/1.1 200 "));
        world.run_until(|| peer.unsent_bytes() == 0 && world.held_bytes() == 0);
        assert!(!peer.is_ended());
        peer.fin();
        world.run_until(|| peer.is_ended());
        world.run_empty();
    });
}
