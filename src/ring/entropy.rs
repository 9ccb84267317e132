//! Unpredictable bytes, fetched from the kernel in blocks.
//!
//! Not here: any generator of our own. Invariant: a byte is handed out once and then overwritten.

use crate::sys;

const BLOCK_BYTES: usize = 1024;

/// A block of the kernel's random bytes, and how much of it is left.
pub(crate) struct Entropy {
    block: Box<[u8; BLOCK_BYTES]>,
    left: usize,
}

impl Entropy {
    pub(crate) fn new() -> Self {
        Self { block: Box::new([0; BLOCK_BYTES]), left: 0 }
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        if bytes.len() > BLOCK_BYTES {
            return sys::entropy(bytes);
        }
        if bytes.len() > self.left {
            sys::entropy(&mut *self.block);
            self.left = BLOCK_BYTES;
        }
        let start = self.left - bytes.len();
        let taken = &mut self.block[start..self.left];
        bytes.copy_from_slice(taken);
        taken.fill(0);
        self.left = start;
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, Entropy};

    #[test]
    fn bytes_are_never_handed_out_twice() {
        let mut entropy = Entropy::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..4 * BLOCK_BYTES / 16 {
            let mut bytes = [0_u8; 16];
            entropy.fill(&mut bytes);
            assert!(seen.insert(bytes), "{bytes:?} twice");
        }
        let mut long = vec![0; BLOCK_BYTES + 1];
        entropy.fill(&mut long);
        assert!(long.iter().any(|byte| *byte != 0));
    }
}
