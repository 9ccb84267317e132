//! From bytes to messages: whole ones in place, pieces gathered.
//!
//! ```text
//!   bytes   [ header | payload ][ header | payl        <- the cursor; the rest comes later
//!             a whole message:     kept in `Partial`: header bytes, or the header and the
//!             handed out in        payload so far, unmasked and validated as it arrived
//!             place, unmasked
//!             in place
//! ```
//!
//! Invariants: `partial` is `None` at every message boundary, once the event before it is gone;
//! what it holds is bounded by the message limit, which is checked on each header before its
//! payload is looked at; its buffer grows with what has arrived, never with what was announced;
//! the events do not depend on where the bytes were cut; after a Close or a violation nothing
//! follows.

use std::mem;

use super::frame::{HEADER_BYTES_MAX, Header, Opcode};
use super::{CloseFrame, Role, Utf8Stream, Violation, mask};

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8, validated.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of a message's first frame.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// How much a peer may send in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes of one message; more is 1009.
    pub message_bytes_max: usize,
    /// Fragments of one message that carry nothing and do not end it; more is 1008.
    pub empty_fragments_max: u32,
}

/// Received bytes, consumed from the front.
#[derive(Debug)]
pub struct Cursor<'b> {
    bytes: &'b mut [u8],
}

impl<'b> Cursor<'b> {
    /// All of these bytes.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes have not been consumed.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Consumes the first `len` bytes, or all if there are fewer.
    #[inline]
    fn take(&mut self, len: usize) -> &'b mut [u8] {
        let bytes = mem::take(&mut self.bytes);
        let (taken, rest) = bytes.split_at_mut(len.min(bytes.len()));
        self.bytes = rest;
        taken
    }
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'s> {
    /// A whole message.
    Message {
        /// Text (validated) or binary.
        kind: Kind,
        /// The unmasked payload.
        payload: &'s mut [u8],
    },
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'s [u8]),
    /// A pong.
    Pong(&'s [u8]),
    /// The peer closes; nothing follows.
    Close(Option<CloseFrame<'s>>),
}

/// Turns received bytes into events, for one connection.
#[derive(Debug)]
pub struct Inbound {
    partial: Option<Box<Partial>>,
    role: Role,
    /// A Close or a violation was seen.
    is_over: bool,
}

const _: () = assert!(size_of::<Inbound>() <= 16, "every connection has one");

/// What an unfinished frame or message needs.
#[derive(Debug, Default)]
struct Partial {
    /// The start of a header that the bytes ended in.
    header: Piece<HEADER_BYTES_MAX>,
    /// The frame whose payload has not all arrived.
    frame: Option<OpenFrame>,
    /// The payload so far, if that frame is a control frame.
    control: Piece<125>,
    /// The message that is open.
    message: Option<OpenMessage>,
    /// A gathered message that has been handed out; it goes at the next call.
    spent: Vec<u8>,
}

impl Partial {
    fn is_at_boundary(&self) -> bool {
        self.header.len == 0 && self.frame.is_none() && self.message.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    header: Header,
    received: u64,
}

#[derive(Debug)]
struct OpenMessage {
    kind: Kind,
    bytes: Vec<u8>,
    utf8: Utf8Stream,
    empty_fragments: u32,
}

/// A few bytes in place.
#[derive(Debug)]
struct Piece<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Default for Piece<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Piece<N> {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes[usize::from(self.len)] = byte;
            self.len += 1;
        }
    }
}

