//! One HTTP request: its head and body are whole, and it is decided what becomes of it.
//!
//! Not here: parsing (`protocol::http`), what the answer looks like (`respond`), WebSocket
//! (`upgrade`), channels (`subscribe`). Invariant: every request is answered exactly once, in the
//! order they came; who may not make a request is told before its body is waited for.

use bytes::Bytes;
use ringwire_protocol::http::{Body, Method, Refusal, Request, encode_continue, parse_request};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use super::respond::{TEXT, preflight_headers};
use crate::app::{Access, Application};
use crate::channels::{Name, Receipt, Request as Ask};
use crate::connection::{Chunked, Pending, Progress};
use crate::lane::Flags;
use crate::limits::POLL_ANSWER_BYTES_MAX;
use crate::metrics::RequestKind;
use crate::target::{self, Target};

/// What a path is answered that nobody serves.
const NO_SUCH_PATH: Refusal = Refusal::new(404, "no such path: GET / lists what there is");

/// What a publication without a right to it is answered.
const NO_TOKEN: Refusal =
    Refusal::new(401, "publishing needs a token: send Authorization: Bearer TOKEN");

/// What may be asked of `/`.
const INDEX_METHODS: &str = "GET, HEAD, OPTIONS";
/// What may be asked of a path that speaks WebSocket alone.
const WEBSOCKET_METHODS: &str = "GET, OPTIONS";
/// What may be asked somewhere.
const ALL_METHODS: &str = "GET, HEAD, POST, OPTIONS";

