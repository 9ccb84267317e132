//! Random streams, whole and damaged, read by both: the same messages and the same verdicts, but
//! for the differences that are meant.
//!
//! - Tungstenite takes lengths that are not written in their shortest form, and answers a close
//!   code that must not be sent itself instead of failing; 1014 is such a code for it.
//! - It looks at a frame once it is whole, and at the size before everything else; ringwire fails
//!   at the first byte that is wrong.
//! - Where a frame breaks several rules, each names one of them.

#[path = "../../tests/random/mod.rs"]
mod random;

use std::collections::BTreeMap;

use random::Random;
use ringwire_differential::readers::{ringwire, tungstenite};
use ringwire_differential::walk::first_bad;
use ringwire_differential::{Event, Reading};
use ringwire_protocol::ws::{Opcode, Role, encode_header, mask};

const MESSAGE_BYTES_MAX: usize = 1000;

/// Appends a frame that is written as it should be, whether or not it may be there.
fn push(stream: &mut Vec<u8>, random: &mut Random, role: Role, frame: (Opcode, bool, &[u8])) {
    let (opcode, fin, payload) = frame;
    let [a, b, c, d, ..] = random.next().to_le_bytes();
    let key = (role == Role::Server).then_some([a, b, c, d]);
    let mut header = [0; 14];
    let len = encode_header(&mut header, opcode, fin, payload.len(), key);
    stream.extend_from_slice(&header[..len]);
    let at = stream.len();
    stream.extend_from_slice(payload);
    mask(&mut stream[at..], key.unwrap_or_default(), 0);
}

fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < len {
        text.push(random.pick(&['a', 'z', '\u{E9}', '\u{20AC}', '\u{10FFFF}', '\0']));
    }
    text.into_bytes()
}

fn control(stream: &mut Vec<u8>, random: &mut Random, role: Role) {
    let len = random.pick(&[0, 1, 5, 125]);
    let payload = random.bytes(len);
    let opcode = random.pick(&[Opcode::Ping, Opcode::Pong]);
    push(stream, random, role, (opcode, true, &payload));
}

/// A few messages, fragmented or not, with control frames between, and sometimes a Close.
fn write(random: &mut Random, role: Role) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..random.below(6) {
        let len = random.pick(&[0, 1, 3, 20, 125, 126, 400, 990]);
        let is_text = random.below(2) == 0;
        let payload = if is_text { text(random, len) } else { random.bytes(len) };
        let mut opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        let mut rest = &payload[..];
        for _ in 0..random.pick(&[0, 0, 0, 1, 2, 5]) {
            let (piece, after) = rest.split_at(random.below(rest.len() + 1));
            push(&mut stream, random, role, (opcode, false, piece));
            if random.below(3) == 0 {
                control(&mut stream, random, role);
            }
            opcode = Opcode::Continuation;
            rest = after;
        }
        push(&mut stream, random, role, (opcode, true, rest));
    }
    if random.below(3) == 0 {
        let code = random.pick(&[1000_u16, 1001, 1005, 1011, 1012, 1014, 1015, 2000, 3000, 4999]);
        let reason = random.pick(&["", "bye", "l\u{F6}ng"]).as_bytes();
        let whole = [&code.to_be_bytes()[..], reason].concat();
        let len = random.pick(&[0, 1, whole.len(), whole.len(), whole.len()]).min(whole.len());
        push(&mut stream, random, role, (Opcode::Close, true, &whole[..len]));
    }
    stream
}

/// Changes bits, bytes and places.
fn damage(random: &mut Random, stream: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        if stream.is_empty() {
            return;
        }
        let at = random.below(stream.len());
        match random.below(6) {
            0 | 1 => stream[at] ^= 1 << random.below(8),
            2 => stream[at] = random.pick(&[0, 0x7E, 0x7F, 0x80, 0x81, 0xFE, 0xFF]),
            3 => drop(stream.remove(at)),
            4 => stream.insert(at, random.next().to_le_bytes()[0]),
            _ => stream.truncate(at),
        }
    }
}

fn pieces<'b>(random: &mut Random, mut stream: &'b [u8]) -> Vec<&'b [u8]> {
    let len_max = random.pick(&[1, 7, 100, 5000]);
    let mut pieces = Vec::new();
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at((1 + random.below(len_max)).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// Close frames whose code tungstenite answers as a violation without failing.
fn is_meant(ours: &Event, theirs: &Event) -> bool {
    let protocol_violation = Event::Close(Some((1002, "Protocol violation".to_owned())));
    matches!(ours, Event::Close(Some((1014, _)))) && *theirs == protocol_violation
}

fn agree(role: Role, stream: &[u8], ours: &Reading, theirs: &Reading) -> &'static str {
    let same = ours.events.len() <= theirs.events.len()
        && ours.events.iter().zip(&theirs.events).all(|(a, b)| a == b || is_meant(a, b));
    assert!(same, "other messages: {:?} and {:?}", ours.events, theirs.events);
    let Some(bad) = first_bad(role, MESSAGE_BYTES_MAX, stream) else {
        assert_eq!((ours.fault, theirs.fault), (None, None), "a fault in good frames");
        assert_eq!(ours.events.len(), theirs.events.len(), "{theirs:?}");
        return "good";
    };
    let own = ours.fault.unwrap_or_else(|| panic!("{bad:?} went unseen"));
    assert!(bad.faults.contains(&own), "{own:?} is none of {bad:?}");
    // What both look for: one of these has to be what tungstenite names.
    if bad.shared.is_empty() {
        return "ours alone";
    }
    match theirs.fault {
        None => {
            assert!(!bad.is_whole, "only ringwire sees {bad:?}");
            return "not whole";
        }
        Some(fault) => assert!(bad.shared.contains(&fault), "{fault:?} is none of {bad:?}"),
    }
    assert_eq!(ours.events.len(), theirs.events.len(), "{theirs:?}");
    if theirs.fault == Some(own) { "the same fault" } else { "another of its faults" }
}

#[test]
fn both_readers_say_the_same() {
    let mut random = Random::seeded();
    let mut verdicts: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..20_000 {
        let role = random.pick(&[Role::Server, Role::Client]);
        let mut stream = match random.below(20) {
            0 => {
                let len = random.below(60);
                random.bytes(len)
            }
            _ => write(&mut random, role),
        };
        if random.below(4) != 0 {
            damage(&mut random, &mut stream);
        }
        let ours = ringwire(role, MESSAGE_BYTES_MAX, &pieces(&mut random, &stream));
        let theirs = tungstenite(role, MESSAGE_BYTES_MAX, &pieces(&mut random, &stream));
        let shown = || format!("round {round}, {role:?}, {stream:02X?}");
        let verdict = std::panic::catch_unwind(|| agree(role, &stream, &ours, &theirs));
        let verdict = verdict.unwrap_or_else(|_| panic!("they disagree: {}", shown()));
        *verdicts.entry(verdict).or_default() += 1;
    }
    println!("{verdicts:?}");
    for (verdict, least) in [("good", 5000), ("the same fault", 3000), ("ours alone", 100)] {
        assert!(verdicts.get(verdict).is_some_and(|&count| count > least), "{verdicts:?}");
    }
}
