//! The same bytes, cut anywhere, give the same events, and nothing is held at the end.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

mod random;

use random::Random;
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Kind, Limits, Opcode, Role, Violation, encode_close, encode_frame,
    encode_header, mask,
};

const LIMITS: Limits = Limits { message_bytes_max: 100_000, empty_fragments_max: 16 };

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Compressed(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Violation(Violation),
}

impl Seen {
    fn of(event: Event<'_>) -> Self {
        match event {
            Event::Message { kind, payload } => Self::Message(kind, payload.to_vec()),
            Event::Compressed { kind, payload } => Self::Compressed(kind, payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(None) => Self::Close(None),
            Event::Close(Some(frame)) => {
                Self::Close(Some((frame.code.0, frame.reason.to_string())))
            }
        }
    }
}

/// Reads pieces until they end or the connection has failed.
fn read<'b>(role: Role, pieces: impl Iterator<Item = &'b [u8]>) -> (Vec<Seen>, Inbound) {
    let mut inbound = Inbound::new(role);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut cursor = Cursor::new(&mut bytes);
        loop {
            match inbound.next(&mut cursor, &LIMITS) {
                Ok(None) => break,
                Ok(Some(event)) => seen.push(Seen::of(event)),
                Err(violation) => {
                    seen.push(Seen::Violation(violation));
                    assert_eq!(inbound.held_bytes(), 0, "a failed connection holds nothing");
                }
            }
        }
        assert_eq!(cursor.remaining(), 0, "None means that all is consumed");
        if inbound.is_at_boundary() {
            assert_eq!(inbound.held_bytes(), 0, "nothing is held between messages");
        }
    }
    (seen, inbound)
}

fn check_all_cuts(role: Role, stream: &[u8], random: &mut Random) -> Vec<Seen> {
    let (whole, _) = read(role, std::iter::once(stream));
    // Every piece length of a short stream; of a long one a few that are not round.
    let lens: Vec<usize> = if stream.len() <= 600 {
        (1..stream.len()).collect()
    } else {
        vec![1, 2, 3, 5, 13, 14, 15, 127, 1021, 4099]
    };
    for len in lens {
        assert_eq!(read(role, stream.chunks(len)).0, whole, "pieces of {len}");
    }
    for _ in 0..8 {
        let pieces = random_pieces(stream, random);
        let lens: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(read(role, pieces.into_iter()).0, whole, "pieces of {lens:?}");
    }
    whole
}

fn random_pieces<'b>(mut stream: &'b [u8], random: &mut Random) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let len_max = random.pick(&[4, 20, 300, 5000]);
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(random.below(len_max + 1).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// Writes a stream of random frames and what they mean.
struct Writer<'r> {
    random: &'r mut Random,
    role: Role,
    stream: Vec<u8>,
    expected: Vec<Seen>,
}

