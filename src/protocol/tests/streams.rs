//! No payload can break a stream of events or an answer: what was written is what is read.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is a test"
)]

mod random;

use random::Random;
use ringwire_protocol::poll::{
    ITEM_SEPARATOR, encode_answer_head, encode_answer_tail, encode_item, encode_position,
    encode_published, parse_answer, parse_item, parse_position, parse_published,
};
use ringwire_protocol::sse::{Parser, encode_comment, encode_event, encode_reset, encode_retry};
use ringwire_protocol::{Epoch, Position};

const POSITION: Position = Position { epoch: Epoch(0xFEED), offset: 41 };

/// Payloads that have broken encoders, then random ones made of the same parts.
fn payloads(random: &mut Random) -> Vec<Vec<u8>> {
    let parts: [&[u8]; 18] = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xEF\xBB\xBF",
        b" ",
        b":",
        b"data: x",
        b"id: 1",
        b"event: x",
        b"retry: 1",
        b"\"",
        b"\\",
        b"</script>",
        "\u{E9}\u{20AC}\u{10000}\u{2028}".as_bytes(),
        b"\xFF",
        b"\x7F",
        b"a",
    ];
    let mut payloads: Vec<Vec<u8>> = vec![Vec::new()];
    for first in parts {
        payloads.push(first.to_vec());
        payloads.extend(parts.map(|second| [first, second].concat()));
        payloads.extend(parts.map(|second| [b"a", first, b"b", second, b"c"].concat()));
    }
    for _ in 0..500 {
        let len = random.below(12);
        payloads.push((0..len).flat_map(|_| random.pick(&parts)).copied().collect());
        let len = random.below(40);
        payloads.push(random.bytes(len));
    }
    payloads
}

/// Reads a stream cut into pieces of this length: position, payload and whether it was text.
fn read(stream: &[u8], chunk: usize) -> Vec<(Position, Vec<u8>, bool)> {
    let mut parser = Parser::new(1 << 16);
    let mut seen = Vec::new();
    for mut piece in stream.chunks(chunk) {
        while let Some(event) = parser.next(&mut piece).unwrap() {
            let position = event.position().expect("every event has one");
            seen.push(match event.binary() {
                Some(payload) => (position, payload, false),
                None => (position, event.data.to_vec(), true),
            });
            assert!(matches!(event.name, b"" | b"binary"));
        }
    }
    seen
}

#[test]
fn one_event_for_each_payload_and_the_same_payload() {
    let mut random = Random::seeded();
    let payloads = payloads(&mut random);
    let mut all = Vec::new();
    for (at, payload) in payloads.iter().enumerate() {
        let is_text = std::str::from_utf8(payload).is_ok();
        let position = Position { epoch: Epoch(7), offset: at as u64 };
        let mut stream = Vec::new();
        encode_event(&mut stream, position, payload, is_text);
        let carried_as_text = is_text && !payload.contains(&b'\r');
        let expected = [(position, payload.clone(), carried_as_text)];
        assert_eq!(read(&stream, stream.len()), expected, "{payload:02X?}");
        assert_eq!(read(&stream, 1), expected, "{payload:02X?} byte by byte");
        all.extend_from_slice(&stream);
        // Bytes that only claim to be text arrive whole all the same.
        stream.clear();
        encode_event(&mut stream, position, payload, true);
        assert_eq!(read(&stream, 7)[0].1, *payload);
        stream.clear();
        encode_event(&mut stream, position, payload, false);
        assert_eq!(read(&stream, 7), [(position, payload.clone(), false)]);
    }
    for chunk in [1, 2, 3, 1000, all.len()] {
        let seen: Vec<Vec<u8>> = read(&all, chunk).into_iter().map(|event| event.1).collect();
        assert_eq!(seen, payloads);
    }
}

#[test]
fn comments_and_retries_are_no_events() {
    let mut stream = Vec::new();
    encode_comment(&mut stream, "");
    encode_comment(&mut stream, "hello\ndata: x\r\ndata: y\rdata: z");
    encode_retry(&mut stream, 1500);
    let mut parser = Parser::new(1000);
    assert_eq!(parser.next(&mut &stream[..]), Ok(None));
    assert_eq!(parser.retry_ms(), Some(1500));
    assert_eq!(parser.held_bytes(), 0);
}

