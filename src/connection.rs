//! One connection of a worker: what it is for at the moment, and what is kept for it.
//!
//! Not here: any decision. Invariants: an idle connection owns no heap memory but its session, and
//! contexts of compression where it has its own; the bytes kept for a peer are exactly
//! `held_bytes`.

use ringwire_protocol::Position;
use ringwire_protocol::http::{ChunkedBody, HeadScanner};
use ringwire_protocol::ws::{Inbound, Life, Negotiated};
use ringwire_ring::Slot;

use crate::lane::{Flags, Lane};
use crate::metrics::{State, Transport};
use crate::press::Contexts;

/// Bytes of a peer that have to wait: an incomplete request, or what came while reading is paused
/// or an answer is pending.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    /// How many of them are handled already; they go when they are half.
    pub(crate) start: usize,
    pub(crate) progress: Progress,
}

impl Held {
    /// All that is kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        let chunked = &self.progress.chunked;
        self.bytes.len() + chunked.as_ref().map_or(0, |chunked| chunked.kept_bytes())
    }

    /// Lets go of what is handled once that is half, and of memory that is no longer needed.
    pub(crate) fn forget_handled(&mut self) {
        if self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to_fit();
        }
    }

    /// Whether anything of it is still to be handled, or waits for its rest.
    pub(crate) fn is_needed(&self) -> bool {
        self.start < self.bytes.len() || self.progress.chunked.is_some()
    }
}

/// How far the request at the front of the held bytes is understood.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) scanner: HeadScanner,
    /// Bytes of the head, and of head and body together, once the head is known.
    pub(crate) whole: Option<(usize, usize)>,
    /// A request whose body comes in chunks: it is taken out of the held bytes as it comes.
    pub(crate) chunked: Option<Box<Chunked>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { scanner: HeadScanner::new(), whole: None, chunked: None }
    }
}

/// A request whose body comes in chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    pub(crate) head: Vec<u8>,
    /// The data of the chunks so far.
    pub(crate) body: Vec<u8>,
    pub(crate) decoder: ChunkedBody,
}

impl Chunked {
    pub(crate) fn new(head: &[u8]) -> Box<Self> {
        let decoder = ChunkedBody::new();
        Box::new(Self { head: head.to_vec(), body: Vec::new(), decoder })
    }

    fn kept_bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// What a connection is for at the moment.
#[derive(Debug)]
pub(crate) enum Role<S> {
    /// The entry has no tenant.
    Free,
    /// Waits for a request, or for the rest of one.
    Request,
    /// A request's answer comes later; the next request waits.
    Waiting(Box<Waiting<S>>),
    /// Speaks WebSocket.
    WebSocket {
        inbound: Inbound,
        life: Life,
        session: S,
        /// What it has of compression to itself.
        contexts: Option<Box<Contexts>>,
    },
    /// Receives Server-Sent Events.
    Stream,
    /// Everything was said; discards input until the peer has read it.
    Lingering { discarded_bytes: u32 },
}

/// A request whose answer comes later.
#[derive(Debug)]
pub(crate) struct Waiting<S> {
    pub(crate) pending: Pending<S>,
}

/// What the answer waits for.
#[derive(Debug)]
pub(crate) enum Pending<S> {
    /// The home worker's receipt of a publication.
    Publish,
    /// The home worker's answer to a poll.
    Read,
    /// The home worker's word that the long poll is attached, then news.
    LongPoll {
        /// What an empty answer says; known once the home has answered.
        position: Option<Position>,
    },
    /// The home worker's word that the event stream is attached.
    Stream { since: Option<Position> },
    /// The application's decision.
    Upgrade(Handshake),
    /// The home worker's word that the WebSocket is subscribed.
    Join { handshake: Handshake, session: S, since: Option<Position> },
}

impl<S> Pending<S> {
    pub(crate) fn is_long_poll(&self) -> bool {
        matches!(self, Self::LongPoll { .. })
    }

    /// Whether the answer is soon there, and nothing follows it.
    pub(crate) fn is_of_a_moment(&self) -> bool {
        matches!(self, Self::Publish | Self::Read)
    }
}

/// What the 101 needs of the request, which is gone by then.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) key: Vec<u8>,
    pub(crate) offered: Vec<String>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) deflate: Option<Negotiated>,
}

impl<S> Role<S> {
    /// Bytes that the role itself keeps for the peer.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::WebSocket { inbound, contexts, .. } => {
                inbound.held_bytes() + contexts.as_ref().map_or(0, |own| own.held_bytes())
            }
            _ => 0,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) lane: Lane,
    pub(crate) held: Option<Box<Held>>,
    pub(crate) role: Role<S>,
    generation: u32,
    /// When the peer last showed life, in ticks of the worker.
    pub(crate) touched_tick: u32,
    /// When the message that is arriving began to, in the same ticks.
    pub(crate) message_tick: u32,
    /// As what the connection counts in the gauges at the moment.
    pub(crate) counted: (Transport, State),
}

