//! The chunked transfer coding, as a server reads it: RFC 9112 section 7.1, without the liberties
//! that make two servers see different requests.
//!
//! Not here: who may send one (`request`), and the sending (nothing here sends chunks).
//! Invariants: each byte is looked at once, however the bytes are cut; no more data than the
//! limit is ever kept; extensions and trailers are checked, counted, and forgotten.

use super::Refusal;
use super::head::is_token_byte;
use crate::looks::Looks;

/// Digits of a chunk's size: more would not fit 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// How large a body in chunks may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of data in all chunks together; more is 413.
    pub data_bytes_max: usize,
    /// Bytes of extensions and trailers in the whole body; more is 431.
    pub extra_bytes_max: usize,
}

impl BodyLimits {
    /// Bytes of data that are announced where `held_bytes` are there already, however they are
    /// framed.
    ///
    /// # Errors
    /// 413 when both together are too many.
    pub fn check_data(&self, held_bytes: usize, announced: u64) -> Result<usize, Refusal> {
        let room = self.data_bytes_max.saturating_sub(held_bytes);
        usize::try_from(announced).ok().filter(|&bytes| bytes <= room).ok_or(TOO_LARGE)
    }
}

/// Where the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the digits of a chunk's size.
    Size,
    /// In a space after the size, which only an extension may follow.
    Space,
    Extension,
    /// Behind the CR of a chunk's size line.
    SizeCr,
    Data,
    /// Behind a chunk's data.
    DataEnd,
    DataCr,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerCr,
    /// Behind the CR of the empty line that ends the body.
    EndCr,
    Done,
}

/// The state of one body in chunks.
#[derive(Clone, Debug)]
pub struct ChunkedBody {
    place: Place,
    digits: u8,
    /// Of the size while that is read, then of the data.
    left: u64,
    extra_bytes: usize,
    looks: Looks,
}

const BAD_SIZE: Refusal =
    Refusal::new(400, "bad chunk size: send 1 to 16 hexadecimal digits and CR LF");
const BAD_EXTENSION: Refusal =
    Refusal::new(400, "bad chunk extension: no control characters, end it with CR LF");
const BAD_END: Refusal =
    Refusal::new(400, "a chunk is longer or shorter than its size: end its data with CR LF");
const BAD_TRAILER: Refusal =
    Refusal::new(400, "bad trailer: send NAME: VALUE lines that end in CR LF, or none");
const TOO_MUCH_EXTRA: Refusal =
    Refusal::new(431, "chunk extensions and trailers are too large: send fewer");
const TOO_LARGE: Refusal = Refusal::new(
    413,
    "the body is larger than the server takes: send less, or raise --max-request-body-size",
);

impl Default for ChunkedBody {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedBody {
    /// A decoder at the start of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self { place: Place::Size, digits: 0, left: 0, extra_bytes: 0, looks: Looks::new() }
    }

