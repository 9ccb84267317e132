//! Clients of the two transports that stay: a WebSocket and an event stream.
//!
//! Not here: the rules of either, which are `ringwire_protocol`'s, in the client role. Invariant:
//! what breaks a rule of the transport ends the test.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Kind, Limits, Opcode, Role, check_switching, client_key, encode_frame,
    encode_upgrade_request,
};
use ringwire_protocol::{Position, sse};

use crate::client::{Answer, Client, get};

const LIMITS: Limits = Limits { message_bytes_max: 64 << 20, empty_fragments_max: 16 };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const NONCE: [u8; 16] = *b"the sample nonce";

/// A frame as a client sends it.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, payload, Some(MASK));
    out
}

/// The payload of a Close.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A request for a WebSocket.
pub(crate) fn upgrade(target: &str, subprotocols: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_upgrade_request(&mut out, "h", target, &client_key(NONCE), subprotocols, &[]);
    out
}

/// What a WebSocket's server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) client: Client,
    inbound: Inbound,
    heard: VecDeque<Said>,
    pub(crate) subprotocol: Option<String>,
    /// The position at which a channel's stream begins.
    pub(crate) position: Option<Position>,
}

impl WebSocket {
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        Self::open_as(address, target, &[])
    }

    /// Offers `subprotocols`.
    pub(crate) fn open_as(address: SocketAddr, target: &str, subprotocols: &[&str]) -> Self {
        let offered: Vec<String> = subprotocols.iter().map(|&name| name.to_owned()).collect();
        let mut client = Client::connect(address);
        client.send(upgrade(target, &offered));
        Self::after_upgrade(client, &offered)
    }

    /// The request is sent: reads and checks the 101.
    pub(crate) fn after_upgrade(mut client: Client, offered: &[String]) -> Self {
        let answer = client.head();
        let checked = answer.switched(&client_key(NONCE), offered);
        let position = answer.header("ringwire-position").map(|text| text.parse().unwrap());
        let inbound = Inbound::new(Role::Client);
        Self { client, inbound, heard: VecDeque::new(), subprotocol: checked, position }
    }

    pub(crate) fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.client.send(frame(opcode, payload));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.send(Opcode::Text, text.as_bytes());
    }

    /// The next thing the server says; `None` when it ends the connection instead.
    pub(crate) fn hear_or_end(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.heard.pop_front() {
                return Some(said);
            }
            if self.client.received.is_empty() && !self.client.read_more() {
                return None;
            }
            let mut bytes = std::mem::take(&mut self.client.received);
            let mut cursor = Cursor::new(&mut bytes);
            while let Some(event) = self.inbound.next(&mut cursor, &LIMITS).unwrap() {
                self.heard.push_back(said(event));
            }
        }
    }

    pub(crate) fn hear(&mut self) -> Said {
        self.hear_or_end().expect("the server ended the connection instead of saying something")
    }

    pub(crate) fn hear_text(&mut self) -> String {
        match self.hear() {
            Said::Text(text) => text,
            other => panic!("{other:?} instead of a text"),
        }
    }

    /// The server closes with `code`; the Close is answered, and the server ends first.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.hear() {
            Said::Close(Some((found, reason))) if found == code => reason,
            other => panic!("{other:?} instead of a Close with {code}"),
        };
        self.send(Opcode::Close, &close_payload(code, ""));
        assert_eq!(self.hear_or_end(), None);
        reason
    }

    /// Closes; the server answers with the same code and ends first.
    pub(crate) fn leave(mut self) {
        self.send(Opcode::Close, &close_payload(1000, "done"));
        assert_eq!(self.hear(), Said::Close(Some((1000, String::new()))));
        assert_eq!(self.hear_or_end(), None);
    }
}

impl Answer {
    /// Checks a 101; the subprotocol it chose.
    fn switched(&self, key: &str, offered: &[String]) -> Option<String> {
        self.checked(|response| check_switching(response, key, offered, None)).subprotocol
    }
}

fn said(event: Event<'_>) -> Said {
    match event {
        Event::Message { kind: Kind::Text, payload } => {
            Said::Text(String::from_utf8(payload.to_vec()).unwrap())
        }
        Event::Message { kind: Kind::Binary, payload } => Said::Binary(payload.to_vec()),
        Event::Compressed { .. } => panic!("compression was not offered"),
        Event::Ping(payload) => Said::Ping(payload.to_vec()),
        Event::Pong(payload) => Said::Pong(payload.to_vec()),
        Event::Close(frame) => {
            Said::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned())))
        }
    }
}

/// An event of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) position: Option<Position>,
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) binary: Option<Vec<u8>>,
}

/// An open event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) client: Client,
    parser: sse::Parser,
    heard: VecDeque<Heard>,
}

impl EventStream {
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        Self::open_with(address, target, "")
    }

    /// `headers` are whole lines.
    pub(crate) fn open_with(address: SocketAddr, target: &str, headers: &str) -> Self {
        let mut client = Client::connect(address);
        client.send(get(target, &format!("Accept: text/event-stream\r\n{headers}")));
        let head = client.head();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(head.header("connection").as_deref(), Some("close"));
        assert_eq!(head.header("transfer-encoding"), None);
        assert_eq!(head.header("content-length"), None);
        Self { client, parser: sse::Parser::new(64 << 20), heard: VecDeque::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) fn hear_or_end(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            if self.client.received.is_empty() && !self.client.read_more() {
                return None;
            }
            let bytes = std::mem::take(&mut self.client.received);
            let mut rest = &bytes[..];
            while let Some(event) = self.parser.next(&mut rest).unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                self.heard.push_back(Heard {
                    position: event.position(),
                    name: text(event.name),
                    data: text(event.data),
                    binary: event.binary(),
                });
            }
        }
    }

    pub(crate) fn hear(&mut self) -> Heard {
        self.hear_or_end().expect("the stream ended instead of bringing an event")
    }

    /// The last id, and the time to wait before connecting again, as read so far.
    pub(crate) fn resumption(&self) -> (String, Option<u64>) {
        let id = String::from_utf8(self.parser.last_id().to_vec()).unwrap();
        (id, self.parser.retry_ms())
    }
}
