//! What every answer has in common: its form, what a browser must be told, and the end.
//!
//! Not here: what is answered (`request`, `answer`, `subscribe`). Invariants: every refusal closes
//! the connection; a page is told that it may read an answer only where its Origin is allowed.

use bytes::Bytes;
use ringwire_protocol::http::{
    Refusal, Request, encode_refusal, encode_response, encode_response_head, origin_allowed,
};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use crate::app::Application;
use crate::lane::Flags;

/// The type of what is written for people.
pub(super) const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

/// Longer than any `scheme://host:port`: a host has 253 characters at most.
const ORIGIN_BYTES_MAX: usize = 300;

/// What a browser wants to know before it lets a page ask. The time is in seconds; no browser
/// remembers the answer for longer than two hours to a day.
pub(super) fn preflight_headers(methods: &str) -> [(&str, &str); 4] {
    [
        ("Allow", methods),
        ("Access-Control-Allow-Methods", methods),
        ("Access-Control-Allow-Headers", "Last-Event-ID, Content-Type, Authorization"),
        ("Access-Control-Max-Age", "7200"),
    ]
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// Refuses a page that may not speak to this server, and remembers one that may, until it is
    /// answered.
    pub(super) fn check_origin(
        &mut self,
        slot: Slot,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        self.forget_origin(slot);
        let Some(origin) = request.origin() else { return Ok(()) };
        let is_allowed = origin.len() <= ORIGIN_BYTES_MAX
            && origin_allowed(origin, request.host(), &self.limits.allowed_origins);
        if !is_allowed {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
            //# If the server does not wish to accept this connection, it MUST return an
            //# appropriate HTTP error code (e.g., 403 Forbidden) and abort the WebSocket
            //# handshake described in this section.
            let reason = "this Origin may not use the server: allow it with --allowed-origin";
            return Err(Refusal { status: 403, reason });
        }
        if let Some(connection) = self.table.find(slot) {
            connection.lane.flags.set(Flags::HAS_ORIGIN);
            self.held_bytes += origin.len();
            self.origins.insert(slot.number(), origin.into());
        }
        Ok(())
    }

    /// The page that the answer at hand is for; forgotten with it.
    pub(super) fn forget_origin(&mut self, slot: Slot) -> Option<Box<str>> {
        let connection = self.table.find(slot)?;
        if !connection.lane.flags.has(Flags::HAS_ORIGIN) {
            return None;
        }
        connection.lane.flags.clear(Flags::HAS_ORIGIN);
        let origin = self.origins.remove(&slot.number())?;
        self.held_bytes -= origin.len();
        Some(origin)
    }

    /// Answers the request at hand; the connection stays if it may.
    pub(super) fn respond(
        &mut self,
        slot: Slot,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let origin = self.forget_origin(slot);
        let Some(connection) = self.table.find(slot) else { return };
        let keep_alive = !connection.lane.flags.has(Flags::LAST_REQUEST);
        let mut out = Vec::with_capacity(256 + body.len());
        let is_head = connection.lane.flags.has(Flags::HEAD);
        with_origin(headers, origin.as_deref(), |headers| {
            encode_response_head(&mut out, status, headers, Some(body.len()), keep_alive);
        });
        if !is_head {
            out.extend_from_slice(body);
        }
        self.say(slot, out);
        self.end_request(slot);
    }

    /// Writes the head of an answer that ends with the connection.
    pub(super) fn begin_response(&mut self, slot: Slot, headers: &[(&str, &str)]) -> Vec<u8> {
        let origin = self.forget_origin(slot);
        let mut out = Vec::with_capacity(256);
        with_origin(headers, origin.as_deref(), |headers| {
            encode_response_head(&mut out, 200, headers, None, false);
        });
        out
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
        self.logger.debug(format_args!("refused {}: {refusal}", self.name_of(slot)));
        let origin = self.forget_origin(slot);
        let mut out = Vec::with_capacity(256);
        with_origin(headers, origin.as_deref(), |headers| {
            encode_refusal(&mut out, refusal, headers);
        });
        self.end_with(slot, out);
    }

    /// Says no in the application's words.
    pub(super) fn refuse_in_words(&mut self, slot: Slot, status: u16, reason: &str) {
        let status = status.clamp(400, 599);
        self.metrics.refused(status);
        self.metrics.dropped(crate::metrics::DropReason::Application);
        let line: String = reason.chars().filter(|c| !c.is_control()).chain(['\n']).collect();
        let origin = self.forget_origin(slot);
        let mut out = Vec::with_capacity(256);
        with_origin(&[TEXT], origin.as_deref(), |headers| {
            encode_response(&mut out, status, headers, line.as_bytes(), false);
        });
        self.end_with(slot, out);
    }

    /// Writes the connection's last answer.
    fn end_with(&mut self, slot: Slot, mut answer: Vec<u8>) {
        if let Some(connection) = self.table.find(slot)
            && connection.lane.flags.has(Flags::HEAD)
        {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
            //# the server MUST NOT send content in the response
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            answer.truncate(end.map_or(answer.len(), |at| at + 4));
        }
        self.say(slot, answer);
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.2
        //# To do so, the server MUST simply _Close the WebSocket Connection_ (Section 7.1.1).
        self.begin_end(slot);
    }

    pub(super) fn refuse_method(&mut self, slot: Slot, allow: &str) {
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

/// Hands over `headers`, and behind them those that let the page at `origin` read the answer.
///
/// The origin is named, never `*`, and credentials are not mentioned: what a browser adds by
/// itself opens nothing here. `Vary` keeps a cache from showing the answer to another page.
fn with_origin(
    headers: &[(&str, &str)],
    origin: Option<&str>,
    write: impl FnOnce(&[(&str, &str)]),
) {
    match origin {
        None => write(headers),
        Some(origin) => {
            let mut all = headers.to_vec();
            all.push(("Access-Control-Allow-Origin", origin));
            all.push(("Vary", "Origin"));
            write(&all);
        }
    }
}