impl Writer<'_> {
    /// Frames go to this role, so a server's are masked.
    fn key(&mut self) -> Option<[u8; 4]> {
        let [a, b, c, d, ..] = self.random.next().to_le_bytes();
        (self.role == Role::Server).then_some([a, b, c, d])
    }

    fn frame(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        let key = self.key();
        let mut header = [0; 14];
        let len = encode_header(&mut header, opcode, fin, payload.len(), key);
        self.stream.extend_from_slice(&header[..len]);
        let at = self.stream.len();
        self.stream.extend_from_slice(payload);
        mask(&mut self.stream[at..], key.unwrap_or_default(), 0);
    }

    fn text(&mut self, len: usize) -> Vec<u8> {
        let letters = [
            'a',
            '\u{7F}',
            '\u{80}',
            '\u{DF}',
            '\u{7FF}',
            '\u{20AC}',
            '\u{D7FF}',
            '\u{10000}',
            '\u{10FFFF}',
        ];
        let mut text = String::new();
        while text.len() < len {
            text.push(self.random.pick(&letters));
        }
        text.into_bytes()
    }

    fn control(&mut self) {
        let len = self.random.pick(&[0, 1, 4, 124, 125]);
        let payload = self.random.bytes(len);
        if self.random.below(2) == 0 {
            self.frame(Opcode::Ping, true, &payload);
            self.expected.push(Seen::Ping(payload));
        } else {
            self.frame(Opcode::Pong, true, &payload);
            self.expected.push(Seen::Pong(payload));
        }
    }

    fn message(&mut self, lens: &[usize]) {
        let len = self.random.pick(lens);
        let kind = self.random.pick(&[Kind::Text, Kind::Binary]);
        let payload = match kind {
            Kind::Text => self.text(len),
            Kind::Binary => self.random.bytes(len),
        };
        let fragments = self.random.pick(&[1, 1, 1, 2, 3, 7]);
        let mut opcode = kind.opcode();
        let mut rest = &payload[..];
        for _ in 1..fragments {
            // A cut in the middle of a character is allowed.
            let (piece, after) = rest.split_at(self.random.below(rest.len() + 1));
            self.frame(opcode, false, piece);
            if self.random.below(3) == 0 {
                self.control();
            }
            opcode = Opcode::Continuation;
            rest = after;
        }
        self.frame(opcode, true, rest);
        self.expected.push(Seen::Message(kind, payload));
    }

    fn close(&mut self) {
        let key = self.key();
        let mut out = [0; 131];
        let code = self.random.pick(&[1000, 1001, 1011, 1012, 3000, 4999, 1005]);
        let len = encode_close(&mut out, code, "so l\u{F6}ng", key);
        self.stream.extend_from_slice(&out[..len]);
        let expected = (code != 1005).then(|| (code, "so l\u{F6}ng".to_string()));
        self.expected.push(Seen::Close(expected));
        // Nothing follows a Close, whatever comes.
        self.frame(Opcode::Ping, true, b"late");
        self.stream.push(0xFF);
    }
}

