//! The upgrade: its rules one by one, and both roles against each other.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

use ringwire_protocol::http::{HeadLimits, HeadScanner, Refusal, parse_request, parse_response};
use ringwire_protocol::ws::{
    accept_key, check_switching, check_upgrade, choose_subprotocol, client_key, encode_switching,
    encode_upgrade_request,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The headers of a good request.
const GOOD: [(&str, &str); 5] = [
    ("Host", "server.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

fn request(line: &str, headers: &[(&str, &str)]) -> String {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line}\r\n{lines}\r\n")
}

/// The offered subprotocols, joined, or the status of the refusal.
fn check(line: &str, headers: &[(&str, &str)]) -> Result<String, u16> {
    let head = request(line, headers);
    let checked = parse_request(head.as_bytes(), &HeadLimits::default()).and_then(|request| {
        let upgrade = check_upgrade(&request)?;
        Ok(upgrade.subprotocols().collect::<Vec<_>>().join("|"))
    });
    checked.map_err(|refusal: Refusal| refusal.status)
}

const LINE: &str = "GET /echo HTTP/1.1";

/// The good headers with this one replaced (or left out, if there is no value).
fn with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
    headers.extend(value.map(|value| (name, value)));
    headers
}

#[test]
fn a_good_request_passes() {
    assert_eq!(check(LINE, &GOOD), Ok(String::new()));
    for (name, value) in [
        ("Upgrade", "WebSocket"),
        ("Connection", "keep-alive, UPGRADE"),
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Content-Length", "0"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        // The spare bits of the last character are not zero.
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZR=="),
    ] {
        assert!(check(LINE, &with(name, Some(value))).is_ok(), "{name}: {value}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
//= type=test
//# If the server, while reading the handshake, finds that the client did not send a handshake
//# that matches the description below (note that as per [RFC2616], the order of the header
//# fields is not important), including but not limited to any violations of the ABNF grammar
//# specified for the components of the handshake, the server MUST stop processing the client's
//# handshake and return an HTTP response with an appropriate error code (such as 400 Bad
//# Request).
#[test]
fn each_rule_refuses() {
    for line in ["POST / HTTP/1.1", "HEAD / HTTP/1.1", "PUT / HTTP/1.1", "get / HTTP/1.1"] {
        assert_eq!(check(line, &GOOD), Err(405), "{line}");
    }
    assert_eq!(check("GET / HTTP/1.0", &GOOD), Err(505));
    for (name, value, status) in [
        ("Host", None, 400),
        ("Upgrade", None, 426),
        ("Upgrade", Some("h2c"), 426),
        ("Upgrade", Some("h2c, websocket"), 400),
        ("Upgrade", Some("websocket, h2c"), 400),
        ("Upgrade", Some("websocket, websocket"), 400),
        ("Upgrade", Some("websocket,"), 400),
        ("Upgrade", Some("websocket/13"), 426),
        ("Upgrade", Some("xwebsocket"), 426),
        ("Connection", None, 400),
        ("Connection", Some("keep-alive"), 400),
        ("Connection", Some("close"), 400),
        ("Connection", Some("upgrades"), 400),
        ("Sec-WebSocket-Version", None, 426),
        ("Sec-WebSocket-Version", Some("8"), 426),
        ("Sec-WebSocket-Version", Some("13, 8"), 426),
        ("Sec-WebSocket-Version", Some("013"), 426),
        ("Sec-WebSocket-Version", Some("14"), 426),
        ("Sec-WebSocket-Key", None, 400),
        ("Sec-WebSocket-Key", Some(""), 400),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ"), 400),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ=x"), 400),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25j"), 400),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZXh4"), 400),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZXh="), 400),
        ("Sec-WebSocket-Key", Some("dGhl*HNhbXBsZSBub25jZQ=="), 400),
        ("Content-Length", Some("1"), 400),
        ("Transfer-Encoding", Some("chunked"), 400),
        ("Sec-WebSocket-Protocol", Some(""), 400),
        ("Sec-WebSocket-Protocol", Some("a,,b"), 400),
        ("Sec-WebSocket-Protocol", Some("a b"), 400),
        ("Sec-WebSocket-Protocol", Some("a, "), 400),
        ("Sec-WebSocket-Protocol", Some("a;b"), 400),
        ("Sec-WebSocket-Protocol", Some("\"a\""), 400),
        ("Sec-WebSocket-Protocol", Some("\u{E9}"), 400),
    ] {
        assert_eq!(check(LINE, &with(name, value)), Err(status), "{name}: {value:?}");
    }
    for twice in ["Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        let mut headers = GOOD.to_vec();
        headers.extend(GOOD.iter().filter(|(name, _)| *name == twice));
        assert!(matches!(check(LINE, &headers), Err(400 | 426)), "{twice} twice");
    }
}

