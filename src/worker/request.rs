//! One HTTP request: its head and body are whole, and it is decided what becomes of it.
//!
//! Not here: parsing (`protocol::http`), WebSocket (`upgrade`), channels (`subscribe`).
//! Invariant: every request is answered exactly once, in the order they came; every refusal
//! closes the connection.

use bytes::Bytes;
use ringwire_protocol::http::{
    Body, Method, Refusal, Request, encode_continue, encode_refusal, encode_response_head,
    origin_allowed, parse_request,
};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use crate::app::{Access, Application};
use crate::channels::{Name, Receipt, Request as Ask};
use crate::connection::{Pending, Progress};
use crate::lane::Flags;
use crate::limits::POLL_ANSWER_BYTES_MAX;
use crate::metrics::RequestKind;
use crate::target::{self, Target};

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
        let (request, body_end) = match progress.whole {
            Some((_, end)) if bytes.len() < end => return Ok(0),
            Some((head, end)) => (parse_request(&bytes[..head], &self.limits.head)?, end),
            None => {
                let Some(head) = progress.scanner.find_end(bytes, &self.limits.head)? else {
                    return Ok(0);
                };
                let request = parse_request(&bytes[..head], &self.limits.head)?;
                let end = head + self.body_bytes(&request)?;
                progress.whole = Some((head, end));
                if bytes.len() < end {
                    self.invite_body(slot, &request);
                    return Ok(0);
                }
                (request, end)
            }
        };
        let head_end = progress.whole.map_or(body_end, |(head, _)| head);
        self.begin_request(slot, &request);
        self.route(slot, &request, &bytes[head_end..body_end])?;
        Ok(body_end)
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
        connection.lane.flags.clear(Flags::HEAD);
        if request.method == Method::Head {
            connection.lane.flags.set(Flags::HEAD);
        }
        if !request.keep_alive || draining {
            connection.lane.flags.set(Flags::LAST_REQUEST);
        }
    }

    fn route(&mut self, slot: Slot, request: &Request<'_>, body: &[u8]) -> Result<(), Refusal> {
        if let Some(origin) = request.origin()
            && !origin_allowed(origin, request.host(), &self.limits.allowed_origins)
        {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
            //# If the server does not wish to accept this connection, it MUST return an
            //# appropriate HTTP error code (e.g., 403 Forbidden) and abort the WebSocket
            //# handshake described in this section.
            let reason = "this Origin may not use the server: allow it with --allowed-origin";
            return Err(Refusal { status: 403, reason });
        }
        if request.wants_upgrade() {
            return self.upgrade(slot, request);
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
            Target::Channel(_) | Target::Other => {
                Err(Refusal { status: 404, reason: "no such path: GET / lists what there is" })
            }
        }
    }

    /// Whether the application lets anybody do that with the channel.
    fn serves(&self, request: &Request<'_>, channel: &Name) -> bool {
        let is_publish = request.method == Method::Post;
        self.app.serves(channel, if is_publish { Access::Publish } else { Access::Read })
    }

    fn index(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        self.metrics.request(RequestKind::Index);
        match request.method {
            Method::Get | Method::Head => {
                let index = self.app.index();
                self.respond(slot, 200, &[TEXT], index.as_bytes());
            }
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
                let last = last.filter(|id| !id.is_empty());
                let last = last.map(|id| target::position(str::from_utf8(id).unwrap_or_default()));
                let since = last.or_else(|| target::since(request.query));
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
        let is_head = connection.lane.flags.has(Flags::HEAD);
        encode_response_head(&mut out, status, headers, Some(body.len()), keep_alive);
        if !is_head {
            out.extend_from_slice(body);
        }
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
        if let Some(connection) = self.table.find(slot)
            && connection.lane.flags.has(Flags::HEAD)
        {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
            //# the server MUST NOT send content in the response
            let end =
                out.windows(4).position(|four| four == b"\r\n\r\n").map_or(out.len(), |at| at + 4);
            out.truncate(end);
        }
        self.say(slot, out);
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.2
        //# To do so, the server MUST simply _Close the WebSocket Connection_ (Section 7.1.1).
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
