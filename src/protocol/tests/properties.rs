//! Properties that hold for every value, tried on many: lengths, masks, UTF-8, close codes,
//! origins, percent-encoding, positions. Each has a model so simple that it is plainly right.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is a test"
)]

mod random;

use random::Random;
use ringwire_protocol::http::{origin_allowed, percent_decode, query_value};
use ringwire_protocol::ws::{
    CloseCode, Cursor, Event, Inbound, Kind, Limits, Opcode, Role, Utf8Stream, encode_close,
    encode_frame, encode_header, frame_len, mask,
};
use ringwire_protocol::{Epoch, Position};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 0 };

/// The length that a header announces, read as RFC 6455 section 5.2 draws it.
fn announced(header: &[u8]) -> (usize, usize) {
    match header[1] & 0x7F {
        126 => (usize::from(u16::from_be_bytes([header[2], header[3]])), 4),
        127 => {
            let long = u64::from_be_bytes(header[2..10].try_into().unwrap());
            (usize::try_from(long).unwrap(), 10)
        }
        short => (usize::from(short), 2),
    }
}

#[test]
fn every_length_is_announced_in_its_shortest_form() {
    for len in 0..=70_000 {
        for key in [None, Some([1, 2, 3, 4])] {
            let mut header = [0; 14];
            let bytes = encode_header(&mut header, Opcode::Binary, true, len, key);
            let (announced, key_at) = announced(&header);
            assert_eq!(announced, len);
            let shortest = [2, 4, 10][usize::from(len > 125) + usize::from(len > 65_535)];
            assert_eq!(key_at, shortest, "{len}");
            assert_eq!(bytes, key_at + if key.is_some() { 4 } else { 0 });
            assert_eq!(frame_len(len, key.is_some()), bytes + len);
        }
    }
}

#[test]
fn frames_of_every_kind_of_length_come_back() {
    let mut random = Random::seeded();
    let edges = [0..=300, 65_500..=65_570].into_iter().flatten();
    let others: Vec<usize> = (0..60).map(|_| random.below(70_001)).collect();
    for len in edges.chain(others) {
        let payload = random.bytes(len.min(64)).repeat(len.div_ceil(64).max(1))[..len].to_vec();
        for role in [Role::Server, Role::Client] {
            let [a, b, c, d, ..] = random.next().to_le_bytes();
            let mut frame = Vec::new();
            let key = (role == Role::Server).then_some([a, b, c, d]);
            encode_frame(&mut frame, Opcode::Binary, &payload, key);
            let cut = random.below(frame.len());
            let (head, tail) = frame.split_at_mut(cut);
            let mut inbound = Inbound::new(role);
            assert_eq!(inbound.next(&mut Cursor::new(head), &LIMITS), Ok(None), "{len} at {cut}");
            let mut cursor = Cursor::new(tail);
            let Ok(Some(Event::Message { kind: Kind::Binary, payload: read })) =
                inbound.next(&mut cursor, &LIMITS)
            else {
                panic!("no message of {len} bytes cut at {cut}");
            };
            assert!(read == payload, "{len} cut at {cut}");
        }
    }
}

#[test]
fn masks_in_any_pieces_are_one_mask() {
    let mut random = Random::seeded();
    for _ in 0..300 {
        let len = random.pick(&[0, 1, 7, 64, 511, 513, 2000]);
        let plain = random.bytes(len);
        let [a, b, c, d, ..] = random.next().to_le_bytes();
        let key = [a, b, c, d];
        let model: Vec<u8> =
            plain.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect();
        let mut masked = plain.clone();
        let mut at = 0;
        while at < len {
            let piece = 1 + random.below(len - at);
            mask(&mut masked[at..at + piece], key, at);
            at += piece;
        }
        assert_eq!(masked, model);
        mask(&mut masked, key, 0);
        assert_eq!(masked, plain, "the same again undoes it");
    }
}

#[test]
fn text_in_any_pieces_fails_where_std_says() {
    let mut random = Random::seeded();
    for _ in 0..4000 {
        let mut text: String = (0..random.below(12))
            .map(|_| random.pick(&['a', '\u{7F}', '\u{80}', '\u{7FF}', '\u{FFFD}', '\u{10FFFF}']))
            .collect();
        text.push('z');
        let mut bytes = text.into_bytes();
        for _ in 0..random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.pick(&[0x80, 0xC0, 0xC3, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, b'b']);
        }
        let error = std::str::from_utf8(&bytes).err();
        let mut stream = Utf8Stream::new();
        let (mut at, mut failed) = (0, None);
        while at < bytes.len() && failed.is_none() {
            let piece = (1 + random.below(5)).min(bytes.len() - at);
            if stream.push(&bytes[at..at + piece]).is_err() {
                failed = Some((at, at + piece));
            }
            at += piece;
        }
        match (error, failed) {
            (None, None) => assert!(stream.finish().is_ok()),
            (Some(error), None) => {
                assert_eq!(error.error_len(), None, "{bytes:02X?}");
                assert!(stream.finish().is_err());
            }
            (None, Some(_)) => panic!("{bytes:02X?} is text"),
            // Some prefix of what was taken cannot become text, and none of what came before.
            (Some(_), Some((before, after))) => {
                let is_hopeless = |end: usize| {
                    std::str::from_utf8(&bytes[..end]).is_err_and(|e| e.error_len().is_some())
                };
                assert!(is_hopeless(after) && !is_hopeless(before), "{bytes:02X?}");
            }
        }
    }
}

