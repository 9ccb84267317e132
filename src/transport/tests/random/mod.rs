//! Seeded numbers for the tests of this crate, and the way to replay a failure.

/// SplitMix64: every seed, even zero, is a good one.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Prints the seed under test if its test panics.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RINGWIRE_SEED={}", self.0);
        }
    }
}

/// Runs `test` with the seed in `RINGWIRE_SEED`, or else with each of the first `count`. The one
/// that fails is printed.
pub(crate) fn each_seed(count: u64, mut test: impl FnMut(u64)) {
    let given = std::env::var("RINGWIRE_SEED").ok();
    let given = given.map(|text| text.parse::<u64>().expect("RINGWIRE_SEED is a number"));
    for seed in given.map_or(0..count, |seed| seed..seed + 1) {
        let _announce = Announce(seed);
        test(seed);
    }
}