#[test]
fn a_hundred_headers_do_not_hide_the_upgrade() {
    let names: Vec<String> = (0..95).map(|index| format!("X-{index}")).collect();
    let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    headers.extend(GOOD);
    assert_eq!(check(LINE, &headers), Ok(String::new()));
    headers.insert(0, ("X-More", "x"));
    assert_eq!(check(LINE, &headers), Err(431));
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# The value chosen MUST be derived from the client's handshake, specifically by selecting one
//# of the values from the |Sec-WebSocket-Protocol| field that the server is willing to use for
//# this connection (if any).
#[test]
fn subprotocols_are_chosen_by_the_servers_order() {
    let offered = with("Sec-WebSocket-Protocol", Some("chat ,superchat"));
    assert_eq!(check(LINE, &offered), Ok("chat|superchat".to_string()));
    let mut two_lines = offered;
    two_lines.push(("sec-websocket-protocol", "third"));
    assert_eq!(check(LINE, &two_lines), Ok("chat|superchat|third".to_string()));

    let supported = ["b".to_string(), "a".to_string()];
    let choose = |offered: &[&'static str]| choose_subprotocol(offered.iter().copied(), &supported);
    assert_eq!(choose(&["a", "b"]), Some("b"));
    assert_eq!(choose(&["c", "a"]), Some("a"));
    assert_eq!(choose(&["A", "c"]), None, "names are case-sensitive");
    assert_eq!(choose(&[]), None);
    assert_eq!(choose_subprotocol(["a"].into_iter(), &[]), None);
}

#[test]
fn the_key_of_the_rfc() {
    assert_eq!(&accept_key(KEY.as_bytes()), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(client_key(*b"the sample nonce"), KEY);
}

#[test]
fn both_roles_agree() {
    let offered = ["one".to_string(), "two".to_string()];
    let extra = [("Origin".to_string(), "http://h:1".to_string())];
    let mut asked = Vec::new();
    encode_upgrade_request(&mut asked, "h:1", "/echo?x", KEY, &offered, &extra);
    let limits = HeadLimits::default();
    assert_eq!(HeadScanner::new().find_end(&asked, &limits), Ok(Some(asked.len())));
    let request = parse_request(&asked, &limits).unwrap();
    assert_eq!((request.host(), request.origin()), ("h:1", Some("http://h:1")));
    let upgrade = check_upgrade(&request).unwrap();
    assert_eq!(upgrade.key, KEY.as_bytes());
    let chosen = choose_subprotocol(upgrade.subprotocols(), &offered[1..]);

    let mut answer = Vec::new();
    encode_switching(&mut answer, upgrade.key, chosen, &[("Ringwire-Position", "x:1")]);
    let response = parse_response(&answer).unwrap();
    assert_eq!(response.header("ringwire-position"), Some(&b"x:1"[..]));
    let switched = check_switching(&response, KEY, &offered, None).unwrap();
    assert_eq!((switched.subprotocol.as_deref(), switched.deflate), (Some("two"), None));
    assert!(check_switching(&response, KEY, &[], None).is_err(), "nothing was offered");
    assert!(check_switching(&response, "x", &offered, None).is_err(), "another key");
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The client MUST validate the server's response as follows:
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a
//# value that is not an ASCII case-insensitive match for the value "websocket", the client MUST
//# _Fail the WebSocket Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the response lacks a |Connection| header field or the |Connection| header field doesn't
//# contain a token that is an ASCII case-insensitive match for the value "Upgrade", the client
//# MUST _Fail the WebSocket Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept|
//# contains a value other than the base64-encoded SHA-1 of the concatenation of the
//# |Sec-WebSocket-Key| (as a string, not base64-decoded) with the string
//# "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" but ignoring any leading and trailing whitespace, the
//# client MUST _Fail the WebSocket Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the response includes a |Sec-WebSocket-Extensions| header field and this header field
//# indicates the use of an extension that was not present in the client's handshake (the server
//# has indicated an extension not requested by the client), the client MUST _Fail the WebSocket
//# Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the response includes a |Sec-WebSocket-Protocol| header field and this header field
//# indicates the use of a subprotocol that was not present in the client's handshake (the
//# server has indicated a subprotocol not requested by the client), the client MUST _Fail the
//# WebSocket Connection_.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If the server's response does not conform to the requirements for the server's handshake as
//# defined in this section and in Section 4.2.2, the client MUST _Fail the WebSocket
//# Connection_.
#[test]
fn a_101_that_is_none_is_refused() {
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    const TOKENS: &str = "Upgrade: WebSocket\r\nConnection: upgrade\r\n";
    let read = |status: &str, lines: &[&str]| {
        let head = format!("HTTP/1.1 {status} x\r\n{}\r\n", lines.concat());
        let response = parse_response(head.as_bytes()).unwrap();
        check_switching(&response, KEY, &["a".to_string()], None)
            .map(|switched| switched.subprotocol)
    };
    assert_eq!(read("101", &[TOKENS, ACCEPT]), Ok(None));
    assert!(read("200", &[TOKENS, ACCEPT]).is_err());
    assert!(read("101", &[TOKENS]).is_err());
    assert!(read("101", &[TOKENS, ACCEPT, ACCEPT]).is_err());
    assert!(read("101", &["Upgrade: websocket\r\n", ACCEPT]).is_err());
    assert!(read("101", &["Connection: upgrade\r\n", ACCEPT]).is_err());
    assert!(read("101", &["Upgrade: h2c\r\nConnection: upgrade\r\n", ACCEPT]).is_err());
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    assert!(read("101", &[TOKENS, ACCEPT, deflate]).is_err());
    let chosen = |name| format!("Sec-WebSocket-Protocol: {name}\r\n");
    assert_eq!(read("101", &[TOKENS, ACCEPT, &chosen("a")]), Ok(Some("a".to_string())));
    assert!(read("101", &[TOKENS, ACCEPT, &chosen("b")]).is_err());
    assert!(read("101", &[TOKENS, ACCEPT, &chosen("a"), &chosen("a")]).is_err());
}
