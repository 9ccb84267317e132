//! Seeded random numbers for tests: the seed is printed, and `RINGWIRE_SEED` replays it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    /// A new seed for each run, unless the environment names one.
    pub(crate) fn seeded() -> Self {
        let seed = match std::env::var("RINGWIRE_SEED") {
            Ok(text) => text.parse().expect("RINGWIRE_SEED is a decimal number"),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        println!("replay with RINGWIRE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
