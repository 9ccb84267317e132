//! The chunked transfer coding (RFC 9112, section 7.1), read as it arrives.
//!
//! Not here: what the data means. Invariant: nothing is held; the same bytes cut anywhere give the
//! same data.

use crate::engine::error::ErrorCode;

/// Bytes of one chunk's size line, or of all trailers, that are put up with.
const LINE_BYTES_MAX: u32 = 16 * 1024;

/// Digits of a size that cannot overflow.
const SIZE_DIGITS_MAX: u32 = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a chunk's size.
    Size,
    /// In its extensions, up to LF.
    Extension,
    Data,
    /// In the line end after the data.
    DataEnd,
    /// At the start of a trailer line, or of the last empty line.
    TrailerStart,
    Trailer,
    Done,
}

/// The state of one chunked body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    place: Place,
    /// Of the size, then of the data.
    left: u64,
    line_bytes: u32,
    digits: u32,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { place: Place::Size, left: 0, line_bytes: 0, digits: 0 }
    }

    /// Whether the last chunk and the trailers are through.
    pub(crate) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// The next data in `bytes`, which are advanced; `None` when they are used up, or the body is
    /// over.
    pub(crate) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, ErrorCode> {
        while self.place != Place::Done {
            let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
            if self.place == Place::Data {
                let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(len);
                *bytes = rest;
                self.left -= len as u64;
                if self.left == 0 {
                    self.place = Place::DataEnd;
                }
                return Ok(Some(data));
            }
            *bytes = rest;
            self.step(first)?;
        }
        Ok(None)
    }

    /// One byte that is not data.
    fn step(&mut self, byte: u8) -> Result<(), ErrorCode> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_BYTES_MAX {
            return Err(ErrorCode::HttpMalformed);
        }
        self.place = match (self.place, byte) {
            (Place::Size, b'\r' | b';' | b' ' | b'\t') if self.digits > 0 => Place::Extension,
            (Place::Size, digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(ErrorCode::HttpMalformed)?;
                self.digits += 1;
                if self.digits > SIZE_DIGITS_MAX {
                    return Err(ErrorCode::HttpMalformed);
                }
                self.left = self.left << 4 | u64::from(digit);
                Place::Size
            }
            (Place::Extension, b'\n') => {
                self.line_bytes = 0;
                self.digits = 0;
                if self.left == 0 { Place::TrailerStart } else { Place::Data }
            }
            (Place::DataEnd, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => {
                self.line_bytes = 0;
                Place::Size
            }
            (Place::DataEnd, _) => return Err(ErrorCode::HttpMalformed),
            (Place::TrailerStart, b'\r') => Place::TrailerStart,
            (Place::TrailerStart, b'\n') => Place::Done,
            (Place::Trailer, b'\n') => Place::TrailerStart,
            (Place::TrailerStart | Place::Trailer, _) => Place::Trailer,
            (place @ (Place::Extension | Place::Data | Place::Done), _) => place,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Chunks;
    use crate::engine::error::ErrorCode;

    fn read(chunks: &mut Chunks, mut bytes: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        let mut data = Vec::new();
        while let Some(part) = chunks.next(&mut bytes)? {
            data.extend_from_slice(part);
        }
        Ok(data)
    }

    #[test]
    fn bytes_cut_anywhere_give_the_same_data() {
        let body = b"5\r\nhello\r\nC;x=y\r\n, wide world\r\n0\r\nT: u\r\n\r\n";
        for cut in 0..=body.len() {
            let mut chunks = Chunks::new();
            let mut data = read(&mut chunks, &body[..cut]).unwrap();
            assert_eq!(chunks.is_done(), cut == body.len());
            data.extend(read(&mut chunks, &body[cut..]).unwrap());
            assert!(chunks.is_done());
            assert_eq!(data, b"hello, wide world");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bad in [&b"\r\n"[..], b"g\r\n", b"1\r\nab", b"1000000000000000\r\n", &[b'0'; 20_000]] {
            assert!(read(&mut Chunks::new(), bad).is_err(), "{bad:?}");
        }
    }
}