    /// Whether the body is over: its last chunk and its trailers have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Takes from `bytes` what belongs to the body, and appends the data to `data`, which holds
    /// that of the calls before; says how many bytes were taken. All are, unless the body is done.
    ///
    /// # Errors
    /// What breaks a rule or passes a limit; nothing may be taken after that.
    pub fn take(
        &mut self,
        bytes: &[u8],
        data: &mut Vec<u8>,
        limits: &BodyLimits,
    ) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::Done {
            if self.place == Place::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let part = &bytes[at..at + left.min(bytes.len() - at)];
                data.extend_from_slice(part);
                at += part.len();
                self.looks.add(part.len());
                self.left -= part.len() as u64;
                if self.left == 0 {
                    self.place = Place::DataEnd;
                }
                continue;
            }
            self.looks.add(1);
            self.place = self.step(bytes[at], data.len(), limits)?;
            at += 1;
        }
        Ok(at)
    }

    /// One byte that is not data.
    fn step(&mut self, byte: u8, held: usize, limits: &BodyLimits) -> Result<Place, Refusal> {
        Ok(match (self.place, byte) {
            (Place::Size, _) => return self.size(byte, held, limits),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1
            //# A recipient MUST ignore unrecognized chunk extensions.
            (Place::Space, b';') => self.extra(Place::Extension, limits)?,
            (Place::Space, b' ' | b'\t') => self.extra(Place::Space, limits)?,
            (Place::Space, _) => return Err(BAD_SIZE),
            (Place::Extension, b'\r') => Place::SizeCr,
            (Place::Extension, _) if is_text(byte) => self.extra(Place::Extension, limits)?,
            (Place::Extension, _) => return Err(BAD_EXTENSION),
            (Place::SizeCr, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeCr, b'\n') => {
                self.digits = 0;
                Place::Data
            }
            (Place::SizeCr, _) => return Err(BAD_SIZE),
            (Place::DataEnd, b'\r') => Place::DataCr,
            (Place::DataCr, b'\n') => Place::Size,
            (Place::DataEnd | Place::DataCr, _) => return Err(BAD_END),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1.2
            //# A recipient that removes the chunked coding from a message MAY
            //# selectively retain or discard the received trailer fields.
            (Place::TrailerStart, b'\r') => Place::EndCr,
            (Place::TrailerStart, _) if is_token_byte(byte) => {
                self.extra(Place::TrailerName, limits)?
            }
            (Place::TrailerName, b':') => self.extra(Place::TrailerValue, limits)?,
            (Place::TrailerName, _) if is_token_byte(byte) => {
                self.extra(Place::TrailerName, limits)?
            }
            (Place::TrailerValue, b'\r') => Place::TrailerCr,
            (Place::TrailerValue, _) if is_text(byte) => self.extra(Place::TrailerValue, limits)?,
            (Place::TrailerCr, b'\n') => Place::TrailerStart,
            (Place::EndCr, b'\n') => Place::Done,
            (Place::TrailerStart | Place::TrailerName | Place::TrailerValue, _)
            | (Place::TrailerCr | Place::EndCr, _) => return Err(BAD_TRAILER),
            (place @ (Place::Data | Place::Done), _) => place,
        })
    }

    /// One byte in the digits of a size, or the first behind them.
    fn size(&mut self, byte: u8, held: usize, limits: &BodyLimits) -> Result<Place, Refusal> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1
            //# Therefore, recipients MUST anticipate potentially large hexadecimal numerals
            //# and prevent parsing errors due to integer conversion overflows or precision
            //# loss due to integer representation.
            if self.digits == SIZE_DIGITS_MAX {
                return Err(BAD_SIZE);
            }
            self.digits += 1;
            self.left = self.left << 4 | u64::from(digit);
            return Ok(Place::Size);
        }
        if self.digits == 0 {
            return Err(BAD_SIZE);
        }
        limits.check_data(held, self.left)?;
        match byte {
            b'\r' => Ok(Place::SizeCr),
            b';' => self.extra(Place::Extension, limits),
            b' ' | b'\t' => self.extra(Place::Space, limits),
            _ => Err(BAD_SIZE),
        }
    }

    /// Counts a byte that is neither data nor needed.
    fn extra(&mut self, next: Place, limits: &BodyLimits) -> Result<Place, Refusal> {
        //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1
        //# A server ought to limit the total length of chunk extensions
        //# received in a request to an amount reasonable for the services provided
        self.extra_bytes += 1;
        if self.extra_bytes > limits.extra_bytes_max {
            return Err(TOO_MUCH_EXTRA);
        }
        Ok(next)
    }
}

