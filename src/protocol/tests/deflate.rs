//! Compressed messages: round trips under any parameters and cuts, foreign streams, bombs.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

mod random;

use random::Random;
use ringwire_protocol::ws::{
    Cursor, Deflator, Direction, Effort, Event, Inbound, Inflator, Kind, Limits, Opcode, Role,
    Violation, encode_compressed_frame, encode_header, mask, set_compressed,
};

const LIMITS: Limits = Limits { message_bytes_max: 200_000, empty_fragments_max: 16 };

fn direction(window_bits: u8, context_takeover: bool) -> Direction {
    Direction { window_bits, context_takeover }
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect()
}

fn inflate(inflator: &mut Inflator, payload: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::new();
    inflator.inflate(payload, Kind::Binary, &LIMITS, &mut out).map(|bytes| bytes.to_vec())
}

fn fresh(payload: &str) -> Result<String, Violation> {
    [false, true].map(|takeover| {
        let bytes = inflate(&mut Inflator::new(direction(15, takeover)), &hex(payload))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })[0]
        .clone()
}

/// Something that compresses as text does, or does not at all.
fn payload(random: &mut Random, len: usize) -> Vec<u8> {
    match random.below(3) {
        0 => random.bytes(len),
        1 => vec![random.next().to_le_bytes()[0]; len],
        _ => {
            let words = ["position", "offset", "\"id\":", "ringwire", ",", "1984", " \u{E9}"];
            let mut text = String::new();
            while text.len() < len {
                text.push_str(random.pick(&words));
            }
            text.into_bytes()
        }
    }
}

