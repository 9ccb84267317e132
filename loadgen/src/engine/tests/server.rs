//! A small server for tests: a thread per connection, one channel per path, on std's sockets.
//!
//! Not here: speed, or hardening. It speaks the routes that the engine is made for, and can be
//! told to misbehave in ways that the engine has to notice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ringwire_protocol::http::{
    Body, HeadLimits, HeadScanner, Method, encode_response, encode_response_head, parse_request,
    query_value,
};
use ringwire_protocol::ws::{
    Cursor, Deflate, DeflateTerms, Deflator, Effort, Event, Inbound, Inflator, Limits, Opcode,
    Role, check_upgrade, encode_close, encode_compressed_frame, encode_frame, encode_switching,
    negotiate_deflate,
};
use ringwire_protocol::{Epoch, Position, poll, sse};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mischief {
    #[default]
    None,
    /// Does not deliver, or echo, every tenth message.
    Drop,
    /// Delivers, or echoes, every tenth message twice.
    Twice,
    /// Echoes every tenth message after the one behind it.
    Swap,
    /// Changes a byte of every tenth message.
    Damage,
    /// Answers the first upgrade with 503, and every second one after it.
    RefuseHalf,
    /// Closes with 1001 after a hundred messages.
    CloseAfterHundred,
    /// Ends keep-alive after every answer.
    NoKeepAlive,
    /// Sends bodies and streams in chunks.
    Chunked,
    /// Answers every request with 404.
    NotFound,
    /// None: it accepts an offer of compression, on these terms.
    Deflate(DeflateTerms),
    /// Sends compressed what is not.
    DeflateDamaged,
    /// Takes connections, and says nothing.
    Silent,
    /// Ends a connection that does not take what is written to it.
    CutsSlow,
    /// Is gone once it has seen this many connections or messages.
    Dies { connections: u64, messages: u64 },
}

/// How a server compresses on one connection, if it does.
struct Packer(Option<Deflator>);

impl Packer {
    fn new(agreed: Option<Deflate>) -> Self {
        let outgoing = agreed.map(|agreed| agreed.outgoing(Role::Server));
        Self(outgoing.map(|direction| Deflator::new(direction, Effort::Thorough)))
    }

    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        let Some(deflator) = &mut self.0 else {
            return encode_frame(out, Opcode::Text, payload, None);
        };
        let mut packed = Vec::new();
        deflator.deflate(payload, &mut packed);
        encode_compressed_frame(out, Opcode::Text, &packed, None);
    }
}

#[derive(Debug, Default)]
struct Hub {
    channels: BTreeMap<String, Vec<Vec<u8>>>,
    connections: u64,
    messages: u64,
    closes: u64,
    peers: BTreeSet<IpAddr>,
    /// All there were, of a server that is going to die.
    streams: Vec<TcpStream>,
    is_dead: bool,
}

#[derive(Debug, Default)]
struct Shared {
    hub: Mutex<Hub>,
    news: Condvar,
}

/// A server that runs until the test's process ends.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    mischief: Mischief,
}

/// What a server usually agrees to.
pub(super) const DEFLATE_TERMS: DeflateTerms =
    DeflateTerms { window_bits_max: 15, context_takeover: true };

/// How long a server that cuts slow readers off waits for them.
const STALL: Duration = Duration::from_millis(500);

const EPOCH: Epoch = Epoch(7);
const LIMITS: Limits = Limits { message_bytes_max: 1 << 24, empty_fragments_max: 10 };

impl Server {
    pub(super) fn start(mischief: Mischief) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = Self { address, shared: Arc::default(), mischief };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.hub().is_dead {
                    return;
                }
                let server = accepting.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// WebSockets that the client closed with a Close frame.
    pub(super) fn closes(&self) -> u64 {
        self.hub().closes
    }

