//! What one WebSocket of the suite says to what it hears, however the bytes are cut.

use ringwire_protocol::ws::{
    Cursor, End, Event, Inbound, Kind, Limits, Opcode, Role, encode_close, encode_frame,
    encode_header, encode_switching,
};

use crate::testee::dialogue::{Dialogue, Manner, Refused};

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";
const LIMIT: usize = 1000;

fn opening(manner: Manner) -> Dialogue {
    let mut out = Vec::new();
    let dialogue = Dialogue::open("h", "/runCase?case=1", KEY.to_owned(), manner, LIMIT, &mut out);
    assert!(out.starts_with(b"GET /runCase?case=1 HTTP/1.1\r\nHost: h\r\n"));
    dialogue
}

fn switching() -> Vec<u8> {
    let mut out = Vec::new();
    encode_switching(&mut out, KEY.as_bytes(), None, &[]);
    out
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, payload, None);
    out
}

fn close(code: u16) -> Vec<u8> {
    let mut out = [0; 131];
    let len = encode_close(&mut out, code, "", None);
    out[..len].to_vec()
}

/// Hears `bytes` in pieces of `piece`; what was answered.
fn hear(dialogue: &mut Dialogue, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Refused> {
    let mut out = Vec::new();
    for part in bytes.chunks(piece) {
        let used = dialogue.hear(&mut part.to_vec(), &mut out, usize::MAX, || [1, 2, 3, 4])?;
        assert_eq!(used, part.len());
    }
    Ok(out)
}

/// What a server makes of `bytes`, in words.
fn understood(mut bytes: Vec<u8>) -> Vec<String> {
    let mut inbound = Inbound::new(Role::Server);
    let limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 0 };
    let mut cursor = Cursor::new(&mut bytes);
    let mut told = Vec::new();
    while let Some(event) = inbound.next(&mut cursor, &limits).expect("good frames") {
        told.push(match event {
            Event::Message { kind: Kind::Text, payload } => {
                format!("text {}", str::from_utf8(payload).expect("text"))
            }
            Event::Message { kind: Kind::Binary, payload } => format!("binary {payload:?}"),
            Event::Compressed { payload, .. } => format!("compressed {payload:?}"),
            Event::Ping(payload) => format!("ping {payload:?}"),
            Event::Pong(payload) => format!("pong {payload:?}"),
            Event::Close(frame) => format!("close {:?}", frame.map(|frame| frame.code.0)),
        });
    }
    assert!(inbound.is_at_boundary());
    told
}

#[test]
fn whatever_comes_goes_back_however_it_is_cut() {
    let fragments = {
        let mut out = vec![0x01, 2, b'a', b'b', 0x89, 1, 7];
        out.extend_from_slice(&[0x80, 1, b'c']);
        out
    };
    let script = [
        switching(),
        frame(Opcode::Text, "f\u{fc}r".as_bytes()),
        frame(Opcode::Binary, &[0, 255]),
        frame(Opcode::Text, b""),
        fragments,
        frame(Opcode::Pong, b"unasked"),
        close(3005),
        frame(Opcode::Text, b"too late"),
    ]
    .concat();
    for piece in [1, 2, 3, 7, 50, 150, 1000] {
        let mut dialogue = opening(Manner::Echo);
        let out = hear(&mut dialogue, &script, piece).unwrap();
        let expected = [
            "text f\u{fc}r",
            "binary [0, 255]",
            "text ",
            "pong [7]",
            "text abc",
            "close Some(3005)",
        ];
        assert_eq!(understood(out), expected, "pieces of {piece}");
        assert_eq!(dialogue.end(), End::Await, "the server ends first");
        assert_eq!(dialogue.held_bytes(), 0);
    }
}

#[test]
fn what_breaks_the_rules_is_told_why_and_ended_from_here() {
    let long = {
        let mut header = [0; 14];
        let len = encode_header(&mut header, Opcode::Binary, true, LIMIT + 1, None);
        header[..len].to_vec()
    };
    // The last of them is not even complete: it is refused at the byte that breaks it.
    let table = [
        (vec![0xC1, 0], 1002),
        (vec![0x83, 0], 1002),
        (vec![0x81, 0x80, 0, 0, 0, 0], 1002),
        (long, 1009),
        (vec![0x81, 100, 0xCE, 0xBA, 0xF4, 0x90], 1007),
    ];
    for (bytes, code) in table {
        let mut dialogue = opening(Manner::Echo);
        let script = [switching(), bytes.clone()].concat();
        let out = hear(&mut dialogue, &script, 1).unwrap();
        assert_eq!(understood(out), [format!("close Some({code})")], "{bytes:?}");
        assert_eq!(dialogue.end(), End::Finish);
        assert!(hear(&mut dialogue, &close(1000), 100).unwrap().is_empty(), "said once");
    }
}

#[test]
fn what_there_is_no_room_for_is_not_taken() {
    let mut dialogue = opening(Manner::Echo);
    hear(&mut dialogue, &switching(), 1000).unwrap();
    let mut bytes = frame(Opcode::Text, b"0123456789").repeat(10);
    let mut out = Vec::new();
    let mut used = 0;
    let mut rounds = 0;
    while used < bytes.len() {
        let mut now = Vec::new();
        used += dialogue.hear(&mut bytes[used..], &mut now, 17, || [0; 4]).unwrap();
        assert!(now.len() <= 2 * 16, "one message above the room at most");
        out.extend(now);
        rounds += 1;
    }
    assert_eq!((understood(out).len(), rounds), (10, 5));
    assert_eq!(dialogue.hear(&mut bytes, &mut vec![0; 17], 17, || [0; 4]), Ok(0));
}

#[test]
fn who_listens_keeps_the_first_text_and_says_nothing() {
    let mut dialogue = opening(Manner::Listen);
    let script = [
        switching(),
        frame(Opcode::Binary, b"9"),
        frame(Opcode::Text, &[b'7'; 33]),
        frame(Opcode::Text, b"517"),
        frame(Opcode::Text, b"518"),
    ];
    assert!(hear(&mut dialogue, &script.concat(), 1000).unwrap().is_empty());
    assert_eq!(dialogue.told(), Some(&b"517"[..]));
    assert_eq!(dialogue.end(), End::Stay);
}

#[test]
fn an_upgrade_that_is_refused_says_why() {
    let mut dialogue = opening(Manner::Echo);
    let refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nno\nx";
    let why = hear(&mut dialogue, refusal, 1000).unwrap_err();
    assert_eq!(why.to_string(), "404 no");
    let mut dialogue = opening(Manner::Echo);
    let mut other = switching();
    other.retain(|byte| *byte != b'=');
    assert!(hear(&mut dialogue, &other, 1000).is_err());
    assert!(!dialogue.is_open());
    assert!(hear(&mut opening(Manner::Echo), b"SSH-2.0\r\n\r\n", 1000).is_err());
}
