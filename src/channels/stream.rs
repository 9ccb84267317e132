//! One channel at its home: its position, its history, and how far each worker has been served.
//!
//! Not here: the way to the workers, and the other streams. Invariants: offsets rise strictly, but
//! nothing relies on their being dense; history holds every publication after `base`; what has not
//! been offered to every destination (after `flushed`) is not trimmed.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::{Epoch, Position};

use super::encoding::Encoding;
use super::limits::ChannelLimits;
use super::name::Name;
use super::publication::{Batch, Publication};
use super::request::Items;
use crate::press::Press;

/// Encoded bytes after which a batch ends, so that one item of a queue stays small.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What a kept publication costs besides payload and encodings: itself, its counts, its entry.
const PUBLICATION_BYTES: usize =
    size_of::<Publication>() + 2 * size_of::<usize>() + size_of::<Kept>();

/// Bytes that history holds for a publication with `payload_len` bytes, before it is encoded.
pub(super) const fn kept_bytes(payload_len: usize) -> usize {
    PUBLICATION_BYTES.saturating_add(payload_len)
}

/// What making encodings needs, and how many were made.
pub(super) struct Making<'m> {
    pub(super) press: &'m mut Press,
    pub(super) made: &'m mut u64,
}

#[derive(Debug)]
struct Kept {
    publication: Arc<Publication>,
    published_ns: u64,
    /// What this entry adds to the stream's bytes.
    bytes: usize,
}

/// A worker with live subscribers.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) worker: usize,
    /// Offset of the last publication handed to it.
    delivered: u64,
    /// Its queue refused what follows `delivered`.
    behind: bool,
    /// Its live subscribers by encoding.
    counts: [u32; Encoding::COUNT],
}

/// What a destination has to hear next.
#[derive(Debug)]
pub(super) enum News {
    Batch(Arc<Batch>),
    /// History no longer reaches back to what it had last.
    Gap(Position),
}

/// What became of a destination when subscribers left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Remains,
    Gone { behind: bool },
}

/// The batches of one flush, by the offset they follow: workers that stand at the same place share
/// one batch.
pub(super) type Batches = Vec<(u64, Arc<Batch>)>;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Name,
    epoch: Epoch,
    /// Offset of the newest publication.
    head: u64,
    /// Offset of the newest publication that history has lost.
    base: u64,
    /// Offset up to which every destination has been offered everything.
    flushed: u64,
    history: VecDeque<Kept>,
    bytes: usize,
    /// In order of their numbers.
    destinations: Vec<Destination>,
    /// Whether it stands in the home's list of streams to flush.
    pub(super) listed: bool,
}

impl Stream {
    pub(super) fn new(name: Name, epoch: Epoch) -> Self {
        Self {
            name,
            epoch,
            head: 0,
            base: 0,
            flushed: 0,
            history: VecDeque::new(),
            bytes: 0,
            destinations: Vec::new(),
            listed: false,
        }
    }

