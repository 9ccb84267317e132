//! Connections with TLS: bytes of the wire to plaintext, handshakes in their turn, the end.
//!
//! Not here: the protocol (`transport::tls`) and the way out (`lane::sealed`). Invariants: bytes of
//! a handshake are handled after everything else of a turn and a few at a time, in the order they
//! came, so that established connections keep their latency; what waits is counted and bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ringwire_ring::{Driver, Slot};
use ringwire_transport::{Plain, Tls, TlsFailure};
use rustls::ServerConfig;

use super::{ARENA_BYTES_MIN, Worker};
use crate::app::Application;
use crate::connection::Role;
use crate::lane::Flags;
use crate::metrics::{DropReason, HandshakeFailure};

/// Handshake steps in a turn: each may cost a signature, which is as long as a hundred messages.
const STEPS_MAX: usize = 3;

/// Bytes of a handshake that wait for their turn before no more are read.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// What a worker keeps for connections with TLS.
pub(super) struct Secure {
    config: Option<Arc<ServerConfig>>,
    /// Whose handshake has something to do, the first first.
    due: VecDeque<Slot>,
    /// The bytes they wait with, by slot number.
    waiting: HashMap<u32, Vec<u8>>,
    /// What TLS itself has to say to a peer.
    out: Vec<u8>,
    /// A record that came in pieces.
    joined: Vec<u8>,
}

impl Secure {
    pub(super) fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self {
            config,
            due: VecDeque::new(),
            waiting: HashMap::new(),
            out: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// Whether a handshake waits for its turn.
    pub(super) fn is_busy(&self) -> bool {
        !self.due.is_empty()
    }

    /// Handshakes that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.due.len()
    }
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// A connection came to a listener for TLS.
    pub(super) fn begin_tls(&mut self, slot: Slot) {
        let is_going = self.is_draining();
        let tls = self.secure.config.as_ref().map(Tls::server);
        let Some(connection) = self.table.find(slot) else { return };
        match tls {
            Some(Ok(tls)) if !is_going => {
                //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
                //# all further communication for the connection (including the server's
                //# handshake) MUST run through the encrypted tunnel [RFC5246].
                //= https://www.rfc-editor.org/rfc/rfc6455#section-10.6
                //# WebSocket implementations MUST support TLS and SHOULD employ it when
                //# communicating with their peers.
                connection.lane.tls = Some(Box::new(tls));
                self.set_deadline(slot, self.limits.tls_handshake_timeout_ns);
            }
            // Nothing can be said before a handshake.
            _ => self.tear_down(slot),
        }
    }

    /// Bytes of the wire came for a connection with TLS.
    pub(super) fn received_tls(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(connection) = self.table.find(slot) else { return };
        if !connection.lane.is_handshaking() {
            return self.open_tls(slot, bytes);
        }
        let flags = &mut connection.lane.flags;
        if !flags.has(Flags::HANDSHAKE_DUE) {
            flags.set(Flags::HANDSHAKE_DUE);
            self.secure.due.push_back(slot);
        }
        let waiting = self.secure.waiting.entry(slot.number()).or_default();
        waiting.extend_from_slice(bytes);
        self.held_bytes += bytes.len();
        if waiting.len() > WAITING_BYTES_MAX {
            self.stop_reading(slot);
        }
    }

    /// Takes the next steps of a few handshakes, once everything else of the turn is out.
    pub(super) fn shake_hands(&mut self) {
        if !self.secure.is_busy() {
            return;
        }
        self.flush();
        for _ in 0..STEPS_MAX {
            let Some(slot) = self.secure.due.pop_front() else { break };
            // Gone meanwhile: what waited went with it.
            if self.table.find(slot).is_none() {
                continue;
            }
            let mut bytes = self.forget_handshake(slot);
            self.open_tls(slot, &mut bytes);
            let Some(connection) = self.table.find(slot) else { continue };
            let is_over = connection.lane.flags.has(Flags::PEER_ENDED);
            if is_over {
                self.ended(slot, Ok(()));
            } else if connection.lane.flags.has(Flags::RECEIVE_OFF) {
                self.read_again(slot);
            }
        }
        self.metrics.tls_waiting.set(self.secure.waiting() as u64);
    }

    /// Gives back what waits of a handshake.
    pub(super) fn forget_handshake(&mut self, slot: Slot) -> Vec<u8> {
        if let Some(connection) = self.table.find(slot) {
            connection.lane.flags.clear(Flags::HANDSHAKE_DUE);
        }
        let bytes = self.secure.waiting.remove(&slot.number()).unwrap_or_default();
        self.held_bytes -= bytes.len();
        bytes
    }

