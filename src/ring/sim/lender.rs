//! The receive buffers of a simulated driver.
//!
//! Invariant: all leases of a turn are gone before the next turn, or that turn panics: a real
//! engine would run out of buffers, silently.

use std::rc::Rc;

use crate::pool::{Lease, Pool};

#[derive(Debug)]
pub(super) struct Lender {
    pool: Rc<Pool>,
    free: Vec<u16>,
    /// The buffer being filled, and how far.
    open: Option<(u16, u32)>,
}

impl Lender {
    pub(super) fn new(count: u16, bytes: u32) -> Self {
        Self { pool: Pool::new(count, bytes), free: (0..count).collect(), open: None }
    }

    pub(super) fn bytes_max(&self) -> usize {
        usize::from(self.pool.count()) * self.pool.buffer_bytes() as usize
    }

    /// Begins a turn: every buffer has to be back.
    pub(super) fn reclaim(&mut self) {
        while let Some(index) = self.pool.take_returned() {
            self.free.push(index);
        }
        let missing = usize::from(self.pool.count()) - self.free.len();
        assert!(missing == 0, "turn: leases of the last turn still hold {missing} buffers");
        // The order of returning depends on who dropped first; chance must not.
        self.free.sort_unstable();
    }

    /// Ends a turn: nothing is written until the buffers are back.
    pub(super) fn seal(&mut self) {
        if let Some((index, _)) = self.open.take() {
            self.pool.seal(index);
        }
    }

    /// How many of `wanted` bytes the next [`Lender::lend`] can hold.
    pub(super) fn grant(&mut self, wanted: usize) -> usize {
        if self.open.is_some_and(|(_, filled)| filled == self.pool.buffer_bytes()) {
            self.seal();
        }
        if self.open.is_none() {
            self.open = self.free.pop().map(|index| (index, 0));
        }
        let room = self.open.map_or(0, |(_, filled)| self.pool.buffer_bytes() - filled);
        wanted.min(room as usize)
    }

    /// Lends `bytes`, at most as many as were granted.
    pub(super) fn lend(&mut self, bytes: &[u8]) -> Lease {
        let (index, filled) = self.open.expect("granted before");
        let len = u32::try_from(bytes.len()).expect("within a buffer");
        // SAFETY: nothing but leases writes to the pool of a simulated driver; the range begins
        // where the last one of this buffer ended, and a buffer is opened at zero only when free.
        let mut lease = unsafe { self.pool.lend(index, filled, len) };
        lease.copy_from_slice(bytes);
        self.open = Some((index, filled + len));
        lease
    }
}