/// The connections of one worker, by slot index. Reserved at once, touched as indices first
/// appear, never moved.
#[derive(Debug)]
pub(crate) struct Table<S> {
    entries: Vec<Connection<S>>,
    live: usize,
}

impl<S> Table<S> {
    pub(crate) fn new(slots_max: usize) -> Self {
        Self { entries: Vec::with_capacity(slots_max), live: 0 }
    }

    /// A new tenant for `slot`.
    pub(crate) fn insert(&mut self, slot: Slot, tick: u32) -> &mut Connection<S> {
        while self.entries.len() <= slot.index() {
            self.entries.push(Connection::free());
        }
        self.live += 1;
        let entry = &mut self.entries[slot.index()];
        debug_assert!(matches!(entry.role, Role::Free), "two tenants of one slot");
        *entry = Connection::free();
        entry.role = Role::Request;
        entry.generation = slot.generation();
        entry.touched_tick = tick;
        entry
    }

    /// The tenant, unless it is gone.
    #[inline]
    pub(crate) fn find(&mut self, slot: Slot) -> Option<&mut Connection<S>> {
        let entry = self.entries.get_mut(slot.index())?;
        let present = entry.generation == slot.generation() && !matches!(entry.role, Role::Free);
        present.then_some(entry)
    }

    /// Ends a tenancy and hands over what the entry held.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Connection<S>> {
        let entry = self.find(slot)?;
        let connection = std::mem::replace(entry, Connection::free());
        self.live -= 1;
        Some(connection)
    }

    /// Connections in the table.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The slot of entry `index`, if it has a tenant.
    pub(crate) fn slot_at(&self, index: usize) -> Option<Slot> {
        let entry = self.entries.get(index)?;
        let number = u32::try_from(index).ok()?;
        (!matches!(entry.role, Role::Free)).then(|| Slot::new(number, entry.generation))
    }

    /// Entries ever used; indices beyond have no tenant.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<S> Connection<S> {
    fn free() -> Self {
        Self {
            lane: Lane::default(),
            held: None,
            role: Role::Free,
            generation: 0,
            touched_tick: 0,
            message_tick: 0,
            counted: (Transport::Http, State::Connecting),
        }
    }

    /// Whether input has to wait: for an answer, for the application, or until the peer has read
    /// what it asked for.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        match self.role {
            Role::WebSocket { .. } => self.lane.flags.has_any(Flags::STOPS_READING),
            Role::Request => self.lane.queued_bytes() > 0,
            Role::Waiting(_) => true,
            Role::Stream | Role::Lingering { .. } | Role::Free => false,
        }
    }

    /// Whether anything may be written: no Close was sent, and the connection is not at its end.
    #[inline]
    pub(crate) fn may_send(&self) -> bool {
        match &self.role {
            Role::WebSocket { life, .. } => life.may_send(),
            Role::Lingering { .. } | Role::Free => false,
            Role::Request | Role::Waiting(_) | Role::Stream => true,
        }
    }

    /// Notes whether a message has begun to arrive and is not whole; says whether it is another
    /// one (`has_ended`: one became whole) than when this was last noted.
    #[inline]
    pub(crate) fn note_message(&mut self, is_open: bool, has_ended: bool, tick: u32) -> bool {
        let begins = is_open && (has_ended || !self.lane.flags.has(Flags::MESSAGE_OPEN));
        self.lane.flags.put(Flags::MESSAGE_OPEN, is_open);
        if begins {
            self.message_tick = tick;
        }
        begins
    }

    /// As what the connection should count in the gauges.
    pub(crate) fn station(&self) -> (Transport, State) {
        match &self.role {
            Role::WebSocket { life, .. } if life.may_send() => (Transport::WebSocket, State::Open),
            Role::WebSocket { .. } => (Transport::WebSocket, State::Closing),
            Role::Stream => (Transport::Sse, State::Open),
            Role::Waiting(waiting) if waiting.pending.is_long_poll() => {
                (Transport::LongPoll, State::Open)
            }
            // What it spoke before it was told to go.
            Role::Lingering { .. } => (self.counted.0, State::Closing),
            Role::Request if !self.lane.flags.has(Flags::SERVED) => {
                (Transport::Http, State::Connecting)
            }
            Role::Request | Role::Waiting(_) | Role::Free => (Transport::Http, State::Open),
        }
    }

    /// Bytes kept for the peer besides its outbox.
    pub(crate) fn held_bytes(&self) -> usize {
        self.role.held_bytes() + self.held.as_ref().map_or(0, |held| held.kept_bytes())
    }
}
