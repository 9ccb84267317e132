//! HTTP responses, one at a time, read as they arrive and held only while incomplete.
//!
//! Not here: what a status or a body means. Invariants: a response that arrives whole is read
//! where it lies; never more than [`ANSWER_BYTES_MAX`] are held; the memory is given back.

use ringwire_protocol::http::{HeadLimits, HeadScanner, Response, parse_response};

use crate::engine::chunked::Chunks;
use crate::engine::error::ErrorCode;

/// The largest response that is taken.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer<'b> {
    pub(crate) head: Response<'b>,
    pub(crate) body: &'b [u8],
}

/// What is kept of a response that is not complete.
#[derive(Debug)]
struct Partial {
    /// The head, and the body behind it, without its chunks' frames.
    bytes: Vec<u8>,
    scanner: HeadScanner,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// The head is not complete.
    Unknown,
    Length {
        head_bytes: usize,
        total_bytes: usize,
    },
    Chunked {
        head_bytes: usize,
        chunks: Chunks,
    },
}

/// Reads the responses of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    partial: Option<Box<Partial>>,
}

impl Reader {
    /// Whether the start of a response is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.partial.is_none()
    }

    /// Takes all of `bytes`, and hands the response to `each` if it is complete with them.
    pub(crate) fn read<R>(
        &mut self,
        bytes: &[u8],
        each: impl FnOnce(&Answer<'_>) -> R,
    ) -> Result<Option<R>, ErrorCode> {
        if let Some(mut partial) = self.partial.take() {
            let result = partial.extend(bytes)?;
            if !result {
                self.partial = Some(partial);
                return Ok(None);
            }
            return partial.answer(each).map(Some);
        }
        if let Some(end) =
            HeadScanner::new().find_end(bytes, &HeadLimits::default()).map_err(bad)?
        {
            let head = parse_response(&bytes[..end]).map_err(|_| ErrorCode::HttpMalformed)?;
            let length = length(&head);
            if length.is_some_and(|length| length == (bytes.len() - end) as u64) {
                return Ok(Some(each(&Answer { head, body: &bytes[end..] })));
            }
        }
        let mut partial =
            Partial { bytes: Vec::new(), scanner: HeadScanner::new(), body: Body::Unknown };
        if partial.extend(bytes)? {
            return partial.answer(each).map(Some);
        }
        self.partial = Some(Box::new(partial));
        Ok(None)
    }
}

/// How many bytes of body follow, if that is known. 204 and 304 have none, whatever they say
/// (RFC 9112, section 6.3).
fn length(head: &Response<'_>) -> Option<u64> {
    match head.status {
        204 | 304 => Some(0),
        _ => head.content_length.filter(|_| !head.is_chunked),
    }
}

/// What breaks a head breaks the response.
fn bad(_: ringwire_protocol::http::Refusal) -> ErrorCode {
    ErrorCode::HttpMalformed
}

impl Partial {
    /// Whether the response is complete with `bytes`.
    fn extend(&mut self, bytes: &[u8]) -> Result<bool, ErrorCode> {
        match &mut self.body {
            Body::Unknown => self.extend_head(bytes),
            Body::Length { total_bytes, .. } => {
                self.bytes.extend_from_slice(bytes);
                match self.bytes.len().cmp(total_bytes) {
                    std::cmp::Ordering::Less => Ok(false),
                    std::cmp::Ordering::Equal => Ok(true),
                    // Bytes that nothing asked for.
                    std::cmp::Ordering::Greater => Err(ErrorCode::HttpMalformed),
                }
            }
            Body::Chunked { chunks, .. } => {
                let mut rest = bytes;
                while let Some(data) = chunks.next(&mut rest)? {
                    if self.bytes.len() + data.len() > ANSWER_BYTES_MAX {
                        return Err(ErrorCode::HttpTooLarge);
                    }
                    self.bytes.extend_from_slice(data);
                }
                if rest.is_empty() { Ok(chunks.is_done()) } else { Err(ErrorCode::HttpMalformed) }
            }
        }
    }

    fn extend_head(&mut self, bytes: &[u8]) -> Result<bool, ErrorCode> {
        self.bytes.extend_from_slice(bytes);
        let limits = HeadLimits::default();
        let Some(head_bytes) = self.scanner.find_end(&self.bytes, &limits).map_err(bad)? else {
            return Ok(false);
        };
        let head =
            parse_response(&self.bytes[..head_bytes]).map_err(|_| ErrorCode::HttpMalformed)?;
        self.body = match length(&head) {
            None if head.is_chunked => Body::Chunked { head_bytes, chunks: Chunks::new() },
            Some(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > ANSWER_BYTES_MAX {
                    return Err(ErrorCode::HttpTooLarge);
                }
                Body::Length { head_bytes, total_bytes: head_bytes + length }
            }
            // A body that ends with the connection would need a new connection per request.
            None => return Err(ErrorCode::HttpMalformed),
        };
        let rest = self.bytes.split_off(head_bytes);
        self.extend(&rest)
    }

    fn answer<R>(&self, each: impl FnOnce(&Answer<'_>) -> R) -> Result<R, ErrorCode> {
        let (Body::Length { head_bytes, .. } | Body::Chunked { head_bytes, .. }) = self.body else {
            return Err(ErrorCode::HttpMalformed);
        };
        let (head, body) = self.bytes.split_at(head_bytes);
        let head = parse_response(head).map_err(|_| ErrorCode::HttpMalformed)?;
        Ok(each(&Answer { head, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::Reader;
    use crate::engine::error::ErrorCode;

    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";

    fn read(reader: &mut Reader, bytes: &[u8]) -> Result<Option<(u16, Vec<u8>)>, ErrorCode> {
        reader.read(bytes, |answer| (answer.head.status, answer.body.to_vec()))
    }

    #[test]
    fn a_response_cut_anywhere_is_one_answer_and_leaves_nothing_behind() {
        for response in [LENGTH, CHUNKED] {
            for cut in 1..response.len() {
                let mut reader = Reader::default();
                assert_eq!(read(&mut reader, &response[..cut]), Ok(None));
                assert!(!reader.is_empty());
                let answer = read(&mut reader, &response[cut..]);
                assert_eq!(answer, Ok(Some((200, b"hello".to_vec()))), "cut at {cut}");
                assert!(reader.is_empty());
                assert_eq!(read(&mut reader, response), Ok(Some((200, b"hello".to_vec()))));
            }
        }
    }

    #[test]
    fn nothing_new_has_no_body_whatever_its_head_says() {
        for head in [
            &b"HTTP/1.1 304 Not Modified\r\nEtag: 1\r\n\r\n"[..],
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
        ] {
            for cut in 1..head.len() {
                let mut reader = Reader::default();
                assert_eq!(read(&mut reader, &head[..cut]), Ok(None));
                let (status, body) = read(&mut reader, &head[cut..]).unwrap().unwrap();
                assert!([204, 304].contains(&status) && body.is_empty());
                assert_eq!(read(&mut reader, LENGTH), Ok(Some((200, b"hello".to_vec()))));
            }
        }
    }

    #[test]
    fn what_nobody_asked_for_or_has_no_end_is_refused() {
        for bad in [
            &[LENGTH, b"x"].concat()[..],
            &[CHUNKED, b"x"].concat(),
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
        ] {
            assert_eq!(read(&mut Reader::default(), bad), Err(ErrorCode::HttpMalformed));
        }
        let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(read(&mut Reader::default(), huge), Err(ErrorCode::HttpTooLarge));
    }
}