/// What the bytes amount to, before it is borrowed for the caller.
enum Step<'b> {
    /// Nothing more in these bytes.
    Starved,
    /// A whole message in the caller's bytes.
    Message(Kind, &'b mut [u8]),
    /// A whole message in `Partial::spent`.
    Gathered(Kind),
    /// A control frame in the caller's bytes.
    Control(Opcode, &'b [u8]),
    /// A control frame in `Partial::control`.
    GatheredControl(Opcode),
}

impl Inbound {
    /// The start of a connection on which this side has `role`.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { partial: None, role, is_over: false }
    }

    /// The next event; `None` once all bytes are consumed.
    ///
    /// Call it until it says `None`: that is also when memory is given back. After a Close or a
    /// violation all further bytes are consumed and mean nothing.
    #[inline]
    pub fn next<'s>(
        &'s mut self,
        cursor: &'s mut Cursor<'_>,
        limits: &Limits,
    ) -> Result<Option<Event<'s>>, Violation> {
        if self.partial.is_none()
            && !self.is_over
            && let Some((kind, payload)) = take_whole(cursor, self.role, limits)
        {
            if kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err() {
                return Err(self.fail(Violation::TextNotUtf8));
            }
            return Ok(Some(Event::Message { kind, payload }));
        }
        self.next_by_steps(cursor, limits)
    }

    /// Heap bytes kept for the peer right now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            let open = partial.message.as_ref().map_or(0, |open| open.bytes.capacity());
            size_of::<Partial>() + open + partial.spent.capacity()
        })
    }

    /// Whether neither a frame nor a message is open.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.is_at_boundary())
    }

    #[cold]
    fn fail(&mut self, violation: Violation) -> Violation {
        self.is_over = true;
        self.partial = None;
        violation
    }

    /// Everything but a whole unfragmented message in sight.
    #[inline(never)]
    fn next_by_steps<'s, 'b: 's>(
        &'s mut self,
        cursor: &mut Cursor<'b>,
        limits: &Limits,
    ) -> Result<Option<Event<'s>>, Violation> {
        self.release();
        if self.is_over {
            cursor.take(usize::MAX);
            return Ok(None);
        }
        let step = match self.step(cursor, limits) {
            Ok(step) => step,
            Err(violation) => return Err(self.fail(violation)),
        };
        if let Step::Control(Opcode::Close, _) | Step::GatheredControl(Opcode::Close) = step {
            self.is_over = true;
        }
        match (step, self.partial.as_deref_mut()) {
            (Step::Message(kind, payload), _) => Ok(Some(Event::Message { kind, payload })),
            (Step::Control(opcode, payload), _) => control_event(opcode, payload),
            (Step::Gathered(kind), Some(partial)) => {
                Ok(Some(Event::Message { kind, payload: &mut partial.spent }))
            }
            (Step::GatheredControl(opcode), Some(partial)) => {
                control_event(opcode, partial.control.as_slice())
            }
            (Step::Starved | Step::Gathered(_) | Step::GatheredControl(_), _) => Ok(None),
        }
    }

    /// Gives back what the last event was borrowed from.
    fn release(&mut self) {
        let Some(partial) = self.partial.as_deref_mut() else { return };
        if self.is_over || partial.is_at_boundary() {
            self.partial = None;
            return;
        }
        if partial.frame.is_none() {
            partial.control.len = 0;
        }
    }

    /// Takes frames until there is something to say, or nothing left to take.
    fn step<'b>(
        &mut self,
        cursor: &mut Cursor<'b>,
        limits: &Limits,
    ) -> Result<Step<'b>, Violation> {
        loop {
            let open = self.partial.as_deref_mut().and_then(|partial| partial.frame.take());
            let frame = match open {
                Some(frame) => frame,
                None => match self.read_header(cursor)? {
                    Some(header) => {
                        self.check_limits(header, limits)?;
                        OpenFrame { header, received: 0 }
                    }
                    None => return Ok(Step::Starved),
                },
            };
            if frame.header.opcode.is_control() {
                return self.take_control(frame, cursor);
            }
            if let Some(step) = self.take_data(frame, cursor, limits)? {
                return Ok(step);
            }
        }
    }

    /// The next header, or `None` with its start kept.
    fn read_header(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Header>, Violation> {
        let message_is_open =
            self.partial.as_deref().is_some_and(|partial| partial.message.is_some());
        let kept = self.partial.as_deref().map_or(0, |partial| usize::from(partial.header.len));
        if kept == 0 {
            let header = Header::parse(cursor.bytes, self.role, message_is_open)?;
            match header {
                Some(header) => drop(cursor.take(header.len)),
                None if cursor.remaining() == 0 => {}
                None => {
                    let partial = self.partial.get_or_insert_default();
                    partial.header.push(cursor.take(usize::MAX));
                }
            }
            return Ok(header);
        }
        let piece = &mut self.partial.get_or_insert_default().header;
        let more = cursor.remaining().min(HEADER_BYTES_MAX - kept);
        piece.push(&cursor.bytes[..more]);
        let header = Header::parse(piece.as_slice(), self.role, message_is_open)?;
        if let Some(header) = header {
            piece.len = 0;
            cursor.take(header.len - kept);
        } else {
            cursor.take(more);
        }
        Ok(header)
    }

    /// What is announced counts, before any of it is kept.
    fn check_limits(&self, header: Header, limits: &Limits) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let open = self.partial.as_deref().and_then(|partial| partial.message.as_ref());
        let gathered = open.map_or(0, |open| open.bytes.len());
        // A header cannot wrap this: the room left is subtracted from the limit, not added.
        let room = limits.message_bytes_max.saturating_sub(gathered) as u64;
        if header.payload_len > room {
            return Err(Violation::MessageTooBig);
        }
        let empty_fragments = open.map_or(0, |open| open.empty_fragments);
        if header.is_empty_fragment() && empty_fragments >= limits.empty_fragments_max {
            return Err(Violation::TooManyEmptyFragments);
        }
        Ok(())
    }

    /// Takes payload of a data frame; `None` if the frame ended and the message did not.
    fn take_data<'b>(
        &mut self,
        mut frame: OpenFrame,
        cursor: &mut Cursor<'b>,
        limits: &Limits,
    ) -> Result<Option<Step<'b>>, Violation> {
        let header = frame.header;
        let left = header.payload_len - frame.received;
        let piece = cursor.take(usize::try_from(left).unwrap_or(usize::MAX));
        if self.role == Role::Server {
            mask(piece, header.key, frame.phase());
        }
        let is_unfragmented = header.fin && header.opcode != Opcode::Continuation;
        if is_unfragmented && piece.len() as u64 == header.payload_len {
            let kind = kind_of(header.opcode);
            if kind == Kind::Text && simdutf8::basic::from_utf8(piece).is_err() {
                return Err(Violation::TextNotUtf8);
            }
            return Ok(Some(Step::Message(kind, piece)));
        }
        let partial = self.partial.get_or_insert_default();
        if piece.is_empty() && left > 0 {
            // No message is opened before its first byte: the payload may yet come in one piece.
            partial.frame = Some(frame);
            return Ok(Some(Step::Starved));
        }
        // A continuation finds its message: its header would have been refused otherwise.
        let message = partial.message.get_or_insert_with(|| OpenMessage::new(header.opcode));
        message.append(piece, left, limits)?;
        frame.received += piece.len() as u64;
        if frame.received < header.payload_len {
            partial.frame = Some(frame);
            return Ok(Some(Step::Starved));
        }
        if !header.fin {
            message.empty_fragments += u32::from(header.is_empty_fragment());
            return Ok(None);
        }
        let kind = message.kind;
        message.utf8.finish().map_err(|_| Violation::TextNotUtf8)?;
        partial.spent = mem::take(&mut message.bytes);
        partial.message = None;
        Ok(Some(Step::Gathered(kind)))
    }

    fn take_control<'b>(
        &mut self,
        mut frame: OpenFrame,
        cursor: &mut Cursor<'b>,
    ) -> Result<Step<'b>, Violation> {
        let header = frame.header;
        let left = header.payload_len - frame.received;
        let piece = cursor.take(usize::try_from(left).unwrap_or(usize::MAX));
        if self.role == Role::Server {
            mask(piece, header.key, frame.phase());
        }
        if piece.len() as u64 == header.payload_len {
            control_event(header.opcode, piece)?;
            return Ok(Step::Control(header.opcode, piece));
        }
        let partial = self.partial.get_or_insert_default();
        partial.control.push(piece);
        frame.received += piece.len() as u64;
        if frame.received < header.payload_len {
            partial.frame = Some(frame);
            return Ok(Step::Starved);
        }
        control_event(header.opcode, partial.control.as_slice())?;
        Ok(Step::GatheredControl(header.opcode))
    }
}

