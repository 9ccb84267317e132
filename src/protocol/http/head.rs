//! Finding the end of a head, and walking its header lines.
//!
//! The scanner remembers how far it has looked: each byte is looked at once, however the bytes
//! are cut. It says no as soon as a byte is wrong or a limit is passed, and always at the same
//! byte. It does not parse: names, values and the request line are left to the parser.

use super::Refusal;
use crate::looks::Looks;

/// No more header lines than this are ever parsed, whatever the limit says.
pub const HEADERS_MAX: usize = 256;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// All bytes of the head with the empty line that ends it; more is 431.
    pub head_bytes_max: usize,
    /// Header lines, at most [`HEADERS_MAX`]; more is 431.
    pub headers_max: usize,
    /// The request line without its line ending; more is 414.
    pub request_line_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 16_384, headers_max: 100, request_line_bytes_max: 8_192 }
    }
}

/// Where the scanner is in the head's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing yet but empty lines.
    Start,
    /// A CR where an empty line before the request line may be.
    StartCr,
    RequestLine,
    HeaderLine,
    /// A CR in or after a line.
    LineCr,
    LineStart,
    /// The CR of the empty line that ends the head.
    EndCr,
}

/// Looks for the end of a head in bytes that arrive over time.
#[derive(Clone, Debug)]
pub struct HeadScanner {
    place: Place,
    scanned: usize,
    request_line_start: usize,
    headers: usize,
    looks: Looks,
}

const BARE_LF: Refusal = Refusal::new(400, "a line ends in LF alone: end lines with CR LF");
const BARE_CR: Refusal = Refusal::new(400, "a CR without LF in the head: end lines with CR LF");
const NUL: Refusal = Refusal::new(400, "a NUL byte in the head: remove it");
const FOLDED: Refusal =
    Refusal::new(400, "a header line starts with a space: write each header on one line");
const TOO_LONG_LINE: Refusal =
    Refusal::new(414, "the request line is too long: shorten the path or the query");
const TOO_LARGE: Refusal = Refusal::new(431, "the request head is too large: send fewer headers");
const TOO_MANY: Refusal = Refusal::new(431, "too many headers: send fewer");

impl Default for HeadScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadScanner {
    /// A scanner at the start of a head.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            place: Place::Start,
            scanned: 0,
            request_line_start: 0,
            headers: 0,
            looks: Looks::new(),
        }
    }

    /// Looks at the bytes not seen before; `Some(end)` once `bytes[..end]` is a whole head.
    ///
    /// `bytes` are all bytes since the start of the head: those of the last call, and what has
    /// arrived since. After `Some` the scanner is ready for the next head, whose bytes again
    /// start at 0.
    #[inline]
    pub fn find_end(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, Refusal> {
        let window = &bytes[..bytes.len().min(limits.head_bytes_max)];
        while let Some(&byte) = window.get(self.scanned) {
            let in_line = matches!(self.place, Place::RequestLine | Place::HeaderLine);
            if in_line {
                self.scan_line(window, limits)?;
            } else if self.step(byte, limits)? {
                let end = self.scanned;
                self.restart();
                return Ok(Some(end));
            }
        }
        if bytes.len() >= limits.head_bytes_max {
            return Err(TOO_LARGE);
        }
        Ok(None)
    }

    /// Goes to the end of the line, or of the bytes.
    fn scan_line(&mut self, window: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let found = memchr::memchr3(b'\r', b'\n', 0, &window[self.scanned..]);
        let at = found.map_or(window.len(), |offset| self.scanned + offset);
        self.looks.add(at - self.scanned);
        self.scanned = at;
        let line_bytes = at - self.request_line_start;
        if self.place == Place::RequestLine && line_bytes > limits.request_line_bytes_max {
            return Err(TOO_LONG_LINE);
        }
        match window.get(at) {
            None => return Ok(()),
            Some(b'\r') => self.place = Place::LineCr,
            Some(b'\n') => return Err(BARE_LF),
            Some(_) => return Err(NUL),
        }
        self.consume();
        Ok(())
    }

    /// Takes one byte at the edge of a line; true if it ends the head.
    fn step(&mut self, byte: u8, limits: &HeadLimits) -> Result<bool, Refusal> {
        self.place = match (self.place, byte) {
            (_, 0) => return Err(NUL),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-2.2
            //# a server that is expecting to receive and parse a request-line SHOULD ignore at
            //# least one empty line (CRLF) received prior to the request-line.
            (Place::Start, b'\r') => Place::StartCr,
            (Place::StartCr, b'\n') => Place::Start,
            (Place::LineCr, b'\n') => Place::LineStart,
            (Place::LineStart, b'\r') => Place::EndCr,
            (Place::EndCr, b'\n') => {
                self.consume();
                return Ok(true);
            }
            //= https://www.rfc-editor.org/rfc/rfc9112#section-2.2
            //# A recipient of such a bare CR MUST consider that element to be invalid or
            //# replace each bare CR with SP before processing the element
            (Place::StartCr | Place::LineCr | Place::EndCr, _) => return Err(BARE_CR),
            (_, b'\n') => return Err(BARE_LF),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-5.2
            //# A server that receives an obs-fold in a request message that is not
            //# within a "message/http" container MUST either reject the message by
            //# sending a 400 (Bad Request), preferably with a representation
            //# explaining that obsolete line folding is unacceptable
            (Place::LineStart, b' ' | b'\t') => return Err(FOLDED),
            (Place::LineStart, _) if self.headers >= limits.headers_max.min(HEADERS_MAX) => {
                return Err(TOO_MANY);
            }
            (Place::LineStart, _) => {
                self.headers += 1;
                Place::HeaderLine
            }
            (_, _) => {
                self.request_line_start = self.scanned;
                Place::RequestLine
            }
        };
        self.consume();
        Ok(false)
    }

    fn consume(&mut self) {
        self.scanned += 1;
        self.looks.add(1);
    }

    fn restart(&mut self) {
        self.place = Place::Start;
        self.scanned = 0;
        self.request_line_start = 0;
        self.headers = 0;
    }
}