impl<D: Driver, A: Application> Worker<D, A> {
    /// Takes one request from `bytes` if it is whole; says how many bytes it had, or how many of
    /// a body in chunks.
    pub(super) fn feed_request(
        &mut self,
        slot: Slot,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> usize {
        let taken = match progress.chunked.take() {
            Some(chunked) => self.take_chunks(slot, chunked, bytes, progress),
            None => self.take_request(slot, bytes, progress),
        };
        taken.unwrap_or_else(|refusal| {
            self.refuse(slot, &refusal, &[]);
            bytes.len()
        })
    }

    fn take_request(
        &mut self,
        slot: Slot,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> Result<usize, Refusal> {
        let (request, head, end) = match progress.whole {
            Some((_, end)) if bytes.len() < end => return Ok(0),
            Some((head, end)) => (parse_request(&bytes[..head], &self.limits.head)?, head, end),
            None => {
                let Some(head) = progress.scanner.find_end(bytes, &self.limits.head)? else {
                    return Ok(0);
                };
                let request = parse_request(&bytes[..head], &self.limits.head)?;
                self.admit(slot, &request)?;
                let length = match request.body {
                    // An upgrade with a body is refused for it, not waited for.
                    _ if request.wants_upgrade() => 0,
                    Body::None => 0,
                    Body::Length(length) => self.check_length(length)?,
                    Body::Chunked => {
                        let chunked = Chunked::new(&bytes[..head]);
                        let behind = &bytes[head..];
                        let used = self.take_chunks(slot, chunked, behind, progress)?;
                        if progress.chunked.is_some() {
                            self.invite_body(slot, &request);
                        }
                        return Ok(head + used);
                    }
                };
                let end = head + length;
                if bytes.len() < end {
                    progress.whole = Some((head, end));
                    self.invite_body(slot, &request);
                    return Ok(0);
                }
                (request, head, end)
            }
        };
        *progress = Progress::new();
        self.begin_request(slot);
        self.route(slot, &request, &bytes[head..end])?;
        Ok(end)
    }

    /// Takes more of a body in chunks, and the request once the body is whole.
    fn take_chunks(
        &mut self,
        slot: Slot,
        mut chunked: Box<Chunked>,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> Result<usize, Refusal> {
        let Chunked { head, body, decoder } = &mut *chunked;
        let used = decoder.take(bytes, body, &self.limits.body)?;
        if decoder.is_done() {
            let request = parse_request(head, &self.limits.head)?;
            self.begin_request(slot);
            self.route(slot, &request, body)?;
        } else {
            progress.chunked = Some(chunked);
        }
        Ok(used)
    }

    /// Tells a client that waits for it to send the body.
    fn invite_body(&mut self, slot: Slot, request: &Request<'_>) {
        if request.expects_continue {
            let mut out = Vec::new();
            encode_continue(&mut out);
            self.say(slot, out);
        }
    }

    /// Bytes of the body, if this server takes so many.
    fn check_length(&self, length: u64) -> Result<usize, Refusal> {
        self.limits.body.check_data(0, length)
    }

    /// Looks at a head as soon as it is whole: what holds for every answer to it, and whether its
    /// sender may ask at all.
    fn admit(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(connection) = self.table.find(slot) else { return Ok(()) };
        let flags = &mut connection.lane.flags;
        flags.clear(Flags::HEAD);
        if request.method == Method::Head {
            flags.set(Flags::HEAD);
        }
        if !request.keep_alive {
            flags.set(Flags::LAST_REQUEST);
        }
        self.identify(slot, request)?;
        self.check_origin(slot, request)?;
        // A token must be asked for before the body is: it may be large, and is for nobody.
        let publishes = request.method == Method::Post && request.path.starts_with("/channels/");
        let needs_token = self.limits.publish_tokens.is_some();
        if publishes && needs_token && !self.has_token(request) {
            return Err(NO_TOKEN);
        }
        Ok(())
    }

    /// Whether the request brings a token that lets its sender publish.
    pub(super) fn has_token(&self, request: &Request<'_>) -> bool {
        let Some(tokens) = &self.limits.publish_tokens else { return false };
        let mut given = request.headers.all("Authorization");
        match (given.next(), given.next()) {
            (Some(authorization), None) => tokens.admit(authorization),
            _ => false,
        }
    }

    /// A request is whole, its body too.
    fn begin_request(&mut self, slot: Slot) {
        let draining = self.is_draining();
        let Some(connection) = self.table.find(slot) else { return };
        connection.lane.flags.clear(Flags::REQUEST_BEGUN);
        if draining {
            connection.lane.flags.set(Flags::LAST_REQUEST);
        }
    }

    fn route(&mut self, slot: Slot, request: &Request<'_>, body: &[u8]) -> Result<(), Refusal> {
        if request.wants_upgrade() {
            return self.upgrade(slot, request);
        }
        if request.method == Method::Options {
            return self.options(slot, request);
        }
        match target::target(request.path)? {
            Target::Index => self.index(slot, request),
            Target::Channel(name) if self.serves(request, &name) => {
                self.channel(slot, request, name, body)
            }
            Target::Other if self.app.is_websocket_path(request.path) => Err(Refusal {
                status: 426,
                reason: "this path speaks WebSocket: ask for an upgrade",
            }),
            Target::Channel(_) | Target::Other => Err(NO_SUCH_PATH),
        }
    }

    /// Whether the application lets anybody do that with the channel.
    fn serves(&self, request: &Request<'_>, channel: &Name) -> bool {
        let is_publish = request.method == Method::Post;
        self.app.serves(channel, if is_publish { Access::Publish } else { Access::Read })
    }

    /// What may be asked of a channel; `None` where nothing may.
    fn channel_methods(&self, channel: &Name) -> Option<&'static str> {
        let serves = |access| self.app.serves(channel, access);
        match (serves(Access::Read), serves(Access::Publish)) {
            (true, true) => Some(ALL_METHODS),
            (true, false) => Some("GET, HEAD, OPTIONS"),
            (false, true) => Some("POST, OPTIONS"),
            (false, false) => None,
        }
    }

    /// Says what may be asked of a path, to a program or to a browser that asks for a page.
    fn options(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        self.metrics.request(RequestKind::Other);
        let methods = match target::target(request.path)? {
            Target::Index => INDEX_METHODS,
            Target::Channel(name) => self.channel_methods(&name).ok_or(NO_SUCH_PATH)?,
            Target::Other if request.path == "*" => ALL_METHODS,
            Target::Other if self.app.is_websocket_path(request.path) => WEBSOCKET_METHODS,
            Target::Other => return Err(NO_SUCH_PATH),
        };
        let is_preflight = request.header("Access-Control-Request-Method").is_some();
        if request.origin().is_some() && is_preflight {
            self.respond(slot, 200, &preflight_headers(methods), b"");
        } else {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7
            //# A server generating a successful response to OPTIONS SHOULD send any header
            //# that might indicate optional features implemented by the server and applicable
            //# to the target resource (e.g., Allow)
            self.respond(slot, 200, &[("Allow", methods)], b"");
        }
        Ok(())
    }

    fn index(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        self.metrics.request(RequestKind::Index);
        match request.method {
            Method::Get | Method::Head => {
                let index = self.app.index();
                self.respond(slot, 200, &[TEXT], index.as_bytes());
            }
            _ => self.refuse_method(slot, INDEX_METHODS),
        }
        Ok(())
    }

    fn channel(
        &mut self,
        slot: Slot,
        request: &Request<'_>,
        name: Name,
        body: &[u8],
    ) -> Result<(), Refusal> {
        match request.method {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
            //# The server SHOULD send the same header fields in response to a HEAD request as
            //# it would have sent if the request method had been GET.
            Method::Head if request.accepts_event_stream() => {
                self.metrics.request(RequestKind::Sse);
                self.show_stream_head(slot);
            }
            Method::Get if request.accepts_event_stream() => {
                self.metrics.request(RequestKind::Sse);
                let last = request.header("Last-Event-ID");
                let last = last.filter(|id| !id.is_empty());
                let last = last.map(|id| target::position(str::from_utf8(id).unwrap_or_default()));
                let since = last.or_else(|| target::since(request.query));
                self.open_stream(slot, name, since);
            }
            Method::Get | Method::Head => {
                let since = target::since(request.query);
                match target::wait_seconds(request.query)? {
                    // There is nothing to wait for where no item is sent.
                    Some(seconds) if seconds > 0 && request.method == Method::Get => {
                        self.metrics.request(RequestKind::LongPoll);
                        self.open_long_poll(slot, name, since, seconds);
                    }
                    _ => {
                        self.metrics.request(RequestKind::Poll);
                        self.wait_for(slot, Pending::Read);
                        let reader = slot.to_bits();
                        let bytes_max = POLL_ANSWER_BYTES_MAX;
                        self.ask(Ask::Read { channel: name, reader, since, bytes_max });
                    }
                }
            }
            Method::Post => self.publish(slot, request, name, body),
            _ => self.refuse_method(slot, self.channel_methods(&name).unwrap_or(ALL_METHODS)),
        }
        Ok(())
    }

    fn publish(&mut self, slot: Slot, request: &Request<'_>, channel: Name, body: &[u8]) {
        self.metrics.request(RequestKind::Publish);
        if self.is_congested() {
            return self.refuse_busy(slot);
        }
        let kind = request.header("Content-Type").unwrap_or_default();
        let essence = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let binary = essence.eq_ignore_ascii_case(b"application/octet-stream");
        let text = !binary && str::from_utf8(body).is_ok();
        self.wait_for(slot, Pending::Publish);
        let receipt = Receipt::Always(slot.to_bits());
        let payload = Bytes::copy_from_slice(body);
        self.ask(Ask::Publish { channel, payload, text, receipt });
    }
}
