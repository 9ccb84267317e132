//! The one source of chance of a simulated run, and how a failed run is repeated.
//!
//! Invariant: the numbers depend on the seed and on nothing else.

/// SplitMix64: every seed, even zero, is a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// A number below `bound`, for indices.
    ///
    /// # Panics
    /// When `bound` is zero.
    #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// True with `probability`.
    #[expect(clippy::cast_precision_loss, reason = "a chance of one in 2^53 is no chance")]
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.word() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// Puts `items` into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Prints the seed when the test panics while it lives.
pub(super) struct Announce(pub(super) u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat this run: RINGWIRE_SEED={}", self.0);
        }
    }
}

/// Runs `test` with the seed in the environment's `RINGWIRE_SEED`, or else with each of the first
/// `count`, or as many as `RINGWIRE_SEEDS` says. The seed that fails is printed.
///
/// # Panics
/// When one of the variables is not a number, and when `test` does.
pub fn each_seed(count: u64, mut test: impl FnMut(u64)) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("RINGWIRE_SEED and RINGWIRE_SEEDS are numbers"))
    };
    let seeds = match number("RINGWIRE_SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..number("RINGWIRE_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let _announce = Announce(seed);
        test(seed);
    }
}
