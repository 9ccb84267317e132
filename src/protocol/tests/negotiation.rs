//! What is agreed about permessage-deflate: offers and answers, good and bad, in both roles.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

mod random;

use random::Random;
use ringwire_protocol::http::{HeadLimits, parse_request, parse_response};
use ringwire_protocol::ws::{
    Deflate, DeflateOffer, DeflateTerms, Negotiated, Role, check_switching, check_upgrade,
    encode_deflate_offer, negotiate_deflate,
};

const DEDICATED: DeflateTerms = DeflateTerms { window_bits_max: 15, context_takeover: true };
const SHARED: DeflateTerms = DeflateTerms { window_bits_max: 15, context_takeover: false };

fn negotiate(values: &[&str], terms: &DeflateTerms) -> Option<Negotiated> {
    negotiate_deflate(values.iter().map(|value| value.as_bytes()), terms)
}

/// The answer to one header, without the extension's name.
fn answer(value: &str, terms: &DeflateTerms) -> Option<String> {
    let answer = negotiate(&[value], terms)?.answer();
    Some(answer.strip_prefix("permessage-deflate").expect("its name").to_owned())
}

/// The answer to an offer with these parameters.
fn to(parameters: &str, terms: &DeflateTerms) -> Option<String> {
    answer(&format!("permessage-deflate{parameters}"), terms)
}

