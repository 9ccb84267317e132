//! What the tests of this package share.
//!
//! Not here: the tests themselves. Invariant: a random test says its seed, and `RINGWIRE_SEED`
//! replays it.

/// A small generator of test inputs (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from `RINGWIRE_SEED`, or from the process's random hasher keys; says which.
    pub(crate) fn seeded() -> Self {
        use std::hash::{BuildHasher, Hasher};
        let seed = std::env::var("RINGWIRE_SEED").ok().map_or_else(
            || std::hash::RandomState::new().build_hasher().finish(),
            |seed| seed.parse().expect("RINGWIRE_SEED is a number"),
        );
        println!("RINGWIRE_SEED={seed}");
        Self::from_seed(seed)
    }

    /// The same every time.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
