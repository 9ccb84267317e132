//! `/echo` and the rules of WebSocket: messages, cuts, subprotocols, violations, both closings.

use std::io::Write;

use ringwire::metrics::DropReason;
use ringwire_protocol::ws::Opcode;

use crate::client::Client;
use crate::harness::{Engine, Running, eventually};
use crate::peers::{Said, WebSocket, close_payload, frame, upgrade};

on_both_engines!(
    each_message_comes_back_with_its_opcode,
    frames_behind_the_upgrade_are_not_lost,
    a_message_in_fragments_comes_back_whole_behind_the_pong,
    the_servers_order_chooses_the_subprotocol,
    frames_that_break_a_rule_are_closed_with_its_code,
    a_1009_is_readable_by_a_client_that_is_still_sending,
    a_close_is_answered_and_the_server_ends_first,
    a_client_that_does_not_read_its_echoes_loses_none,
    a_silent_client_is_pinged_and_then_given_up,
);

fn each_message_comes_back_with_its_opcode(engine: Engine) {
    let server = Running::start(engine, 3, &["--max-message-size", "2m"]);
    let mut socket = WebSocket::open(server.address, "/echo");
    assert_eq!(socket.subprotocol, None);
    for len in [0, 1, 20, 125, 126, 65_535, 65_536, 300_000, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|at| b"0123456789abcde"[at % 15]).collect();
        socket.send(Opcode::Binary, &payload);
        assert_eq!(socket.hear(), Said::Binary(payload.clone()), "{len} bytes");
        socket.send(Opcode::Text, &payload);
        assert_eq!(socket.hear(), Said::Text(String::from_utf8(payload).unwrap()), "{len} bytes");
    }
    socket.leave();
}

fn frames_behind_the_upgrade_are_not_lost(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let mut bytes = upgrade("/echo", &[]);
    let head = bytes.len();
    bytes.extend(frame(Opcode::Text, b"first"));
    bytes.extend(frame(Opcode::Binary, b"\xff\0second"));
    // In one segment, cut in two at each byte around the end of the head, and byte by byte.
    for piece in (head - 4..=bytes.len()).chain([1]) {
        let mut client = Client::connect(server.address);
        if piece > 1 {
            client.send(&bytes[..piece]);
            client.send(&bytes[piece..]);
        } else {
            bytes.chunks(piece).for_each(|piece| client.send(piece));
        }
        let mut socket = WebSocket::after_upgrade(client, &[]);
        assert_eq!(socket.hear_text(), "first");
        assert_eq!(socket.hear(), Said::Binary(b"\xff\0second".to_vec()));
        socket.leave();
    }
}

fn a_message_in_fragments_comes_back_whole_behind_the_pong(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let mut socket = WebSocket::open(server.address, "/echo");
    let unfinished = |opcode, payload: &[u8]| {
        let mut bytes = frame(opcode, payload);
        bytes[0] &= 0x7f;
        bytes
    };
    // The two bytes of one character are in different fragments.
    socket.client.send(unfinished(Opcode::Text, b"caf\xc3"));
    socket.send(Opcode::Ping, b"still there?");
    assert_eq!(socket.hear(), Said::Pong(b"still there?".to_vec()));
    socket.client.send(unfinished(Opcode::Continuation, b"\xa9 "));
    socket.send(Opcode::Pong, b"unasked");
    socket.send(Opcode::Continuation, b"noir");
    assert_eq!(socket.hear_text(), "caf\u{e9} noir");
    socket.leave();
}

fn the_servers_order_chooses_the_subprotocol(engine: Engine) {
    let flags = ["--subprotocol", "chat", "--subprotocol", "news"];
    let server = Running::start(engine, 1, &flags);
    for (target, offered, expected) in [
        ("/echo", &["news", "chat"][..], Some("chat")),
        ("/echo", &["other", "news"], Some("news")),
        ("/echo", &["other"], None),
        ("/echo", &["ringwire.json.1"], None),
        ("/echo", &[], None),
        ("/channels/a", &["ringwire.json.1", "chat"], Some("chat")),
        ("/channels/a", &["other", "ringwire.json.1"], Some("ringwire.json.1")),
    ] {
        let socket = WebSocket::open_as(server.address, target, offered);
        assert_eq!(socket.subprotocol.as_deref(), expected, "{target} {offered:?}");
    }
}

