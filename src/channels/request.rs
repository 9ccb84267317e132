//! What a worker asks a channel's home, and what the home answers.
//!
//! Not here: the queues that carry both. Invariant: a home's answers to one worker form one
//! sequence; a subscriber is attached where its answer stands in it, before the publications that
//! follow.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::Position;

use super::encoding::Encoding;
use super::name::Name;
use super::publication::{Batch, Publication};

/// A question to the home of a channel.
#[derive(Debug)]
pub enum Request {
    /// A new subscriber; answered by [`Answer::Subscribed`] or [`Answer::Refused`].
    Subscribe(Seek),
    /// The next slice for one that is catching up; answered by [`Answer::Slice`] or
    /// [`Answer::Refused`].
    Continue(Seek),
    /// So many live subscribers of the asking worker are gone. Not answered.
    Leave {
        /// The channel.
        channel: Name,
        /// How they were served.
        encoding: Encoding,
        /// How many.
        count: u32,
    },
    /// A new publication; answered by [`Answer::Published`] as its receipt says.
    Publish {
        /// The channel.
        channel: Name,
        /// Its bytes.
        payload: Bytes,
        /// Whether they are UTF-8 text.
        text: bool,
        /// To be given back with the answer.
        receipt: Receipt,
    },
    /// What is new, once; answered by [`Answer::Read`] or [`Answer::Refused`].
    Read {
        /// The channel.
        channel: Name,
        /// To be given back with the answer.
        reader: u64,
        /// What the reader has seen; `None`: it only asks where the channel is.
        since: Option<Position>,
        /// The most bytes of poll items to return; one item is always returned if there is any.
        bytes_max: usize,
    },
}

/// When the publisher is told what became of its publication, and the number to give back then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// In any case.
    Always(u64),
    /// Only if there was no room for it.
    OnRefusal(u64),
    /// Never.
    Never,
}

/// Who wants which publications.
#[derive(Clone, Debug)]
pub struct Seek {
    /// The channel.
    pub channel: Name,
    /// To be given back with the answer; [`super::Local`] makes and reads it.
    pub subscriber: u64,
    /// How the publications are to be encoded.
    pub encoding: Encoding,
    /// What the subscriber has seen; `None`: it begins now.
    pub since: Option<Position>,
    /// The most encoded bytes of a slice; one publication is always returned if there is any.
    pub slice_bytes_max: usize,
    /// One answer is all it waits for (a long poll): it goes live only if there is nothing to say
    /// at once.
    pub once: bool,
}

/// What the home says.
#[derive(Debug)]
pub enum Answer {
    /// To [`Request::Subscribe`].
    Subscribed(Slice),
    /// To [`Request::Continue`].
    Slice(Slice),
    /// To [`Request::Read`].
    Read(Read),
    /// To [`Request::Publish`]: where it stands now.
    Published {
        /// As asked.
        receipt: u64,
        /// The position, or that there was no room.
        result: Result<Position, Busy>,
    },
    /// News for the worker's live subscribers of a channel.
    Publications {
        /// The channel.
        channel: Name,
        /// What is new, in order.
        batch: Arc<Batch>,
    },
    /// The worker's live subscribers of a channel have lost what came before `position`.
    Gap {
        /// The channel.
        channel: Name,
        /// What they get next comes after this.
        position: Position,
    },
    /// The home is full: nothing was subscribed or read.
    Refused {
        /// The `subscriber` or `reader` of the request.
        asker: u64,
        /// Whether it was a [`Request::Read`].
        read: bool,
    },
}

/// What a subscriber gets before it is live.
#[derive(Debug)]
pub struct Slice {
    /// The channel.
    pub channel: Name,
    /// As asked.
    pub subscriber: u64,
    /// As asked.
    pub encoding: Encoding,
    /// Where the subscriber stands once it has the items.
    pub position: Position,
    /// False: what came before `position` is lost to it.
    pub recovered: bool,
    /// The publications since its cursor, encoded as asked.
    pub items: Items,
    /// Whether the home counts it now, so that everything after `position` follows by itself.
    pub live: bool,
}

/// What a reader gets.
#[derive(Debug)]
pub struct Read {
    /// As asked.
    pub reader: u64,
    /// Where the reader stands once it has the items.
    pub position: Position,
    /// False: what came before `position` is lost to it.
    pub recovered: bool,
    /// The publications since its cursor, encoded as [`Encoding::Poll`].
    pub items: Items,
}

/// Publications in rising order.
pub type Items = Vec<Arc<Publication>>;

/// The home is full and nothing could be given up. Later may be better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another channel or publication: try later")
    }
}

impl std::error::Error for Busy {}

impl Request {
    /// The channel asked about.
    #[must_use]
    pub fn channel(&self) -> &Name {
        match self {
            Self::Subscribe(seek) | Self::Continue(seek) => &seek.channel,
            Self::Leave { channel, .. }
            | Self::Publish { channel, .. }
            | Self::Read { channel, .. } => channel,
        }
    }

    /// Bytes of payload that the request keeps alive, for whoever bounds a queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish { payload, .. } => payload.len(),
            Self::Subscribe(_) | Self::Continue(_) | Self::Leave { .. } | Self::Read { .. } => 0,
        }
    }
}

impl Answer {
    /// Bytes of payload that the answer keeps alive, for whoever bounds a queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let items = match self {
            Self::Subscribed(slice) | Self::Slice(slice) => slice.items.as_slice(),
            Self::Read(read) => read.items.as_slice(),
            Self::Publications { batch, .. } => batch.items(),
            Self::Published { .. } | Self::Gap { .. } | Self::Refused { .. } => &[],
        };
        items.iter().map(|item| item.payload().len()).sum()
    }
}
