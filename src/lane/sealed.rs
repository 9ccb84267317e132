//! The way out of a connection with TLS: what is written in a turn is gathered in plain, and
//! becomes as few records as it may when the batch is handed over.
//!
//! Not here: the cryptography (`transport::tls`). Invariants: nothing leaves such a lane in plain;
//! what is encrypted leaves in the order in which it was encrypted.

use bytes::Bytes;
use ringwire_ring::Slot;
use ringwire_transport::Tls;

use super::{Egress, Flags, Lane};

/// Bytes gathered in plain before they have to be encrypted.
const CORK_BYTES_MAX: usize = 128 * 1024;

/// What was written in this turn to connections with TLS and is not encrypted yet.
#[derive(Debug, Default)]
pub(crate) struct Cork {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    slot: Slot,
    start: usize,
    end: usize,
}

impl Cork {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether `bytes` more fit.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes <= CORK_BYTES_MAX
    }

    /// Room for `len` bytes of `slot`, behind everything else.
    fn add(&mut self, slot: Slot, len: usize) -> &mut [u8] {
        let start = self.bytes.len();
        let end = start + len;
        self.bytes.resize(end, 0);
        match self.pieces.last_mut() {
            // What was taken out of the last piece must not come back into it.
            Some(last) if last.slot == slot && last.end == start => last.end = end,
            _ => self.pieces.push(Piece { slot, start, end }),
        }
        &mut self.bytes[start..]
    }

    /// Everything, in the order it was written. What is taken out meanwhile is empty.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Slot, &[u8])> {
        self.pieces.iter().map(|piece| (piece.slot, &self.bytes[piece.start..piece.end]))
    }

    /// Empties it for the next use.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }
}

impl Egress {
    /// Whether a connection without a send in the batch may encrypt `len` bytes into it.
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        !self.batch.is_full() && Tls::sealed_bytes_max(len) <= self.batch.arena().len()
    }
}

impl Lane {
    /// Whether the handshake of its TLS is not over.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_established())
    }

    /// Bytes of the wire that wait for the rest of their record.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.held_bytes())
    }

    /// Writes `len` bytes that `fill` makes, to be encrypted with the batch.
    #[inline(never)]
    pub(super) fn write_corked(
        &mut self,
        slot: Slot,
        egress: &mut Egress,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        if egress.cork.takes(len) {
            fill(egress.cork.add(slot, len));
            self.flags.set(Flags::CORKED);
            return;
        }
        let mut plain = vec![0; len];
        fill(&mut plain);
        self.uncork(slot, egress);
        self.seal(slot, egress, &plain);
    }

    /// Encrypts what this connection has in the cork, so that something else may follow it.
    fn uncork(&mut self, slot: Slot, egress: &mut Egress) {
        if !self.flags.has(Flags::CORKED) {
            return;
        }
        self.flags.clear(Flags::CORKED);
        let mut cork = std::mem::take(&mut egress.cork);
        for piece in cork.pieces.iter_mut().filter(|piece| piece.slot == slot) {
            self.seal(slot, egress, &cork.bytes[piece.start..piece.end]);
            piece.end = piece.start;
        }
        egress.cork = cork;
    }

    /// Puts `plain`, encrypted, behind everything else in the outbox.
    pub(super) fn queue_sealed(&mut self, slot: Slot, egress: &mut Egress, plain: &[u8]) {
        self.uncork(slot, egress);
        let mut sealed = Vec::new();
        self.seal_to(slot, egress, plain, &mut sealed);
        // The bound is above what it comes to; what waits is to cost what it counts.
        sealed.shrink_to_fit();
        self.queue_wire(slot, egress, Bytes::from(sealed));
    }

    /// Encrypts `plain` into the batch, or else to the end of the outbox.
    pub(crate) fn seal(&mut self, slot: Slot, egress: &mut Egress, plain: &[u8]) {
        if plain.is_empty() {
            return;
        }
        if !self.may_join(slot, egress) || !egress.has_room(plain.len()) {
            return self.queue_sealed(slot, egress, plain);
        }
        let Some(tls) = &mut self.tls else { return };
        match tls.seal_into(plain, egress.batch.arena()) {
            Ok(len) => self.join(slot, egress, len),
            Err(_) => egress.broken.push(slot),
        }
    }

    fn seal_to(&mut self, slot: Slot, egress: &mut Egress, plain: &[u8], sealed: &mut Vec<u8>) {
        let Some(tls) = &mut self.tls else { return };
        if tls.seal(plain, sealed).is_err() {
            egress.broken.push(slot);
        }
    }

    /// Tells the peer, behind everything else, that nothing more comes.
    pub(crate) fn close_notify(&mut self, slot: Slot, egress: &mut Egress) {
        self.uncork(slot, egress);
        let Some(tls) = &mut self.tls else { return };
        let mut out = Vec::new();
        tls.close_notify(&mut out);
        self.write_wire(slot, egress, &out);
    }

    /// Writes bytes that are to go over the wire as they are.
    pub(crate) fn write_wire(&mut self, slot: Slot, egress: &mut Egress, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put(slot, egress, bytes.len(), |room| room.copy_from_slice(bytes));
        }
    }
}
