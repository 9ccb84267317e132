//! Frames made one by one, held against a reader so simple that it is plainly right.

use ringwire_protocol::ws::{
    CloseCode, Kind, Opcode, Role, Violation, encode_header, frame_len, mask, set_compressed,
};

use super::cuts::Cuts;
use super::frame::{Reader, Seen, read_however};
use super::input::Input;

/// A frame as it was made, before it was written.
struct Made {
    opcode: Opcode,
    fin: bool,
    /// Says that it starts a compressed message.
    compressed: bool,
    payload: Vec<u8>,
}

/// A message that is not finished.
struct Open {
    kind: Kind,
    compressed: bool,
    bytes: Vec<u8>,
    empty_fragments: u32,
}

/// Makes frames, says what they have to mean, and reads them whole and in pieces.
pub fn message(data: &[u8]) {
    let mut input = Input::new(data);
    let reader = Reader::new(&mut input);
    let mut cuts = Cuts::new(&mut input);
    let mut stream = Vec::new();
    let mut frames = Vec::new();
    // More would only be slow.
    while !input.is_empty() && frames.len() < 64 && stream.len() < 100_000 {
        let made = make(&mut input);
        let key = (reader.role == Role::Server).then(|| [(); 4].map(|()| input.byte()));
        write(&mut stream, &made, key);
        frames.push(made);
    }
    let seen = read_however(&reader, &stream, &mut cuts);
    assert_eq!(seen, expected(&frames, &reader));
}

fn make(input: &mut Input<'_>) -> Made {
    let first = input.byte();
    let opcodes = [
        Opcode::Text,
        Opcode::Binary,
        Opcode::Continuation,
        Opcode::Continuation,
        Opcode::Ping,
        Opcode::Pong,
        Opcode::Close,
        Opcode::Text,
    ];
    let opcode = opcodes[usize::from(first & 7)];
    let compressed = first >> 3 & 7 == 4;
    let len = match first >> 3 & 7 {
        0 => 0,
        1..=4 => usize::from(input.byte()) % 64,
        5 => usize::from(input.byte()),
        6 => [124, 125, 126, 127, 65_535, 65_536][usize::from(input.byte()) % 6],
        _ => usize::from(input.byte()) * 17,
    };
    let mut payload = input.take(len).to_vec();
    // What is not there is text, so that long messages need few bytes of input.
    payload.resize(len, b'.');
    if opcode == Opcode::Close && first & 0x40 != 0 && payload.len() > 1 {
        let code = input.pick(&[1000_u16, 1001, 1005, 1006, 1011, 1012, 1015, 2999, 3000, 4999]);
        payload[..2].copy_from_slice(&code.to_be_bytes());
    }
    Made { opcode, fin: first & 0x80 == 0, compressed, payload }
}

fn write(stream: &mut Vec<u8>, made: &Made, key: Option<[u8; 4]>) {
    let mut header = [0; 14];
    let len = encode_header(&mut header, made.opcode, made.fin, made.payload.len(), key);
    assert_eq!(len + made.payload.len(), frame_len(made.payload.len(), key.is_some()));
    if made.compressed {
        set_compressed(&mut header);
    }
    stream.extend_from_slice(&header[..len]);
    let at = stream.len();
    stream.extend_from_slice(&made.payload);
    mask(&mut stream[at..], key.unwrap_or_default(), 0);
}

/// What the frames mean by RFC 6455, read with all the time and memory in the world.
fn expected(frames: &[Made], reader: &Reader) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut open: Option<Open> = None;
    for made in frames {
        match step(made, reader, &mut open) {
            Ok(None) => {}
            Ok(Some(event)) => {
                let ends = matches!(event, Seen::Close(_));
                seen.push(event);
                if ends {
                    return seen;
                }
            }
            Err(violation) => {
                seen.push(Seen::Violation(violation));
                return seen;
            }
        }
    }
    seen
}

fn step(made: &Made, reader: &Reader, open: &mut Option<Open>) -> Result<Option<Seen>, Violation> {
    let payload = &made.payload;
    let is_first = matches!(made.opcode, Opcode::Text | Opcode::Binary);
    if made.compressed && !(reader.deflate && is_first) {
        return Err(Violation::ReservedBits);
    }
    let start =
        |kind| Open { kind, compressed: made.compressed, bytes: Vec::new(), empty_fragments: 0 };
    match made.opcode {
        Opcode::Continuation if open.is_none() => return Err(Violation::ContinuationWithoutStart),
        Opcode::Text | Opcode::Binary if open.is_some() => {
            return Err(Violation::MessageInsideMessage);
        }
        Opcode::Ping | Opcode::Pong | Opcode::Close => {
            if !made.fin {
                return Err(Violation::ControlFragmented);
            }
            if payload.len() > 125 {
                return Err(Violation::ControlTooLong);
            }
            return control(made.opcode, payload).map(Some);
        }
        Opcode::Text => *open = Some(start(Kind::Text)),
        Opcode::Binary => *open = Some(start(Kind::Binary)),
        Opcode::Continuation => {}
    }
    let Some(message) = open else { return Ok(None) };
    let bytes_max = reader.gathered_bytes_max(message.compressed);
    if payload.len() > bytes_max.saturating_sub(message.bytes.len()) {
        return Err(Violation::MessageTooBig);
    }
    if payload.is_empty() && !made.fin {
        if message.empty_fragments >= reader.limits.empty_fragments_max {
            return Err(Violation::TooManyEmptyFragments);
        }
        message.empty_fragments += 1;
    }
    message.bytes.extend_from_slice(payload);
    if message.kind == Kind::Text
        && !message.compressed
        && let Err(error) = std::str::from_utf8(&message.bytes)
        && (made.fin || error.error_len().is_some())
    {
        return Err(Violation::TextNotUtf8);
    }
    if !made.fin {
        return Ok(None);
    }
    Ok(open.take().map(|message| match message.compressed {
        true => Seen::Compressed(message.kind, message.bytes),
        false => Seen::Message(message.kind, message.bytes),
    }))
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Seen, Violation> {
    Ok(match opcode {
        Opcode::Ping => Seen::Ping(payload.to_vec()),
        Opcode::Pong => Seen::Pong(payload.to_vec()),
        _ => Seen::Close(match payload {
            [] => None,
            [_] => return Err(Violation::CloseTooShort),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !CloseCode(code).is_receivable() {
                    return Err(Violation::CloseCodeInvalid);
                }
                let reason = String::from_utf8(reason.to_vec());
                Some((code, reason.map_err(|_| Violation::CloseReasonNotUtf8)?))
            }
        }),
    })
}