#[test]
fn every_message_comes_back_whatever_was_agreed() {
    let mut random = Random::seeded();
    for window_bits in 9..=15 {
        for takeover in [false, true] {
            let effort = random.pick(&[Effort::Quick, Effort::Thorough]);
            let mut deflator = Deflator::new(direction(window_bits, takeover), effort);
            // Whoever receives may always have the larger window.
            let mut inflators =
                [window_bits, 15].map(|bits| Inflator::new(direction(bits, takeover)));
            let mut scratch = Vec::new();
            for _ in 0..12 {
                let len = random.pick(&[0, 1, 2, 100, 700, 1024, 5000, 40_000, 80_000]);
                let message = payload(&mut random, len);
                if random.below(6) == 0 {
                    deflator.reset();
                }
                scratch.clear();
                deflator.deflate(&message, &mut scratch);
                assert!(!scratch.ends_with(&[0, 0, 0xFF, 0xFF]), "the tail is left out");
                for inflator in &mut inflators {
                    let back = inflate(inflator, &scratch).expect("what was compressed here");
                    assert!(back == message, "{window_bits} bits, takeover {takeover}, {len}");
                }
            }
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
//= type=test
//# If the "agreed parameters" contain the "server_no_context_takeover"
//# extension parameter, the server MUST start compressing each new
//# message with an empty LZ77 sliding window.
//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
//= type=test
//# If the "agreed parameters" contain the "client_no_context_takeover"
//# extension parameter, the client MUST start compressing each new
//# message with an empty LZ77 sliding window.
#[test]
fn without_takeover_each_message_stands_for_itself() {
    let message = b"the same words twice, the same words twice".repeat(5);
    let mut alone = Vec::new();
    Deflator::new(direction(15, false), Effort::Quick).deflate(&message, &mut alone);
    for takeover in [false, true] {
        let mut deflator = Deflator::new(direction(15, takeover), Effort::Quick);
        let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
        deflator.deflate(&message, &mut first);
        deflator.deflate(&message, &mut second);
        deflator.reset();
        deflator.deflate(&message, &mut third);
        assert_eq!((&first, &third), (&alone, &alone), "a reset is a new start");
        assert_eq!(second == alone, !takeover);
        assert!(second.len() <= first.len());
        let mut inflator = Inflator::new(direction(15, false));
        assert_eq!(inflate(&mut inflator, &second).is_ok_and(|b| b == message), !takeover);
    }
}

/// What a message is compressed to in which the same 200 bytes come twice with noise between.
fn compressed_len(window_bits: u8, between: usize) -> usize {
    let mut random = Random::seeded();
    let (marker, noise) = (random.bytes(200), random.bytes(between));
    let message = [&marker[..], &noise, &marker].concat();
    let mut out = Vec::new();
    Deflator::new(direction(window_bits, true), Effort::Thorough).deflate(&message, &mut out);
    out.len()
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
//= type=test
//# If the "agreed parameters" contain the "client_max_window_bits"
//# extension parameter with a value of w, the client MUST NOT use an
//# LZ77 sliding window longer than the w-th power of 2 bytes to compress
//# messages to send.
//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
//= type=test
//# If the "agreed parameters" contain the "server_max_window_bits"
//# extension parameter with a value of w, the server MUST NOT use an
//# LZ77 sliding window longer than the w-th power of 2 bytes to compress
//# messages to send.
#[test]
fn a_narrow_window_does_not_reach_far() {
    for window_bits in 9..=14 {
        let window = 1 << window_bits;
        let (far, near) = (compressed_len(window_bits, window), compressed_len(15, window));
        assert!(far > near + 100, "{window_bits} bits: {far} refers beyond the window, {near} may");
    }
}

#[test]
fn the_examples_of_the_rfc_are_understood() {
    // RFC 7692 section 7.2.3: one block, two blocks, no compression, a final block.
    for example in [
        "f2 48 cd c9 c9 07 00",
        "00 05 00 fa ff 48 65 6c 6c 6f 00",
        "f3 48 cd c9 c9 07 00 00",
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    ] {
        assert_eq!(fresh(example), Ok("Hello".to_owned()), "{example}");
    }
    // With a context, the second of two equal messages refers to the first.
    let mut inflator = Inflator::new(direction(15, true));
    for example in ["f2 48 cd c9 c9 07 00", "f2 00 11 00 00"] {
        assert_eq!(inflate(&mut inflator, &hex(example)), Ok(b"Hello".to_vec()));
    }
    for empty in ["00", "", "02 00", "03 00 00", "01 00 00 ff ff"] {
        assert_eq!(fresh(empty), Ok(String::new()), "{empty:?} is an empty message");
    }
}

#[test]
fn streams_that_end_in_a_message_are_followed_by_others() {
    // Two final blocks in one message, the second refers to the first.
    let hello = "f3 48 cd c9 c9 07 00 00";
    assert_eq!(fresh(&format!("{hello} {hello}")), Err(Violation::DeflateInvalid));
    let twice = "f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00";
    assert_eq!(fresh(twice), Ok("HelloHello".to_owned()));
    // A final block at the end of a message is a new start for the next, not an end.
    for takeover in [false, true] {
        let mut inflator = Inflator::new(direction(9, takeover));
        for _ in 0..3 {
            assert_eq!(inflate(&mut inflator, &hex(hello)), Ok(b"Hello".to_vec()));
        }
    }
    let mut inflator = Inflator::new(direction(15, true));
    assert_eq!(inflate(&mut inflator, &hex(hello)), Ok(b"Hello".to_vec()));
    assert_eq!(inflate(&mut inflator, &hex("f2 00 11 00 00")), Ok(b"Hello".to_vec()));
    // Each costs a new start, so that there is a bound.
    let many = |count| inflate(&mut Inflator::new(direction(15, true)), &[3, 0].repeat(count));
    assert_eq!(many(200), Ok(Vec::new()));
    assert_eq!(many(300), Err(Violation::DeflateInvalid));
}

#[test]
fn what_is_no_stream_is_refused() {
    assert_eq!(Violation::DeflateInvalid.close_code(), 1007);
    for bad in [
        "07",                         // a block of the reserved type
        "00 05 00 fa fe 48 65",       // lengths that do not agree
        "02 03 f0 00",                // a reference before the beginning
        "00 05 00 fa ff 48 65 6c 6c", // a block that is cut off
    ] {
        assert_eq!(fresh(bad), Err(Violation::DeflateInvalid), "{bad}");
    }
    // A stream that is cut inside of a compressed block.
    let mut whole = Vec::new();
    Deflator::new(direction(15, false), Effort::Quick)
        .deflate(&b"some words that repeat ".repeat(20), &mut whole);
    for len in 1..whole.len() - 1 {
        let cut = inflate(&mut Inflator::new(direction(15, false)), &whole[..len]);
        assert_eq!(cut, Err(Violation::DeflateInvalid), "{len} of {}", whole.len());
    }
}

#[test]
fn damage_is_refused_or_bounded_and_never_a_panic() {
    let mut random = Random::seeded();
    let mut refused = 0;
    for _ in 0..1000 {
        let len = random.below(3000);
        let message = payload(&mut random, len);
        let takeover = random.below(2) == 0;
        let bits = random.pick(&[9, 12, 15]);
        let mut stream = Vec::new();
        Deflator::new(direction(bits, takeover), Effort::Quick).deflate(&message, &mut stream);
        for _ in 0..=random.below(3) {
            let at = random.below(stream.len());
            stream[at] ^= 1 << random.below(8);
        }
        let limits = Limits { message_bytes_max: 4000, empty_fragments_max: 0 };
        let mut out = Vec::new();
        let mut inflator = Inflator::new(direction(bits, takeover));
        let kind = random.pick(&[Kind::Text, Kind::Binary]);
        match inflator.inflate(&stream, kind, &limits, &mut out) {
            Ok(bytes) => assert!(bytes.len() <= 4000),
            Err(_) => refused += 1,
        }
        assert!(out.capacity() <= 8 * 1024, "{} bytes for a limit of 4000", out.capacity());
    }
    assert!(refused > 100, "the damage shows: {refused} of 1000");
}

#[test]
fn a_bomb_costs_one_buffer_of_the_limit() {
    let mut bomb = Vec::new();
    Deflator::new(direction(15, false), Effort::Thorough).deflate(&vec![0; 8 << 20], &mut bomb);
    assert!(bomb.len() < 9_000, "{} bytes", bomb.len());
    for bytes_max in [0, 1, 1000, 65_536, 1 << 20] {
        let limits = Limits { message_bytes_max: bytes_max, empty_fragments_max: 0 };
        for takeover in [false, true] {
            let mut inflator = Inflator::new(direction(15, takeover));
            let mut out = Vec::new();
            let result = inflator.inflate(&bomb, Kind::Binary, &limits, &mut out).map(|_| ());
            assert_eq!(result, Err(Violation::MessageTooBig), "{bytes_max}");
            assert!(out.capacity() <= (bytes_max + 1).max(64), "{} kept", out.capacity());
        }
    }
}

#[test]
fn the_limit_is_met_to_the_byte() {
    for takeover in [false, true] {
        for bytes_max in [1, 63, 64, 65, 4096, 100_000] {
            let limits = Limits { message_bytes_max: bytes_max, empty_fragments_max: 0 };
            for (len, fits) in [(bytes_max - 1, true), (bytes_max, true), (bytes_max + 1, false)] {
                let mut stream = Vec::new();
                Deflator::new(direction(15, false), Effort::Quick)
                    .deflate(&vec![b'x'; len], &mut stream);
                let mut out = Vec::new();
                let mut inflator = Inflator::new(direction(15, takeover));
                let result = inflator.inflate(&stream, Kind::Text, &limits, &mut out);
                let expected = if fits { Ok(len) } else { Err(Violation::MessageTooBig) };
                assert_eq!(result.map(|bytes| bytes.len()), expected, "{len} of {bytes_max}");
            }
        }
    }
}

#[test]
fn text_is_validated_after_inflating() {
    let mut inflator = Inflator::new(direction(15, false));
    let mut out = Vec::new();
    for (text, valid) in [(&b"caf\xC3\xA9"[..], true), (b"caf\xC3", false), (b"\xFF", false)] {
        let mut stream = Vec::new();
        Deflator::new(direction(15, false), Effort::Quick).deflate(text, &mut stream);
        let result = inflator.inflate(&stream, Kind::Text, &LIMITS, &mut out);
        let expected = if valid { Ok(text.to_vec()) } else { Err(Violation::TextNotUtf8) };
        assert_eq!(result.map(|bytes| bytes.to_vec()), expected);
        let binary = inflator.inflate(&stream, Kind::Binary, &LIMITS, &mut out);
        assert_eq!(binary.map(|bytes| bytes.to_vec()), Ok(text.to_vec()));
    }
}

/// The frames of a compressed message, cut into fragments with pings between.
fn fragments(random: &mut Random, role: Role, opcode: Opcode, compressed: &[u8]) -> Vec<u8> {
    let key = (role == Role::Server).then_some([1, 2, 3, 4]);
    let mut stream = Vec::new();
    let mut rest = compressed;
    let count = random.pick(&[1, 1, 2, 5]);
    for index in 0..count {
        let is_last = index + 1 == count;
        let len = if is_last { rest.len() } else { random.below(rest.len() + 1) };
        let (piece, after) = rest.split_at(len);
        rest = after;
        let opcode = if index == 0 { opcode } else { Opcode::Continuation };
        let mut header = [0; 14];
        let header_len = encode_header(&mut header, opcode, is_last, piece.len(), key);
        if index == 0 {
            set_compressed(&mut header);
        }
        stream.extend_from_slice(&header[..header_len]);
        let at = stream.len();
        stream.extend_from_slice(piece);
        mask(&mut stream[at..], key.unwrap_or_default(), 0);
        if !is_last && random.below(2) == 0 {
            let header_len = encode_header(&mut header, Opcode::Ping, true, 0, key);
            stream.extend_from_slice(&header[..header_len]);
        }
    }
    stream
}

#[test]
fn compressed_messages_cut_anywhere_mean_the_same() {
    let mut random = Random::seeded();
    for round in 0..60 {
        let role = random.pick(&[Role::Server, Role::Client]);
        let agreed = direction(random.pick(&[9, 11, 15]), random.below(2) == 0);
        let mut deflator = Deflator::new(agreed, Effort::Quick);
        let mut inflator = Inflator::new(agreed);
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let len = random.pick(&[0, 1, 50, 300, 3000]);
            let message = payload(&mut random, len);
            let mut compressed = Vec::new();
            deflator.deflate(&message, &mut compressed);
            stream.extend(fragments(&mut random, role, Opcode::Binary, &compressed));
            expected.push(message);
        }
        let chunk = random.pick(&[1, 2, 3, 7, 100, 5000]);
        let mut inbound = Inbound::with_deflate(role);
        let (mut found, mut out) = (Vec::new(), Vec::new());
        for piece in stream.chunks(chunk) {
            let mut bytes = piece.to_vec();
            let mut cursor = Cursor::new(&mut bytes);
            while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("correct frames") {
                match event {
                    Event::Compressed { kind, payload } => {
                        let message = inflator.inflate(payload, kind, &LIMITS, &mut out);
                        found.push(message.expect("correct streams").to_vec());
                    }
                    Event::Ping(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(!inbound.is_at_boundary() || inbound.held_bytes() == 0);
        }
        assert!(found == expected, "round {round}, pieces of {chunk}");
    }
}

#[test]
fn plain_and_compressed_messages_may_alternate() {
    let mut stream = Vec::new();
    let mut compressed = Vec::new();
    Deflator::new(direction(15, false), Effort::Quick).deflate(b"squeezed", &mut compressed);
    encode_compressed_frame(&mut stream, Opcode::Text, &compressed, Some([5, 6, 7, 8]));
    ringwire_protocol::ws::encode_frame(&mut stream, Opcode::Text, b"plain", Some([9; 4]));
    let mut inbound = Inbound::with_deflate(Role::Server);
    let mut cursor = Cursor::new(&mut stream);
    let first = inbound.next(&mut cursor, &LIMITS).unwrap().unwrap();
    assert_eq!(first, Event::Compressed { kind: Kind::Text, payload: &mut compressed });
    let second = inbound.next(&mut cursor, &LIMITS).unwrap().unwrap();
    assert_eq!(second, Event::Message { kind: Kind::Text, payload: &mut b"plain".to_vec() });
}

#[test]
fn gathered_bytes_are_bounded_by_an_eighth_more() {
    let limits = Limits { message_bytes_max: 800, empty_fragments_max: 3 };
    let bound = 800 + 100 + 64;
    for (first, announced, fits) in
        [(0xC2, bound, true), (0xC2, bound + 1, false), (0x82, 800, true), (0x82, 801, false)]
    {
        let len = u16::try_from(announced).unwrap().to_be_bytes();
        let mut bytes = vec![first, 0xFE, len[0], len[1], 0, 0, 0, 0, 1];
        let mut inbound = Inbound::with_deflate(Role::Server);
        let result = inbound.next(&mut Cursor::new(&mut bytes), &limits).map(|_| ());
        let expected = if fits { Ok(()) } else { Err(Violation::MessageTooBig) };
        assert_eq!(result, expected, "{announced} announced");
    }
    // Fragments count together, compressed or not is said by the first.
    let mut bytes = vec![0x42, 0xFE, 0x03, 0xC4, 0, 0, 0, 0];
    bytes.extend(vec![0; bound]);
    bytes.extend([0x80, 0x81, 0, 0, 0, 0, 1]);
    let mut inbound = Inbound::with_deflate(Role::Server);
    let result = inbound.next(&mut Cursor::new(&mut bytes), &limits).map(|_| ());
    assert_eq!(result, Err(Violation::MessageTooBig));
}

/// Whether a lone first byte is refused for its reserved bits, in or outside of a message.
fn refuses(deflate: bool, inside: bool, first: u8) -> bool {
    let mut inbound =
        if deflate { Inbound::with_deflate(Role::Server) } else { Inbound::new(Role::Server) };
    let mut bytes = if inside { vec![0x01, 0x81, 0, 0, 0, 0, b'a'] } else { Vec::new() };
    bytes.push(first);
    let result = inbound.next(&mut Cursor::new(&mut bytes), &LIMITS).map(|_| ());
    result == Err(Violation::ReservedBits)
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-6.1
//= type=test
//# An endpoint MUST NOT set the "Per-Message Compressed" bit of control
//# frames and non-first fragments of a data message.
//= https://www.rfc-editor.org/rfc/rfc7692#section-6.1
//= type=test
//# An endpoint receiving such a frame MUST _Fail the WebSocket Connection_.
#[test]
fn reserved_bits_mean_something_on_first_frames_of_messages_only() {
    assert_eq!(Violation::ReservedBits.close_code(), 1002);
    for deflate in [false, true] {
        for inside in [false, true] {
            for first in 0..=u8::MAX {
                let (reserved, opcode) = (first & 0x70, first & 0x0F);
                let allowed =
                    reserved == 0 || (reserved == 0x40 && deflate && matches!(opcode, 1 | 2));
                let refused = refuses(deflate, inside, first);
                assert_eq!(refused, !allowed, "{first:02X} deflate={deflate} inside={inside}");
            }
        }
    }
}
