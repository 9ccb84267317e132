//! A WebSocket's client on *sim* that speaks permessage-deflate, with the contexts it agreed on.
//!
//! Not here: any test. Invariant: what it inflates went through the very window that was agreed.

use ringwire_protocol::http::parse_response;
use ringwire_protocol::ws::{
    Cursor, DeflateOffer, Deflator, Effort, Event, Inbound, Inflator, Opcode, Role,
    check_switching, encode_compressed_frame, encode_deflate_offer,
};
use ringwire_ring::sim::RawPeer;

use super::wire::{LIMITS, frame};
use super::world::{World, is_whole};
use crate::app::Application;

/// What an offer of nothing in particular is.
pub(super) const OFFER: DeflateOffer = DeflateOffer {
    server_window_bits: 15,
    client_window_bits: Some(15),
    server_no_context_takeover: false,
    client_no_context_takeover: false,
};

/// Something that the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A message, and whether it came compressed.
    Message(Vec<u8>, bool),
    Close(u16, String),
}

/// A request for a WebSocket with this value of `Sec-WebSocket-Extensions`.
pub(super) fn request(target: &str, extensions: &str, extra: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: {extensions}\r\n{extra}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A client after its 101.
pub(super) struct Speaker {
    pub(super) peer: RawPeer,
    /// What stood behind the 101.
    early: Vec<Said>,
    inbound: Inbound,
    inflator: Inflator,
    deflator: Deflator,
}

impl Speaker {
    /// Offers `offer`, which has to be accepted.
    pub(super) fn open<A: Application>(
        world: &World<A>,
        target: &str,
        offer: DeflateOffer,
    ) -> Self {
        let peer = world.connect();
        peer.send(request(target, &encode_deflate_offer(&offer), "").as_bytes());
        world.run_until(|| is_whole(&peer.received()));
        Self::after_upgrade(peer, offer)
    }

    /// The 101 is there, and perhaps frames behind it.
    fn after_upgrade(peer: RawPeer, offer: DeflateOffer) -> Self {
        let received = peer.take_received();
        let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let response = parse_response(&received[..end]).expect("a head");
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let offered = ["ringwire.json.1".to_owned()];
        let switched = check_switching(&response, key, &offered, Some(&offer)).expect("a 101");
        let agreed = switched.deflate.expect("compression");
        let mut speaker = Self {
            peer,
            early: Vec::new(),
            inbound: Inbound::with_deflate(Role::Client),
            inflator: Inflator::new(agreed.incoming(Role::Client)),
            deflator: Deflator::new(agreed.outgoing(Role::Client), Effort::Quick),
        };
        speaker.early = speaker.take(&received[end..]);
        speaker
    }

    /// Sends a compressed message.
    pub(super) fn send(&mut self, payload: &[u8]) {
        let mut compressed = Vec::new();
        self.deflator.deflate(payload, &mut compressed);
        self.send_compressed(&compressed);
    }

    /// Sends these bytes as a compressed message, whatever they are.
    pub(super) fn send_compressed(&self, compressed: &[u8]) {
        let mut out = Vec::new();
        encode_compressed_frame(&mut out, Opcode::Text, compressed, Some([7, 8, 9, 10]));
        self.peer.send(&out);
    }

    /// Sends a message as it is.
    pub(super) fn send_plain(&self, payload: &[u8]) {
        self.peer.send(&frame(Opcode::Text, payload));
    }

    /// What has been said since the last call.
    pub(super) fn hear(&mut self) -> Vec<Said> {
        let received = self.peer.take_received();
        let mut said = std::mem::take(&mut self.early);
        said.extend(self.take(&received));
        said
    }

    fn take(&mut self, received: &[u8]) -> Vec<Said> {
        let mut bytes = received.to_vec();
        let mut cursor = Cursor::new(&mut bytes);
        let (mut said, mut out) = (Vec::new(), Vec::new());
        while let Some(event) = self.inbound.next(&mut cursor, &LIMITS).expect("correct frames") {
            match event {
                Event::Message { payload, .. } => said.push(Said::Message(payload.to_vec(), false)),
                Event::Compressed { kind, payload } => {
                    let message = self.inflator.inflate(payload, kind, &LIMITS, &mut out);
                    said.push(Said::Message(message.expect("a good stream").to_vec(), true));
                }
                Event::Close(close) => {
                    let close = close.expect("a code");
                    said.push(Said::Close(close.code.0, close.reason.to_owned()));
                }
                Event::Ping(_) | Event::Pong(_) => {}
            }
        }
        said
    }

    /// Waits for one thing to be said.
    pub(super) fn wait<A: Application>(&mut self, world: &World<A>) -> Said {
        let mut said = Vec::new();
        world.run_until(|| {
            said.extend(self.hear());
            !said.is_empty()
        });
        assert_eq!(said.len(), 1, "{said:?}");
        said.remove(0)
    }
}
