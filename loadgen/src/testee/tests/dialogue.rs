//! What one WebSocket of the suite says to what it hears, however the bytes are cut.

use ringwire_protocol::ws::{
    Cursor, DeflateTerms, Deflator, Effort, End, Event, Inbound, Inflator, Kind, Limits, Opcode,
    Role, encode_close, encode_compressed_frame, encode_frame, encode_header, encode_switching,
    negotiate_deflate,
};

use crate::engine::codec::Workshop;
use crate::testee::dialogue::{Dialogue, Hand, Manner, Refused, Terms};

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";
const LIMIT: usize = 1000;

fn opening(manner: Manner) -> Dialogue {
    let mut out = Vec::new();
    let terms = Terms { manner, message_bytes_max: LIMIT, compression: true };
    let dialogue = Dialogue::open("h", "/runCase?case=1", KEY.to_owned(), terms, &mut out);
    assert!(out.starts_with(b"GET /runCase?case=1 HTTP/1.1\r\nHost: h\r\n"));
    dialogue
}

fn switching() -> Vec<u8> {
    let mut out = Vec::new();
    encode_switching(&mut out, KEY.as_bytes(), None, &[]);
    out
}

/// [`Dialogue::hear`] with room for `room` bytes in `out`.
fn take_in(
    dialogue: &mut Dialogue,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
    room: usize,
) -> Result<usize, Refused> {
    let mut hand = Hand {
        out,
        out_bytes_max: room,
        workshop: &mut Workshop::default(),
        mask_key: &mut || [1, 2, 3, 4],
    };
    dialogue.hear(bytes, &mut hand)
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
        let used = take_in(dialogue, &mut part.to_vec(), &mut out, usize::MAX)?;
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
        used += take_in(&mut dialogue, &mut bytes[used..], &mut now, 17).unwrap();
        assert!(now.len() <= 2 * 16, "one message above the room at most");
        out.extend(now);
        rounds += 1;
    }
    assert_eq!((understood(out).len(), rounds), (10, 5));
    assert_eq!(take_in(&mut dialogue, &mut bytes, &mut vec![0; 17], 17), Ok(0));
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
fn compressed_messages_go_back_compressed_and_bombs_are_refused() {
    let terms = DeflateTerms { window_bits_max: 15, context_takeover: true };
    let offered = [&b"permessage-deflate; client_max_window_bits"[..]];
    let agreed = negotiate_deflate(offered.into_iter(), &terms).expect("a good offer");
    let mut head = Vec::new();
    let answer = agreed.answer();
    let extra = [("Sec-WebSocket-Extensions", answer.as_str())];
    encode_switching(&mut head, KEY.as_bytes(), None, &extra);
    let mut deflator = Deflator::new(agreed.deflate.outgoing(Role::Server), Effort::Quick);
    let mut compressed = |payload: &[u8]| {
        let (mut packed, mut out) = (Vec::new(), Vec::new());
        deflator.deflate(payload, &mut packed);
        encode_compressed_frame(&mut out, Opcode::Text, &packed, None);
        out
    };
    let text = [b'a'; LIMIT];
    let script = [head, compressed(&text), compressed(b""), frame(Opcode::Text, b"plain")];
    let bomb = compressed(&[b'a'; LIMIT + 1]);
    for piece in [1, 5, 10_000] {
        let mut dialogue = opening(Manner::Echo);
        let mut out = hear(&mut dialogue, &script.concat(), piece).unwrap();
        let mut inbound = Inbound::with_deflate(Role::Server);
        let mut inflator = Inflator::new(agreed.deflate.incoming(Role::Server));
        let limits = Limits { message_bytes_max: LIMIT, empty_fragments_max: 0 };
        let (mut cursor, mut plain) = (Cursor::new(&mut out), Vec::new());
        let mut told = Vec::new();
        while let Some(event) = inbound.next(&mut cursor, &limits).unwrap() {
            let Event::Compressed { kind, payload } = event else { panic!("{event:?}") };
            told.push(inflator.inflate(payload, kind, &limits, &mut plain).unwrap().to_vec());
        }
        assert_eq!(told, [text.to_vec(), Vec::new(), b"plain".to_vec()]);
        let out = hear(&mut dialogue, &[bomb.clone(), close(1000)].concat(), piece).unwrap();
        assert_eq!(understood(out), ["close Some(1009)"]);
        assert_eq!(dialogue.end(), End::Finish);
    }
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
