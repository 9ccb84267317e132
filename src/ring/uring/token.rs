//! What an operation is called on its way through the kernel: kind, generation and slot in the
//! 64 bits of `user_data`.
//!
//! Invariant: at most one operation of a kind is under way per slot, except single accepts, of
//! which it does not matter which ends. Those of a listener have its number in place of the slot's
//! index, and a single accept the number of its room, plus one, in place of the generation.

use crate::slot::{GENERATION_BITS, Slot};

const KIND_SHIFT: u32 = 32 + GENERATION_BITS;

/// What the operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Completions that nobody looks at.
    Nothing = 0,
    AcceptMany,
    AcceptOne,
    /// Watching the listener's queue.
    Watch,
    Receive,
    Send,
    Batch,
    Connect,
    Shutdown,
    Close,
    /// Cancelling an operation of the slot. Completes only when it failed.
    Cancel,
    CancelAccepts,
    /// The worker's eventfd was rung.
    Eventfd,
    /// Another worker's message.
    Rung,
    /// Our message to another worker. Completes only when it failed.
    Ring,
}

const KINDS: [Kind; 15] = [
    Kind::Nothing,
    Kind::AcceptMany,
    Kind::AcceptOne,
    Kind::Watch,
    Kind::Receive,
    Kind::Send,
    Kind::Batch,
    Kind::Connect,
    Kind::Shutdown,
    Kind::Close,
    Kind::Cancel,
    Kind::CancelAccepts,
    Kind::Eventfd,
    Kind::Rung,
    Kind::Ring,
];

/// Kind and slot, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(u64);

impl Token {
    pub(super) const fn new(kind: Kind, slot: Slot) -> Self {
        Self((kind as u64) << KIND_SHIFT | slot.to_bits())
    }

    /// An operation that belongs to no connection.
    pub(super) const fn plain(kind: Kind) -> Self {
        Self::new(kind, Slot::new(0, 0))
    }

    /// An operation with a number of its own in place of the slot's index.
    pub(super) const fn numbered(kind: Kind, number: u32) -> Self {
        Self::new(kind, Slot::new(number, 0))
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Unknown kinds, which only a foreign ring's message could carry, mean nothing.
    pub(super) fn kind(self) -> Kind {
        let number = usize::try_from(self.0 >> KIND_SHIFT).unwrap_or(0);
        KINDS.get(number).copied().unwrap_or(Kind::Nothing)
    }

    pub(super) const fn slot(self) -> Slot {
        Slot::from_bits(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{KINDS, Token};
    use crate::slot::Slot;

    #[test]
    fn every_kind_survives_the_journey_with_its_slot() {
        let slot = Slot::new(u32::MAX, 0x00ff_ffff);
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            let token = Token::from_bits(Token::new(kind, slot).bits());
            assert_eq!((token.kind(), token.slot()), (kind, slot));
        }
        assert_eq!(Token::from_bits(u64::MAX).kind(), super::Kind::Nothing);
    }
}
