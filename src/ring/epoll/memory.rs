//! Receive memory of *epoll*: buffers filled from front to back, one receive after the other.
//!
//! Invariant: the range a receive writes to lies behind everything lent from that buffer.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use crate::driver::Errno;
use crate::options::ReceiveBuffers;
use crate::pool::{Lease, Pool};
use crate::sys;

/// A receive gets at least so much room, if the buffers are as large.
const ROOM_BYTES_MIN: u32 = 16 * 1024;

/// The buffers, and the one that is being filled.
pub(super) struct Memory {
    pool: Rc<Pool>,
    free: Vec<u16>,
    current: Option<(u16, u32)>,
    share_bytes: u32,
}

impl Memory {
    pub(super) fn new(sizes: ReceiveBuffers) -> Self {
        let pool = Pool::new(sizes.count, sizes.bytes);
        let free = (0..sizes.count).rev().collect();
        Self { pool, free, current: None, share_bytes: sizes.share_bytes() }
    }

    /// Takes back what the worker is done with. The buffer in use begins anew if nothing of it is
    /// lent, so that a quiet worker keeps to memory that is in the cache.
    pub(super) fn take_back(&mut self) {
        while let Some(index) = self.pool.take_returned() {
            self.free.push(index);
        }
        if let Some((index, filled)) = &mut self.current
            && self.pool.is_unlent(*index)
        {
            *filled = 0;
        }
    }

    /// Whether another receive can be made.
    pub(super) fn has_room(&mut self) -> bool {
        let buffer_bytes = self.pool.buffer_bytes();
        let room_min = ROOM_BYTES_MIN.min(buffer_bytes);
        if let Some((index, filled)) = self.current
            && buffer_bytes - filled < room_min
        {
            self.pool.seal(index);
            self.current = None;
        }
        if self.current.is_none() {
            self.current = self.free.pop().map(|index| (index, 0));
        }
        self.current.is_some()
    }

    /// Receives once from `socket`; says also whether that filled all the room it was given.
    /// `None` without an error is the end.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<(Lease, bool)>, Errno> {
        let Some((index, filled)) = self.current else { return Err(Errno(libc::ENOBUFS)) };
        let room = (self.pool.buffer_bytes() - filled).min(self.share_bytes);
        // SAFETY: `filled` is at most the buffer's size.
        let start = unsafe { self.pool.address(index).add(filled as usize) };
        // SAFETY: the range ends within the buffer, and what was lent of it ends at `filled`.
        let len = unsafe { sys::receive(socket, start, room as usize) }?;
        let len = u32::try_from(len).expect("no more than the room");
        if len == 0 {
            return Ok(None);
        }
        self.current = Some((index, filled + len));
        // SAFETY: just filled, and behind everything lent before.
        let lease = unsafe { self.pool.lend(index, filled, len) };
        Ok(Some((lease, len == room)))
    }
}
