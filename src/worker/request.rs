//! One HTTP request: its head and body are whole, and it is decided what becomes of it.
//!
//! Not here: parsing (`protocol::http`), WebSocket (`upgrade`), channels (`subscribe`).
//! Invariant: every request is answered exactly once, in the order they came; every refusal
//! closes the connection.

use bytes::Bytes;
use ringwire_protocol::http::{
    Body, Method, Refusal, Request, encode_continue, encode_refusal, encode_response,
    encode_response_head, origin_allowed, parse_request,
};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use crate::app::Application;
use crate::channels::{Name, Receipt, Request as Ask};
use crate::connection::{Pending, Progress};
use crate::lane::Flags;
use crate::limits::POLL_ANSWER_BYTES_MAX;
use crate::metrics::RequestKind;
use crate::target::{self, Target};

/// What `GET /` says.
const INDEX: &str = concat!(
    "ringwire ",
    env!("CARGO_PKG_VERSION"),
    "\n\n\
     GET  /echo           WebSocket: says each message back\n\
     GET  /channels/NAME  WebSocket: subscribes and publishes\n\
     GET  /channels/NAME  Accept: text/event-stream: Server-Sent Events\n\
     GET  /channels/NAME?since=E:O&wait=25  long poll\n\
     GET  /channels/NAME?since=E:O          poll\n\
     POST /channels/NAME  publishes the body\n"
);

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