#[test]
fn closes_of_every_code_come_back_or_are_empty() {
    let mut random = Random::seeded();
    for code in (0..=5100).chain([u16::MAX]) {
        let len = random.below(140);
        let reason: String = (0..len).map(|_| random.pick(&['x', '\u{E9}', '\u{20AC}'])).collect();
        let mut frame = [0; 131];
        let bytes = encode_close(&mut frame, code, &reason, None);
        let mut inbound = Inbound::new(Role::Client);
        let mut cursor = Cursor::new(&mut frame[..bytes]);
        let event = inbound.next(&mut cursor, &LIMITS).expect("what we say ourselves");
        let Some(Event::Close(close)) = event else { panic!("no Close of {code}") };
        assert_eq!(close.is_some(), CloseCode(code).is_receivable(), "{code}");
        if let Some(close) = close {
            assert_eq!(close.code.0, code);
            assert!(reason.starts_with(close.reason));
            assert!(close.reason.len() == reason.len() || close.reason.len() > 119);
        }
    }
}

#[test]
fn origins_are_those_of_the_host_or_of_the_list() {
    let mut random = Random::seeded();
    let hosts = ["a.example", "b.example", "A.Example", "[::1]", "10.0.0.1"];
    let ports = ["", ":80", ":443", ":8080", ":81"];
    let own_port = |scheme: &str| if scheme == "https" { ":443" } else { ":80" };
    let mut allowed_count = 0;
    for _ in 0..20_000 {
        let (scheme, host, port) =
            (random.pick(&["http", "https"]), random.pick(&hosts), random.pick(&ports));
        let origin = format!("{scheme}://{host}{port}");
        let (own_host, asked_port) = (random.pick(&hosts), random.pick(&ports));
        let listed = (random.pick(&["http", "https"]), random.pick(&hosts), random.pick(&ports));
        let list = [format!("{}://{}{}", listed.0, listed.1, listed.2)];
        // A web port is as good as none: the scheme's own in the origin, either in Host.
        let plain =
            |port: &'static str, scheme: &str| if port == own_port(scheme) { "" } else { port };
        let web = |port: &'static str| if matches!(port, ":80" | ":443") { "" } else { port };
        let is_own = host.eq_ignore_ascii_case(own_host) && plain(port, scheme) == web(asked_port);
        let is_listed = scheme == listed.0
            && host.eq_ignore_ascii_case(listed.1)
            && plain(port, scheme) == plain(listed.2, listed.0);
        let asked = format!("{own_host}{asked_port}");
        let says = origin_allowed(&origin, &asked, &list);
        assert_eq!(says, is_own || is_listed, "{origin} at {asked}, {list:?}");
        allowed_count += u32::from(says);
        // Whatever could hide another host is nobody's.
        for bad in ["/", "/x", "?", "#", "@c.example", " ", "\0", ":", "]"] {
            assert!(!origin_allowed(&format!("{origin}{bad}"), &asked, &list), "{origin}{bad}");
        }
        assert!(!origin_allowed("null", &asked, &["*".to_string()]));
    }
    assert!(allowed_count > 500, "{allowed_count} of 20000 are allowed");
}

#[test]
fn percent_encoding_is_undone_and_nothing_else_is() {
    let mut random = Random::seeded();
    for _ in 0..3000 {
        let len = random.below(20);
        let bytes = random.bytes(len);
        let mut text = String::new();
        for &byte in &bytes {
            let may_stand = byte.is_ascii_alphanumeric();
            match random.below(3) {
                0 if may_stand => text.push(char::from(byte)),
                1 => text.push_str(&format!("%{byte:02x}")),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
        assert_eq!(percent_decode(&text).unwrap(), bytes);
        let query = format!("x=1&value={text}&y");
        match std::str::from_utf8(&bytes) {
            Ok(value) => assert_eq!(query_value(Some(&query), "value").unwrap().unwrap(), value),
            Err(_) => assert_eq!(query_value(Some(&query), "value").unwrap_err().status, 400),
        }
        let twice = format!("{query}&value=");
        assert_eq!(query_value(Some(&twice), "value").unwrap_err().status, 400);
        for bad in ["%", "%4", "%g0", "%0g", "%%20", "% 41"] {
            assert_eq!(percent_decode(&format!("{text}{bad}")).unwrap_err().status, 400, "{bad}");
        }
    }
}

#[test]
fn positions_have_one_spelling_and_it_is_read() {
    let mut random = Random::seeded();
    for _ in 0..5000 {
        let shift = random.below(64);
        let position = Position { epoch: Epoch(random.next()), offset: random.next() >> shift };
        let text = position.to_string();
        assert_eq!(text.parse(), Ok(position));
        let mut damaged = text.clone().into_bytes();
        let at = random.below(damaged.len());
        match random.below(3) {
            0 => damaged[at] = random.pick(b"0123456789abcdefABCDEF:+- \0"),
            1 => drop(damaged.remove(at)),
            _ => damaged.insert(at, random.pick(b"0123456789abcdef:+- ")),
        }
        let damaged = String::from_utf8(damaged).unwrap();
        if let Ok(other) = damaged.parse::<Position>() {
            assert_eq!(other.to_string(), damaged, "two spellings of one position");
        }
    }
}
