//! permessage-deflate over real sockets: round trips, a publication for many, and bombs, whose cost
//! is read off the process.
//!
//! Not here: the rules, which `protocol`'s tests have, and the table of modes (`src/tests`).

use std::net::SocketAddr;
use std::sync::OnceLock;

use ringwire_protocol::ws::{
    Cursor, DeflateOffer, Deflator, Direction, Effort, Event, Inbound, Inflator, Kind, Limits,
    Opcode, Role, check_switching, client_key, encode_compressed_frame, encode_deflate_offer,
    encode_frame, encode_upgrade_request,
};

use crate::client::{Client, post};
use crate::harness::{Engine, Running, eventually};
use crate::process::Process;

on_both_engines!(
    compressed_messages_come_back,
    a_publication_is_compressed_once_for_all,
    bombs_cost_one_buffer_and_are_closed_with_1009,
    contexts_cost_what_they_are_said_to,
);

const LIMITS: Limits = Limits { message_bytes_max: 8 << 20, empty_fragments_max: 16 };
const NONCE: [u8; 16] = *b"the sample nonce";
const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

/// A WebSocket that compresses everything it says.
struct Socket {
    client: Client,
    inbound: Inbound,
    inflator: Inflator,
    deflator: Deflator,
}

/// What it heard.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Message(Vec<u8>, bool),
    Close(u16, String),
}

impl Socket {
    fn open(address: SocketAddr, target: &str) -> Self {
        let mut client = Client::connect(address);
        let offer = DeflateOffer::default();
        let header = ("Sec-WebSocket-Extensions".to_owned(), encode_deflate_offer(&offer));
        let mut request = Vec::new();
        let key = client_key(NONCE);
        encode_upgrade_request(&mut request, "h", target, &key, &[], &[header]);
        client.send(request);
        let agreed = client
            .head()
            .checked(|response| check_switching(response, &key, &[], Some(&offer)))
            .deflate
            .expect("compression");
        Self {
            client,
            inbound: Inbound::with_deflate(Role::Client),
            inflator: Inflator::new(agreed.incoming(Role::Client)),
            deflator: Deflator::new(agreed.outgoing(Role::Client), Effort::Quick),
        }
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) {
        let mut compressed = Vec::new();
        self.deflator.deflate(payload, &mut compressed);
        let mut out = Vec::new();
        encode_compressed_frame(&mut out, kind.opcode(), &compressed, MASK);
        self.client.send(out);
    }

    /// The next thing that is said; whatever follows it in the same read must be more of nothing.
    fn hear(&mut self) -> Heard {
        let mut out = Vec::new();
        loop {
            assert!(!self.client.received.is_empty() || self.client.read_more(), "an early end");
            let mut bytes = std::mem::take(&mut self.client.received);
            let mut cursor = Cursor::new(&mut bytes);
            let heard = match self.inbound.next(&mut cursor, &LIMITS).unwrap() {
                None => continue,
                Some(Event::Message { payload, .. }) => Heard::Message(payload.to_vec(), false),
                Some(Event::Compressed { kind, payload }) => {
                    let message = self.inflator.inflate(payload, kind, &LIMITS, &mut out);
                    Heard::Message(message.unwrap().to_vec(), true)
                }
                Some(Event::Close(close)) => {
                    let close = close.unwrap();
                    Heard::Close(close.code.0, close.reason.to_owned())
                }
                Some(event) => panic!("{event:?}"),
            };
            let left = cursor.remaining();
            self.client.received = bytes.split_off(bytes.len() - left);
            return heard;
        }
    }

    fn leave(mut self) {
        let mut close = Vec::new();
        encode_frame(&mut close, Opcode::Close, &1000_u16.to_be_bytes(), MASK);
        self.client.send(close);
        assert_eq!(self.hear(), Heard::Close(1000, String::new()));
        assert!(!self.client.read_more());
    }
}

fn text(len: usize, salt: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < len {
        let number = (text.len() * 31 + salt) * 7919 % 100_003;
        text.push_str(&format!("{{\"id\":{number},\"name\":\"user {salt}\"}},"));
    }
    text.truncate(len);
    text.into_bytes()
}

fn compressed_messages_come_back(engine: Engine) {
    for mode in ["shared", "dedicated"] {
        let flags = ["--compression", mode, "--max-message-size", "2m"];
        let server = Running::start(engine, 2, &flags);
        let mut sockets: Vec<_> = (0..3).map(|_| Socket::open(server.address, "/echo")).collect();
        for len in [0, 1, 255, 256, 1000, 65_536, 1 << 20] {
            for (salt, socket) in sockets.iter_mut().enumerate() {
                let message = text(len, salt);
                socket.send(Kind::Text, &message);
                socket.send(Kind::Binary, &message);
                for _ in 0..2 {
                    let heard = socket.hear();
                    assert!(heard == Heard::Message(message.clone(), true), "{mode} {len}");
                }
            }
        }
        sockets.into_iter().for_each(Socket::leave);
    }
}

