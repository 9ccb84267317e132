//! What a handler can do to its connection and its channels.
//!
//! Not here: doing it. A send is encoded into the turn's batch at once; everything else is noted
//! as an [`Effect`] and done by the worker after the handler returned.

use std::fmt;

use bytes::Bytes;
use ringwire_protocol::Position;
use ringwire_protocol::ws::{Kind, encode_header, frame_len, set_compressed};
use ringwire_ring::Slot;

use crate::channels::Name;
use crate::lane::{Egress, Flags, Lane};
use crate::press::{Contexts, Press};

/// The outbox is over `max_backpressure`. The connection will be closed with 3008.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer reads too slowly: its outbox is over max_backpressure")
    }
}

impl std::error::Error for Overrun {}

/// Something a handler asked for.
#[derive(Debug)]
pub(crate) enum Effect {
    Publish { slot: Slot, channel: Name, kind: Kind, payload: Bytes },
    Subscribe { slot: Slot, channel: Name, since: Option<Position> },
    Unsubscribe { slot: Slot, channel: Name },
    Close { slot: Slot, code: u16, reason: String },
    Resume { slot: Slot },
}

/// A handler's grip on its connection, for the length of one call.
pub struct Context<'c> {
    pub(crate) slot: Slot,
    pub(crate) lane: &'c mut Lane,
    pub(crate) egress: &'c mut Egress,
    pub(crate) effects: &'c mut Vec<Effect>,
    pub(crate) messages_sent: &'c mut u64,
    pub(crate) reply: Reply<'c>,
}

/// How what a handler sends is compressed, if that was agreed on.
pub(crate) struct Reply<'c> {
    pub(crate) press: &'c mut Press,
    pub(crate) contexts: Option<&'c mut Contexts>,
    /// The handler is given a message that came compressed.
    pub(crate) is_asked_in_kind: bool,
}

impl Context<'_> {
    /// Sends one message, compressed if that was agreed on and is worth it. What is sent while a
    /// compressed message is handled is compressed whatever it is: the peer does the same.
    ///
    /// # Errors
    /// [`Overrun`] when the peer reads too slowly; the connection is then closed with 3008.
    #[inline]
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Overrun> {
        if !self.lane.accepts(self.egress) {
            self.lane.flags.set(Flags::OVERRUN);
            return Err(Overrun);
        }
        *self.messages_sent += 1;
        if self.lane.flags.has(Flags::DEFLATE)
            && (self.reply.is_asked_in_kind || self.reply.press.takes(payload.len()))
            && self.write_compressed(kind, payload)
        {
            return Ok(());
        }
        let opcode = kind.opcode();
        let len = frame_len(payload.len(), false);
        self.lane.write(self.slot, self.egress, len, |room| {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
            //# To _Send a WebSocket Message_ comprising of /data/ over a WebSocket connection,
            //# an endpoint MUST perform the following steps.
            //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
            //# The opcode (frame-opcode) of the first frame containing the data MUST be set to
            //# the appropriate value from Section 5.2 for data that is to be interpreted by the
            //# recipient as text or binary data.
            let header = encode_header(room, opcode, true, payload.len(), None);
            room[header..].copy_from_slice(payload);
        });
        Ok(())
    }

    /// False: it goes better as it is.
    #[inline(never)]
    fn write_compressed(&mut self, kind: Kind, payload: &[u8]) -> bool {
        let Some(window) = self.lane.flags.window() else { return false };
        let is_stale = self.lane.flags.has(Flags::CONTEXT_STALE);
        let Reply { press, contexts, is_asked_in_kind } = &mut self.reply;
        let own = contexts.as_deref_mut().filter(|own| own.compresses());
        let compressed = match own {
            Some(own) => {
                self.lane.flags.clear(Flags::CONTEXT_STALE);
                own.compress(payload, is_stale, press)
            }
            None if *is_asked_in_kind => press.compress_anyhow(window, payload),
            None => match press.compress(window, payload) {
                Some(compressed) => compressed,
                None => return false,
            },
        };
        let len = frame_len(compressed.len(), false);
        self.lane.write(self.slot, self.egress, len, |room| {
            let header = encode_header(room, kind.opcode(), true, compressed.len(), None);
            set_compressed(room);
            room[header..].copy_from_slice(compressed);
        });
        true
    }

    /// Bytes that wait because the peer reads slower than it is sent to.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.lane.queued_bytes()
    }

    /// Stops reading: no further message is handed over until [`Context::resume`].
    pub fn pause(&mut self) {
        self.lane.flags.set(Flags::PAUSED);
    }

    /// Reads again.
    pub fn resume(&mut self) {
        if self.lane.flags.has(Flags::PAUSED) {
            self.effects.push(Effect::Resume { slot: self.slot });
        }
    }

    /// Closes the connection with `code` (1000-1003, 1007-1011, 3000-4999) and plain words.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.lane.flags.set(Flags::CLOSE_WANTED);
        self.effects.push(Effect::Close { slot: self.slot, code, reason: reason.to_owned() });
    }

    /// Publishes to a channel; its subscribers get the message, this connection too if it is one.
    pub fn publish(&mut self, channel: &Name, kind: Kind, payload: &[u8]) {
        let (slot, channel) = (self.slot, channel.clone());
        let payload = Bytes::copy_from_slice(payload);
        self.effects.push(Effect::Publish { slot, channel, kind, payload });
    }

    /// Subscribes this connection: publications arrive as messages, from `since` or from now.
    pub fn subscribe(&mut self, channel: &Name, since: Option<Position>) {
        let channel = channel.clone();
        self.effects.push(Effect::Subscribe { slot: self.slot, channel, since });
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, channel: &Name) {
        self.effects.push(Effect::Unsubscribe { slot: self.slot, channel: channel.clone() });
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("slot", &self.slot).finish_non_exhaustive()
    }
}
