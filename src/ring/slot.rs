//! The name of one connection: a table index and the generation that tells its tenants apart.
//!
//! Invariant: a generation has [`GENERATION_BITS`] bits, so that index, generation and an 8-bit
//! kind pack into the 64 bits of `user_data`.

/// Bits of a generation; it wraps after 16.7 million tenants of one index.
pub(crate) const GENERATION_BITS: u32 = 24;

const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// One connection of one worker: the index of its entry in every table of that worker (for
/// `uring` also its direct descriptor), and the generation of the entry's present tenant.
///
/// A completion or a call that carries an old generation concerns a connection that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// The connection at `index` with the low 24 bits of `generation`.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation: generation & GENERATION_MASK }
    }

    /// The table index, below the worker's `slots_max`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The index as stored.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.index
    }

    /// The generation, 24 bits.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The next tenant of the same index.
    #[must_use]
    pub const fn successor(self) -> Self {
        Self::new(self.index, self.generation.wrapping_add(1))
    }

    /// Generation and index as 56 bits, to be carried through queues and back.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Slot::to_bits`]; bits 56 and up are ignored.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the word")]
    pub const fn from_bits(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::Slot;

    #[test]
    fn bits_round_trip_and_ignore_the_kind() {
        let slot = Slot::new(19_999, 0x00ab_cdef);
        assert_eq!(Slot::from_bits(slot.to_bits()), slot);
        assert_eq!(Slot::from_bits(slot.to_bits() | 0xff << 56), slot);
    }

    #[test]
    fn a_generation_wraps_within_its_bits() {
        assert_eq!(Slot::new(1, 0x00ff_ffff).successor(), Slot::new(1, 0));
    }
}