fn write(role: Role, random: &mut Random, lens: &[usize]) -> (Vec<u8>, Vec<Seen>) {
    let mut writer = Writer { random, role, stream: Vec::new(), expected: Vec::new() };
    for _ in 0..1 + writer.random.below(5) {
        match writer.random.below(4) {
            0 => writer.control(),
            _ => writer.message(lens),
        }
    }
    if writer.random.below(2) == 0 {
        writer.close();
    }
    (writer.stream, writer.expected)
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
//= type=test
//# Message fragments MUST be delivered to the recipient in the order sent by the sender.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
//= type=test
//# An endpoint MUST be capable of handling control frames in the middle of a fragmented
//# message.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
//= type=test
//# Clients and servers MUST support receiving both fragmented and unfragmented messages.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
//= type=test
//# Incoming data MUST be parsed as WebSocket frames as defined in Section 5.2.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
//= type=test
//# If a control frame (Section 5.5) is received, the frame MUST be handled as defined by
//# Section 5.5.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
//= type=test
//# Upon receiving a data frame (Section 5.6), the endpoint MUST note the /type/ of the data as
//# defined by the opcode (frame-opcode) from Section 5.2.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
//= type=test
//# Subsequent data frames MUST be interpreted as belonging to a new WebSocket message.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
//= type=test
//# A server MUST remove masking for data frames received from a client as described in Section
//# 5.3.
#[test]
fn cut_anywhere_it_means_the_same() {
    let mut random = Random::seeded();
    for round in 0..60 {
        let role = random.pick(&[Role::Server, Role::Client]);
        let (stream, expected) = write(role, &mut random, &[0, 1, 5, 20, 125, 126, 127, 200]);
        assert_eq!(check_all_cuts(role, &stream, &mut random), expected, "round {round}");
        let (_, inbound) = read(role, stream.chunks(3));
        assert_eq!(inbound.held_bytes(), 0);
        assert!(inbound.is_at_boundary());
    }
}

#[test]
fn long_messages_cut_anywhere() {
    let mut random = Random::seeded();
    for round in 0..6 {
        let role = random.pick(&[Role::Server, Role::Client]);
        let lens = [65_535, 65_536, 65_537, 90_000, 1000];
        let (stream, expected) = write(role, &mut random, &lens);
        assert_eq!(check_all_cuts(role, &stream, &mut random), expected, "round {round}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-10.7
//= type=test
//# Incoming data MUST always be validated by both clients and servers.
#[test]
fn damaged_streams_cut_anywhere() {
    let mut random = Random::seeded();
    let mut violations = 0;
    for _ in 0..200 {
        let role = random.pick(&[Role::Server, Role::Client]);
        let (mut stream, _) = write(role, &mut random, &[0, 1, 20, 126]);
        for _ in 0..=random.below(3) {
            let at = random.below(stream.len());
            stream[at] ^= 1 << random.below(8);
        }
        stream.truncate(550);
        let seen = check_all_cuts(role, &stream, &mut random);
        let at = seen.iter().position(|s| matches!(s, Seen::Violation(_) | Seen::Close(_)));
        assert!(at.is_none_or(|at| at + 1 == seen.len()), "nothing follows: {seen:?}");
        violations += usize::from(matches!(seen.last(), Some(Seen::Violation(_))));
    }
    assert!(violations > 20, "the damage shows: {violations} of 200");
}

#[test]
fn noise_cut_anywhere() {
    let mut random = Random::seeded();
    for _ in 0..100 {
        let role = random.pick(&[Role::Server, Role::Client]);
        let len = random.below(80);
        let noise = random.bytes(len);
        check_all_cuts(role, &noise, &mut random);
    }
}

/// `len` bytes of a binary message, of which only the first `arrived` are given.
fn unfinished(role: Role, len: usize, arrived: usize) -> Vec<u8> {
    let key = (role == Role::Server).then_some([7; 4]);
    let mut frame = Vec::new();
    encode_frame(&mut frame, Opcode::Binary, &vec![1; len], key);
    let header_len = frame.len() - len;
    frame.truncate(header_len + arrived);
    frame
}

#[test]
fn memory_follows_what_arrived_not_what_was_announced() {
    for role in [Role::Server, Role::Client] {
        for (arrived, held_max) in [(0, 400), (1, 400), (1000, 2400), (99_999, 100_400)] {
            let stream = unfinished(role, 100_000, arrived);
            for len in [stream.len(), 100] {
                let (seen, inbound) = read(role, stream.chunks(len));
                assert_eq!(seen, []);
                assert!(!inbound.is_at_boundary());
                let held = inbound.held_bytes();
                assert!(held >= arrived && held <= held_max, "{held} held for {arrived}");
            }
        }
    }
}

#[test]
fn whole_messages_stay_where_they_are() {
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, Opcode::Text, b"one", Some([1, 2, 3, 4]));
    let second = bytes.len();
    encode_frame(&mut bytes, Opcode::Binary, &[9; 70_000], Some([5, 6, 7, 8]));
    let third = bytes.len();
    encode_frame(&mut bytes, Opcode::Ping, b"three", Some([9; 4]));
    let start = bytes.as_ptr().addr();
    let mut inbound = Inbound::new(Role::Server);
    let mut places = Vec::new();
    let mut cursor = Cursor::new(&mut bytes);
    while let Some(event) = inbound.next(&mut cursor, &LIMITS).unwrap() {
        places.push(match event {
            Event::Message { payload, .. } | Event::Compressed { payload, .. } => {
                payload.as_ptr().addr() - start
            }
            Event::Ping(payload) | Event::Pong(payload) => payload.as_ptr().addr() - start,
            Event::Close(_) => usize::MAX,
        });
        assert_eq!(inbound.held_bytes(), 0);
    }
    assert_eq!(places, [6, second + 14, third + 6]);
}

#[test]
fn masking_changes_the_payload_and_not_its_length() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let payload = vec![0; len];
        let (mut plain, mut masked) = (Vec::new(), Vec::new());
        encode_frame(&mut plain, Opcode::Binary, &payload, None);
        encode_frame(&mut masked, Opcode::Binary, &payload, Some([1, 2, 3, 4]));
        assert_eq!(plain.len() + 4, masked.len());
        assert_eq!(plain.len(), ringwire_protocol::ws::frame_len(len, false));
        assert_eq!(masked.len(), ringwire_protocol::ws::frame_len(len, true));
        assert!(masked[masked.len() - len..].iter().all(|&byte| byte != 0));
    }
}