    /// Decrypts `bytes` record by record, and hands over each one's plaintext where it lies.
    fn open_tls(&mut self, slot: Slot, bytes: &mut [u8]) {
        let mut out = std::mem::take(&mut self.secure.out);
        let mut joined = std::mem::take(&mut self.secure.joined);
        let mut used = 0;
        while used < bytes.len() {
            let rest = &mut bytes[used..];
            match self.open_record(slot, rest, &mut joined, &mut out) {
                Some((more, Plain::None)) => used += more,
                Some((more, Plain::Here(place))) => {
                    used += more;
                    self.received_plain(slot, &mut rest[place]);
                }
                Some((more, Plain::Joined(place))) => {
                    used += more;
                    self.received_plain(slot, &mut joined[place]);
                }
                None => break,
            }
            self.make_room(ARENA_BYTES_MIN);
        }
        self.secure.out = out;
        self.secure.joined = joined;
    }

    /// Lets TLS take what it can up to the next plaintext. `None`: no more of it is to be opened.
    fn open_record(
        &mut self,
        slot: Slot,
        bytes: &mut [u8],
        joined: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<(usize, Plain)> {
        let connection = self.table.find(slot)?;
        if matches!(connection.role, Role::Lingering { .. }) {
            // Whatever it is, nobody wants it any more.
            self.received_plain(slot, bytes);
            return None;
        }
        let lane = &mut connection.lane;
        let tls = lane.tls.as_mut()?;
        let (held, was_handshaking) = (tls.held_bytes(), !tls.is_established());
        let was_closed = tls.is_peer_closed();
        let opened = tls.open(bytes, joined, out);
        self.held_bytes = self.held_bytes + tls.held_bytes() - held;
        let is_new = was_handshaking && tls.is_established();
        let (is_resumed, is_closed) = (tls.is_resumed(), tls.is_peer_closed() && !was_closed);
        lane.write_wire(slot, &mut self.egress, out);
        out.clear();
        match opened {
            Ok(opened) => {
                if is_new {
                    self.metrics.handshake_done(is_resumed);
                    self.set_deadline(slot, self.limits.header_timeout_ns);
                }
                if is_closed {
                    self.peer_closed_tls(slot);
                }
                Some((opened.used, opened.plain))
            }
            Err(failure) => {
                self.fail_tls(slot, &failure, was_handshaking);
                None
            }
        }
    }

    /// The alert is written: nothing else can be said.
    fn fail_tls(&mut self, slot: Slot, failure: &TlsFailure, in_handshake: bool) {
        self.logger.debug(format_args!("{failure}"));
        if in_handshake {
            self.metrics.handshake_failed(failure.kind().into());
        }
        self.metrics.dropped(DropReason::Tls);
        self.begin_end(slot);
    }

    /// The peer said within TLS that it sends nothing more; its FIN follows sooner or later.
    fn peer_closed_tls(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        connection.lane.flags.set(Flags::PEER_ENDED);
        connection.lane.flags.set(Flags::FIN_AWAITED);
        match &connection.role {
            Role::Waiting(waiting) if waiting.pending.is_of_a_moment() => {}
            Role::Request | Role::WebSocket { .. } if connection.held.is_some() => {
                self.ready.push(slot);
            }
            _ => self.begin_end(slot),
        }
    }

    /// FIN of a peer with TLS. Says whether that is an end as any other.
    pub(super) fn ended_tls(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.table.find(slot) else { return false };
        let lane = &mut connection.lane;
        let was_said = lane.flags.has(Flags::FIN_AWAITED);
        lane.flags.clear(Flags::FIN_AWAITED);
        if lane.is_handshaking() {
            if !lane.flags.has(Flags::HANDSHAKE_DUE) {
                self.metrics.handshake_failed(HandshakeFailure::Abandoned);
                self.tear_down(slot);
            }
            return false;
        }
        // Requests and messages say their own length, so that nothing cut short passes for whole;
        // and many clients never say it.
        if !was_said && !matches!(connection.role, Role::Lingering { .. }) {
            self.metrics.tls_truncated.add(1);
        }
        true
    }

    /// A handshake took too long.
    pub(super) fn handshake_overdue(&mut self, slot: Slot) {
        self.metrics.handshake_failed(HandshakeFailure::Timeout);
        self.metrics.dropped(DropReason::HandshakeTimeout);
        self.tear_down(slot);
    }

    /// Encrypts into the batch what the turn has written, in as few records as it may.
    pub(super) fn uncork(&mut self) {
        let mut cork = std::mem::take(&mut self.egress.cork);
        for (slot, plain) in cork.pieces() {
            let Some(connection) = self.table.find(slot) else { continue };
            connection.lane.flags.clear(Flags::CORKED);
            if !self.egress.has_room(plain.len()) {
                self.hand_over();
            }
            let Some(connection) = self.table.find(slot) else { continue };
            connection.lane.seal(slot, &mut self.egress, plain);
        }
        cork.clear();
        self.egress.cork = cork;
    }
}
