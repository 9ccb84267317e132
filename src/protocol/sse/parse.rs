//! Events from bytes, for the client role, by the rules of the HTML standard.
//!
//! Each byte is looked at once, however the bytes are cut; what is kept is bounded by
//! `event_bytes_max`, which counts the unfinished line and everything of the unfinished event.
//! It works on bytes: whether they are UTF-8 is the user's question.

use std::mem;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::looks::Looks;
use crate::position::Position;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event of the stream, borrowed until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'s> {
    /// The last id of the stream, of this event or an earlier one; empty if there was none.
    pub id: &'s [u8],
    /// The event's type; empty means `message`.
    pub name: &'s [u8],
    /// The data, its lines joined by LF.
    pub data: &'s [u8],
}

impl Event<'_> {
    /// The position that the id spells.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        std::str::from_utf8(self.id).ok()?.parse().ok()
    }

    /// The payload of an event of type `binary`; `None` if it is another or malformed.
    #[must_use]
    pub fn binary(&self) -> Option<Vec<u8>> {
        if self.name != super::BINARY.as_bytes() {
            return None;
        }
        STANDARD.decode(self.data).ok()
    }
}

/// An event or line is larger than the limit; the stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge;

impl std::fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event of the stream is larger than the limit")
    }
}

impl std::error::Error for EventTooLarge {}

/// Reads a stream of events that arrives in pieces.
#[derive(Debug)]
pub struct Parser {
    event_bytes_max: usize,
    /// The line that is not ended yet.
    line: Vec<u8>,
    name: Vec<u8>,
    /// Data lines, each followed by LF; the last LF is not part of the data.
    data: Vec<u8>,
    /// The id that the next end of an event makes valid: a stream cut off before that end must
    /// be resumed from the event before.
    next_id: Option<Vec<u8>>,
    id: Vec<u8>,
    retry_ms: Option<u64>,
    /// A CR ended the last line: an LF now belongs to it.
    after_cr: bool,
    is_first_line: bool,
    /// The event in the buffers has been handed out.
    is_delivered: bool,
    looks: Looks,
}