#[test]
fn a_reset_says_where_it_goes_on() {
    let mut stream = Vec::new();
    encode_reset(&mut stream, POSITION);
    let mut parser = Parser::new(1000);
    let mut bytes = &stream[..];
    let event = parser.next(&mut bytes).unwrap().unwrap();
    assert_eq!(event.name, b"reset");
    assert_eq!(event.position(), Some(POSITION));
    assert_eq!(parse_published(event.data).unwrap(), POSITION);
}

#[test]
fn events_on_the_wire() {
    let encoded = |payload: &[u8], text| {
        let mut out = Vec::new();
        encode_event(&mut out, POSITION, payload, text);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(encoded(b"hi", true), "id: 000000000000feed:41\ndata: hi\n\n");
    assert_eq!(encoded(b"a\nb", true), "id: 000000000000feed:41\ndata: a\ndata: b\n\n");
    let binary = "id: 000000000000feed:41\nevent: binary\ndata: AP8=\n\n";
    assert_eq!(encoded(&[0, 0xFF], false), binary);
}

#[test]
fn answers_carry_every_payload() {
    let mut random = Random::seeded();
    let payloads = payloads(&mut random);
    let mut body = Vec::new();
    encode_answer_head(&mut body, POSITION, true);
    for (at, payload) in payloads.iter().enumerate() {
        if at > 0 {
            body.push(ITEM_SEPARATOR);
        }
        let start = body.len();
        encode_item(&mut body, at as u64, payload, true);
        let item = parse_item(&body[start..]).unwrap();
        assert_eq!((item.offset, &*item.payload), (at as u64, &payload[..]));
        assert_eq!(item.is_text, std::str::from_utf8(payload).is_ok());
        let mut binary = Vec::new();
        encode_item(&mut binary, 1, payload, false);
        let item = parse_item(&binary).unwrap();
        assert_eq!((&*item.payload, item.is_text), (&payload[..], false));
    }
    encode_answer_tail(&mut body);
    let answer = parse_answer(&body).unwrap();
    assert_eq!((answer.position, answer.recovered), (POSITION, true));
    let seen: Vec<&[u8]> = answer.items.iter().map(|item| &*item.payload).collect();
    assert_eq!(seen, payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

#[test]
fn json_on_the_wire() {
    let mut out = Vec::new();
    encode_answer_head(&mut out, POSITION, false);
    encode_answer_tail(&mut out);
    let expected = r#"{"epoch":"000000000000feed","offset":41,"recovered":false,"items":[]}"#;
    assert_eq!(String::from_utf8_lossy(&out), expected);
    let answer = parse_answer(&out).unwrap();
    assert!(!answer.recovered && answer.items.is_empty());

    out.clear();
    encode_item(&mut out, 9, b"a\"b", true);
    assert_eq!(out, br#"{"offset":9,"data":"a\"b"}"#);
    out.clear();
    encode_item(&mut out, 9, &[0xFF], false);
    assert_eq!(out, br#"{"offset":9,"data_base64":"/w=="}"#);
    out.clear();
    encode_published(&mut out, POSITION);
    assert_eq!(out, br#"{"epoch":"000000000000feed","offset":41}"#);
    assert_eq!(parse_published(&out).unwrap(), POSITION);
    out.clear();
    encode_position(&mut out, POSITION, false);
    assert_eq!(out, br#"{"epoch":"000000000000feed","offset":41,"recovered":false}"#);
    assert_eq!(parse_position(&out).unwrap(), (POSITION, false));
}

#[test]
fn answers_that_are_none_are_refused() {
    let answer = |epoch: &str, offset: &str, items: &str| {
        format!(r#"{{"epoch":"{epoch}","offset":{offset},"recovered":true,"items":[{items}]}}"#)
    };
    let epoch = "000000000000feed";
    let good = answer(epoch, "1", r#"{"offset":1,"data":"a"}"#);
    assert!(parse_answer(good.as_bytes()).is_ok());
    for bad in [
        String::new(),
        "[]".to_string(),
        "{}".to_string(),
        good.replace(r#""recovered":true,"#, ""),
        good[..good.len() - 1].to_string(),
        [&good[..], "x"].concat(),
        answer("x", "1", ""),
        answer(epoch, "-1", ""),
        answer(epoch, "18446744073709551616", ""),
        answer(epoch, "1", r#"{"offset":1}"#),
        answer(epoch, "1", r#"{"data":"a"}"#),
        answer(epoch, "1", r#"{"offset":1,"data_base64":"!"}"#),
        answer(epoch, "1", r#"{"offset":1,"data":"a","data_base64":""}"#),
    ] {
        assert!(parse_answer(bad.as_bytes()).is_err(), "{bad}");
    }
}