/// Whether a byte may stand in a header's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BodyLimits = BodyLimits { data_bytes_max: 32, extra_bytes_max: 24 };

    /// Data and bytes taken when the bytes come in pieces of this length; else the status.
    fn read(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let (mut body, mut data, mut taken) = (ChunkedBody::new(), Vec::new(), 0);
        for piece in bytes.chunks(piece) {
            let used = body.take(piece, &mut data, &LIMITS).map_err(|refusal| refusal.status)?;
            taken += used;
            assert!(used == piece.len() || body.is_done(), "bytes left over in a body");
        }
        Ok(body.is_done().then_some((data, taken)))
    }

    fn read_however(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let whole = read(bytes, bytes.len().max(1));
        for piece in 1..bytes.len() {
            assert_eq!(read(bytes, piece), whole, "{:?} by {piece}", bytes.escape_ascii());
        }
        whole
    }

    #[test]
    fn bodies_are_the_same_however_they_are_cut() {
        const FULL: &[u8] = b"01234567890123456789012345678901";
        for (bytes, data, behind) in [
            (&b"0\r\n\r\n"[..], &b""[..], 0),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", 0),
            (b"5\r\nhello\r\n0\r\n\r\nGET /", b"hello", 5),
            (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc", 0),
            (b"A\r\n0123456789\r\n00\r\n\r\n", b"0123456789", 0),
            (b"a\r\n\r\n\r\n0\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n\r\n0\r\n\r\n\r", 0),
            (b"0000000000000002\r\nab\r\n0\r\n\r\n", b"ab", 0),
            (b"2;x\r\nab\r\n0;y=\"\\\"z\"\r\n\r\n", b"ab", 0),
            (b"2 ;x\r\nab\r\n0\t; y\r\n\r\n", b"ab", 0),
            (b"2\r\nab\r\n0\r\nA: b\r\nC:\r\n\r\nX", b"ab", 1),
            (b"20\r\n01234567890123456789012345678901\r\n0\r\n\r\n", FULL, 0),
        ] {
            let (read, taken) = read_however(bytes).unwrap().unwrap();
            assert_eq!(taken, bytes.len() - behind, "{:?}", bytes.escape_ascii());
            assert_eq!(read, data, "{:?}", bytes.escape_ascii());
        }
        assert_eq!(read_however(b"5\r\nhell"), Ok(None));
        assert_eq!(read_however(b"5\r\nhello\r\n0\r\n\r"), Ok(None));
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        for (bytes, status) in [
            (&b"\r\n"[..], 400),
            (b";x\r\n", 400),
            (b"-1\r\n", 400),
            (b"+1\r\na", 400),
            (b"0x1\r\na", 400),
            (b" 1\r\na", 400),
            (b"1 \r\na", 400),
            (b"1 1\r\na", 400),
            (b"1\na\r\n", 400),
            (b"1\r\r\na", 400),
            (b"1;a\nb\r\n", 400),
            (b"1;\0\r\n", 400),
            (b"1;a\rb\r\n", 400),
            (b"1\r\na\n0\r\n\r\n", 400),
            (b"1\r\nab\r\n0\r\n\r\n", 400),
            (b"2\r\na\r\n0\r\n\r\n", 400),
            (b"1\r\na0\r\n\r\n", 400),
            (b"1\r\na\r0\r\n\r\n", 400),
            (b"0\r\n\n", 400),
            (b"0\r\n\rX", 400),
            (b"0\r\nA: b\n\r\n", 400),
            (b"0\r\nA: b\r\n c\r\n\r\n", 400),
            (b"0\r\n: b\r\n\r\n", 400),
            (b"0\r\nA : b\r\n\r\n", 400),
            (b"0\r\nGET / HTTP/1.1\r\n\r\n", 400),
            (b"0\r\nA: \0\r\n\r\n", 400),
            (b"00000000000000001\r\na", 400),
            (b"10000000000000001\r\na", 400),
            (b"FFFFFFFFFFFFFFFF\r\n", 413),
            (b"8000000000000000\r\n", 413),
            (b"21\r\n", 413),
            (b"20\r\n01234567890123456789012345678901\r\n1\r\n", 413),
            (b"1;0123456789012345678901234\r\n", 431),
            (b"1;01234567890\r\na\r\n1;01234567890\r\nb\r\n1;\r\n", 431),
            (b"0\r\nA: 01234567890123456789012\r\n", 431),
        ] {
            assert_eq!(read_however(bytes), Err(status), "{:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn each_byte_is_looked_at_once() {
        let mut bytes = b"1\r\nx\r\n".repeat(20_000);
        bytes.extend_from_slice(b"0\r\n\r\n");
        let limits = BodyLimits { data_bytes_max: 20_000, extra_bytes_max: 0 };
        let (mut body, mut data) = (ChunkedBody::new(), Vec::new());
        for byte in &bytes {
            assert_eq!(body.take(&[*byte], &mut data, &limits), Ok(1));
        }
        assert!(body.is_done());
        assert_eq!((body.looks.bytes(), data.len()), (bytes.len(), 20_000));
    }
}