impl<D: Driver, A: Application> Worker<D, A> {
    /// Takes one request from `bytes` if it is whole; says how many bytes it had.
    pub(super) fn feed_request(
        &mut self,
        slot: Slot,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> usize {
        match self.take_request(slot, bytes, progress) {
            Ok(taken) => {
                if taken > 0 {
                    *progress = Progress::new();
                }
                taken
            }
            Err(refusal) => {
                self.refuse(slot, &refusal, &[]);
                bytes.len()
            }
        }
    }

    fn take_request(
        &mut self,
        slot: Slot,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> Result<usize, Refusal> {
        let (head_bytes, request_bytes) = match progress.whole {
            Some(whole) => whole,
            None => match self.measure(slot, bytes, progress)? {
                Some(whole) => whole,
                None => return Ok(0),
            },
        };
        if bytes.len() < request_bytes {
            return Ok(0);
        }
        let request = parse_request(&bytes[..head_bytes], &self.limits.head)?;
        self.begin_request(slot, &request);
        self.route(slot, &request, &bytes[head_bytes..request_bytes])?;
        Ok(request_bytes)
    }

    /// Bytes of the head, and of head and body together, once the head is whole.
    fn measure(
        &mut self,
        slot: Slot,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> Result<Option<(usize, usize)>, Refusal> {
        let Some(end) = progress.scanner.find_end(bytes, &self.limits.head)? else {
            return Ok(None);
        };
        let request = parse_request(&bytes[..end], &self.limits.head)?;
        let whole = (end, end + self.body_bytes(&request)?);
        if bytes.len() < whole.1 && request.expects_continue {
            let mut out = Vec::new();
            encode_continue(&mut out);
            self.say(slot, out);
        }
        progress.whole = Some(whole);
        Ok(progress.whole)
    }

    /// Bytes of the body, if this server takes so many.
    fn body_bytes(&self, request: &Request<'_>) -> Result<usize, Refusal> {
        // An upgrade with a body is refused for it, not waited for.
        let (Body::Length(length), false) = (request.body, request.wants_upgrade()) else {
            return Ok(0);
        };
        let reason = "the body is larger than the server takes: send less, or raise \
                      --max-message-size";
        match usize::try_from(length) {
            Ok(length) if length <= self.limits.message_bytes_max => Ok(length),
            _ => Err(Refusal { status: 413, reason }),
        }
    }

    fn begin_request(&mut self, slot: Slot, request: &Request<'_>) {
        let draining = self.is_draining();
        let Some(connection) = self.table.find(slot) else { return };
        connection.lane.flags.clear(Flags::REQUEST_BEGUN);
        if !request.keep_alive || draining {
            connection.lane.flags.set(Flags::LAST_REQUEST);
        }
    }

    fn route(&mut self, slot: Slot, request: &Request<'_>, body: &[u8]) -> Result<(), Refusal> {
        if let Some(origin) = request.origin()
            && !origin_allowed(origin, request.host(), &self.limits.allowed_origins)
        {
            let reason = "this Origin may not use the server: allow it with --allowed-origin";
            return Err(Refusal { status: 403, reason });
        }
        if request.wants_upgrade() {
            return self.upgrade(slot, request);
        }
        match target::target(request.path)? {
            Target::Index => self.index(slot, request),
            Target::Channel(name) => self.channel(slot, request, name, body),
            Target::Other if self.app.is_websocket_path(request.path) => Err(Refusal {
                status: 426,
                reason: "this path speaks WebSocket: ask for an upgrade",
            }),
            Target::Other => {
                Err(Refusal { status: 404, reason: "no such path: GET / lists what there is" })
            }
        }
    }

    fn index(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        self.metrics.request(RequestKind::Index);
        match request.method {
            Method::Get => self.respond(slot, 200, &[TEXT], INDEX.as_bytes()),
            Method::Head => self.respond_head(slot, &[TEXT], INDEX.len()),
            _ => self.refuse_method(slot, "GET, HEAD"),
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
            Method::Get if request.accepts_event_stream() => {
                self.metrics.request(RequestKind::Sse);
                let last = request.header("Last-Event-ID");
                let last =
                    last.and_then(|raw| str::from_utf8(raw).ok()).filter(|id| !id.is_empty());
                let since = last.map(target::position).or_else(|| target::since(request.query));
                self.open_stream(slot, name, since);
            }
            Method::Get => {
                let since = target::since(request.query);
                match target::wait_seconds(request.query)? {
                    Some(seconds) if seconds > 0 => {
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
            _ => self.refuse_method(slot, "GET, POST"),
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

    /// Answers the request at hand; the connection stays if it may.
    pub(super) fn respond(
        &mut self,
        slot: Slot,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let Some(connection) = self.table.find(slot) else { return };
        let keep_alive = !connection.lane.flags.has(Flags::LAST_REQUEST);
        let mut out = Vec::with_capacity(256 + body.len());
        encode_response(&mut out, status, headers, body, keep_alive);
        self.say(slot, out);
        self.end_request(slot);
    }

    fn respond_head(&mut self, slot: Slot, headers: &[(&str, &str)], body_bytes: usize) {
        let Some(connection) = self.table.find(slot) else { return };
        let keep_alive = !connection.lane.flags.has(Flags::LAST_REQUEST);
        let mut out = Vec::with_capacity(256);
        encode_response_head(&mut out, 200, headers, Some(body_bytes), keep_alive);
        self.say(slot, out);
        self.end_request(slot);
    }

    /// The answer is written: on to the next request, or to the end.
    pub(super) fn end_request(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        connection.lane.flags.set(Flags::SERVED);
        let is_last = connection.lane.flags.has(Flags::LAST_REQUEST);
        self.recount(slot);
        if is_last {
            return self.begin_end(slot);
        }
        self.set_deadline(slot, self.limits.keepalive_timeout_ns);
    }

    /// Says no, and ends the connection after it.
    pub(super) fn refuse(&mut self, slot: Slot, refusal: &Refusal, headers: &[(&str, &str)]) {
        self.metrics.refused(refusal.status);
        self.logger.debug(format_args!("refused: {refusal}"));
        let mut out = Vec::with_capacity(256);
        encode_refusal(&mut out, refusal, headers);
        self.say(slot, out);
        self.begin_end(slot);
    }

    fn refuse_method(&mut self, slot: Slot, allow: &str) {
        let reason = "this path does not take that method: see Allow";
        self.refuse(slot, &Refusal { status: 405, reason }, &[("Allow", allow)]);
    }

    /// Too much waits between the workers for now.
    pub(super) fn refuse_busy(&mut self, slot: Slot) {
        let reason = "too much waits to be published: try again in a second";
        self.refuse(slot, &Refusal { status: 503, reason }, &[("Retry-After", "1")]);
    }

    /// Writes `bytes` to the connection.
    pub(super) fn say(&mut self, slot: Slot, bytes: Vec<u8>) {
        let Some(connection) = self.table.find(slot) else { return };
        if bytes.len() > self.egress.batch.arena().len() {
            connection.lane.queue(slot, &mut self.egress, Bytes::from(bytes));
        } else {
            connection.lane.write_all(slot, &mut self.egress, &bytes);
        }
    }
}