    /// The addresses that connections came from.
    pub(super) fn peers(&self) -> BTreeSet<IpAddr> {
        self.hub().peers.clone()
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.shared.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dies if that is what it has come to.
    fn live(&self, messages: u64) {
        let Mischief::Dies { connections, messages: messages_max } = self.mischief else { return };
        let mut hub = self.hub();
        hub.messages += messages;
        if hub.connections > connections || hub.messages > messages_max {
            hub.is_dead = true;
            for stream in hub.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            drop(hub);
            // Who accepts has to hear of it, to let go of the port.
            let _ = TcpStream::connect(self.address);
        }
    }

    /// What comes before the first request.
    fn prepare(&self, stream: &mut TcpStream) -> Option<()> {
        match self.mischief {
            Mischief::Silent => return drain(stream),
            Mischief::CutsSlow => stream.set_write_timeout(Some(STALL)).ok()?,
            Mischief::Dies { .. } => self.hub().streams.push(stream.try_clone().ok()?),
            _ => {}
        }
        self.live(0);
        Some(())
    }

    /// Serves one connection until it ends; `None` is an end.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let number = {
            let mut hub = self.hub();
            hub.connections += 1;
            hub.peers.extend(stream.peer_addr().map(|peer| peer.ip()));
            hub.connections
        };
        self.prepare(&mut stream)?;
        let mut bytes = Vec::new();
        loop {
            let end = read_head(&mut stream, &mut bytes)?;
            let mut rest = bytes.split_off(end);
            let request = parse_request(&bytes, &HeadLimits::default()).expect("a good request");
            if let Body::Length(length) = request.body {
                while (rest.len() as u64) < length {
                    read_more(&mut stream, &mut rest)?;
                }
                let after = rest.split_off(usize::try_from(length).unwrap());
                self.publish(request.path, rest);
                let mut out = Vec::new();
                poll::encode_published(&mut out, Position { epoch: EPOCH, offset: 1 });
                self.answer(&mut stream, &out)?;
                bytes = after;
                continue;
            }
            assert_eq!(request.method, Method::Get);
            let mut out = Vec::new();
            let is_refused = self.mischief == Mischief::RefuseHalf && number % 2 == 1;
            if self.mischief == Mischief::NotFound {
                encode_response(&mut out, 404, &[], b"no such channel\nat all", false);
                return stream.write_all(&out).ok();
            }
            if request.wants_upgrade() && is_refused {
                encode_response(&mut out, 503, &[], b"full, try again", false);
                return stream.write_all(&out).ok();
            }
            if request.wants_upgrade() {
                let upgrade = check_upgrade(&request).expect("a good upgrade");
                let offset = self.len(request.path);
                let terms = match self.mischief {
                    Mischief::Deflate(terms) => Some(terms),
                    Mischief::DeflateDamaged => Some(DEFLATE_TERMS),
                    _ => None,
                };
                let agreed = terms.and_then(|t| negotiate_deflate(upgrade.extensions(), &t));
                let answer = agreed.map(|agreed| agreed.answer());
                let answer = answer.as_deref().map(|value| ("Sec-WebSocket-Extensions", value));
                encode_switching(&mut out, upgrade.key, None, answer.as_slice());
                stream.write_all(&out).ok()?;
                let path = request.path.to_owned();
                let agreed = agreed.map(|agreed| agreed.deflate);
                return self.serve_ws(stream, &path, offset, rest, agreed);
            }
            if request.accepts_event_stream() {
                let last = request.header("last-event-id");
                let last = last.map(|id| std::str::from_utf8(id).unwrap().parse::<Position>());
                let since = last.map(|last| usize::try_from(last.unwrap().offset).unwrap());
                return self.serve_sse(stream, request.path, since);
            }
            let since = query_value(request.query, "since").expect("a good query");
            let since = since.map(|since| since.parse::<Position>().unwrap().offset);
            let wait = request.query.unwrap_or_default().contains("wait=");
            let body = self.poll(request.path, since, wait);
            self.answer(&mut stream, &body)?;
            if self.mischief == Mischief::NoKeepAlive {
                return None;
            }
            bytes = rest;
        }
    }

    fn answer(&self, stream: &mut TcpStream, body: &[u8]) -> Option<()> {
        let mut out = Vec::new();
        if self.mischief == Mischief::Chunked {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in body.chunks(10) {
                out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                out.extend_from_slice(part);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        } else {
            encode_response(&mut out, 200, &[], body, self.mischief != Mischief::NoKeepAlive);
        }
        stream.write_all(&out).ok()
    }

    fn len(&self, path: &str) -> usize {
        self.hub().channels.get(path).map_or(0, Vec::len)
    }

    fn publish(&self, path: &str, payload: Vec<u8>) {
        self.live(1);
        let mut hub = self.hub();
        let channel = hub.channels.entry(path.to_owned()).or_default();
        let count = channel.len();
        match self.mischief {
            Mischief::Drop if count % 10 == 9 => channel.push(Vec::new()),
            Mischief::Twice if count % 10 == 8 => channel.extend([payload.clone(), payload]),
            Mischief::Damage if count % 10 == 9 => channel.push(damaged(&payload)),
            _ => channel.push(payload),
        }
        drop(hub);
        self.shared.news.notify_all();
    }

    /// What came after `offset`, waiting for it up to two seconds at a time.
    fn after(&self, path: &str, offset: usize) -> Vec<Vec<u8>> {
        let hub = self.hub();
        let is_empty = |hub: &mut Hub| hub.channels.get(path).map_or(0, Vec::len) <= offset;
        let (hub, _) = self
            .shared
            .news
            .wait_timeout_while(hub, Duration::from_secs(2), is_empty)
            .unwrap_or_else(PoisonError::into_inner);
        hub.channels.get(path).map(|items| items[offset..].to_vec()).unwrap_or_default()
    }

    fn poll(&self, path: &str, since: Option<u64>, wait: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let since = since.map(|since| usize::try_from(since).unwrap());
        let items = match since {
            None => Vec::new(),
            Some(since) if wait => self.after(path, since),
            Some(since) => self.hub().channels.get(path).map_or(vec![], |i| i[since..].to_vec()),
        };
        let start = since.unwrap_or_else(|| self.len(path));
        let position = Position { epoch: EPOCH, offset: (start + items.len()) as u64 };
        poll::encode_answer_head(&mut out, position, true);
        let mut is_first = true;
        for (number, item) in items.iter().enumerate().filter(|(_, item)| !item.is_empty()) {
            if !std::mem::take(&mut is_first) {
                out.push(poll::ITEM_SEPARATOR);
            }
            poll::encode_item(&mut out, (start + number + 1) as u64, item, true);
        }
        poll::encode_answer_tail(&mut out);
        out
    }

    fn serve_sse(&self, mut stream: TcpStream, path: &str, since: Option<usize>) -> Option<()> {
        let mut offset = since.unwrap_or_else(|| self.len(path));
        let is_chunked = self.mischief == Mischief::Chunked;
        let mut out = Vec::new();
        let mut headers = vec![("Content-Type", "text/event-stream; charset=utf-8")];
        headers.extend(is_chunked.then_some(("Transfer-Encoding", "chunked")));
        encode_response_head(&mut out, 200, &headers, None, false);
        stream.write_all(&out).ok()?;
        loop {
            let mut out = Vec::new();
            for item in self.after(path, offset) {
                offset += 1;
                let position = Position { epoch: EPOCH, offset: offset as u64 };
                if !item.is_empty() {
                    sse::encode_event(&mut out, position, &item, true);
                }
            }
            sse::encode_comment(&mut out, "beat");
            if is_chunked {
                let head = format!("{:x}\r\n", out.len());
                out = [head.as_bytes(), &out, b"\r\n"].concat();
            }
            stream.write_all(&out).ok()?;
        }
    }

    fn serve_ws(
        &self,
        stream: TcpStream,
        path: &str,
        offset: usize,
        rest: Vec<u8>,
        agreed: Option<Deflate>,
    ) -> Option<()> {
        if path != "/echo" {
            let (server, path) = (self.clone(), path.to_owned());
            let writing = stream.try_clone().ok()?;
            let packer = Packer::new(agreed);
            thread::spawn(move || server.deliver_ws(writing, &path, offset, packer));
        }
        self.listen_ws(stream, path, rest, agreed)
    }

    fn deliver_ws(
        &self,
        mut stream: TcpStream,
        path: &str,
        mut offset: usize,
        mut packer: Packer,
    ) -> Option<()> {
        loop {
            let mut out = Vec::new();
            for item in self.after(path, offset) {
                offset += 1;
                if !item.is_empty() {
                    packer.encode(&mut out, &item);
                }
            }
            encode_frame(&mut out, Opcode::Ping, b"still there?", None);
            if stream.write_all(&out).is_err() {
                return stream.shutdown(Shutdown::Both).ok();
            }
        }
    }

    fn listen_ws(
        &self,
        mut stream: TcpStream,
        path: &str,
        mut bytes: Vec<u8>,
        agreed: Option<Deflate>,
    ) -> Option<()> {
        let mut inbound = match agreed {
            None => Inbound::new(Role::Server),
            Some(_) => Inbound::with_deflate(Role::Server),
        };
        let mut inflator = agreed.map(|agreed| Inflator::new(agreed.incoming(Role::Server)));
        let (mut packer, mut plain) = (Packer::new(agreed), Vec::new());
        let (mut count, mut held) = (0, Vec::new());
        loop {
            let mut out = Vec::new();
            let mut cursor = Cursor::new(&mut bytes);
            while let Some(event) = inbound.next(&mut cursor, &LIMITS).expect("good frames") {
                match event {
                    Event::Message { payload, .. } if path == "/echo" => {
                        count += 1;
                        if self.mischief == Mischief::Swap && count % 10 == 9 {
                            held = payload.to_vec();
                            continue;
                        }
                        self.echo(&mut out, payload, count);
                        if !held.is_empty() {
                            self.echo(&mut out, &std::mem::take(&mut held), count);
                        }
                    }
                    Event::Close(frame) => {
                        self.hub().closes += 1;
                        let mut close = [0; 131];
                        let code = frame.map_or(1005, |frame| frame.code.0);
                        let len = encode_close(&mut close, code, "", None);
                        return stream.write_all(&close[..len]).ok();
                    }
                    Event::Compressed { kind, payload } => {
                        let inflator = inflator.as_mut().expect("only where it was agreed on");
                        let inflated = inflator.inflate(payload, kind, &LIMITS, &mut plain);
                        packer.encode(&mut out, inflated.expect("a good message"));
                        if self.mischief == Mischief::DeflateDamaged {
                            encode_compressed_frame(&mut out, Opcode::Text, b"\xFFno", None);
                        }
                    }
                    Event::Pong(payload) => assert_eq!(payload, b"still there?"),
                    Event::Ping(payload) => encode_frame(&mut out, Opcode::Pong, payload, None),
                    Event::Message { .. } => {}
                }
            }
            stream.write_all(&out).ok()?;
            if self.mischief == Mischief::CloseAfterHundred && count >= 100 {
                let mut close = [0; 131];
                let len = encode_close(&mut close, 1001, "going", None);
                stream.write_all(&close[..len]).ok()?;
                return drain(&mut stream);
            }
            bytes.clear();
            read_more(&mut stream, &mut bytes)?;
        }
    }

    fn echo(&self, out: &mut Vec<u8>, payload: &[u8], count: u64) {
        self.live(1);
        let is_tenth = count.is_multiple_of(10);
        match self.mischief {
            Mischief::Drop if is_tenth => {}
            Mischief::Damage if is_tenth => {
                encode_frame(out, Opcode::Text, &damaged(payload), None);
            }
            Mischief::Twice if is_tenth => {
                encode_frame(out, Opcode::Text, payload, None);
                encode_frame(out, Opcode::Text, payload, None);
            }
            _ => encode_frame(out, Opcode::Text, payload, None),
        }
    }
}

fn damaged(payload: &[u8]) -> Vec<u8> {
    let mut damaged = payload.to_vec();
    damaged[4] = b'!';
    damaged
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 65_536];
    let len = stream.read(&mut buffer).ok().filter(|len| *len > 0)?;
    bytes.extend_from_slice(&buffer[..len]);
    Some(())
}

fn drain(stream: &mut TcpStream) -> Option<()> {
    let mut rest = Vec::new();
    loop {
        rest.clear();
        read_more(stream, &mut rest)?;
    }
}

fn read_head(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<usize> {
    let mut scanner = HeadScanner::new();
    loop {
        if let Some(end) = scanner.find_end(bytes, &HeadLimits::default()).expect("a good head") {
            return Some(end);
        }
        read_more(stream, bytes)?;
    }
}