/// The header lines of a parsed head, walked anew for each question: no table, no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'b> {
    /// Whole lines, each ended by CR LF, without the empty line at the end.
    lines: &'b [u8],
}

impl<'b> Headers<'b> {
    /// The header lines of a head that has been scanned and parsed.
    pub(super) fn of(head: &'b [u8]) -> Self {
        let first = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        let end = head.len().saturating_sub(2).max(first);
        Self { lines: &head[first..end] }
    }

    /// All headers in their order, names as they were written, values without outer whitespace.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + Clone + use<'b> {
        let mut rest = self.lines;
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\r', rest)?;
            let (line, after) = rest.split_at(end);
            rest = after.get(2..).unwrap_or_default();
            let colon = memchr::memchr(b':', line)?;
            let name = std::str::from_utf8(&line[..colon]).unwrap_or_default();
            Some((name, line[colon + 1..].trim_ascii()))
        })
    }

    /// The values of all headers of this name (in any case), in their order.
    pub fn all<'n>(self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + Clone + use<'b, 'n> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the first header of this name (in any case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

/// The elements of a comma-separated list, without outer whitespace, empty ones included.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a byte may stand in a token: a method, a header's name.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a comma-separated list has this token, in any case.
pub(crate) fn has_token(value: &[u8], token: &str) -> bool {
    list(value).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Appends one header line. Whatever could end the line becomes a space: a value that came from
/// elsewhere cannot add a header.
pub(crate) fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    let safe = |byte: u8| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
    out.extend(name.bytes().map(safe));
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(safe));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits =
        HeadLimits { head_bytes_max: 200, headers_max: 3, request_line_bytes_max: 20 };

    /// What the scanner says when the bytes come in pieces of this length.
    fn scan(bytes: &[u8], chunk: usize) -> Result<Option<usize>, u16> {
        let mut scanner = HeadScanner::new();
        let mut arrived = 0;
        loop {
            arrived = (arrived + chunk).min(bytes.len());
            match scanner.find_end(&bytes[..arrived], &LIMITS) {
                Ok(None) if arrived < bytes.len() => {}
                Ok(end) => return Ok(end),
                Err(refusal) => return Err(refusal.status),
            }
        }
    }

    #[test]
    fn says_the_same_however_the_bytes_are_cut() {
        let long_line = [b'x'; 21];
        let long_head = ["GET / HTTP/1.1\r\nA: ", &"x".repeat(200)].concat();
        let full_head = ["GET / HTTP/1.1\r\nA: ", &"x".repeat(177), "\r\n\r\n"].concat();
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Ok(Some(18))),
            (b"GET / HTTP/1.1\r\n\r\nmore", Ok(Some(18))),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(22))),
            (b"G /\r\nA: b\r\nC: d\r\nE: f\r\n\r\n", Ok(Some(25))),
            (b"G /\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\n\r\n", Err(431)),
            (b"01234567890123456789\r\n\r\n", Ok(Some(24))),
            (b"012345678901234567890\r\n\r\n", Err(414)),
            (&long_line, Err(414)),
            (b"GET / HTTP/1.1\n\n", Err(400)),
            (b"GET / HTTP/1.1\r\r\n", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\n", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\rX", Err(400)),
            (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", Err(400)),
            (b"GET / HTTP/1.1\r\n A: b\r\n\r\n", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", Err(400)),
            (b"\n", Err(400)),
            (b"\rG", Err(400)),
            (b"\0", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b", Ok(None)),
            (b"\r", Ok(None)),
            (b"", Ok(None)),
            (full_head.as_bytes(), Ok(Some(200))),
            (long_head.as_bytes(), Err(431)),
        ] {
            for chunk in 1..=bytes.len().max(1) {
                let text = String::from_utf8_lossy(bytes);
                assert_eq!(scan(bytes, chunk), expected, "{text:?} by {chunk}");
            }
        }
    }

    #[test]
    fn each_byte_is_looked_at_once() {
        let limits = HeadLimits { head_bytes_max: 1 << 20, ..HeadLimits::default() };
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        bytes.resize((1 << 20) - 1, b'x');
        let mut scanner = HeadScanner::new();
        for arrived in 1..=bytes.len() {
            assert_eq!(scanner.find_end(&bytes[..arrived], &limits), Ok(None));
        }
        assert_eq!(scanner.looks.bytes(), bytes.len());
    }

    #[test]
    fn is_ready_for_the_next_head() {
        let two = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        let mut scanner = HeadScanner::new();
        assert_eq!(scanner.find_end(two, &LIMITS), Ok(Some(19)));
        assert_eq!(scanner.find_end(&two[19..], &LIMITS), Ok(Some(19)));
        assert_eq!(scanner.find_end(&[], &LIMITS), Ok(None));
    }

    #[test]
    fn a_header_value_cannot_add_a_line() {
        let mut out = Vec::new();
        write_header(&mut out, "A\r\nB", "c\r\nD: e\0");
        assert_eq!(out, b"A  B: c  D: e \r\n");
    }
}
