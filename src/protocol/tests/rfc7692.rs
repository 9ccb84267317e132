//! The sentences of RFC 7692 that no other test is about.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is a test"
)]

use ringwire_protocol::http::parse_response;
use ringwire_protocol::ws::{
    DeflateOffer, DeflateTerms, Deflator, Direction, Effort, Inflator, Kind, Limits, Role,
    accept_key, check_switching, client_key, encode_deflate_offer, negotiate_deflate,
};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 0 };

/// What a client that made this offer says to these extension headers of the 101.
fn is_agreed(offer: Option<&DeflateOffer>, extensions: &[&str]) -> bool {
    let key = client_key([5; 16]);
    let lines: String =
        extensions.iter().map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n")).collect();
    let accept = String::from_utf8(accept_key(key.as_bytes()).to_vec()).unwrap();
    let head = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{lines}\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    check_switching(&parse_response(head.as_bytes()).unwrap(), &key, &[], offer).is_ok()
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-5
//= type=test
//# If a server gives an invalid response, such as accepting a PMCE that the client did not
//# offer, the client MUST _Fail the WebSocket Connection_.
#[test]
fn an_extension_that_was_not_offered_fails_the_connection() {
    let offer = DeflateOffer::default();
    assert!(is_agreed(None, &[]) && is_agreed(Some(&offer), &[]));
    assert!(is_agreed(Some(&offer), &["permessage-deflate"]));
    assert!(!is_agreed(None, &["permessage-deflate"]));
    for other in ["x-webkit-deflate-frame", "permessage-bzip2", "PERMESSAGE-DEFLATE"] {
        assert!(!is_agreed(Some(&offer), &[other]), "{other}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-5
//= type=test
//# A client that received a response accepting a PMCE extension negotiation offer together with
//# such an extension MUST _Fail the WebSocket Connection_.
#[test]
fn two_extensions_fail_the_connection() {
    let offer = DeflateOffer::default();
    for both in [
        &["permessage-deflate, permessage-bzip2"][..],
        &["permessage-deflate, permessage-deflate"],
        &["x-frame, permessage-deflate"],
        &["permessage-deflate", "permessage-bzip2"],
        &["permessage-deflate", "permessage-deflate"],
    ] {
        assert!(!is_agreed(Some(&offer), both), "{both:?}");
    }
}

/// Bytes without any order that a compressor could use (a linear congruence's high ones).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// By how much a message gets longer whose 200 bytes come twice, so far from each other.
fn lengthening(distance: usize) -> usize {
    let mut message = noise(distance);
    message.extend_from_within(..200);
    let mut out = Vec::new();
    let direction = Direction { window_bits: 15, context_takeover: true };
    Deflator::new(direction, Effort::Thorough).deflate(&message, &mut out);
    out.len().saturating_sub(message.len())
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
//= type=test
//# An endpoint MUST NOT use an LZ77 sliding window longer than 32,768 bytes to compress
//# messages to send.
#[test]
fn the_widest_window_ends_after_32_kilobytes() {
    // What cannot be referred to is there in full, and noise does not shrink.
    assert!(lengthening(33_000) > 0, "nothing is referred to");
    assert_eq!(lengthening(32_000), 0, "the second time is a reference");
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
//= type=test
//# Otherwise, the client MUST decompress each new message using the LZ77 sliding window used to
//# process the last compressed message.
//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
//= type=test
//# Otherwise, the server MUST decompress each new message using the LZ77 sliding window used to
//# process the last compressed message.
//= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
//= type=test
//# Note that even if the client has included the "client_no_context_takeover" extension
//# parameter in its offer, the server MUST decompress each new message using the LZ77 sliding
//# window used to process the last compressed message if the "agreed parameters" don't contain
//# the "client_no_context_takeover" extension parameter.
#[test]
fn each_message_may_refer_to_those_before_it_unless_agreed_otherwise() {
    let terms = DeflateTerms { window_bits_max: 15, context_takeover: true };
    for role in [Role::Server, Role::Client] {
        for promises in [false, true] {
            let offer =
                DeflateOffer { client_no_context_takeover: promises, ..DeflateOffer::default() };
            let value = encode_deflate_offer(&offer);
            let agreed = negotiate_deflate([value.as_bytes()].into_iter(), &terms).unwrap();
            let incoming = agreed.deflate.incoming(role);
            let takes_over = role == Role::Client || !promises;
            assert_eq!(incoming.context_takeover, takes_over, "{role:?} {promises}");
            // Whatever was promised, what a peer with a context sends is understood as agreed.
            let with = Direction { window_bits: 15, context_takeover: takes_over };
            let mut deflator = Deflator::new(with, Effort::Quick);
            let mut inflator = Inflator::new(incoming);
            let mut scratch = Vec::new();
            for _ in 0..3 {
                let mut compressed = Vec::new();
                deflator.deflate(&b"the same words again ".repeat(9), &mut compressed);
                let back = inflator.inflate(&compressed, Kind::Text, &LIMITS, &mut scratch);
                assert_eq!(back.as_deref(), Ok(&b"the same words again ".repeat(9)[..]));
            }
        }
    }
}
