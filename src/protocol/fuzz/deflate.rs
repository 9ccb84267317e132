//! permessage-deflate: whatever is agreed on is kept by both sides, what was compressed inflates to
//! itself, and no bytes inflate beyond the limit.

use ringwire_protocol::http::parse_response;
use ringwire_protocol::ws::{
    Deflate, DeflateOffer, DeflateTerms, Deflator, Direction, Effort, Inflator, Kind, Limits, Role,
    Violation, check_switching, client_key, encode_deflate_offer, encode_switching,
    negotiate_deflate,
};

use super::input::Input;

/// Negotiates, compresses and inflates as the bytes say.
pub fn deflate(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => offers(&mut input),
        1 => inflate(&mut input),
        2 => round_trip(&mut input, false),
        _ => round_trip(&mut input, true),
    }
}

fn terms(input: &mut Input<'_>) -> DeflateTerms {
    let window_bits_max = 9 + input.byte() % 7;
    DeflateTerms { window_bits_max, context_takeover: input.byte() & 1 == 1 }
}

/// Any bytes as the values of the header: declined, or agreed within the terms.
fn offers(input: &mut Input<'_>) {
    let terms = terms(input);
    let values = input.take(usize::MAX);
    let values = values.split(|&byte| byte == b'\n');
    if let Some(negotiated) = negotiate_deflate(values, &terms) {
        let Deflate { server_window_bits, client_window_bits, .. } = negotiated.deflate;
        assert!((9..=terms.window_bits_max).contains(&server_window_bits));
        assert!((9..=15).contains(&client_window_bits));
        let takes_over = !negotiated.deflate.server_no_context_takeover;
        assert!(terms.context_takeover || !takes_over);
        assert!(negotiated.answer().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}

/// Both roles come to the same agreement; the server never declines what its own client offers.
fn agreement(input: &mut Input<'_>) -> Deflate {
    let terms = terms(input);
    let bits = input.byte();
    let flags = input.byte();
    let offer = DeflateOffer {
        server_window_bits: 9 + bits % 7,
        client_window_bits: (flags & 1 == 1).then_some(9 + bits / 7 % 7),
        server_no_context_takeover: flags & 2 != 0,
        client_no_context_takeover: flags & 4 != 0,
    };
    let value = encode_deflate_offer(&offer);
    let values = [b"x; y=\"\\,\", permessage-deflate; z".as_slice(), value.as_bytes()];
    let negotiated = negotiate_deflate(values.into_iter(), &terms).expect("an acceptable offer");
    let key = client_key([1; 16]);
    let mut out = Vec::new();
    let answer = negotiated.answer();
    let extra = [("Sec-WebSocket-Extensions", answer.as_str())];
    encode_switching(&mut out, key.as_bytes(), None, &extra);
    let response = parse_response(&out).expect("our own 101");
    let agreed = check_switching(&response, &key, &[], Some(&offer)).expect("our own answer");
    let agreed = agreed.deflate.expect("compression");
    // A client may promise more than it is asked for.
    let server = negotiated.deflate;
    assert_eq!(agreed.server_window_bits, server.server_window_bits);
    assert_eq!(agreed.server_no_context_takeover, server.server_no_context_takeover);
    assert!(agreed.client_window_bits <= server.client_window_bits);
    assert!(agreed.client_no_context_takeover >= server.client_no_context_takeover);
    agreed
}

/// Any bytes as a compressed message.
fn inflate(input: &mut Input<'_>) {
    let direction =
        Direction { window_bits: 9 + input.byte() % 7, context_takeover: input.byte() & 1 == 1 };
    let mut inflator = Inflator::new(direction);
    let mut out = Vec::new();
    for _ in 0..4 {
        let message_bytes_max = input.pick(&[65_536, 1000, 10, 0, 1 << 20]);
        let limits = Limits { message_bytes_max, empty_fragments_max: 0 };
        let kind = input.pick(&[Kind::Text, Kind::Binary]);
        let len = usize::from(input.byte()) * 8;
        let payload = input.take(len);
        out = Vec::new();
        match inflator.inflate(payload, kind, &limits, &mut out) {
            Ok(bytes) => {
                assert!(bytes.len() <= message_bytes_max);
                assert!(kind == Kind::Binary || std::str::from_utf8(bytes).is_ok());
            }
            // The connection ends: the context is worth nothing.
            Err(_) => break,
        }
    }
    assert!(out.capacity() <= (1 << 20) + 4096, "{} bytes for a message", out.capacity());
}

/// Messages through both directions of an agreement, some compressed by somebody else.
fn round_trip(input: &mut Input<'_>, from_server: bool) {
    let agreed = agreement(input);
    let role = if from_server { Role::Server } else { Role::Client };
    let other = if from_server { Role::Client } else { Role::Server };
    let direction = agreed.outgoing(role);
    assert_eq!(direction, agreed.incoming(other));
    let alone = Direction { context_takeover: false, ..direction };
    let effort = input.pick(&[Effort::Quick, Effort::Thorough]);
    let mut own = Deflator::new(direction, effort);
    let mut shared = Deflator::new(alone, effort);
    let mut inflator = Inflator::new(direction);
    let mut out = Vec::new();
    let mut messages = 0;
    let mut was_shared = false;
    while !input.is_empty() && messages < 16 {
        messages += 1;
        let what = input.byte();
        let payload = payload(input, what);
        let mut compressed = Vec::new();
        if what & 1 == 1 {
            shared.deflate(&payload, &mut compressed);
            was_shared = true;
        } else {
            // The peer's window has what another compressor sent.
            if was_shared {
                own.reset();
                was_shared = false;
            }
            own.deflate(&payload, &mut compressed);
        }
        assert!(
            !compressed.is_empty() && compressed.len() <= payload.len() + payload.len() / 8 + 64
        );
        let limits = Limits { message_bytes_max: payload.len(), empty_fragments_max: 0 };
        let inflated = inflator.inflate(&compressed, Kind::Binary, &limits, &mut out);
        assert_eq!(inflated.as_deref(), Ok(&payload[..]));
        if let Some(less) = payload.len().checked_sub(1) {
            bound(&alone, &payload, less);
        }
    }
}

/// One byte less than it takes is too little, and costs no more memory than allowed.
fn bound(alone: &Direction, payload: &[u8], message_bytes_max: usize) {
    let mut compressed = Vec::new();
    Deflator::new(*alone, Effort::Quick).deflate(payload, &mut compressed);
    let limits = Limits { message_bytes_max, empty_fragments_max: 0 };
    let mut out = Vec::new();
    let result = Inflator::new(*alone).inflate(&compressed, Kind::Binary, &limits, &mut out);
    assert_eq!(result, Err(Violation::MessageTooBig));
    assert!(out.capacity() <= message_bytes_max + 4096, "{} bytes", out.capacity());
}

/// Bytes as they are, or the same again and again.
fn payload(input: &mut Input<'_>, what: u8) -> Vec<u8> {
    let len = usize::from(input.byte());
    let taken = input.take(len);
    match what & 6 {
        0 => taken.repeat(usize::from(input.byte())),
        _ => taken.to_vec(),
    }
}
