//! From request to WebSocket: the application decides, the 101 answers.
//!
//! Not here: the rules of the handshake (`protocol::ws`). Invariants: a refused upgrade closes; the
//! bytes behind an accepted one are frames and are not lost; a subprotocol that the client did not
//! offer is never answered.

use ringwire_protocol::Position;
use ringwire_protocol::http::{Refusal, Request};
use ringwire_protocol::ws::{
    self, Inbound, Life, Negotiated, check_upgrade, encode_switching, negotiate_deflate,
};
use ringwire_ring::{Driver, Slot};

use super::{ARENA_BYTES_MIN, Worker};
use crate::app::{Application, Command, Context, Decision, Reply, UpgradeRequest, Verdict};
use crate::channels::Encoding;
use crate::connection::{Handshake, Pending, Role, Waiting};
use crate::lane::Flags;
use crate::metrics::RequestKind;
use crate::press::{Contexts, Window};

/// The header of the 101 that says where the stream of a channel begins.
const POSITION_HEADER: &str = "Ringwire-Position";
/// The header of the 101 that says how messages are compressed.
const EXTENSIONS_HEADER: &str = "Sec-WebSocket-Extensions";

impl<D: Driver, A: Application> Worker<D, A> {
    pub(super) fn upgrade(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        let upgrade = check_upgrade(request)?;
        let is_echo = request.path == "/echo";
        self.metrics.request(if is_echo { RequestKind::Echo } else { RequestKind::WebSocket });
        let has_token = self.has_token(request);
        let wish = UpgradeRequest::new(request, &upgrade, &self.remote, slot.to_bits(), has_token);
        let decision = self.app.on_upgrade(&wish);
        let mut handshake = Handshake {
            key: upgrade.key.to_vec(),
            offered: upgrade.subprotocols().map(str::to_owned).collect(),
            subprotocol: None,
            deflate: self
                .limits
                .deflate
                .and_then(|terms| negotiate_deflate(upgrade.extensions(), &terms)),
        };
        match decision {
            Decision::Accept { session, subprotocol } => {
                handshake.subprotocol = subprotocol;
                self.open(slot, &handshake, session, None);
            }
            Decision::Join { session, subprotocol, channel, since, positions } => {
                handshake.subprotocol = subprotocol;
                let window = self.deflate_flags(handshake.deflate.as_ref()).window();
                let encoding = Encoding::websocket(positions, window);
                self.wait_for(slot, Pending::Join { handshake, session, since });
                self.subscribe(slot, &channel, since, encoding);
            }
            Decision::Refuse { status, reason } => self.refuse_in_words(slot, status, &reason),
            Decision::Later => self.wait_for(slot, Pending::Upgrade(handshake)),
        }
        Ok(())
    }

    /// Answers 101 and makes the connection a WebSocket.
    pub(super) fn open(
        &mut self,
        slot: Slot,
        handshake: &Handshake,
        session: A::Session,
        position: Option<Position>,
    ) {
        self.forget_origin(slot);
        let offered = |name: &&str| handshake.offered.iter().any(|offer| offer == name);
        let subprotocol = handshake.subprotocol.as_deref().filter(offered);
        let position = position.map(|position| position.to_string());
        let extensions = handshake.deflate.as_ref().map(Negotiated::answer);
        let extra: Vec<_> = [(POSITION_HEADER, &position), (EXTENSIONS_HEADER, &extensions)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
        let mut out = Vec::with_capacity(256);
        encode_switching(&mut out, &handshake.key, subprotocol, &extra);
        self.say(slot, out);
        let agreed = handshake.deflate.map(|negotiated| negotiated.deflate);
        let inbound = match agreed {
            Some(_) => Inbound::with_deflate(ws::Role::Server),
            None => Inbound::new(ws::Role::Server),
        };
        let contexts = agreed.and_then(Contexts::new);
        let mut life = Life::new(ws::Role::Server);
        life.opened();
        if self.assign(slot, Role::WebSocket { inbound, life, session, contexts }).is_none() {
            return;
        }
        self.set_deadline(slot, self.limits.ping_interval_ns);
        let deflate_flags = self.deflate_flags(handshake.deflate.as_ref());
        let Self { app, table, egress, effects, messages_sent, press, .. } = self;
        let Some(connection) = table.find(slot) else { return };
        let lane = &mut connection.lane;
        lane.flags.set(deflate_flags);
        if let Role::WebSocket { session, contexts, .. } = &mut connection.role {
            let contexts = contexts.as_deref_mut();
            let reply = Reply { press, contexts, is_asked_in_kind: false };
            let mut context = Context { slot, lane, egress, effects, messages_sent, reply };
            app.on_open(session, &mut context);
        }
        self.held_bytes += connection.role.held_bytes();
        self.perform();
        self.check_overrun(slot);
        if self.is_draining() {
            self.dismiss(slot);
        }
    }

    /// How a connection stands with compression.
    fn deflate_flags(&self, negotiated: Option<&Negotiated>) -> Flags {
        let (Some(terms), Some(negotiated)) = (&self.limits.deflate, negotiated) else {
            return Flags::NONE;
        };
        let mut flags = Flags::DEFLATE;
        let agreed_bits = negotiated.deflate.server_window_bits;
        if Window::of(agreed_bits, terms.window_bits_max) == Window::Narrow {
            flags.set(Flags::NARROW);
        }
        flags
    }

    /// Carries out what other threads decided.
    pub(super) fn decide_later(&mut self) {
        for Command { connection, verdict } in self.remote.take() {
            let slot = Slot::from_bits(connection);
            let waits = self.table.find(slot).is_some_and(|connection| {
                matches!(&connection.role, Role::Waiting(waiting)
                    if matches!(waiting.pending, Pending::Upgrade(_)))
            });
            if !waits {
                continue;
            }
            match verdict {
                Verdict::Accept { session, subprotocol } => {
                    let Some(Pending::Upgrade(mut handshake)) = self.stop_waiting(slot) else {
                        continue;
                    };
                    handshake.subprotocol = subprotocol;
                    self.open(slot, &handshake, session, None);
                    self.read_again(slot);
                    self.make_room(ARENA_BYTES_MIN);
                }
                Verdict::Refuse { status, reason } => self.refuse_in_words(slot, status, &reason),
            }
        }
    }

    /// The request's answer comes later; input waits until then.
    pub(super) fn wait_for(&mut self, slot: Slot, pending: Pending<A::Session>) {
        self.assign(slot, Role::Waiting(Box::new(Waiting { pending })));
        self.set_deadline(slot, self.limits.header_timeout_ns);
    }

    /// The answer is there: the connection reads requests again.
    pub(super) fn stop_waiting(&mut self, slot: Slot) -> Option<Pending<A::Session>> {
        match self.assign(slot, Role::Request)? {
            Role::Waiting(waiting) => Some(waiting.pending),
            _ => None,
        }
    }
}
