//! What did not fit into a queue to another worker, in order, bounded by bytes.
//!
//! Not here: when it is drained. Invariant: `bytes` is the sum of the weights of what is held.

use std::collections::VecDeque;

/// Items that wait for room in one queue.
#[derive(Debug)]
pub(super) struct Overflow<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<T> Overflow<T> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Takes an item of `bytes` besides its own size, unless the bound is reached already: tested
    /// before adding, so that an item of any size passes sooner or later.
    pub(super) fn push(&mut self, item: T, bytes: usize) -> Result<(), T> {
        if self.bytes >= self.bytes_max {
            return Err(item);
        }
        let weight = bytes.saturating_add(size_of::<(T, usize)>());
        self.bytes = self.bytes.saturating_add(weight);
        self.items.push_back((item, weight));
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (item, weight) = self.items.pop_front()?;
        self.bytes -= weight;
        if self.items.is_empty() {
            // A burst leaves no memory behind.
            self.items = VecDeque::new();
        }
        Some(item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
