//! How many bytes a reader has looked at, for the tests which hold that it looks at each once.
//!
//! Invariant: outside of tests it is nothing.

/// Bytes looked at so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    #[cfg(test)]
    bytes: usize,
}

#[cfg(not(test))]
const _: () = assert!(size_of::<Looks>() == 0, "it counts in tests only");

impl Looks {
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(test)]
            bytes: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "counts in tests")]
    #[inline(always)]
    pub(crate) fn add(&mut self, _bytes: usize) {}

    #[cfg(test)]
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }
}
