//! What is kept of a frame or message that has not all arrived.
//!
//! Only what has arrived is kept, and of that only what the next bytes need. Who fills and who
//! empties it is `message.rs`.

use super::frame::{HEADER_BYTES_MAX, Header};
use super::{Kind, Limits, Utf8Stream, Violation};

/// What an unfinished frame or message needs.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// The start of a header that the bytes ended in.
    pub(super) header: Piece<HEADER_BYTES_MAX>,
    /// The frame whose payload has not all arrived.
    pub(super) frame: Option<OpenFrame>,
    /// The payload so far, if that frame is a control frame.
    pub(super) control: Piece<125>,
    /// The message that is open.
    pub(super) message: Option<OpenMessage>,
    /// A gathered message that has been handed out; it goes at the next call.
    pub(super) spent: Vec<u8>,
}

impl Partial {
    pub(super) fn is_at_boundary(&self) -> bool {
        self.header.len == 0 && self.frame.is_none() && self.message.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFrame {
    pub(super) header: Header,
    pub(super) received: u64,
}

#[derive(Debug)]
pub(super) struct OpenMessage {
    pub(super) kind: Kind,
    /// The bytes are compressed: text cannot be validated yet.
    pub(super) compressed: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) utf8: Utf8Stream,
    pub(super) empty_fragments: u32,
}

/// A few bytes in place.
#[derive(Debug)]
pub(super) struct Piece<const N: usize> {
    bytes: [u8; N],
    pub(super) len: u8,
}

impl<const N: usize> Default for Piece<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Piece<N> {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes[usize::from(self.len)] = byte;
            self.len += 1;
        }
    }
}

impl OpenFrame {
    /// Where in the key the next byte of payload is.
    #[expect(clippy::cast_possible_truncation, reason = "only the remainder by four counts")]
    pub(super) const fn phase(self) -> usize {
        self.received as usize
    }
}

impl OpenMessage {
    pub(super) fn new(header: Header) -> Self {
        Self {
            kind: Kind::of(header.opcode),
            compressed: header.compressed,
            bytes: Vec::new(),
            utf8: Utf8Stream::new(),
            empty_fragments: 0,
        }
    }

    /// Adds a piece of a message of which at most `left` bytes, this piece among them, had not
    /// arrived: those of its last frame, or any number.
    pub(super) fn append(
        &mut self,
        piece: &[u8],
        left: u64,
        limits: &Limits,
    ) -> Result<(), Violation> {
        if self.kind == Kind::Text && !self.compressed {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-8.1
            //# When an endpoint is to interpret a byte stream as UTF-8 but finds
            //# that the byte stream is not, in fact, a valid UTF-8 stream, that
            //# endpoint MUST _Fail the WebSocket Connection_.
            self.utf8.push(piece).map_err(|_| Violation::TextNotUtf8)?;
        }
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            // Doubling what arrived, but not beyond what may still come. Growing by a frame at a
            // time would move a message of many fragments again and again.
            let announced =
                self.bytes.len().saturating_add(usize::try_from(left).unwrap_or(needed));
            let bytes_max = limits.gathered_bytes_max(self.compressed);
            let doubled = (2 * needed).min(bytes_max).min(announced).max(needed);
            self.bytes.reserve_exact(doubled - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}
