//! What clients say and hear, as bytes: the words of the tests' scripts.
//!
//! Not here: any test, any network.

use ringwire_protocol::poll::parse_answer;
use ringwire_protocol::ws::{Cursor, Event, Inbound, Kind, Limits, Opcode, Role, encode_frame};
use ringwire_protocol::{Position, sse};

pub(super) const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 16 };

pub(super) fn upgrade(channel: &str, extra: &str) -> String {
    format!(
        "GET /channels/{channel} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{extra}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

pub(super) fn stream(channel: &str, extra: &str) -> String {
    format!(
        "GET /channels/{channel} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{extra}\r\n"
    )
}

pub(super) fn post(channel: &str, body: &str) -> String {
    let len = body.len();
    format!("POST /channels/{channel} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
}

pub(super) fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    &answer[end + 4..]
}

pub(super) fn position_of(answer: &str) -> Position {
    parse_answer(answer.split("\r\n\r\n").nth(1).expect("a body").as_bytes())
        .expect("a poll's answer")
        .position
}

/// The payloads of the messages in what a WebSocket's client received, the 101 left out.
pub(super) fn messages(received: &[u8]) -> Vec<String> {
    let mut bytes = body(received).to_vec();
    let mut inbound = Inbound::new(Role::Client);
    let mut cursor = Cursor::new(&mut bytes);
    let mut texts = Vec::new();
    while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("correct frames") {
        if let Event::Message { payload, .. } = event {
            texts.push(String::from_utf8(payload.to_vec()).expect("text"));
        }
    }
    texts
}

/// The data of the events in what an event stream's client received.
pub(super) fn events(received: &[u8]) -> Vec<(String, String)> {
    let mut parser = sse::Parser::new(1 << 20);
    let mut bytes = body(received);
    let mut found = Vec::new();
    while let Some(event) = parser.next(&mut bytes).expect("small events") {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        found.push((text(event.name), text(event.data)));
    }
    found
}

/// One frame as a client sends it.
pub(super) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, payload, Some([0x11, 0x22, 0x33, 0x44]));
    out
}

/// The payload of a Close frame.
pub(super) fn close_payload(code: u16) -> [u8; 2] {
    code.to_be_bytes()
}

/// Something that a WebSocket's client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
}

/// What a WebSocket's client received, the 101 left out.
pub(super) fn heard(received: &[u8]) -> Vec<Heard> {
    let mut bytes = body(received).to_vec();
    let mut inbound = Inbound::new(Role::Client);
    let mut cursor = Cursor::new(&mut bytes);
    let mut all = Vec::new();
    while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("correct frames") {
        all.push(match event {
            Event::Message { kind: Kind::Text, payload } => {
                Heard::Text(String::from_utf8(payload.to_vec()).expect("text"))
            }
            Event::Message { kind: Kind::Binary, payload } => Heard::Binary(payload.to_vec()),
            Event::Compressed { .. } => panic!("compression was not offered"),
            Event::Ping(_) => Heard::Ping,
            Event::Pong(payload) => Heard::Pong(payload.to_vec()),
            Event::Close(Some(close)) => Heard::Close(close.code.0, close.reason.to_owned()),
            Event::Close(None) => Heard::Close(0, String::new()),
        });
    }
    all
}
