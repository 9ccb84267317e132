//! Request and response heads: the same answer however they are cut, and whatever is parsed can be
//! asked everything.

use ringwire_protocol::channel_name;
use ringwire_protocol::http::{
    HeadLimits, HeadScanner, Refusal, Request, encode_refusal, origin_allowed, parse_request,
    parse_response, percent_decode, query_value,
};
use ringwire_protocol::ws::{
    DeflateOffer, DeflateTerms, check_switching, check_upgrade, choose_subprotocol,
    encode_switching, negotiate_deflate,
};

use super::cuts::Cuts;
use super::input::Input;

const SMALL: HeadLimits =
    HeadLimits { head_bytes_max: 120, headers_max: 3, request_line_bytes_max: 30 };

/// Reads the bytes as heads, one behind the other, whole and in pieces.
pub fn head(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.pick(&[HeadLimits::default(), SMALL]);
    let mut cuts = Cuts::new(&mut input);
    let bytes = input.take(usize::MAX);
    let mut from = 0;
    while from < bytes.len() {
        let rest = &bytes[from..];
        let whole = HeadScanner::new().find_end(rest, &limits);
        let pieces = cuts.pieces(rest);
        assert_eq!(scan(&pieces, rest, &limits), whole, "cut differently");
        match whole {
            Ok(Some(end)) => {
                assert!(end <= rest.len() && end <= limits.head_bytes_max);
                ask(&rest[..end], &limits);
                from += end;
            }
            Ok(None) => {
                assert!(rest.len() < limits.head_bytes_max, "a head without an end is too large");
                return;
            }
            Err(refusal) => return refuse(&refusal),
        }
    }
}

/// What the scanner says when the bytes come in these pieces.
fn scan(pieces: &[&[u8]], bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
    let mut scanner = HeadScanner::new();
    let mut arrived = 0;
    for piece in pieces {
        arrived += piece.len();
        if let Some(end) = scanner.find_end(&bytes[..arrived], limits)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

fn ask(head: &[u8], limits: &HeadLimits) {
    match parse_request(head, limits) {
        Ok(request) => ask_request(&request),
        Err(refusal) => refuse(&refusal),
    }
    if let Ok(response) = parse_response(head) {
        for (name, value) in response.headers.iter() {
            assert!(!name.is_empty() && !has_line_end(value));
        }
        let offered = ["a".to_owned()];
        let offer = DeflateOffer::default();
        let _ = check_switching(&response, "dGhlIHNhbXBsZSBub25jZQ==", &offered, Some(&offer));
    }
}

fn ask_request(request: &Request<'_>) {
    assert!(request.path.starts_with('/') || request.path == "*", "{:?}", request.path);
    assert!(!request.host().is_empty() && request.host().is_ascii());
    for text in [Some(request.path), request.query, request.origin()].into_iter().flatten() {
        assert!(!has_line_end(text.as_bytes()), "{text:?} could end a line");
    }
    for (name, value) in request.headers.iter() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!has_line_end(value));
        assert_eq!(request.header(name), request.headers.all(name).next());
    }
    if let Some(origin) = request.origin() {
        let _ = origin_allowed(origin, request.host(), &["https://a.example".to_owned()]);
    }
    if let Ok(path) = percent_decode(request.path) {
        let _ = channel_name(&path).map(|name| assert!(name.is_ascii() && name.len() <= 255));
    }
    let _ = query_value(request.query, "since");
    let _ = request.accepts_event_stream();
    let Ok(upgrade) = check_upgrade(request) else { return };
    let supported = ["a".to_owned(), "b".to_owned()];
    let chosen = choose_subprotocol(upgrade.subprotocols(), &supported);
    let mut out = Vec::new();
    let terms = DeflateTerms { window_bits_max: 12, context_takeover: true };
    let negotiated = negotiate_deflate(upgrade.extensions(), &terms);
    let extension = negotiated.map(|negotiated| negotiated.answer());
    let extra = extension.as_deref().map(|value| ("Sec-WebSocket-Extensions", value));
    encode_switching(&mut out, upgrade.key, chosen, extra.as_slice());
    let response = parse_response(&out).expect("our own 101");
    let key = std::str::from_utf8(upgrade.key).expect("base64");
    let offered: Vec<String> = upgrade.subprotocols().map(str::to_owned).collect();
    let agreed = check_switching(&response, key, &offered, None);
    match extension {
        None => assert_eq!(agreed.expect("our own 101").subprotocol.as_deref(), chosen),
        Some(_) => assert!(agreed.is_err(), "compression was not asked for"),
    }
}

/// A refusal is an answer that a client can read.
fn refuse(refusal: &Refusal) {
    let mut out = Vec::new();
    encode_refusal(&mut out, refusal, &[]);
    let end = HeadScanner::new().find_end(&out, &HeadLimits::default()).expect("our own head");
    let response = parse_response(&out[..end.expect("a whole head")]).expect("our own head");
    assert_eq!(response.status, refusal.status);
    assert!((400..600).contains(&refusal.status) && !response.keep_alive);
}

fn has_line_end(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
