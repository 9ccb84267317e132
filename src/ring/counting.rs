//! A global allocator that counts, for tests that state how much memory something takes.
//!
//! Not here: any policy; every call goes to the system's allocator. Invariant: the counts of a
//! thread are what that thread asked for, and no other thread can change them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static THREAD_ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static THREAD_BYTES: Cell<u64> = const { Cell::new(0) };
    static THREAD_BYTES_FREED: Cell<u64> = const { Cell::new(0) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES_ALLOCATED: AtomicU64 = AtomicU64::new(0);
static BYTES_FREED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator with counters. A test installs it with `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// Allocations and reallocations of this process so far.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Allocations and reallocations made by the calling thread so far: other tests do not disturb it.
#[must_use]
pub fn thread_allocations() -> u64 {
    THREAD_ALLOCATIONS.try_with(Cell::get).unwrap_or(0)
}

/// Bytes that the calling thread has allocated so far, freed or not.
#[must_use]
pub fn thread_bytes_allocated() -> u64 {
    THREAD_BYTES.try_with(Cell::get).unwrap_or(0)
}

/// Bytes that the calling thread has allocated less those that it has freed: what it holds, as
/// long as nothing goes from thread to thread.
#[must_use]
pub fn thread_bytes_live() -> u64 {
    let freed = THREAD_BYTES_FREED.try_with(Cell::get).unwrap_or(0);
    thread_bytes_allocated().saturating_sub(freed)
}

/// Bytes of this process that are allocated and not yet freed.
#[must_use]
pub fn bytes_live() -> u64 {
    let freed = BYTES_FREED.load(Ordering::Relaxed);
    BYTES_ALLOCATED.load(Ordering::Relaxed).saturating_sub(freed)
}

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES_ALLOCATED.fetch_add(bytes as u64, Ordering::Relaxed);
    // A thread that is ending has no counter any more; nobody could read it either.
    let _ = THREAD_ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    let _ = THREAD_BYTES.try_with(|sum| sum.set(sum.get() + bytes as u64));
}

fn count_freed(bytes: usize) {
    BYTES_FREED.fetch_add(bytes as u64, Ordering::Relaxed);
    let _ = THREAD_BYTES_FREED.try_with(|sum| sum.set(sum.get() + bytes as u64));
}

// SAFETY: every method forwards its arguments unchanged to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's obligations are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's obligations are passed on as they are.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_freed(layout.size());
        // SAFETY: the caller's obligations are passed on as they are.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count_freed(layout.size());
        count(new_size);
        // SAFETY: the caller's obligations are passed on as they are.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
