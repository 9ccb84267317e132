//! One request and its answer on the admin listener, within five seconds and 8 KiB.
//!
//! Not here: what is answered. The whole of HTTP is not here either: the request line is read, the
//! header lines are skipped, a body is never looked at. Invariant: one deadline for the whole
//! exchange, so that no byte sent now and then extends it.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::Answer;

/// From accept to the end.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Of a request; what is more is refused.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Discarded after the answer, so that the peer reads it before it sees the end.
const LINGER_BYTES_MAX: usize = 64 << 10;

/// Reads a request, answers it, ends the connection.
pub(super) fn run(stream: TcpStream, answer: impl FnOnce(&str) -> Answer) -> io::Result<()> {
    let mut timed = Timed { stream, deadline: Instant::now() + TIME_MAX };
    let mut head = [0; HEAD_BYTES_MAX];
    let (answer, with_body) = match read_head(&mut timed, &mut head)? {
        Head::Complete(bytes) => match request(&head[..bytes]) {
            Request::Get(path) => (answer(path), true),
            Request::Head(path) => (answer(path), false),
            Request::Other => (Answer::plain(405, "only GET and HEAD"), true),
            Request::Bad => (Answer::plain(400, "not an HTTP/1 request"), true),
        },
        Head::TooLong => (Answer::plain(431, "the request is longer than 8 KiB"), true),
        Head::Ended => return Ok(()),
    };
    timed.write_all(&encode(&answer, with_body))?;
    timed.stream.shutdown(Shutdown::Write)?;
    // A close with unread bytes would be a reset, and could overtake the answer.
    let mut discarded = 0;
    while discarded < LINGER_BYTES_MAX {
        match timed.read(&mut head)? {
            0 => break,
            bytes => discarded += bytes,
        }
    }
    Ok(())
}

/// A stream whose every call ends at the deadline.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none.
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// As many bytes, the empty line included.
    Complete(usize),
    TooLong,
    /// The peer went before.
    Ended,
}

fn read_head(source: &mut impl Read, head: &mut [u8]) -> io::Result<Head> {
    let mut filled = 0;
    while filled < head.len() {
        let bytes = match source.read(&mut head[filled..]) {
            Ok(0) => return Ok(Head::Ended),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // The end may begin in the three bytes before the new ones.
        let from = filled.saturating_sub(3);
        filled += bytes;
        if let Some(at) = head[from..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Head::Complete(from + at + 4));
        }
    }
    Ok(Head::TooLong)
}

#[derive(Debug, PartialEq, Eq)]
enum Request<'h> {
    Get(&'h str),
    Head(&'h str),
    Other,
    Bad,
}

/// Method and path of the request line; a query is no part of the path.
fn request(head: &[u8]) -> Request<'_> {
    let line_end = head.iter().position(|&byte| byte == b'\r').unwrap_or(head.len());
    let Ok(line) = std::str::from_utf8(&head[..line_end]) else { return Request::Bad };
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Request::Bad;
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !target.starts_with('/') {
        return Request::Bad;
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    match method {
        "GET" => Request::Get(path),
        "HEAD" => Request::Head(path),
        _ => Request::Other,
    }
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}

fn encode(answer: &Answer, with_body: bool) -> Vec<u8> {
    let Answer { status, content_type, body } = answer;
    let mut text = String::new();
    let written = write!(
        text,
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n{}\r\n",
        phrase(*status),
        body.len(),
        if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" },
    );
    debug_assert!(written.is_ok(), "a String takes all");
    if with_body {
        text.push_str(body);
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one size.
    struct Pieces<'b>(&'b [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.1.min(self.0.len()).min(buffer.len());
            buffer[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    #[test]
    fn a_head_ends_at_the_empty_line_however_it_is_cut() {
        let bytes = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for size in 1..=bytes.len() {
            let head = read_head(&mut Pieces(bytes, size), &mut [0; HEAD_BYTES_MAX]).unwrap();
            assert_eq!(head, Head::Complete(bytes.len()), "in pieces of {size}");
        }
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(read_head(&mut Pieces(cut, 7), &mut [0; 64]).unwrap(), Head::Ended);
        assert_eq!(read_head(&mut Pieces(&[b'x'; 65], 7), &mut [0; 64]).unwrap(), Head::TooLong);
    }

    #[test]
    fn only_the_request_line_counts() {
        assert_eq!(request(b"GET /metrics?x=1 HTTP/1.1\r\n\r\n"), Request::Get("/metrics"));
        assert_eq!(request(b"HEAD / HTTP/1.0\r\n\r\n"), Request::Head("/"));
        assert_eq!(request(b"POST /metrics HTTP/1.1\r\n\r\n"), Request::Other);
        for bad in [
            &b"\r\n\r\n"[..],
            b"GET /metrics\r\n\r\n",
            b"GET  /metrics HTTP/1.1\r\n\r\n",
            b"GET metrics HTTP/1.1\r\n\r\n",
            b"GET /m HTTP/2.0\r\n\r\n",
            b"\x16\x03\x01\xff\r\n\r\n",
        ] {
            assert_eq!(request(bad), Request::Bad);
        }
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_that_it_is_the_last() {
        let answer = Answer::plain(405, "only GET and HEAD");
        let text = String::from_utf8(encode(&answer, true)).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(text.contains("\r\nContent-Length: 18\r\n"));
        assert!(text.contains("\r\nConnection: close\r\n"));
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(text.ends_with("\r\n\r\nonly GET and HEAD\n"));
        let head = String::from_utf8(encode(&answer, false)).unwrap();
        assert!(head.contains("\r\nContent-Length: 18\r\n") && head.ends_with("\r\n\r\n"));
    }
}
