//! All streams of one home, bounded in number and bytes.
//!
//! Not here: requests. Invariants: `bytes` is the sum of the streams' bytes; a stream without
//! subscribers stands in the idle list, so that the oldest is found at once; no table's own order
//! reaches an answer.

use std::collections::HashMap;

use ringwire_protocol::Epoch;

use super::limits::{ChannelLimits, HomeCounters};
use super::name::Name;
use super::order::{List, Order};
use super::stream::Stream;

#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Option<Box<Stream>>>,
    free: Vec<u32>,
    by_name: HashMap<Name, u32>,
    order: Order,
    bytes: usize,
    pub(super) limits: ChannelLimits,
    pub(super) counters: HomeCounters,
}

impl Streams {
    pub(super) fn new(limits: ChannelLimits) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            order: Order::new(),
            bytes: 0,
            limits,
            counters: HomeCounters::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn find(&self, name: &Name) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The stream at `index`, if it still lives.
    pub(super) fn stream(&mut self, index: u32) -> Option<&mut Stream> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// Lets `act` change the stream at `index`, and keeps the sum of bytes true.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn change<R>(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut Stream, &ChannelLimits, &mut HomeCounters) -> R,
    ) -> R {
        let slot = self.slots[index as usize].as_deref_mut();
        let stream = slot.expect("an index is used only while its stream lives");
        let before = stream.bytes();
        let result = act(stream, &self.limits, &mut self.counters);
        self.bytes = self.bytes - before + stream.bytes();
        result
    }

    /// The stream called `name`, touched and trimmed; made if there is none. `None`: the table is
    /// full of streams with subscribers.
    pub(super) fn open(
        &mut self,
        name: &Name,
        now_ns: u64,
        epoch: impl FnOnce() -> u64,
    ) -> Option<u32> {
        if let Some(index) = self.find(name) {
            let touched_ns = self.order.touched_ns(index, List::Idle);
            if touched_ns.is_none_or(|touched_ns| !self.is_over(touched_ns, now_ns)) {
                self.change(index, |stream, limits, _| stream.trim(limits, now_ns));
                self.touch(index, now_ns);
                return Some(index);
            }
            self.remove(index);
            self.counters.expiries += 1;
        }
        if self.len() >= self.limits.channels_max {
            let (oldest, _) = self.order.first(List::Idle)?;
            self.remove(oldest);
            self.counters.evictions += 1;
            if self.len() >= self.limits.channels_max {
                return None;
            }
        }
        let stream = Box::new(Stream::new(name.clone(), Epoch(epoch())));
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer streams than fill memory")
        });
        self.slots[index as usize] = Some(stream);
        self.by_name.insert(name.clone(), index);
        self.touch(index, now_ns);
        Some(index)
    }

    /// Notes that the stream was used now.
    pub(super) fn touch(&mut self, index: u32, now_ns: u64) {
        let Some(stream) = self.stream(index) else { return };
        let list = match (stream.is_subscribed(), stream.has_history()) {
            (false, _) => Some(List::Idle),
            (true, true) => Some(List::Watched),
            (true, false) => None,
        };
        self.order.place(index, list, now_ns);
    }

    /// Makes room for `bytes` more in the stream at `index`: first the oldest streams without
    /// subscribers go, then the oldest of its own history. Whether that was enough.
    pub(super) fn make_room(&mut self, bytes: usize, index: u32) -> bool {
        while self.bytes.saturating_add(bytes) > self.limits.history_bytes_max {
            match self.order.first(List::Idle) {
                Some((oldest, _)) if oldest != index => {
                    self.remove(oldest);
                    self.counters.evictions += 1;
                }
                _ => {
                    if !self.change(index, |stream, _, _| stream.drop_oldest()) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Gives up streams and histories that nobody touched for `history_ttl`.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some((index, touched_ns)) = self.order.first(List::Idle)
            && self.is_over(touched_ns, now_ns)
        {
            self.remove(index);
            self.counters.expiries += 1;
        }
        // Touched as long ago as now, none of these was touched again: the loop ends.
        while let Some((index, touched_ns)) = self.order.first(List::Watched)
            && touched_ns < now_ns
            && self.is_over(touched_ns, now_ns)
        {
            self.change(index, |stream, limits, _| stream.trim(limits, now_ns));
            self.touch(index, now_ns);
        }
    }

    /// When [`Streams::expire`] has something to do.
    pub(super) fn next_expiry_ns(&self) -> Option<u64> {
        let due = |list| {
            let (_, touched_ns) = self.order.first(list)?;
            Some(touched_ns.saturating_add(self.limits.history_ttl_ns))
        };
        due(List::Idle).into_iter().chain(due(List::Watched)).min()
    }

    fn is_over(&self, touched_ns: u64, now_ns: u64) -> bool {
        now_ns.saturating_sub(touched_ns) >= self.limits.history_ttl_ns
    }

    fn remove(&mut self, index: u32) {
        let Some(stream) = self.slots[index as usize].take() else { return };
        debug_assert!(!stream.is_subscribed(), "a subscribed stream is never given up");
        self.bytes -= stream.bytes();
        self.by_name.remove(&stream.name);
        self.order.place(index, None, 0);
        self.free.push(index);
    }
}