impl Parser {
    /// The start of a stream. Events larger than the limit end it.
    #[must_use]
    pub const fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            next_id: None,
            id: Vec::new(),
            retry_ms: None,
            after_cr: false,
            is_first_line: true,
            is_delivered: false,
            looks: Looks::new(),
        }
    }

    /// The next event of `bytes`, which is advanced; `None` once all of it is consumed.
    ///
    /// What was incomplete is kept. An event that the end of the stream cuts short is none.
    pub fn next<'s>(&'s mut self, bytes: &mut &[u8]) -> Result<Option<Event<'s>>, EventTooLarge> {
        if mem::take(&mut self.is_delivered) {
            self.name.clear();
            self.data.clear();
        }
        loop {
            if self.after_cr && !bytes.is_empty() {
                self.after_cr = false;
                *bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let end = memchr::memchr2(b'\r', b'\n', bytes);
            self.looks.add(end.map_or(bytes.len(), |end| end + 1));
            let Some(end) = end else {
                self.check_room(bytes.len())?;
                self.line.extend_from_slice(bytes);
                *bytes = &[];
                return Ok(None);
            };
            self.check_room(end)?;
            let (piece, rest) = bytes.split_at(end);
            self.after_cr = rest[0] == b'\r';
            *bytes = &rest[1..];
            if self.end_line(piece) {
                self.is_delivered = true;
                let data = &self.data[..self.data.len() - 1];
                return Ok(Some(Event { id: &self.id, name: &self.name, data }));
            }
        }
    }

    /// How long the server asked to wait before connecting again.
    #[must_use]
    pub const fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The last id of the stream: what to send as `Last-Event-ID`.
    #[must_use]
    pub fn last_id(&self) -> &[u8] {
        &self.id
    }

    /// Bytes of the unfinished event and line kept right now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let id_len = self.next_id.as_ref().map_or(0, Vec::len);
        self.line.len() + self.name.len() + self.data.len() + id_len
    }

    fn check_room(&self, more: usize) -> Result<(), EventTooLarge> {
        let room = self.event_bytes_max.saturating_sub(self.held_bytes());
        if more > room { Err(EventTooLarge) } else { Ok(()) }
    }

    /// Ends a line whose last piece this is; true if that ends an event.
    fn end_line(&mut self, piece: &[u8]) -> bool {
        // A line in one piece, which is most of them, is not copied first.
        let mut kept = mem::take(&mut self.line);
        let mut line = piece;
        if !kept.is_empty() {
            kept.extend_from_slice(piece);
            line = &kept;
        }
        if mem::take(&mut self.is_first_line) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let ends_event = line.is_empty();
        if !ends_event {
            self.field(line);
        }
        kept.clear();
        self.line = kept;
        if !ends_event {
            return false;
        }
        if let Some(id) = self.next_id.take() {
            self.id = id;
        }
        if self.data.is_empty() {
            self.name.clear();
        }
        !self.data.is_empty()
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            None => (line, &b""[..]),
            Some(at) => (&line[..at], &line[at + 1..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => value.clone_into(&mut self.name),
            b"id" if memchr::memchr(0, value).is_none() => self.next_id = Some(value.to_vec()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                self.retry_ms = text.parse().ok().or(self.retry_ms);
            }
            // A comment has an empty name; unknown fields are ignored alike.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (String, String, String);

    fn read(stream: &[u8], chunk: usize) -> (Vec<Owned>, Parser) {
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        for mut piece in stream.chunks(chunk) {
            while let Some(event) = parser.next(&mut piece).unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                events.push((text(event.id), text(event.name), text(event.data)));
            }
        }
        (events, parser)
    }

    fn event(id: &str, name: &str, data: &str) -> Owned {
        (id.to_string(), name.to_string(), data.to_string())
    }

    #[test]
    fn follows_the_standard() {
        for (stream, expected) in [
            ("data: a\n\n", vec![event("", "", "a")]),
            ("data:a\r\rdata: b\r\n\r\n", vec![event("", "", "a"), event("", "", "b")]),
            ("\u{FEFF}data: a\n\n", vec![event("", "", "a")]),
            ("\u{FEFF}\u{FEFF}data: a\n\n", vec![]),
            ("data: \u{FEFF}\n\n", vec![event("", "", "\u{FEFF}")]),
            ("data:  a \n\n", vec![event("", "", " a ")]),
            ("data\ndata\n\n", vec![event("", "", "\n")]),
            ("data\n\n", vec![event("", "", "")]),
            ("event: x\n\ndata: a\n\n", vec![event("", "", "a")]),
            ("event: x\ndata: a\n\n", vec![event("", "x", "a")]),
            (": comment\n:\n\ndata: a\n\n", vec![event("", "", "a")]),
            ("id: 1\ndata: a\n\ndata: b\n\n", vec![event("1", "", "a"), event("1", "", "b")]),
            ("id: 1\ndata: a\n\nid\ndata: b\n\n", vec![event("1", "", "a"), event("", "", "b")]),
            ("id: 1\0\ndata: a\n\n", vec![event("", "", "a")]),
            ("id: 1\n\ndata: a\n\n", vec![event("1", "", "a")]),
            ("other: 1\ndatax: y\n data: z\ndata: a\n\n", vec![event("", "", "a")]),
            ("data: a\ndata: b", vec![]),
        ] {
            for chunk in 1..=stream.len() {
                assert_eq!(read(stream.as_bytes(), chunk).0, expected, "{stream:?} by {chunk}");
            }
        }
    }

    #[test]
    fn an_id_counts_only_once_its_event_is_whole() {
        let (events, parser) = read(b"id: 1\ndata: a\n\nid: 2\ndata: lost", 3);
        assert_eq!(events, [event("1", "", "a")]);
        assert_eq!(parser.last_id(), b"1");
    }

    #[test]
    fn retry_is_digits() {
        let (_, parser) = read(b"retry: 250\nretry: 1x\nretry:\nretry: -1\n", 4);
        assert_eq!(parser.retry_ms(), Some(250));
    }

    #[test]
    fn each_byte_is_looked_at_once() {
        let mut stream = b"data: ".to_vec();
        stream.extend(std::iter::repeat_n(b'x', 100_000));
        stream.extend_from_slice(b"\r\n\r\n");
        for chunk in [1, 7, 4096] {
            let (events, parser) = read(&stream, chunk);
            assert_eq!(events.len(), 1);
            let looks = parser.looks.bytes();
            assert!(looks <= stream.len(), "{looks} looks");
        }
    }

    #[test]
    fn what_never_ends_is_refused_at_the_limit() {
        for line in ["data: x\n", "x", "event: abcdefgh", "data\n", "id: 1\n"] {
            let mut parser = Parser::new(1000);
            let mut taken = 0;
            let refused = (0..1_000_000).any(|at: usize| {
                taken = at;
                let mut piece = &line.as_bytes()[at % line.len()..][..1];
                parser.next(&mut piece).is_err()
            });
            // An id replaces the one before: that stream is endless without growing.
            assert_eq!(refused, line != "id: 1\n", "{line:?}");
            assert!(parser.held_bytes() <= 1000 + line.len(), "{line:?}");
            assert!(taken >= 999, "{line:?}");
        }
    }
}
