//! Masking keys, fresh for every frame (RFC 6455, section 5.3).
//!
//! Not here: masking. Invariant: no key is given out twice, and all come from the driver.

use ringwire_ring::Driver;

const KEYS_BYTES: usize = 4096;

/// Fresh masking keys, drawn from the driver's entropy by the page.
#[derive(Debug)]
pub(crate) struct Keys {
    bytes: Box<[u8; KEYS_BYTES]>,
    used: usize,
}

impl Keys {
    /// None drawn yet.
    pub(crate) fn new() -> Self {
        Self { bytes: Box::new([0; KEYS_BYTES]), used: KEYS_BYTES }
    }

    /// A key that was never given out before.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //# When preparing a masked frame, the client MUST pick a fresh masking key from the set of
    //# allowed 32-bit values.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //# the masking key MUST be derived from a strong source of entropy, and the masking key for
    //# a given frame MUST NOT make it simple
    //= https://www.rfc-editor.org/rfc/rfc6455#section-10.3
    //# Clients MUST choose a new masking key for each frame, using an algorithm that cannot be
    //# predicted by end applications that provide data.
    pub(crate) fn next(&mut self, driver: &mut impl Driver) -> [u8; 4] {
        if self.used == KEYS_BYTES {
            driver.entropy(&mut self.bytes[..]);
            self.used = 0;
        }
        let mut key = [0; 4];
        key.copy_from_slice(&self.bytes[self.used..self.used + 4]);
        self.used += 4;
        key
    }
}
