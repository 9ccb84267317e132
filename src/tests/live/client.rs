//! A client that is a blocking socket: requests as bytes, answers read whole.
//!
//! Not here: what comes after an upgrade (`peers`). Invariants: a read that brings nothing within
//! the limit ends the test with what had come before; a reset is never taken for an end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use ringwire_protocol::Position;
use ringwire_protocol::http::{BadResponse, Response, parse_response};
use ringwire_protocol::poll::{parse_answer, parse_published};

use crate::harness::LIMIT;

/// A GET; `headers` are whole lines.
pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

/// A publication.
pub(crate) fn post(channel: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let mut request = format!(
        "POST /channels/{channel} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n{headers}\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let response = parse_response(&self.head).unwrap();
        response.header(name).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// What `check` makes of the head.
    pub(crate) fn checked<T>(
        &self,
        check: impl FnOnce(&Response<'_>) -> Result<T, BadResponse>,
    ) -> T {
        let checked = parse_response(&self.head).and_then(|response| check(&response));
        checked.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The answer to a publication.
    pub(crate) fn published(&self) -> Position {
        assert_eq!(self.status, 200, "{self:?}");
        parse_published(&self.body).unwrap()
    }

    /// The answer to a poll of either kind.
    pub(crate) fn polled(&self) -> Polled {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type").as_deref(), Some("application/json"));
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"));
        let answer = parse_answer(&self.body).unwrap();
        let items = answer.items.into_iter();
        Polled {
            position: answer.position,
            recovered: answer.recovered,
            items: items.map(|item| (item.offset, item.payload.into_owned())).collect(),
        }
    }
}

/// What a poll answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Polled {
    pub(crate) position: Position,
    pub(crate) recovered: bool,
    pub(crate) items: Vec<(u64, Vec<u8>)>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// What has come and is not taken yet.
    pub(crate) received: Vec<u8>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), bytes_sent: 0, bytes_received: 0 }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.stream.write_all(bytes).unwrap();
        self.bytes_sent += bytes.len() as u64;
    }

    /// Sends, unless the peer no longer listens.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sent = self.stream.write_all(bytes).is_ok();
        self.bytes_sent += if sent { bytes.len() as u64 } else { 0 };
        sent
    }

    /// Another handle to the same socket, for a thread that only sends.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Sends FIN.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads what is there, or waits for it; false at the end.
    pub(crate) fn read_more(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(bytes) => {
                self.received.extend_from_slice(&piece[..bytes]);
                self.bytes_received += bytes as u64;
                bytes > 0
            }
            Err(error) => {
                let shown = &self.received[..self.received.len().min(400)];
                panic!("{error}; received and not taken: {:?}", String::from_utf8_lossy(shown))
            }
        }
    }

    /// Whether something has come, without waiting for it.
    pub(crate) fn is_readable(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        match peeked {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until something has come, and leaves it with the kernel: a socket that is dropped
    /// then resets its connection.
    pub(crate) fn await_unread(&self) {
        assert!(self.stream.peek(&mut [0]).unwrap() > 0, "an end instead of bytes");
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.read_more(), "ended after {} of {len} bytes", self.received.len());
        }
        self.received.drain(..len).collect()
    }

    /// The next answer's head; whatever follows stays.
    pub(crate) fn head(&mut self) -> Answer {
        let end = loop {
            let found = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            match found {
                Some(at) => break at + 4,
                None => assert!(self.read_more(), "ended in a head: {:?}", self.received),
            }
        };
        let head = self.take(end);
        let status = parse_response(&head).unwrap().status;
        Answer { status, head, body: Vec::new() }
    }

    /// The next whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = parse_response(&answer.head).unwrap().content_length;
        let length = length.unwrap_or_else(|| panic!("no length: {answer:?}"));
        answer.body = self.take(usize::try_from(length).unwrap());
        answer
    }

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    /// Everything up to the server's FIN.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.received)
    }

    /// The server ends the connection, and says nothing more before.
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more than was expected: {:?}", String::from_utf8_lossy(&rest));
    }
}
