//! Receive memory: a few large buffers per worker, lent out in ranges and taken back whole.
//!
//! Not here: who fills the buffers. Invariants: ranges lent from one buffer are disjoint; a buffer
//! returns to its engine only once it is sealed (nobody will write to it again) and its last
//! lease has been dropped.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// Buffers start on pages, as the kernel copies best there.
const PAGE_BYTES: usize = 4096;

/// The receive buffers of one worker.
pub(crate) struct Pool {
    memory: NonNull<u8>,
    layout: Layout,
    buffer_bytes: u32,
    states: Box<[State]>,
    returned: RefCell<Vec<u16>>,
}

#[derive(Default)]
struct State {
    leases: Cell<u32>,
    sealed: Cell<bool>,
}

impl Pool {
    /// `count` buffers of `buffer_bytes` each, all with the engine.
    ///
    /// # Panics
    /// When the sum overflows, or is zero.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Rc<Self> {
        let bytes = usize::from(count) * buffer_bytes as usize;
        assert!(bytes > 0, "a pool of no bytes");
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("pool size");
        // SAFETY: the layout's size was checked above not to be zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let states = (0..count).map(|_| State::default()).collect();
        Rc::new(Self { memory, layout, buffer_bytes, states, returned: RefCell::default() })
    }

    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.states.len()).expect("made from a u16")
    }

    /// Where buffer `index` begins, for the kernel to write to.
    pub(crate) fn address(&self, index: u16) -> *mut u8 {
        assert!(usize::from(index) < self.states.len(), "buffer index");
        // SAFETY: `index` was checked, so the offset stays within the allocation.
        unsafe { self.memory.as_ptr().add(usize::from(index) * self.buffer_bytes as usize) }
    }

    /// Lends `len` bytes at `offset` of buffer `index`.
    ///
    /// # Safety
    /// - Nobody writes to the range while the lease lives: the kernel has reported it as filled.
    /// - The range overlaps no range lent since the buffer last returned to the engine.
    ///
    /// # Panics
    /// When the range leaves the buffer.
    pub(crate) unsafe fn lend(self: &Rc<Self>, index: u16, offset: u32, len: u32) -> Lease {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.buffer_bytes));
        let state = &self.states[usize::from(index)];
        state.leases.set(state.leases.get() + 1);
        Lease { pool: Rc::clone(self), index, offset, len }
    }

    /// Says that nobody will write to buffer `index` until it has returned.
    pub(crate) fn seal(&self, index: u16) {
        let state = &self.states[usize::from(index)];
        debug_assert!(!state.sealed.get(), "sealed twice");
        state.sealed.set(true);
        self.settle(index);
    }

    /// Whether nothing of buffer `index` is lent.
    pub(crate) fn is_unlent(&self, index: u16) -> bool {
        self.states[usize::from(index)].leases.get() == 0
    }

    /// Takes one buffer that has returned: the engine's again.
    pub(crate) fn take_returned(&self) -> Option<u16> {
        self.returned.borrow_mut().pop()
    }

    fn settle(&self, index: u16) {
        let state = &self.states[usize::from(index)];
        if state.sealed.get() && state.leases.get() == 0 {
            state.sealed.set(false);
            self.returned.borrow_mut().push(index);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; every lease holds the pool, so none is left.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("count", &self.states.len())
            .field("buffer_bytes", &self.buffer_bytes)
            .finish_non_exhaustive()
    }
}

/// Received bytes, lent to the worker. Theirs to change in place; dropping gives them back.
pub struct Lease {
    pool: Rc<Pool>,
    index: u16,
    offset: u32,
    len: u32,
}

impl Lease {
    fn start(&self) -> *mut u8 {
        // SAFETY: `lend` checked that the range lies within the buffer.
        unsafe { self.pool.address(self.index).add(self.offset as usize) }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range is initialised (the pool is zeroed), inside the allocation the lease
        // keeps alive, and by `lend`'s contract written by nobody else.
        unsafe { std::slice::from_raw_parts(self.start(), self.len as usize) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; ranges lent are disjoint, so this borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len as usize) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let state = &self.pool.states[usize::from(self.index)];
        state.leases.set(state.leases.get() - 1);
        self.pool.settle(self.index);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn a_buffer_returns_when_sealed_and_its_last_lease_is_gone() {
        let pool = Pool::new(2, 64);
        // SAFETY: nothing else writes to the pool, and nothing of it is lent.
        let mut first = unsafe { pool.lend(1, 0, 16) };
        // SAFETY: nothing else writes to the pool, and the two ranges are disjoint.
        let second = unsafe { pool.lend(1, 16, 48) };
        first.fill(7);
        assert_eq!(second[0], 0);
        drop(first);
        pool.seal(1);
        assert_eq!(pool.take_returned(), None);
        drop(second);
        assert_eq!(pool.take_returned(), Some(1));
        assert_eq!(pool.take_returned(), None);
    }

    #[test]
    fn a_lease_outlives_the_engines_hold_on_the_pool() {
        let pool = Pool::new(1, 8);
        // SAFETY: nothing else writes to the pool.
        let lease = unsafe { pool.lend(0, 0, 8) };
        drop(pool);
        assert_eq!(&*lease, &[0; 8]);
    }
}