#[test]
fn offers_are_answered_by_what_is_agreed() {
    for (offer, expected) in [
        ("", ""),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("; client_max_window_bits=\"9\"", "; client_max_window_bits=9"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        (" ;server_no_context_takeover", "; server_no_context_takeover"),
        (";\tclient_no_context_takeover ", "; client_no_context_takeover"),
        (
            "; client_max_window_bits=11; server_max_window_bits=12; client_no_context_takeover; \
             server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=12; client_max_window_bits=11",
        ),
    ] {
        assert_eq!(to(offer, &DEDICATED).as_deref(), Some(expected), "{offer}");
    }
    // A server that keeps no contexts says so, whatever the offer.
    let none = "; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(to("", &SHARED).as_deref(), Some(none));
    assert_eq!(to(none, &SHARED).as_deref(), Some(none));
    // One with a smaller window says that, and limits the client's where it may.
    let narrow = DeflateTerms { window_bits_max: 10, context_takeover: true };
    for (offer, expected) in [
        ("", "; server_max_window_bits=10"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("; server_max_window_bits=12", "; server_max_window_bits=10"),
        ("; client_max_window_bits", "; server_max_window_bits=10; client_max_window_bits=10"),
        ("; client_max_window_bits=9", "; server_max_window_bits=10; client_max_window_bits=9"),
    ] {
        assert_eq!(to(offer, &narrow).as_deref(), Some(expected), "{offer}");
    }
}

#[test]
fn windows_of_8_bits_are_declined_for_the_server_and_9_for_the_client() {
    assert_eq!(to("; server_max_window_bits=8", &DEDICATED), None);
    let agreed = negotiate(&["permessage-deflate; client_max_window_bits=8"], &DEDICATED);
    let deflate = agreed.expect("accepted").deflate;
    assert_eq!(deflate.client_window_bits, 9);
    assert_eq!(deflate.incoming(Role::Server).window_bits, 9);
    assert_eq!(deflate.outgoing(Role::Server).window_bits, 15);
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.1
//= type=test
//# A server MUST decline an extension negotiation offer for this
//# extension if any of the following conditions are met:
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# Extensions not listed by the client MUST NOT be listed.
//= https://www.rfc-editor.org/rfc/rfc6455#section-9
//= type=test
//# A server MUST NOT respond with any extension not requested by the client.
#[test]
fn bad_offers_are_declined_and_the_next_is_tried() {
    let bad = [
        "; server_max_window_bits=7",
        "; server_max_window_bits=8",
        "; server_max_window_bits=16",
        "; server_max_window_bits=\"\"",
        "; server_max_window_bits=",
        "; server_max_window_bits",
        "; server_max_window_bits=09",
        "; server_max_window_bits=+9",
        "; client_max_window_bits=7",
        "; client_max_window_bits=16",
        "; client_max_window_bits=\"\"",
        "; client_max_window_bits=abc",
        "; client_max_window_bits=99999999999999999999999999",
        "; client_max_window_bits; client_max_window_bits",
        "; server_no_context_takeover; server_no_context_takeover",
        "; server_no_context_takeover=1",
        "; client_no_context_takeover=\"\"",
        "; unknown",
        "; unknown=1",
        "; Server_No_Context_Takeover",
        ";",
        "; ; client_max_window_bits",
        "; =9",
    ];
    for bad in bad {
        assert_eq!(to(bad, &DEDICATED), None, "{bad}");
        let fallback = format!("permessage-deflate{bad}, permessage-deflate");
        assert_eq!(answer(&fallback, &DEDICATED).as_deref(), Some(""), "{fallback}");
        let headers = [&format!("permessage-deflate{bad}")[..], "foo, permessage-deflate"];
        assert!(negotiate(&headers, &DEDICATED).is_some(), "{bad} in a header of its own");
    }
    // An open quote takes what follows in its header with it.
    let open = "permessage-deflate; client_max_window_bits=\"9, permessage-deflate";
    assert_eq!(answer(open, &DEDICATED), None);
    assert!(negotiate(&[open, "permessage-deflate"], &DEDICATED).is_some());
    for other in ["", ",", "deflate", "x-webkit-deflate-frame, bbf-usp-protocol", "\"", "\\"] {
        assert_eq!(negotiate(&[other], &DEDICATED), None, "{other}");
    }
}

#[test]
fn the_first_acceptable_offer_counts() {
    let offers = "permessage-deflate; server_max_window_bits=8, \
                  permessage-deflate; server_max_window_bits=10, permessage-deflate";
    assert_eq!(answer(offers, &DEDICATED).as_deref(), Some("; server_max_window_bits=10"));
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.2
//= type=test
//# If a received extension negotiation offer doesn't have the
//# "client_max_window_bits" extension parameter, the corresponding
//# extension negotiation response to the offer MUST NOT include the
//# "client_max_window_bits" extension parameter.
#[test]
fn the_clients_window_is_only_limited_where_it_offered_that() {
    for window_bits_max in 9..=15 {
        for context_takeover in [false, true] {
            let terms = DeflateTerms { window_bits_max, context_takeover };
            let agreed = negotiate(&["permessage-deflate"], &terms).expect("accepted");
            assert!(!agreed.answer().contains("client_max_window_bits"));
            assert_eq!(agreed.deflate.client_window_bits, 15);
        }
    }
}

/// What a client makes of a 101 with this header.
fn check(value: Option<&str>, offer: Option<&DeflateOffer>) -> Result<Option<Deflate>, String> {
    let extensions =
        value.map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n{extensions}\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    let response = parse_response(head.as_bytes()).expect("a head");
    check_switching(&response, "dGhlIHNhbXBsZSBub25jZQ==", &[], offer)
        .map(|switched| switched.deflate)
        .map_err(|bad| bad.to_string())
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
//= type=test
//# Any extension-token used MUST be a registered token (see Section 11.4).
//= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
//= type=test
//# The parameters supplied with any given extension MUST be defined for that extension.
#[test]
fn a_client_offers_what_it_says() {
    let offer = DeflateOffer::default();
    assert_eq!(encode_deflate_offer(&offer), "permessage-deflate; client_max_window_bits");
    let offer = DeflateOffer {
        server_window_bits: 10,
        client_window_bits: Some(9),
        server_no_context_takeover: true,
        client_no_context_takeover: true,
    };
    assert_eq!(
        encode_deflate_offer(&offer),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         server_max_window_bits=10; client_max_window_bits=9"
    );
    let offer = DeflateOffer { client_window_bits: None, ..DeflateOffer::default() };
    assert_eq!(encode_deflate_offer(&offer), "permessage-deflate");
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.1
//= type=test
//# A client MUST _Fail the WebSocket Connection_ if the peer server
//# accepted an extension negotiation offer for this extension with an
//# extension negotiation response meeting any of the following
//# conditions:
//= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
//= type=test
//# If a value is received by either the client or the server during negotiation that does not
//# conform to the ABNF below, the recipient of such malformed data MUST immediately _Fail the
//# WebSocket Connection_.
#[test]
fn an_answer_beyond_the_offer_fails_the_connection() {
    let usual = DeflateOffer::default();
    for bad in [
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate, other",
        "other",
        "",
    ] {
        assert!(check(Some(bad), Some(&usual)).is_err(), "{bad}");
    }
    assert!(check(Some("permessage-deflate"), None).is_err(), "nothing was offered");
    assert_eq!(check(None, Some(&usual)), Ok(None), "declined");
    let fixed = DeflateOffer { client_window_bits: None, ..usual };
    assert!(check(Some("permessage-deflate; client_max_window_bits=10"), Some(&fixed)).is_err());
    let narrow = DeflateOffer { server_window_bits: 10, ..usual };
    for bad in ["", "; server_max_window_bits=11"] {
        assert!(check(Some(&format!("permessage-deflate{bad}")), Some(&narrow)).is_err(), "{bad}");
    }
    let alone = DeflateOffer { server_no_context_takeover: true, ..usual };
    assert!(check(Some("permessage-deflate"), Some(&alone)).is_err());
}

#[test]
fn an_answer_within_the_offer_is_agreed() {
    let usual = DeflateOffer::default();
    let widest = Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_no_context_takeover: false,
        client_no_context_takeover: false,
    };
    assert_eq!(check(Some("permessage-deflate"), Some(&usual)), Ok(Some(widest)));
    let all = "permessage-deflate; client_no_context_takeover; server_no_context_takeover; \
               server_max_window_bits=8; client_max_window_bits=\"12\"";
    let expected = Deflate {
        server_window_bits: 9,
        client_window_bits: 12,
        server_no_context_takeover: true,
        client_no_context_takeover: true,
    };
    assert_eq!(check(Some(all), Some(&usual)), Ok(Some(expected)));
    // The client keeps what it promised, and its own limit, though the server does not repeat it.
    let promised =
        DeflateOffer { client_window_bits: Some(10), client_no_context_takeover: true, ..usual };
    let kept = Deflate { client_window_bits: 10, client_no_context_takeover: true, ..widest };
    assert_eq!(check(Some("permessage-deflate"), Some(&promised)), Ok(Some(kept)));
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-9
//= type=test
//# If extension parameters are included in negotiations between the client and the server,
//# those parameters MUST be chosen in accordance with the specification of the extension to
//# which the parameters apply.
#[test]
fn both_roles_come_to_the_same() {
    let mut random = Random::seeded();
    for _ in 0..2000 {
        let bits = |random: &mut Random| random.pick(&[9, 10, 11, 12, 13, 14, 15]);
        let offer = DeflateOffer {
            server_window_bits: bits(&mut random),
            client_window_bits: Some(bits(&mut random)).filter(|_| random.below(3) > 0),
            server_no_context_takeover: random.below(2) == 0,
            client_no_context_takeover: random.below(2) == 0,
        };
        let terms = DeflateTerms {
            window_bits_max: bits(&mut random),
            context_takeover: random.below(2) == 0,
        };
        let value = encode_deflate_offer(&offer);
        let agreed = negotiate(&[&value], &terms).expect("a good offer");
        let found = check(Some(&agreed.answer()), Some(&offer));
        assert_eq!(found, Ok(Some(agreed.deflate)), "{value} with {terms:?}");
    }
}

#[test]
fn noise_is_declined_and_never_fatal() {
    let mut random = Random::seeded();
    let pieces = [
        "permessage-deflate",
        ";",
        ",",
        "=",
        "\"",
        "\\",
        " ",
        "9",
        "15",
        "client_max_window_bits",
        "server_max_window_bits",
        "server_no_context_takeover",
        "~",
        "x",
        "\t",
    ];
    for _ in 0..5000 {
        let bytes = [b"permessage-deflate;", &random.bytes(20)[..]].concat();
        let _ = negotiate_deflate(std::iter::once(&bytes[..]), &DEDICATED);
        let value: String = (0..random.below(16)).map(|_| random.pick(&pieces)).collect();
        if let Some(agreed) = negotiate(&[&value], &DEDICATED) {
            assert!((9..=15).contains(&agreed.deflate.server_window_bits), "{value}");
            assert!((9..=15).contains(&agreed.deflate.client_window_bits), "{value}");
        }
        let _ = check(Some(&value), Some(&DeflateOffer::default()));
        let head = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: {value}\r\n\r\n"
        );
        let request = parse_request(head.as_bytes(), &HeadLimits::default()).expect("a request");
        assert!(check_upgrade(&request).is_ok(), "{value}");
    }
}

#[test]
fn a_long_header_is_read_in_linear_time() {
    // Sixteen thousand quotes and commas: quadratic work would be seen as a hanging test.
    for piece in ["\"", ",", ";", "=", "permessage-deflate;", "\\\"", "a=\"", "\","] {
        let value = piece.repeat(16_384 / piece.len());
        for _ in 0..50 {
            assert_eq!(negotiate(&[&value], &DEDICATED), None, "{piece}");
        }
    }
}