    /// Where the stream is now.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.head }
    }

    /// Bytes its history holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_history(&self) -> bool {
        !self.history.is_empty()
    }

    pub(super) fn is_subscribed(&self) -> bool {
        !self.destinations.is_empty()
    }

    pub(super) fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// Publications that wait for the next flush.
    pub(super) fn gathered(&self) -> usize {
        self.history.len() - self.index_after(self.settled())
    }

    pub(super) fn is_behind(&self, worker: usize) -> bool {
        self.find(worker).is_ok_and(|index| self.destinations[index].behind)
    }

    /// Adds a publication and makes the encodings that live subscribers need. The one place where
    /// offsets come from.
    pub(super) fn append(
        &mut self,
        text: bool,
        payload: Bytes,
        now_ns: u64,
        making: &mut Making<'_>,
    ) {
        self.head += 1;
        let bytes = kept_bytes(payload.len());
        let publication = Arc::new(Publication::new(self.position(), text, payload));
        let mut kept = Kept { publication, published_ns: now_ns, bytes };
        for encoding in Encoding::ALL {
            let counts = self.destinations.iter().map(|it| it.counts[encoding.index()]);
            if counts.sum::<u32>() > 0 {
                kept.encode(encoding, making);
            }
        }
        self.bytes += kept.bytes;
        self.history.push_back(kept);
    }

    /// What a reader that has everything up to `since` still has to see, as an index for
    /// [`Stream::slice`] and a number of publications; `None`: its position is lost.
    pub(super) fn missing(&self, since: Position) -> Option<(usize, usize)> {
        let known =
            since.epoch == self.epoch && since.offset <= self.head && since.offset >= self.base;
        let start = self.index_after(since.offset);
        known.then(|| (start, self.history.len() - start))
    }

    /// Publications from index `start` on, up to `bytes_max` encoded bytes but at least one, and
    /// where they bring a reader to.
    pub(super) fn slice(
        &mut self,
        start: usize,
        encoding: Encoding,
        bytes_max: usize,
        making: &mut Making<'_>,
    ) -> (Items, Position) {
        let mut items = Items::new();
        let mut slice_bytes = 0_usize;
        for kept in self.history.range_mut(start..) {
            let before = kept.bytes;
            kept.encode(encoding, making);
            self.bytes += kept.bytes - before;
            slice_bytes = slice_bytes.saturating_add(kept.publication.encoded(encoding).len());
            if slice_bytes > bytes_max && !items.is_empty() {
                break;
            }
            items.push(Arc::clone(&kept.publication));
        }
        let position = items.last().map_or_else(|| self.position(), |last| last.position());
        (items, position)
    }

    /// Counts a subscriber that has everything up to the head. Only after a flush that `worker`
    /// took whole.
    pub(super) fn enter(&mut self, worker: usize, encoding: Encoding) {
        debug_assert_eq!(self.flushed, self.head, "gathered publications would come twice");
        let index = match self.find(worker) {
            Ok(index) => index,
            Err(index) => {
                let counts = [0; Encoding::COUNT];
                let new = Destination { worker, delivered: self.head, behind: false, counts };
                self.destinations.insert(index, new);
                index
            }
        };
        debug_assert!(!self.destinations[index].behind, "what it missed would come twice");
        self.destinations[index].counts[encoding.index()] += 1;
    }

    /// The mirror of [`Stream::enter`] for `count` subscribers.
    pub(super) fn leave(&mut self, worker: usize, encoding: Encoding, count: u32) -> Left {
        let Ok(index) = self.find(worker) else {
            debug_assert!(false, "nobody of that worker is here");
            return Left::Remains;
        };
        let destination = &mut self.destinations[index];
        let counted = &mut destination.counts[encoding.index()];
        debug_assert!(*counted >= count, "more left than came");
        *counted = counted.saturating_sub(count);
        if destination.counts.iter().any(|&count| count > 0) {
            return Left::Remains;
        }
        let behind = destination.behind;
        self.destinations.remove(index);
        Left::Gone { behind }
    }

    /// What destination `index` has to hear next; `None`: it has everything.
    pub(super) fn news(&self, index: usize, batches: &mut Batches) -> Option<News> {
        let delivered = self.destinations[index].delivered;
        if delivered == self.head {
            return None;
        }
        if delivered < self.base {
            return Some(News::Gap(self.position()));
        }
        if let Some((_, batch)) = batches.iter().find(|(after, _)| *after == delivered) {
            return Some(News::Batch(Arc::clone(batch)));
        }
        let batch = Arc::new(self.batch(delivered));
        batches.push((delivered, Arc::clone(&batch)));
        Some(News::Batch(batch))
    }

    fn batch(&self, after: u64) -> Batch {
        let mut items = Items::new();
        let mut batch_bytes = 0_usize;
        for kept in self.history.range(self.index_after(after)..) {
            // Payload and all encodings: more than any single encoding.
            batch_bytes = batch_bytes.saturating_add(kept.bytes);
            if batch_bytes > BATCH_BYTES_MAX && !items.is_empty() {
                break;
            }
            items.push(Arc::clone(&kept.publication));
        }
        Batch::new(items)
    }

    /// Destination `index` was handed everything up to `offset`.
    pub(super) fn hand_over(&mut self, index: usize, offset: u64) {
        self.destinations[index].delivered = offset;
    }

    /// Notes whether destination `index` is behind; whether that is a change.
    pub(super) fn set_behind(&mut self, index: usize, behind: bool) -> bool {
        std::mem::replace(&mut self.destinations[index].behind, behind) != behind
    }

    /// Every destination has been offered everything; whether all took it.
    pub(super) fn end_flush(&mut self) -> bool {
        self.flushed = self.head;
        self.destinations.iter().all(|destination| !destination.behind)
    }

    /// Gives up what is too old or too much.
    pub(super) fn trim(&mut self, limits: &ChannelLimits, now_ns: u64) {
        while let Some(oldest) = self.history.front() {
            let age_ns = now_ns.saturating_sub(oldest.published_ns);
            let is_kept =
                self.history.len() <= limits.history_size && age_ns < limits.history_ttl_ns;
            if is_kept || !self.drop_oldest() {
                break;
            }
        }
        if self.history.is_empty() {
            // A quiet channel leaves no memory behind.
            self.history = VecDeque::new();
        }
    }

    /// Gives up the oldest publication, unless a destination has still to be offered it.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let settled = self.settled();
        let is_settled = |kept: &Kept| kept.publication.offset() <= settled;
        if !self.history.front().is_some_and(is_settled) {
            return false;
        }
        let Some(oldest) = self.history.pop_front() else {
            return false;
        };
        self.base = oldest.publication.offset();
        self.bytes -= oldest.bytes;
        true
    }

    fn settled(&self) -> u64 {
        if self.destinations.is_empty() { self.head } else { self.flushed }
    }

    fn find(&self, worker: usize) -> Result<usize, usize> {
        self.destinations.binary_search_by_key(&worker, |destination| destination.worker)
    }

    fn index_after(&self, offset: u64) -> usize {
        self.history.partition_point(|kept| kept.publication.offset() <= offset)
    }
}

impl Kept {
    fn encode(&mut self, encoding: Encoding, making: &mut Making<'_>) {
        if !self.publication.is_encoded(encoding) {
            let (bytes, made) = self.publication.make(encoding, making.press);
            self.bytes += bytes;
            *making.made += made;
        }
    }
}