/// What breaks a rule, and the code of the rule.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let changed = |mut bytes: Vec<u8>, change: fn(&mut [u8])| {
        change(&mut bytes);
        bytes
    };
    let text = || frame(Opcode::Text, b"x");
    let twice = [changed(text(), |bytes| bytes[0] &= 0x7f), text()].concat();
    let long_ping = frame(Opcode::Ping, &[b'p'; 126]);
    vec![
        ("unmasked", b"\x81\x01x".to_vec(), 1002),
        ("reserved bit", changed(text(), |bytes| bytes[0] |= 0x40), 1002),
        ("reserved opcode", changed(text(), |bytes| bytes[0] = 0x83), 1002),
        ("message inside a message", twice, 1002),
        ("continuation of nothing", frame(Opcode::Continuation, b"x"), 1002),
        ("fragmented ping", changed(frame(Opcode::Ping, b""), |bytes| bytes[0] &= 0x7f), 1002),
        ("long ping", long_ping, 1002),
        ("length not minimal", b"\x81\xfe\0\x01\0\0\0\0x".to_vec(), 1002),
        ("close of one byte", frame(Opcode::Close, b"\x03"), 1002),
        ("close code 1005", frame(Opcode::Close, &close_payload(1005, "")), 1002),
        ("close reason", frame(Opcode::Close, b"\x03\xe8\xff"), 1007),
        ("text not UTF-8", frame(Opcode::Text, b"ok\xff"), 1007),
        // At the first bad byte, though the frame has not ended.
        ("bad byte of an unfinished frame", b"\x81\xfe\x10\0\0\0\0\0ok\xff".to_vec(), 1007),
        // The announced length is enough.
        ("too long", b"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0".to_vec(), 1009),
    ]
}

fn frames_that_break_a_rule_are_closed_with_its_code(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    for (what, bytes, code) in violations() {
        let mut socket = WebSocket::open(server.address, "/echo");
        socket.client.send(bytes);
        match socket.hear() {
            Said::Close(Some((found, reason))) => {
                assert_eq!(found, code, "{what}: {reason}");
                assert!(!reason.is_empty(), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
        // Closed in the same turn, not after the peer's answer.
        assert_eq!(socket.hear_or_end(), None, "{what}");
    }
    let drops = |reason| server.sum(|metrics| metrics.drops(reason));
    assert_eq!(drops(DropReason::Protocol), 10);
    assert_eq!((drops(DropReason::Utf8), drops(DropReason::MessageSize)), (3, 1));
}

fn a_1009_is_readable_by_a_client_that_is_still_sending(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let mut socket = WebSocket::open(server.address, "/echo");
    socket.send(Opcode::Binary, &vec![7; 900_000]);
    assert!(matches!(socket.hear(), Said::Close(Some((1009, _)))));
    assert_eq!(socket.hear_or_end(), None);
    // At the limit it is taken.
    let mut socket = WebSocket::open(server.address, "/echo");
    socket.send(Opcode::Binary, &[7; 65_536]);
    assert_eq!(socket.hear(), Said::Binary(vec![7; 65_536]));
}

fn a_close_is_answered_and_the_server_ends_first(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    for (payload, answer) in [
        (close_payload(1000, "bye"), Some((1000, String::new()))),
        (close_payload(3333, ""), Some((3333, String::new()))),
        (close_payload(4999, "x"), Some((4999, String::new()))),
        (Vec::new(), None),
    ] {
        let mut socket = WebSocket::open(server.address, "/echo");
        socket.text("before");
        socket.send(Opcode::Close, &payload);
        // Nothing after a Close is answered.
        socket.text("after");
        assert_eq!(socket.hear_text(), "before");
        assert_eq!(socket.hear(), Said::Close(answer));
        assert_eq!(socket.hear_or_end(), None);
    }
    // A peer that goes without a Close.
    let mut socket = WebSocket::open(server.address, "/echo");
    socket.client.finish();
    assert_eq!(socket.hear_or_end(), None);
}

fn a_client_that_does_not_read_its_echoes_loses_none(engine: Engine) {
    const MESSAGES: usize = 256;
    let server = Running::start(engine, 1, &["--send-buffer", "64k"]);
    let mut socket = WebSocket::open(server.address, "/echo");
    let mut sender = socket.client.sender();
    let payload = |number: usize| vec![b'a' + u8::try_from(number % 26).unwrap(); 65_536];
    let sending = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            sender.write_all(&frame(Opcode::Binary, &payload(number))).unwrap();
        }
    });
    // More was echoed than the kernel takes: from here on the server must not read.
    eventually(|| server.held_bytes() > 0, || "nothing waits at the server".to_owned());
    for number in 0..MESSAGES {
        assert_eq!(socket.hear(), Said::Binary(payload(number)), "message {number}");
    }
    sending.join().unwrap();
    socket.leave();
}

fn a_silent_client_is_pinged_and_then_given_up(engine: Engine) {
    let flags = ["--ping-interval", "200ms", "--pong-timeout", "300ms"];
    let server = Running::start(engine, 1, &flags);
    let mut socket = WebSocket::open(server.address, "/echo");
    assert_eq!(socket.hear(), Said::Ping(Vec::new()));
    assert!(matches!(socket.hear(), Said::Close(Some((3012, _)))));
    assert_eq!(socket.hear_or_end(), None);
    assert_eq!(server.sum(|metrics| metrics.drops(DropReason::NoPong)), 1);
    assert_eq!(server.sum(|metrics| metrics.pings_sent.value()), 1);
}
