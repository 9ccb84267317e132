//! Bytes as frames, both roles: the same events however they are cut, and bounded memory.

use ringwire_protocol::ws::{
    CloseCode, Cursor, Event, Inbound, Kind, Life, Limits, Role, State, Violation,
};

use super::cuts::Cuts;
use super::input::Input;

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A whole message.
    Message(Kind, Vec<u8>),
    /// A whole message that is still compressed.
    Compressed(Kind, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A Close with or without code.
    Close(Option<(u16, String)>),
    /// The connection fails.
    Violation(Violation),
}

impl Seen {
    fn of(event: Event<'_>) -> Self {
        match event {
            Event::Message { kind, payload } => Self::Message(kind, payload.to_vec()),
            Event::Compressed { kind, payload } => Self::Compressed(kind, payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(None) => Self::Close(None),
            Event::Close(Some(frame)) => Self::Close(Some((frame.code.0, frame.reason.to_owned()))),
        }
    }
}

/// What one connection may hold beyond a message: a header, a control frame, their bookkeeping.
const HELD_BEYOND_MESSAGE_MAX: usize = 512;

/// What is read, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) role: Role,
    /// Messages may be compressed.
    pub(crate) deflate: bool,
    pub(crate) limits: Limits,
}

impl Reader {
    /// A reader of either role with limits of several sizes.
    pub(crate) fn new(input: &mut Input<'_>) -> Self {
        let role = input.pick(&[Role::Server, Role::Client]);
        let message_bytes_max = input.pick(&[100_000, 1000, 10, 0, usize::MAX]);
        let empty_fragments_max = input.pick(&[16, 1, 0]);
        let deflate = input.byte() & 1 == 1;
        Self { role, deflate, limits: Limits { message_bytes_max, empty_fragments_max } }
    }

    /// Bytes of a message that may be gathered; a little more while it is compressed.
    pub(crate) const fn gathered_bytes_max(&self, compressed: bool) -> usize {
        let bytes_max = self.limits.message_bytes_max;
        if compressed { bytes_max.saturating_add(bytes_max / 8 + 64) } else { bytes_max }
    }
}

/// Reads the pieces to their end.
fn read<'b>(reader: &Reader, pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Seen> {
    let &Reader { role, deflate, ref limits } = reader;
    let mut inbound = if deflate { Inbound::with_deflate(role) } else { Inbound::new(role) };
    let mut life = Life::new(role);
    life.opened();
    let mut seen = Vec::new();
    let mut arrived = 0;
    for piece in pieces {
        let mut bytes = piece.to_vec();
        arrived += bytes.len();
        let mut cursor = Cursor::new(&mut bytes);
        loop {
            match inbound.next(&mut cursor, limits) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    check(&event, reader, &mut life);
                    seen.push(Seen::of(event));
                }
                Err(violation) => {
                    let answer = life.violated(violation);
                    assert_eq!(answer.close, Some(CloseCode(violation.close_code())));
                    seen.push(Seen::Violation(violation));
                    assert_eq!(inbound.held_bytes(), 0, "a failed connection holds nothing");
                }
            }
        }
        assert_eq!(cursor.remaining(), 0, "None means that all is consumed");
        let held = inbound.held_bytes();
        let held_max = reader.gathered_bytes_max(deflate).saturating_add(HELD_BEYOND_MESSAGE_MAX);
        assert!(held <= held_max, "{held} held");
        assert!(held <= 2 * arrived + HELD_BEYOND_MESSAGE_MAX, "{held} held of {arrived}");
        assert!(held == 0 || !inbound.is_at_boundary(), "held between messages");
    }
    let end = seen.iter().position(|seen| matches!(seen, Seen::Close(_) | Seen::Violation(_)));
    assert!(end.is_none_or(|end| end + 1 == seen.len()), "something follows the end: {seen:?}");
    seen
}

fn check(event: &Event<'_>, reader: &Reader, life: &mut Life) {
    match event {
        Event::Compressed { payload, .. } => {
            assert!(reader.deflate && payload.len() <= reader.gathered_bytes_max(true));
        }
        Event::Message { kind, payload } => {
            assert!(payload.len() <= reader.limits.message_bytes_max);
            assert!(*kind == Kind::Binary || std::str::from_utf8(payload).is_ok());
        }
        Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= 125),
        Event::Close(frame) => {
            let code = frame.as_ref().map_or(CloseCode::NONE, |frame| frame.code);
            assert!(code == CloseCode::NONE || code.is_receivable());
            assert_eq!(life.received_close(frame.as_ref()).close, Some(code));
            assert_eq!((life.state(), life.code()), (State::Closing, code));
        }
    }
}

/// What the bytes mean, whole, one by one, and cut: the same each time.
pub(crate) fn read_however(reader: &Reader, stream: &[u8], cuts: &mut Cuts) -> Vec<Seen> {
    let whole = read(reader, [stream]);
    assert_eq!(read(reader, cuts.pieces(stream)), whole, "cut into pieces");
    if stream.len() < 2000 {
        assert_eq!(read(reader, stream.chunks(1)), whole, "byte by byte");
    }
    whole
}

/// Reads the bytes as a peer's frames.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let reader = Reader::new(&mut input);
    let mut cuts = Cuts::new(&mut input);
    let _ = read_however(&reader, input.take(usize::MAX), &mut cuts);
}
