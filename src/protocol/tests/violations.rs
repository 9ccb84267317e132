//! Every violation of RFC 6455 that a peer can commit, with its close code, cut everywhere.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

use ringwire_protocol::ws::{Cursor, Inbound, Limits, Role, Violation};

const LIMITS: Limits = Limits { message_bytes_max: 1000, empty_fragments_max: 3 };

/// A frame to a server, with a key of zeros so that the payload can be read here.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    assert!(len < 126);
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

/// The violation, and how many events came before it.
fn read(
    role: Role,
    limits: &Limits,
    stream: &[u8],
    chunk: usize,
) -> (usize, Result<Inbound, Violation>) {
    let mut inbound = Inbound::new(role);
    let mut events = 0;
    for piece in stream.chunks(chunk) {
        let mut bytes = piece.to_vec();
        let mut cursor = Cursor::new(&mut bytes);
        loop {
            match inbound.next(&mut cursor, limits) {
                Ok(None) => break,
                Ok(Some(_)) => events += 1,
                Err(violation) => return (events, Err(violation)),
            }
        }
    }
    (events, Ok(inbound))
}

fn check(role: Role, stream: &[u8], events: usize, violation: Violation, code: u16) {
    assert_eq!(violation.close_code(), code, "{violation:?}");
    for chunk in 1..=stream.len() {
        let (before, result) = read(role, &LIMITS, stream, chunk);
        assert_eq!(result.err(), Some(violation), "{stream:02X?} by {chunk}");
        assert_eq!(before, events, "{stream:02X?} by {chunk}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
//= type=test
//# The server MUST close the connection upon receiving a
//# frame that is not masked.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
//= type=test
//# A client MUST close a connection if it detects a masked frame.
#[test]
fn masks_are_as_the_role_demands() {
    check(Role::Server, &[0x81, 0x01, b'a'], 0, Violation::Unmasked, 1002);
    check(Role::Server, &[0x89, 0x00], 0, Violation::Unmasked, 1002);
    check(Role::Server, &[0x82, 0x7E], 0, Violation::Unmasked, 1002);
    check(Role::Client, &masked(0x81, b"a"), 0, Violation::Masked, 1002);
    check(Role::Client, &masked(0x8A, b""), 0, Violation::Masked, 1002);
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
//= type=test
//# If a nonzero value is received and none of
//# the negotiated extensions defines the meaning of such a nonzero
//# value, the receiving endpoint MUST _Fail the WebSocket
//# Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
//= type=test
//# If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
//# Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.8
//= type=test
//# The endpoints of a connection MUST negotiate the use of any extensions during the opening
//# handshake.
#[test]
fn reserved_bits_and_opcodes() {
    let good = masked(0x81, b"good");
    for bits in 1..8_u8 {
        for opcode in [0, 1, 2, 8, 9, 10] {
            let stream = [&good[..], &masked(0x80 | bits << 4 | opcode, b"x")].concat();
            check(Role::Server, &stream, 1, Violation::ReservedBits, 1002);
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for fin in [0, 0x80] {
            let stream = [&good[..], &masked(fin | opcode, b"")].concat();
            check(Role::Server, &stream, 1, Violation::ReservedOpcode, 1002);
        }
        check(Role::Client, &[0x80 | opcode, 0], 0, Violation::ReservedOpcode, 1002);
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.5
//= type=test
//# All control frames MUST have a payload length of 125 bytes or less
//# and MUST NOT be fragmented.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
//= type=test
//# Control frames themselves MUST NOT be fragmented.
#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        check(Role::Server, &masked(opcode, b"x"), 0, Violation::ControlFragmented, 1002);
        for len in [126, 127] {
            let stream = [0x80 | opcode, 0x80 | len];
            check(Role::Server, &stream, 0, Violation::ControlTooLong, 1002);
            check(Role::Client, &[0x80 | opcode, len], 0, Violation::ControlTooLong, 1002);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
//= type=test
//# The fragments of one message MUST NOT be interleaved between the fragments of another
//# message unless an extension has been negotiated that can interpret the interleaving.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
//= type=test
//# Since control frames cannot be fragmented, the type for all fragments in a message MUST be
//# either text, binary, or one of the reserved opcodes.
#[test]
fn fragments_are_in_order() {
    for fin in [0, 0x80] {
        check(Role::Server, &masked(fin, b"x"), 0, Violation::ContinuationWithoutStart, 1002);
    }
    let after_whole = [masked(0x81, b"a"), masked(0x80, b"b")].concat();
    check(Role::Server, &after_whole, 1, Violation::ContinuationWithoutStart, 1002);
    let after_last = [masked(0x01, b"a"), masked(0x80, b"b"), masked(0x80, b"c")].concat();
    check(Role::Server, &after_last, 1, Violation::ContinuationWithoutStart, 1002);
    for second in [0x01, 0x02, 0x81, 0x82] {
        let nested = [masked(0x01, b"a"), masked(0x89, b""), masked(second, b"b")].concat();
        check(Role::Server, &nested, 1, Violation::MessageInsideMessage, 1002);
    }
}

fn header_64(len: u64) -> Vec<u8> {
    [&[0x82, 0xFF][..], &len.to_be_bytes(), &[0; 4]].concat()
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
//= type=test
//# Note that in all cases, the minimal number of bytes MUST be used to encode
//# the length, for example, the length of a 124-byte-long string
//# can't be encoded as the sequence 126, 0, 124.
#[test]
fn lengths_are_minimal() {
    for len in [0, 1, 124, 125_u16] {
        let stream = [&[0x82, 0xFE][..], &len.to_be_bytes()].concat();
        check(Role::Server, &stream, 0, Violation::LengthNotMinimal, 1002);
    }
    for len in [0, 125, 126, 65_535] {
        check(Role::Server, &header_64(len), 0, Violation::LengthNotMinimal, 1002);
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
//= type=test
//# If 127, the following 8 bytes interpreted as a 64-bit unsigned integer (the most significant
//# bit MUST be 0) are the payload length.
#[test]
fn lengths_up_to_the_largest() {
    for (len, code) in [
        (65_536, 1009),
        ((1 << 31) - 1, 1009),
        (1 << 31, 1009),
        ((1 << 31) + 1, 1009),
        (1 << 32, 1009),
        (i64::MAX as u64 - 1, 1009),
        (i64::MAX as u64, 1009),
        (1 << 63, 1002),
        ((1 << 63) + 1, 1002),
        (u64::MAX - 1, 1002),
        (u64::MAX, 1002),
    ] {
        let violation =
            if code == 1009 { Violation::MessageTooBig } else { Violation::LengthTopBit };
        check(Role::Server, &header_64(len), 0, violation, code);
        let continued = [&masked(0x02, b"x")[..], &header_64(len)].concat();
        let mut continued = continued;
        continued[7] = 0x80;
        check(Role::Server, &continued, 0, violation, code);
    }
}

#[test]
fn without_a_limit_nothing_wraps_and_nothing_is_reserved() {
    let limits = Limits { message_bytes_max: usize::MAX, empty_fragments_max: 3 };
    for len in [65_536, 1 << 32, i64::MAX as u64] {
        let mut stream = [&masked(0x02, b"first")[..], &header_64(len), b"some"].concat();
        stream[11] = 0x80;
        for chunk in 1..=stream.len() {
            let (events, result) = read(Role::Server, &limits, &stream, chunk);
            assert_eq!(events, 0);
            assert!(result.expect("no violation").held_bytes() < 400);
        }
    }
    // One byte is gathered, so the largest length is one too many for this limit.
    let limits =
        Limits { message_bytes_max: usize::try_from(i64::MAX).unwrap(), empty_fragments_max: 3 };
    let mut stream = [&masked(0x02, b"x")[..], &header_64(i64::MAX as u64)].concat();
    stream[7] = 0x80;
    let (_, result) = read(Role::Server, &limits, &stream, 1);
    assert_eq!(result.err(), Some(Violation::MessageTooBig));
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-10.4
//= type=test
//# Implementations that have implementation- and/or platform-specific limitations regarding the
//# frame size or total message size after reassembly from multiple frames MUST protect
//# themselves against exceeding those limits.
#[test]
fn messages_up_to_the_limit() {
    let header_16 =
        |first: u8, len: u16| [&[first, 0xFE][..], &len.to_be_bytes(), &[0; 4]].concat();
    let whole = [&header_16(0x82, 1000)[..], &[7; 1000]].concat();
    for chunk in [1, 10, 999, 1008] {
        assert_eq!(read(Role::Server, &LIMITS, &whole, chunk).0, 1, "by {chunk}");
    }
    // Refused by the header: not one byte of the payload is needed.
    check(Role::Server, &header_16(0x82, 1001), 0, Violation::MessageTooBig, 1009);
    check(Role::Server, &header_16(0x01, 1001), 0, Violation::MessageTooBig, 1009);
    let first = [&header_16(0x02, 600)[..], &[7; 600]].concat();
    let fits = [&first[..], &header_16(0x80, 400), &[7; 400]].concat();
    assert_eq!(read(Role::Server, &LIMITS, &fits, 100).0, 1);
    let sum = [&first[..], &header_16(0x80, 401)].concat();
    check(Role::Server, &sum, 0, Violation::MessageTooBig, 1009);
}

#[test]
fn empty_fragments_are_limited() {
    let start = masked(0x02, b"");
    let empty = masked(0x00, b"");
    let last = masked(0x80, b"");
    let three = [&start[..], &empty, &empty, &last].concat();
    for chunk in 1..=three.len() {
        assert_eq!(read(Role::Server, &LIMITS, &three, chunk).0, 1);
    }
    // The next message counts anew.
    let twice = [&three[..], &three].concat();
    assert_eq!(read(Role::Server, &LIMITS, &twice, 5).0, 2);
    let four = [&start[..], &empty, &empty, &empty].concat();
    check(Role::Server, &four, 0, Violation::TooManyEmptyFragments, 1008);
    // Fragments that carry something are not limited in number.
    let mut many = masked(0x02, b"x");
    many.extend(std::iter::repeat_n(masked(0x00, b"x"), 900).flatten());
    many.extend(masked(0x80, b""));
    assert_eq!(read(Role::Server, &LIMITS, &many, 64).0, 1);
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
//= type=test
//# If there is a body, the first two bytes of
//# the body MUST be a 2-byte unsigned integer (in network byte order)
//# representing a status code with value /code/ defined in Section 7.4.
#[test]
fn close_payloads() {
    check(Role::Server, &masked(0x88, &[3]), 0, Violation::CloseTooShort, 1002);
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
        let stream = masked(0x88, &code.to_be_bytes());
        check(Role::Server, &stream, 0, Violation::CloseCodeInvalid, 1002);
    }
    for code in [1000, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999_u16] {
        let stream = masked(0x88, &code.to_be_bytes());
        assert_eq!(read(Role::Server, &LIMITS, &stream, 1).0, 1, "{code}");
    }
    for reason in [&[0xFF][..], &[0xC3], &[0xED, 0xA0, 0x80], &[b'a', 0xF4, 0x90, 0x80, 0x80]] {
        let stream = masked(0x88, &[&1000_u16.to_be_bytes()[..], reason].concat());
        check(Role::Server, &stream, 0, Violation::CloseReasonNotUtf8, 1007);
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-8.1
//= type=test
//# When an endpoint is to interpret a byte stream as UTF-8 but finds
//# that the byte stream is not, in fact, a valid UTF-8 stream, that
//# endpoint MUST _Fail the WebSocket Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.6
//= type=test
//# Note that a particular text frame might include a partial UTF-8 sequence; however, the whole
//# message MUST contain valid UTF-8.
#[test]
fn text_that_is_not_utf8() {
    for bad in [&[0xFF][..], &[0xC0, 0x80], &[0xED, 0xA0, 0x80], &[0xF4, 0x90, 0x80, 0x80]] {
        let whole = masked(0x81, &[b"ok", bad].concat());
        check(Role::Server, &whole, 0, Violation::TextNotUtf8, 1007);
        for cut in 0..=bad.len() {
            let (head, tail) = bad.split_at(cut);
            let pieces = [masked(0x01, head), masked(0x89, b""), masked(0x80, tail)].concat();
            for chunk in 1..=pieces.len() {
                let (_, result) = read(Role::Server, &LIMITS, &pieces, chunk);
                assert_eq!(result.err(), Some(Violation::TextNotUtf8));
            }
        }
    }
    // The message ends inside a character.
    check(Role::Server, &masked(0x81, &[0xE2, 0x82]), 0, Violation::TextNotUtf8, 1007);
    let cut = [masked(0x01, &[0xE2]), masked(0x80, &[0x82])].concat();
    check(Role::Server, &cut, 0, Violation::TextNotUtf8, 1007);
}

#[test]
fn text_fails_at_the_first_bad_byte_of_an_unfinished_frame() {
    // A hundred bytes are announced; what has arrived can no longer become text.
    for bad in [&[0xFF][..], &[b'a', 0xC3, 0x28], &[0xE0, 0x80], &[0xED, 0xA0], &[0xF4, 0x90]] {
        for first in [0x81, 0x01] {
            let stream = [&[first, 0x80 | 100, 0, 0, 0, 0], bad].concat();
            check(Role::Server, &stream, 0, Violation::TextNotUtf8, 1007);
            let without_last = &stream[..stream.len() - 1];
            assert!(read(Role::Server, &LIMITS, without_last, 1).1.is_ok());
        }
        let first = masked(0x01, &bad[..1]);
        let rest = [&[0x00, 0x80 | 100, 0, 0, 0, 0], &bad[1..]].concat();
        if bad.len() > 1 {
            let stream = [first, rest].concat();
            check(Role::Server, &stream, 0, Violation::TextNotUtf8, 1007);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7
//= type=test
//# An endpoint MUST NOT continue to attempt to process data (including a responding Close
//# frame) from the remote endpoint after being instructed to _Fail the WebSocket Connection_.
#[test]
fn after_a_violation_nothing_follows() {
    let mut bytes = [&masked(0x83, b"")[..], &masked(0x81, b"late")].concat();
    let mut inbound = Inbound::new(Role::Server);
    let mut cursor = Cursor::new(&mut bytes);
    assert_eq!(inbound.next(&mut cursor, &LIMITS), Err(Violation::ReservedOpcode));
    assert_eq!(inbound.next(&mut cursor, &LIMITS), Ok(None));
    assert_eq!(cursor.remaining(), 0);
}
