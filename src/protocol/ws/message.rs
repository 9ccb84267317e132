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

use super::cursor::{Cursor, take_whole};
use super::frame::{HEADER_BYTES_MAX, Header, Opcode};
use super::partial::{OpenFrame, OpenMessage, Partial};
use super::{CloseFrame, Role, Violation, mask};

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8, validated.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The kind of message whose first frame has this opcode.
    pub(super) fn of(opcode: Opcode) -> Self {
        if opcode == Opcode::Text { Self::Text } else { Self::Binary }
    }

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
    /// Payload bytes of one message, after inflating; more is 1009.
    pub message_bytes_max: usize,
    /// Fragments of one message that carry nothing and do not end it; more is 1008.
    pub empty_fragments_max: u32,
}

impl Limits {
    /// Bytes that are gathered of one message. A compressed one may be a little longer than what
    /// it inflates to: an eighth is what fixed codes add at worst.
    pub(super) const fn gathered_bytes_max(&self, compressed: bool) -> usize {
        let bytes_max = self.message_bytes_max;
        if compressed { bytes_max.saturating_add(bytes_max / 8 + 64) } else { bytes_max }
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
    /// A whole message as it was compressed: for [`super::Inflator`]. Only after
    /// [`Inbound::with_deflate`].
    Compressed {
        /// What it claims to be once it is inflated.
        kind: Kind,
        /// The unmasked payload, bounded by an eighth more than the limit of a message.
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
    /// Messages may be compressed.
    deflate: bool,
}

const _: () = assert!(size_of::<Inbound>() <= 16, "every connection has one");

/// What is known of a message besides its payload.
#[derive(Clone, Copy)]
struct Form {
    kind: Kind,
    compressed: bool,
}

impl Form {
    fn event(self, payload: &mut [u8]) -> Event<'_> {
        let kind = self.kind;
        if self.compressed {
            Event::Compressed { kind, payload }
        } else {
            Event::Message { kind, payload }
        }
    }
}

/// What the bytes amount to, before it is borrowed for the caller.
enum Step<'b> {
    /// Nothing more in these bytes.
    Starved,
    /// A whole message in the caller's bytes.
    Message(Form, &'b mut [u8]),
    /// A whole message in `Partial::spent`.
    Gathered(Form),
    /// A control frame in the caller's bytes.
    Control(Opcode, &'b [u8]),
    /// A control frame in `Partial::control`.
    GatheredControl(Opcode),
}

impl Inbound {
    /// The start of a connection on which this side has `role`.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { partial: None, role, is_over: false, deflate: false }
    }

    /// Like [`Inbound::new`] where permessage-deflate was agreed on: messages may be compressed.
    #[must_use]
    pub const fn with_deflate(role: Role) -> Self {
        Self { partial: None, role, is_over: false, deflate: true }
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
            (Step::Message(form, payload), _) => Ok(Some(form.event(payload))),
            (Step::Control(opcode, payload), _) => control_event(opcode, payload),
            (Step::Gathered(form), Some(partial)) => Ok(Some(form.event(&mut partial.spent))),
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
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
    //# Incoming data MUST be parsed as WebSocket frames as defined in Section 5.2.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
    //# Clients and servers MUST support receiving both fragmented and unfragmented messages.
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
            //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
            //# An endpoint MUST be capable of handling control frames in the middle of a
            //# fragmented message.
            //= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
            //# If a control frame (Section 5.5) is received, the frame MUST be handled as
            //# defined by Section 5.5.
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
            let header = Header::parse(cursor.bytes, self.role, self.deflate, message_is_open)?;
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
        let header = Header::parse(piece.as_slice(), self.role, self.deflate, message_is_open)?;
        if let Some(header) = header {
            piece.len = 0;
            cursor.take(header.len - kept);
        } else {
            cursor.take(more);
        }
        Ok(header)
    }

    /// What is announced counts, before any of it is kept.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-10.7
    //# Incoming data MUST always be validated by both clients and servers.
    fn check_limits(&self, header: Header, limits: &Limits) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let open = self.partial.as_deref().and_then(|partial| partial.message.as_ref());
        let gathered = open.map_or(0, |open| open.bytes.len());
        // A header cannot wrap this: the room left is subtracted from the limit, not added.
        let compressed = open.map_or(header.compressed, |open| open.compressed);
        //= https://www.rfc-editor.org/rfc/rfc6455#section-10.4
        //# MUST protect themselves against exceeding those limits.
        let room = limits.gathered_bytes_max(compressed).saturating_sub(gathered) as u64;
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
            let kind = Kind::of(header.opcode);
            let compressed = header.compressed;
            let is_text = kind == Kind::Text && !compressed;
            if is_text && simdutf8::basic::from_utf8(piece).is_err() {
                return Err(Violation::TextNotUtf8);
            }
            return Ok(Some(Step::Message(Form { kind, compressed }, piece)));
        }
        let partial = self.partial.get_or_insert_default();
        if piece.is_empty() && left > 0 {
            // No message is opened before its first byte: the payload may yet come in one piece.
            partial.frame = Some(frame);
            return Ok(Some(Step::Starved));
        }
        // A continuation finds its message: its header would have been refused otherwise.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
        //# the endpoint MUST note the /type/ of the data
        let message = partial.message.get_or_insert_with(|| OpenMessage::new(header));
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
        //# Message fragments MUST be delivered to the recipient in the order sent by the
        //# sender.
        let left = if header.fin { left } else { u64::MAX };
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
        let form = Form { kind: message.kind, compressed: message.compressed };
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.6
        //# the whole message MUST contain valid UTF-8.
        message.utf8.finish().map_err(|_| Violation::TextNotUtf8)?;
        //= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
        //# Subsequent data frames MUST be interpreted as belonging to a new WebSocket message.
        partial.spent = mem::take(&mut message.bytes);
        partial.message = None;
        Ok(Some(Step::Gathered(form)))
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

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Option<Event<'_>>, Violation> {
    Ok(Some(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => Event::Close(CloseFrame::parse(payload)?),
    }))
}