fn a_publication_is_compressed_once_for_all(engine: Engine) {
    for mode in ["shared", "dedicated"] {
        let server = Running::start(engine, 3, &["--compression", mode]);
        let mut sockets: Vec<_> =
            (0..20).map(|_| Socket::open(server.address, "/channels/a")).collect();
        let mut client = Client::connect(server.address);
        for round in 1..=5 {
            let message = text(1024, round);
            client.ask(post("a", "", &message)).published();
            for socket in &mut sockets {
                assert_eq!(socket.hear(), Heard::Message(message.clone(), true));
            }
            // The figure is shown at the end of the turn, which may be after the frames.
            let compressed = || server.sum(|metrics| metrics.publications_compressed.value());
            eventually(|| compressed() >= round as u64, || format!("{} compressed", compressed()));
            assert_eq!(compressed(), round as u64, "{mode}");
        }
        drop(client);
        sockets.into_iter().for_each(Socket::leave);
    }
}

/// A frame of 60 MiB of zeros: a little less than 64 KiB.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        // After the first MiB every other is compressed to the same bytes.
        let direction = Direction { window_bits: 15, context_takeover: true };
        let mut deflator = Deflator::new(direction, Effort::Thorough);
        let (mut first, mut other, mut frame) = (Vec::new(), Vec::new(), Vec::new());
        deflator.deflate(&vec![0; 1 << 20], &mut first);
        deflator.deflate(&vec![0; 1 << 20], &mut other);
        let flushed = [&[0, 0, 0xFF, 0xFF], &other[..]].concat();
        let bomb = [first, flushed.repeat(59)].concat();
        encode_compressed_frame(&mut frame, Opcode::Binary, &bomb, MASK);
        assert!((32 << 10..64 << 10).contains(&frame.len()), "{} bytes", frame.len());
        frame
    })
}

fn bombs_cost_one_buffer_and_are_closed_with_1009(engine: Engine) {
    for mode in ["shared", "dedicated"] {
        let process = Process::start(engine, 1, &["--compression", mode]);
        let explode = |count: usize| {
            let mut sockets: Vec<_> =
                (0..count).map(|_| Socket::open(process.address, "/echo")).collect();
            // All at once: what each costs would be seen together.
            for socket in &mut sockets {
                socket.client.send(bomb());
            }
            for mut socket in sockets {
                let expected = Heard::Close(1009, "the message is too big".to_owned());
                assert_eq!(socket.hear(), expected);
            }
            process.await_metric("ringwire_connections", &[], 0);
        };
        // The first ones bring in what is kept: buffers, tables, the scratch inflator.
        explode(4);
        let before = process.resident_bytes();
        for _ in 0..3 {
            explode(64);
        }
        let grown = process.resident_bytes().saturating_sub(before);
        // One bomb inflated is 60 MiB. What is gathered of 64 frames that arrive in pieces is
        // 4 MiB, three times that while buffers grow, and 64 contexts are 3 MiB; the allocator
        // keeps some of it for the next ones.
        assert!(grown < 32 << 20, "{mode}: {grown} bytes more");
    }
}

fn contexts_cost_what_they_are_said_to(engine: Engine) {
    const COUNT: u64 = 100;
    let per_connection = |mode: &str| {
        let process = Process::start(engine, 1, &["--compression", mode]);
        let mut sockets: Vec<_> = Vec::new();
        let mut before = 0;
        for number in 0..COUNT + 1 {
            let mut socket = Socket::open(process.address, "/echo");
            socket.send(Kind::Text, &text(1000, 1));
            assert_eq!(socket.hear(), Heard::Message(text(1000, 1), true));
            sockets.push(socket);
            if number == 0 {
                before = process.resident_bytes();
            }
        }
        let grown = process.resident_bytes().saturating_sub(before) / COUNT;
        sockets.into_iter().for_each(Socket::leave);
        grown
    };
    let (shared, dedicated) = (per_connection("shared"), per_connection("dedicated"));
    assert!(shared < 16 << 10, "{shared} bytes for each without a context");
    // What is never written to is not resident: a few messages touch less than is allocated.
    assert!((64 << 10..512 << 10).contains(&dedicated), "{dedicated} bytes for each with one");
}
