//! What one turn has to say, to many connections at once: an arena of encoded bytes, shared
//! frames, and the list of who gets which.
//!
//! Not here: the sending. Invariants: at most one send per connection; each send's bytes lie in
//! the arena or in one shared frame and do not move until [`Batch::clear`].

use bytes::Bytes;

use crate::driver::Errno;
use crate::slot::Slot;

/// Bytes a turn may encode before it has to hand over.
pub const BATCH_ARENA_BYTES: usize = 256 * 1024;

/// Sends in one batch: below the completion queue's free entries, so that failures always fit.
pub const BATCH_SENDS_MAX: usize = 1024;

/// `Send::source` of a send whose bytes lie in the arena.
const ARENA: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Send {
    slot: Slot,
    source: u32,
    start: u32,
    len: u32,
}

/// A frame that several sends of one batch point at.
#[derive(Clone, Copy, Debug)]
pub struct Shared(u32);

/// A send that the socket did not take whole.
#[derive(Debug)]
pub struct Failure {
    /// The connection.
    pub slot: Slot,
    /// What was not taken, to be sent later.
    pub unsent: Bytes,
    /// `None`: the socket is full. `Some`: the connection failed, and `unsent` is lost.
    pub error: Option<Errno>,
}

/// The sends of one turn. See the module's head for its invariants.
#[derive(Debug)]
pub struct Batch {
    arena: Box<[u8]>,
    filled: usize,
    shared: Vec<Bytes>,
    sends: Vec<Send>,
    failures: Vec<Failure>,
}

impl Batch {
    /// An empty batch with its arena of [`BATCH_ARENA_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            arena: vec![0; BATCH_ARENA_BYTES].into_boxed_slice(),
            filled: 0,
            shared: Vec::new(),
            sends: Vec::with_capacity(BATCH_SENDS_MAX),
            failures: Vec::new(),
        }
    }

    /// The arena's free part; bytes written to its start count once [`Batch::push`] claims them.
    pub fn arena(&mut self) -> &mut [u8] {
        &mut self.arena[self.filled..]
    }

    /// Claims the first `len` bytes of [`Batch::arena`] for `slot`. They join the batch's last
    /// send if that is for the same slot and ends where they begin.
    ///
    /// # Panics
    /// When `len` exceeds the arena's free part, or the batch is full.
    #[expect(clippy::cast_possible_truncation, reason = "the arena is 256 KiB")]
    pub fn push(&mut self, slot: Slot, len: usize) {
        assert!(len <= self.arena.len() - self.filled, "claimed beyond the arena");
        let start = self.filled as u32;
        self.filled += len;
        if let Some(last) = self.sends.last_mut()
            && last.slot == slot
            && last.source == ARENA
            && last.start + last.len == start
        {
            last.len += len as u32;
            return;
        }
        self.add(Send { slot, source: ARENA, start, len: len as u32 });
    }

    /// Keeps `frame` for the batch, to be pointed at by any number of sends.
    ///
    /// # Panics
    /// When the frame is 4 GiB or longer.
    pub fn share(&mut self, frame: Bytes) -> Shared {
        assert!(u32::try_from(frame.len()).is_ok(), "a frame of 4 GiB");
        let index = u32::try_from(self.shared.len()).expect("below the number of sends");
        self.shared.push(frame);
        Shared(index)
    }

    /// Sends a shared frame to `slot`.
    ///
    /// # Panics
    /// When `frame` is of an earlier batch, or the batch is full.
    #[expect(clippy::cast_possible_truncation, reason = "checked when shared")]
    pub fn push_shared(&mut self, slot: Slot, frame: Shared) {
        let len = self.shared[frame.0 as usize].len() as u32;
        self.add(Send { slot, source: frame.0, start: 0, len });
    }

    /// Whether `slot` has the batch's last send, made of arena bytes: only then can another
    /// [`Batch::push`] for it join.
    #[must_use]
    pub fn ends_with(&self, slot: Slot) -> bool {
        self.sends.last().is_some_and(|last| last.slot == slot && last.source == ARENA)
    }

    fn add(&mut self, send: Send) {
        assert!(self.sends.len() < BATCH_SENDS_MAX, "a batch of too many sends");
        self.sends.push(send);
    }

    /// Sends in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sends.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// Whether no further send fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sends.len() >= BATCH_SENDS_MAX
    }

    /// The connections that have a send in the batch.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.sends.iter().map(|send| send.slot)
    }

    /// Takes what the last [`crate::Driver::batch`] could not send.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    /// Gives back a drained list so that its memory is used again.
    pub fn reuse_failures(&mut self, mut failures: Vec<Failure>) {
        failures.clear();
        self.failures = failures;
    }

    /// Empties the batch for the next use.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.shared.clear();
        self.sends.clear();
        self.failures.clear();
    }

    /// For engines: the slot and the bytes of send `index`.
    pub(crate) fn send(&self, index: usize) -> (Slot, &[u8]) {
        let send = self.sends[index];
        let range = send.start as usize..(send.start + send.len) as usize;
        let bytes =
            if send.source == ARENA { &self.arena } else { &*self.shared[send.source as usize] };
        (send.slot, &bytes[range])
    }

    /// For engines: how the last failure of `slot` in this batch ended, if there was one.
    pub(crate) fn failure_of(&self, slot: Slot) -> Option<Option<Errno>> {
        let failures = self.failures.iter().rev();
        failures.filter(|failure| failure.slot == slot).map(|failure| failure.error).next()
    }

    /// For engines: send `index` was over after `sent` bytes.
    pub(crate) fn fail(&mut self, index: usize, sent: usize, error: Option<Errno>) {
        let send = self.sends[index];
        let range = send.start as usize + sent..(send.start + send.len) as usize;
        let unsent = if send.source == ARENA {
            Bytes::copy_from_slice(&self.arena[range])
        } else {
            self.shared[send.source as usize].slice(range)
        };
        self.failures.push(Failure { slot: send.slot, unsent, error });
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}
