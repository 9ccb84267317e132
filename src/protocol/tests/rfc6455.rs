//! The sentences of RFC 6455 that no other test is about: what both roles write, word by word.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringwire_protocol::http::{HeadLimits, HeadScanner, Request, parse_request, parse_response};
use ringwire_protocol::ws::{
    Opcode, accept_key, check_switching, check_upgrade, client_key, encode_frame, encode_header,
    encode_switching, encode_upgrade_request, frame_len, mask,
};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("name-{number}")).collect()
}

/// The client's request for these subprotocols.
fn asked(subprotocols: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    let key = client_key([7; 16]);
    encode_upgrade_request(&mut out, "h:81", "/a?b=%20", &key, subprotocols, &[]);
    out
}

fn only<'b>(request: &Request<'b>, name: &str) -> &'b [u8] {
    let mut values = request.headers.all(name);
    let value = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(values.next(), None, "{name} is there once");
    value
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The handshake MUST be a valid HTTP request as specified by [RFC2616].
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The method of the request MUST be GET, and the HTTP version MUST be at least 1.1.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The "Request-URI" part of the request MUST match the /resource name/ defined in Section 3 (a
//# relative URI) or be an absolute http/https URI that, when parsed, has a /resource name/,
//# /host/, and /port/ that match the corresponding ws/wss URI.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The request MUST contain a |Host| header field whose value contains /host/ plus optionally
//# ":" followed by /port/ (when not using the default port).
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The request MUST contain an |Upgrade| header field whose value MUST include the "websocket"
//# keyword.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The request MUST contain a |Connection| header field whose value MUST include the "Upgrade"
//# token.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The request MUST include a header field with the name |Sec-WebSocket-Key|.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The value of this header field MUST be a nonce consisting of a randomly selected 16-byte
//# value that has been base64-encoded (see Section 4 of [RFC4648]).
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The request MUST include a header field with the name |Sec-WebSocket-Version|.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The value of this header field MUST be 13.
//= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1
//= type=test
//# The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.
//= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.5
//= type=test
//# However, the |Sec-WebSocket-Version| header field MUST NOT appear more than once in an HTTP
//# request.
#[test]
fn the_clients_request_is_as_the_rfc_wants_it() {
    let limits = HeadLimits::default();
    let bytes = asked(&[]);
    assert_eq!(HeadScanner::new().find_end(&bytes, &limits), Ok(Some(bytes.len())));
    assert!(bytes.starts_with(b"GET /a?b=%20 HTTP/1.1\r\n"));
    let request = parse_request(&bytes, &limits).unwrap();
    assert_eq!((request.path, request.query), ("/a", Some("b=%20")));
    assert_eq!(only(&request, "Host"), b"h:81");
    assert_eq!(only(&request, "Upgrade"), b"websocket");
    assert_eq!(only(&request, "Connection"), b"Upgrade");
    assert_eq!(only(&request, "Sec-WebSocket-Version"), b"13");
    assert_eq!(STANDARD.decode(only(&request, "Sec-WebSocket-Key")).unwrap(), [7; 16]);
    assert!(check_upgrade(&request).is_ok());
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The elements that comprise this value MUST be non-empty strings with characters in the range
//# U+0021 to U+007E not including separator characters as defined in [RFC2616] and MUST all be
//# unique strings.
#[test]
fn the_clients_subprotocols_are_unique_tokens() {
    assert_eq!(
        parse_request(&asked(&[]), &HeadLimits::default())
            .unwrap()
            .headers
            .first("Sec-WebSocket-Protocol"),
        None
    );
    let twice = [names(3), names(3), vec![String::new(), "a b".to_string()]].concat();
    for offered in [names(1), names(20), twice] {
        let bytes = asked(&offered);
        let request = parse_request(&bytes, &HeadLimits::default()).unwrap();
        let upgrade = check_upgrade(&request).expect("names with commas between");
        let mut seen: Vec<&str> = upgrade.subprotocols().collect();
        let count = seen.len();
        assert!(seen.iter().all(|name| offered.iter().any(|other| other == name)));
        assert!(seen.iter().all(|name| !name.is_empty() && !name.contains(' ')));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "each once");
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# If the server chooses to accept the incoming connection, it MUST reply with a valid HTTP
//# response indicating the following.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# When a client establishes a WebSocket connection to a server, the server MUST complete the
//# following steps to accept the connection and send the server's opening handshake.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# The absence of such a field is equivalent to the null value (meaning that if the server does
//# not wish to agree to one of the suggested subprotocols, it MUST NOT send back a
//# |Sec-WebSocket-Protocol| header field in its response).
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
//= type=test
//# Extensions not listed by the client MUST NOT be listed.
//= https://www.rfc-editor.org/rfc/rfc6455#section-9
//= type=test
//# A server MUST NOT respond with any extension not requested by the client.
//= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.2
//= type=test
//# However, the |Sec-WebSocket-Extensions| header field MUST NOT appear more than once in an
//# HTTP response.
//= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.3
//= type=test
//# The |Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP response.
//= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.4
//= type=test
//# However, the |Sec-WebSocket-Protocol| header field MUST NOT appear more than once in an HTTP
//# response.
#[test]
fn the_servers_answer_is_as_the_rfc_wants_it() {
    for subprotocol in [None, Some("chat")] {
        let key = client_key([9; 16]);
        let mut out = Vec::new();
        encode_switching(&mut out, key.as_bytes(), subprotocol, &[]);
        assert!(out.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(out.ends_with(b"\r\n\r\n"));
        let response = parse_response(&out).unwrap();
        let all = |name: &str| response.headers.all(name).collect::<Vec<_>>();
        assert_eq!(all("Upgrade"), [b"websocket"]);
        assert_eq!(all("Connection"), [b"Upgrade"]);
        assert_eq!(all("Sec-WebSocket-Accept"), [accept_key(key.as_bytes())]);
        assert_eq!(all("Sec-WebSocket-Extensions"), [b""; 0]);
        let chosen: Vec<&[u8]> = subprotocol.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(all("Sec-WebSocket-Protocol"), chosen);
        let offered = ["chat".to_string()];
        let switched = check_switching(&response, &key, &offered, None).expect("a good 101");
        assert_eq!(switched.subprotocol.as_deref(), subprotocol);
    }
}

#[test]
fn the_101_of_the_rfc_is_taken_whatever_the_order_of_its_lines() {
    let lines = [
        "Upgrade: websocket\r\n",
        "connection: keep-alive, UPGRADE\r\n",
        "Sec-WebSocket-Accept:   s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \t\r\n",
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let lines: String = order.iter().map(|&line| lines[line]).collect();
        let head = format!("HTTP/1.1 101 Any Words\r\n{lines}\r\n");
        let response = parse_response(head.as_bytes()).unwrap();
        assert!(check_switching(&response, "dGhlIHNhbXBsZSBub25jZQ==", &[], None).is_ok());
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
//= type=test
//# MUST be 0 unless an extension is negotiated that defines meanings for non-zero values.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
//= type=test
//# Note that in all cases, the minimal number of bytes MUST be used to encode the length, for
//# example, the length of a 124-byte-long string can't be encoded as the sequence 126, 0, 124.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
//= type=test
//# A masked frame MUST have the field frame-masked set to 1, as defined in Section 5.2.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
//= type=test
//# An endpoint MUST encapsulate the /data/ in a WebSocket frame as defined in Section 5.2.
#[test]
fn headers_say_what_they_are_given_and_nothing_else() {
    let opcodes = [
        (Opcode::Continuation, 0),
        (Opcode::Text, 1),
        (Opcode::Binary, 2),
        (Opcode::Close, 8),
        (Opcode::Ping, 9),
        (Opcode::Pong, 10),
    ];
    let lens = [0, 1, 124, 125, 126, 127, 65_535, 65_536, 1 << 20, usize::MAX / 2];
    for (opcode, bits) in opcodes {
        for fin in [false, true] {
            for len in lens {
                for key in [None, Some([0x80; 4])] {
                    let mut out = [0xEE; 14];
                    let written = encode_header(&mut out, opcode, fin, len, key);
                    // No reserved bit, whatever else.
                    assert_eq!(out[0], bits | u8::from(fin) << 7, "{opcode:?} {fin} {len}");
                    assert_eq!(out[1] >= 0x80, key.is_some(), "{opcode:?} {fin} {len}");
                    let length_bytes = match out[1] & 0x7F {
                        126 => 2,
                        127 => 8,
                        short => {
                            assert_eq!(usize::from(short), len);
                            0
                        }
                    };
                    let length = out[2..2 + length_bytes]
                        .iter()
                        .fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
                    assert!(length_bytes == 0 || length == len, "{len}");
                    let least = [0, 0, 126, 0, 0, 0, 0, 0, 65_536][length_bytes];
                    assert!(len >= least, "{len} in {length_bytes} bytes");
                    assert_eq!(written, 2 + length_bytes + if key.is_some() { 4 } else { 0 });
                    assert_eq!(written, frame_len(len, key.is_some()) - len);
                    assert!(out[written..].iter().all(|&byte| byte == 0xEE), "nothing behind it");
                }
            }
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
//= type=test
//# To _Send a WebSocket Message_ comprising of /data/ over a WebSocket connection, an endpoint
//# MUST perform the following steps.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
//= type=test
//# The opcode (frame-opcode) of the first frame containing the data MUST be set to the
//# appropriate value from Section 5.2 for data that is to be interpreted by the recipient as
//# text or binary data.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
//= type=test
//# The FIN bit (frame-fin) of the last frame containing the data MUST be set to 1 as defined in
//# Section 5.2.
#[test]
fn a_message_is_one_frame_with_fin_and_its_opcode() {
    // RFC 6455, section 5.7.
    let mut hello = Vec::new();
    encode_frame(&mut hello, Opcode::Text, b"Hello", None);
    assert_eq!(hello, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let mut hello = Vec::new();
    encode_frame(&mut hello, Opcode::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(hello, masked);
    let mut payload = masked[6..].to_vec();
    mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
    assert_eq!(payload, b"Hello");
    for len in [256, 65_536] {
        let mut frame = Vec::new();
        encode_frame(&mut frame, Opcode::Binary, &vec![3; len], None);
        let start: &[u8] = match len {
            256 => &[0x82, 0x7E, 0x01, 0x00],
            _ => &[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0],
        };
        assert!(frame.starts_with(start) && frame.len() == start.len() + len);
    }
}
