//! A slot table: allocated at once, touched lazily, never grown.
//!
//! Not here: what an entry means. Invariant: memory nobody wrote to is the allocator's zeroes, so
//! that an untouched entry costs no page.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A type without destructor for which all-zero bytes are a value.
///
/// # Safety
/// Both halves of that sentence.
pub(crate) unsafe trait Zeroed: Copy {}

/// A fixed number of entries, all zero at first.
pub(crate) struct Table<T: Zeroed> {
    memory: NonNull<T>,
    layout: Layout,
    len: usize,
}

impl<T: Zeroed> Table<T> {
    /// # Panics
    /// When the table has no bytes, or more than fit the address space.
    pub(crate) fn new(len: u32) -> Self {
        let len = len as usize;
        let layout = Layout::array::<T>(len).expect("table size");
        assert!(layout.size() > 0, "a table of no bytes");
        // SAFETY: the layout's size was checked above not to be zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { memory: memory.cast(), layout, len }
    }
}

impl<T: Zeroed> Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: allocated for `len` entries, zeroed, and zero is a value by the trait.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl<T: Zeroed> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes it the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl<T: Zeroed> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; entries have no destructor by the trait.
        unsafe { dealloc(self.memory.as_ptr().cast(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, Zeroed};

    // SAFETY: an integer.
    unsafe impl Zeroed for u64 {}

    #[test]
    fn entries_start_at_zero_and_keep_what_is_written() {
        let mut table = Table::<u64>::new(1000);
        assert_eq!(table.len(), 1000);
        assert!(table.iter().all(|entry| *entry == 0));
        table[999] = 7;
        assert_eq!(table[999], 7);
    }
}
