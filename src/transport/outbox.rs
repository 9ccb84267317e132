//! Bytes that a peer has not taken yet: one queue per connection that fell behind.
//!
//! Not here: the sending, and what happens to a peer whose outbox is full. Invariants: bytes leave
//! in the order in which they came; at most one buffer is in flight; `queued_bytes` is the exact
//! sum of what is queued and what is in flight.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The most bytes that small neighbours are merged into: one send of this size amortises its
/// system call, and the copy stays within the cache.
pub const MERGE_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of one send: a slow reader shows that it lives each time one is over.
pub const SEND_BYTES_MAX: usize = 256 * 1024;

/// A buffer above this is sent as it is: shared by many outboxes, a copy for each would cost more
/// memory than the send saves.
const PIECE_BYTES_MAX: usize = MERGE_BYTES_MAX / 4;

/// The queue of one connection. Boxed by its user, and given back when empty.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    in_flight_bytes: Option<usize>,
}

impl Outbox {
    /// An empty outbox; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues `bytes` behind what is there. Whether it may is asked before, with
    /// [`Outbox::accepts`].
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Puts `bytes` before everything else: the rest of a send that the socket did not take whole.
    /// Only while nothing is in flight.
    pub fn push_front(&mut self, bytes: Bytes) {
        debug_assert!(self.in_flight_bytes.is_none(), "it would overtake the buffer in flight");
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_front(bytes);
        }
    }

    /// Bytes queued, the ones in flight included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether nothing is queued and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight_bytes.is_none()
    }

    /// Whether one more message may be queued under the limit. It is tested before adding, so an
    /// empty outbox takes one message of any size.
    #[must_use]
    pub fn accepts(&self, max_backpressure: usize) -> bool {
        self.queued_bytes == 0 || self.queued_bytes < max_backpressure
    }

    /// The next buffer to send, which is then in flight. Small neighbours come as one buffer of
    /// at most [`MERGE_BYTES_MAX`]. `None`: nothing is queued, or one is in flight already.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.in_flight_bytes.is_some() {
            return None;
        }
        let mut first = self.queue.pop_front()?;
        if first.len() > SEND_BYTES_MAX {
            self.queue.push_front(first.split_off(SEND_BYTES_MAX));
        }
        let bytes = match self.mergeable(first.len()) {
            (0, _) => first,
            (pieces, total) => {
                let mut merged = BytesMut::with_capacity(total);
                merged.extend_from_slice(&first);
                for piece in self.queue.drain(..pieces) {
                    merged.extend_from_slice(&piece);
                }
                merged.freeze()
            }
        };
        self.in_flight_bytes = Some(bytes.len());
        Some(bytes)
    }

    /// How many buffers at the queue's front join one of `first_bytes`, and the sum of all.
    fn mergeable(&self, first_bytes: usize) -> (usize, usize) {
        let mut total = first_bytes;
        if first_bytes > PIECE_BYTES_MAX {
            return (0, total);
        }
        let mut pieces = 0;
        for piece in &self.queue {
            if piece.len() > PIECE_BYTES_MAX || total + piece.len() > MERGE_BYTES_MAX {
                break;
            }
            total += piece.len();
            pieces += 1;
        }
        (pieces, total)
    }

    /// The buffer in flight is over: the kernel has taken it, or the connection failed.
    pub fn sent(&mut self) {
        debug_assert!(self.in_flight_bytes.is_some(), "nothing was in flight");
        self.queued_bytes -= self.in_flight_bytes.take().unwrap_or(0);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use bytes::Bytes;

    use super::{MERGE_BYTES_MAX, Outbox, PIECE_BYTES_MAX};

    fn drain(outbox: &mut Outbox) -> Vec<Bytes> {
        let mut all = Vec::new();
        while let Some(bytes) = outbox.take() {
            all.push(bytes);
            outbox.sent();
        }
        all
    }

    #[test]
    fn an_empty_outbox_takes_one_message_of_any_size_and_then_the_limit_holds() {
        let mut outbox = Outbox::new();
        assert!(outbox.accepts(0));
        assert!(outbox.accepts(10));
        outbox.push(Bytes::from(vec![1; 9]));
        assert!(outbox.accepts(10));
        assert!(!outbox.accepts(9));
        outbox.push(Bytes::from(vec![1; 1000]));
        assert!(!outbox.accepts(1009));
        assert!(outbox.accepts(1010));
    }

    #[test]
    fn bytes_in_flight_count_until_they_are_sent_and_only_one_is() {
        let mut outbox = Outbox::new();
        outbox.push(Bytes::from(vec![1; PIECE_BYTES_MAX + 1]));
        outbox.push(Bytes::from_static(b"tail"));
        let first = outbox.take().expect("queued");
        assert_eq!(outbox.queued_bytes(), first.len() + 4);
        assert_eq!(outbox.take(), None);
        outbox.sent();
        assert_eq!(outbox.queued_bytes(), 4);
        assert!(!outbox.is_empty());
        assert_eq!(outbox.take().as_deref(), Some(b"tail".as_slice()));
        assert!(!outbox.is_empty(), "in flight is not empty");
        outbox.sent();
        assert!(outbox.is_empty());
        assert_eq!(outbox.queued_bytes(), 0);
    }

    #[test]
    fn small_neighbours_merge_in_order_up_to_the_bound() {
        let mut outbox = Outbox::new();
        let mut expected = Vec::new();
        for number in 0..1000_u32 {
            let piece = vec![number.to_le_bytes()[0]; 1 + number as usize % 300];
            expected.extend_from_slice(&piece);
            outbox.push(Bytes::from(piece));
        }
        let sends = drain(&mut outbox);
        assert_eq!(sends.concat(), expected);
        assert!(sends.iter().all(|bytes| bytes.len() <= MERGE_BYTES_MAX));
        assert_eq!(sends.len(), expected.len().div_ceil(MERGE_BYTES_MAX), "few sends");
    }

    #[test]
    fn a_large_buffer_is_shared_and_not_copied() {
        let mut outbox = Outbox::new();
        let large = Bytes::from(vec![7; PIECE_BYTES_MAX + 1]);
        for bytes in [Bytes::from_static(b"a"), large.clone(), Bytes::from_static(b"b")] {
            outbox.push(bytes);
        }
        let sends = drain(&mut outbox);
        assert_eq!(sends.len(), 3);
        assert_eq!(sends[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_lone_small_buffer_is_not_copied_and_an_empty_one_is_nothing() {
        let mut outbox = Outbox::new();
        outbox.push(Bytes::new());
        assert!(outbox.is_empty());
        let small = Bytes::from(vec![1, 2, 3]);
        outbox.push(small.clone());
        assert_eq!(outbox.take().map(|bytes| bytes.as_ptr()), Some(small.as_ptr()));
    }
}