impl OpenFrame {
    /// Where in the key the next byte of payload is.
    #[expect(clippy::cast_possible_truncation, reason = "only the remainder by four counts")]
    const fn phase(self) -> usize {
        self.received as usize
    }
}

impl OpenMessage {
    fn new(opcode: Opcode) -> Self {
        let kind = kind_of(opcode);
        Self { kind, bytes: Vec::new(), utf8: Utf8Stream::new(), empty_fragments: 0 }
    }

    /// Adds a piece of a frame of which `left` bytes, this piece among them, had not arrived.
    fn append(&mut self, piece: &[u8], left: u64, limits: &Limits) -> Result<(), Violation> {
        if self.kind == Kind::Text {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-8.1
            //# When an endpoint is to interpret a byte stream as UTF-8 but finds
            //# that the byte stream is not, in fact, a valid UTF-8 stream, that
            //# endpoint MUST _Fail the WebSocket Connection_.
            self.utf8.push(piece).map_err(|_| Violation::TextNotUtf8)?;
        }
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            // Doubling what arrived, but not beyond what may still come in this frame.
            let announced =
                self.bytes.len().saturating_add(usize::try_from(left).unwrap_or(needed));
            let doubled = (2 * needed).min(limits.message_bytes_max).min(announced).max(needed);
            self.bytes.reserve_exact(doubled - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

fn kind_of(opcode: Opcode) -> Kind {
    if opcode == Opcode::Text { Kind::Text } else { Kind::Binary }
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Option<Event<'_>>, Violation> {
    Ok(Some(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => Event::Close(CloseFrame::parse(payload)?),
    }))
}

/// The common case: a whole unfragmented message of less than 64 KiB at the front of the bytes.
/// Whatever else is there, a violation too, gives `None` and is looked at step by step.
#[inline]
fn take_whole<'b>(
    cursor: &mut Cursor<'b>,
    role: Role,
    limits: &Limits,
) -> Option<(Kind, &'b mut [u8])> {
    let [first, second, rest @ ..] = &*cursor.bytes else { return None };
    let kind = match *first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        _ => return None,
    };
    let (mask_bit, key_len) = match role {
        Role::Server => (0x80, 4),
        Role::Client => (0, 0),
    };
    // The wrong mask bit makes this 128 or more, which is no length.
    let (payload_len, key_at) = match second ^ mask_bit {
        short @ 0..126 => (usize::from(short), 2),
        126 => match u16::from_be_bytes(*rest.first_chunk::<2>()?) {
            0..126 => return None,
            long => (usize::from(long), 4),
        },
        _ => return None,
    };
    let frame_len = key_at + key_len + payload_len;
    if cursor.bytes.len() < frame_len || payload_len > limits.message_bytes_max {
        return None;
    }
    let (header, payload) = cursor.take(frame_len).split_at_mut(key_at + key_len);
    if let (Role::Server, Some(&key)) = (role, header.last_chunk::<4>()) {
        mask(payload, key, 0);
    }
    Some((kind, payload))
}
