//! The provided-buffer ring: which buffers the kernel may fill, and what it has filled.
//!
//! Not here: who receives. Invariants: a buffer is either with the kernel, or sealed and waiting
//! for its leases; in incremental use the kernel fills a buffer from front to back, and `filled`
//! says how far.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, IOU_PBUF_RING_INC};

use super::completion::UsedBuffer;
use super::setup::Ring;
use crate::driver::Errno;
use crate::options::ReceiveBuffers;
use crate::pool::{Lease, Pool};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

const PAGE_BYTES: usize = 4096;

#[expect(clippy::cast_possible_truncation, reason = "the flag is bit 1 of a 16-bit field")]
const INCREMENTAL: u16 = IOU_PBUF_RING_INC as u16;

/// The receive buffers of one ring.
pub(super) struct Buffers {
    pool: Rc<Pool>,
    entries: Entries,
    tail: u16,
    /// How far each buffer has been filled since it was provided.
    filled: Box<[u32]>,
    with_kernel: u16,
    is_incremental: bool,
}

/// The array both sides read; page-aligned, as the kernel wants it.
struct Entries {
    memory: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
}

impl Entries {
    fn new(count: u16) -> Self {
        let count = count.next_power_of_two();
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("half a megabyte at most");
        // SAFETY: `count` is a power of two, so at least one, and the layout has bytes.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { memory: memory.cast(), layout, mask: count - 1 }
    }

    fn count(&self) -> u16 {
        self.mask + 1
    }

    fn write(&self, position: u16, address: *mut u8, bytes: u32, index: u16) {
        // SAFETY: the mask keeps the position inside the array.
        let entry = unsafe { self.memory.add(usize::from(position & self.mask)) };
        // SAFETY: the entry is inside the allocation and initialised (zeroed); the kernel looks at
        // it only once the tail has passed it, and only while this thread is in a call.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address as u64);
        entry.set_len(bytes);
        entry.set_bid(index);
    }

    fn publish(&self, tail: u16) {
        // SAFETY: the memory begins with the first entry of an initialised buffer ring.
        let place = unsafe { BufRingEntry::tail(self.memory.as_ptr()) };
        // SAFETY: the tail is two aligned bytes inside the first entry, alive as long as `self`,
        // and written by this thread alone.
        let place = unsafe { AtomicU16::from_ptr(place.cast_mut()) };
        place.store(tail, Ordering::Release);
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the kernel let go of it in `unregister`.
        unsafe { dealloc(self.memory.as_ptr().cast(), self.layout) }
    }
}

impl Buffers {
    /// Provides all buffers to `ring`.
    pub(super) fn register(
        ring: &Ring,
        sizes: ReceiveBuffers,
        is_incremental: bool,
    ) -> Result<Self, Errno> {
        let pool = Pool::new(sizes.count, sizes.bytes);
        let entries = Entries::new(sizes.count);
        let flags = if is_incremental { INCREMENTAL } else { 0 };
        let address = entries.memory.as_ptr() as u64;
        // SAFETY: the array has `count` entries and lives until `unregister`, or for ever.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(address, entries.count(), GROUP, flags)
        }?;
        let filled = vec![0; usize::from(sizes.count)].into_boxed_slice();
        let mut buffers = Self { pool, entries, tail: 0, filled, with_kernel: 0, is_incremental };
        for index in 0..sizes.count {
            buffers.provide(index);
        }
        buffers.entries.publish(buffers.tail);
        Ok(buffers)
    }

    fn provide(&mut self, index: u16) {
        let bytes = self.pool.buffer_bytes();
        self.filled[usize::from(index)] = 0;
        self.entries.write(self.tail, self.pool.address(index), bytes, index);
        self.tail = self.tail.wrapping_add(1);
        self.with_kernel += 1;
    }

    /// Provides again what has been given back, with one store of the tail.
    pub(super) fn take_back(&mut self) {
        let before = self.tail;
        while let Some(index) = self.pool.take_returned() {
            self.provide(index);
        }
        if self.tail != before {
            self.entries.publish(self.tail);
        }
    }

    /// Buffers the kernel may still fill, the last perhaps in part.
    pub(super) fn with_kernel(&self) -> u16 {
        self.with_kernel
    }

    pub(super) fn count(&self) -> u16 {
        self.pool.count()
    }

    /// Lends out what a completion says was filled; `None` if that is nothing.
    pub(super) fn filled(&mut self, used: UsedBuffer, len: u32) -> Option<Lease> {
        let place = usize::from(used.index);
        let offset = self.filled[place];
        let lease = (len > 0).then(|| {
            // SAFETY: the kernel has reported exactly this range as filled, it fills a buffer
            // from front to back, and what lies before `filled` it reported earlier.
            unsafe { self.pool.lend(used.index, offset, len) }
        });
        let end = offset + len;
        self.filled[place] = end;
        // A completion without bytes consumes nothing of an incremental buffer, whatever its
        // flag says: kernels before 7.0 get it wrong at the end of a stream.
        let is_over = if self.is_incremental {
            end == self.pool.buffer_bytes() || (len > 0 && !used.more)
        } else {
            true
        };
        if is_over {
            self.with_kernel -= 1;
            self.pool.seal(used.index);
        }
        lease
    }

    /// Takes all buffers from the kernel. No receive may be under way.
    pub(super) fn unregister(&self, ring: &Ring) {
        let result = ring.submitter().unregister_buf_ring(GROUP);
        debug_assert!(result.is_ok(), "the group is there: {result:?}");
    }
}
