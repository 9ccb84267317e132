//! One connection of the run: what it is doing, and what it still has to say.
//!
//! Not here: its socket. Invariant: an idle connection is this struct and nothing behind it.

use std::collections::VecDeque;

use ringwire_protocol::Position;
use ringwire_protocol::http::HeadScanner;
use ringwire_protocol::sse;
use ringwire_protocol::ws::Inbound;
use ringwire_ring::Slot;
use ringwire_transport::{Outbox, Tls};

use crate::engine::answer::Reader;
use crate::engine::chunked::Chunks;
use crate::engine::codec::Codec;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not begun.
    Waiting,
    /// TCP is connecting.
    Connecting,
    /// The first request is out.
    Opening,
    /// Subscribed, or upgraded.
    Open,
    /// Subscribed, without a connection until the next poll is due.
    Parked,
    /// Over, for whatever reason.
    Ended,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Subscriber,
    Publisher,
}

/// What is spoken, and how far the other side's words have come.
#[derive(Debug)]
pub(crate) enum Speech {
    /// Nothing yet.
    None,
    /// The answer's head, of an upgrade or an event stream.
    Opening(Box<Opening>),
    /// With its compression, if that was agreed on.
    Ws(Inbound, Option<Box<Codec>>),
    Sse(Box<Stream>),
    Http(Reader),
}

/// An answer's head on its way.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) bytes: Vec<u8>,
    pub(crate) scanner: HeadScanner,
    /// The upgrade's key.
    pub(crate) key: String,
}

/// An event stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) chunks: Option<Chunks>,
    pub(crate) parser: sse::Parser,
}

/// TLS around what is spoken.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) tls: Tls,
    /// When the handshake began.
    pub(crate) since_ns: u64,
}

/// A message that could not be sent when it was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    pub(crate) intended_ns: u64,
    pub(crate) picked_up_ns: u64,
}

/// A connection that has had its first message awaits nothing.
pub(crate) const HEARD: u64 = u64::MAX;

/// A message whose reply is known by its place alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) intended_ns: u64,
    pub(crate) sent_ns: u64,
    /// Messages that were sent before it.
    pub(crate) count: u64,
    /// Replies that came.
    pub(crate) heard: u32,
}

/// What only some servers need to be known of a connection.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    pub(crate) awaited: VecDeque<Awaited>,
    /// The header lines that say where the last answer left off.
    pub(crate) validators: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) slot: Option<Slot>,
    pub(crate) channel: u32,
    /// Its number among the connections (or publishers) of all threads: what its payloads name.
    pub(crate) number: u32,
    /// Its number among those planned: which source address it takes.
    pub(crate) source: u32,
    pub(crate) phase: Phase,
    pub(crate) part: Part,
    /// It was open once: from then on its end is a loss, and before a refusal.
    pub(crate) was_open: bool,
    /// A request is out whose answer is not there.
    pub(crate) is_asking: bool,
    /// It is on the list of those that may have something to say.
    pub(crate) is_ready: bool,
    /// The answer under way is the last of its connection.
    pub(crate) must_reconnect: bool,
    /// This connection has answered before, so that its end may be that of keep-alive.
    pub(crate) is_proven: bool,
    /// The publication under way is one of the window's.
    pub(crate) is_of_window: bool,
    /// It reads slowly, and is not measured.
    pub(crate) is_slow: bool,
    /// It was dropped by a storm, and is not back.
    pub(crate) is_returning: bool,
    /// Its cycle is at its end.
    pub(crate) is_closing: bool,
    /// Of a connection that is encrypted.
    pub(crate) tls: Option<Box<Secured>>,
    pub(crate) speech: Speech,
    /// Bytes that the socket did not take; `Some` exactly while a waiting send is under way.
    pub(crate) outbox: Option<Box<Outbox>>,
    #[expect(clippy::box_collection, reason = "most have none: 8 bytes instead of 32")]
    pub(crate) late: Option<Box<VecDeque<Late>>>,
    pub(crate) aside: Option<Box<Aside>>,
    /// Messages sent and answered.
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// What it has read of its channel.
    pub(crate) position: Option<Position>,
    /// When the connection was begun.
    pub(crate) since_ns: u64,
    /// Since when it awaits what comes next: the answer to its first request, then the first
    /// message; [`HEARD`] from then on.
    pub(crate) awaits_since_ns: u64,
    /// The last batch that has a send of this connection; taking an old one of the same number for
    /// the present one costs an extra batch, and no more.
    pub(crate) batch: u32,
}

const _: () = assert!(size_of::<Member>() <= 152, "an idle connection has this and a slot");

impl Member {
    pub(crate) fn new(part: Part, number: u32, channel: u32) -> Self {
        Self {
            slot: None,
            channel,
            number,
            source: number,
            phase: Phase::Waiting,
            part,
            was_open: false,
            is_asking: false,
            is_ready: false,
            must_reconnect: false,
            is_proven: false,
            is_of_window: false,
            is_slow: false,
            is_returning: false,
            is_closing: false,
            tls: None,
            speech: Speech::None,
            outbox: None,
            late: None,
            aside: None,
            sent: 0,
            answered: 0,
            position: None,
            since_ns: 0,
            awaits_since_ns: 0,
            batch: 0,
        }
    }

    /// Whether it is being opened for the first time, or again after a storm.
    pub(crate) fn is_opening(&self) -> bool {
        let is_new = !self.was_open || self.is_returning;
        is_new && matches!(self.phase, Phase::Connecting | Phase::Opening)
    }

    /// Whether its TLS handshake is under way.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|secured| !secured.tls.is_established())
    }

    /// Messages sent and not answered.
    pub(crate) fn outstanding(&self) -> u64 {
        self.sent - self.answered
    }

    /// Messages picked up and not sent.
    pub(crate) fn late_count(&self) -> u64 {
        self.late.as_ref().map_or(0, |late| late.len() as u64)
    }

    /// Whether a message could be sent now.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# Once the client's opening handshake has been sent, the client MUST wait for a response
    //# from the server before sending any further data.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
    //# The endpoint MUST ensure the WebSocket connection is in the OPEN state (cf. Sections 4.1
    //# and 4.2.2.)
    pub(crate) fn may_send(&self, in_flight_max: u64) -> bool {
        self.phase == Phase::Open && self.outbox.is_none() && self.outstanding() < in_flight_max
    }

    pub(crate) fn postpone(&mut self, late: Late) {
        self.late.get_or_insert_default().push_back(late);
    }

    /// The next message that is late; the list is given back when empty.
    pub(crate) fn take_late(&mut self) -> Option<Late> {
        let late = self.late.as_mut()?;
        let first = late.pop_front();
        if late.is_empty() {
            self.late = None;
        }
        first
    }
}
