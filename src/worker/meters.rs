//! How often one peer speaks: its messages and its control frames.
//!
//! Not here: what becomes of one that speaks too often (`websocket`). Invariant: memory is spent
//! only where a rate is limited, 16 bytes a connection.

use std::num::NonZeroU32;

use ringwire_protocol::ws::{Event, Violation};
use ringwire_ring::Slot;

use crate::metrics::DropReason;
use crate::rate::{Bucket, Rate};

/// The buckets of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    messages: Bucket,
    controls: Bucket,
}

/// The meters of a worker's connections, by slot.
#[derive(Debug)]
pub(super) struct Meters {
    messages: Option<Rate>,
    controls: Option<Rate>,
    entries: Vec<Meter>,
}

impl Meters {
    /// `None` where no rate is limited.
    pub(super) fn new(
        messages: Option<NonZeroU32>,
        controls: Option<NonZeroU32>,
        slots_max: usize,
    ) -> Option<Self> {
        if messages.is_none() && controls.is_none() {
            return None;
        }
        Some(Self {
            messages: messages.map(|rate| Rate::new(rate, u64::from(rate.get()) * 2)),
            controls: controls.map(|rate| Rate::new(rate, u64::from(rate.get()) * 5 / 2)),
            // Reserved at once, touched as slots first appear, as the table of connections.
            entries: Vec::with_capacity(slots_max),
        })
    }

    /// A new tenant of the slot begins with full buckets.
    pub(super) fn begin(&mut self, slot: Slot) {
        if self.entries.len() <= slot.index() {
            self.entries.resize(slot.index() + 1, Meter::default());
        }
        self.entries[slot.index()] = Meter::default();
    }

    /// What there is too much of, with this event.
    #[inline]
    pub(super) fn excess(
        &mut self,
        event: &Result<Option<Event<'_>>, Violation>,
        slot: Slot,
        now_ns: u64,
    ) -> Option<DropReason> {
        let meter = self.entries.get_mut(slot.index())?;
        let (rate, bucket, reason) = match event {
            Ok(Some(Event::Message { .. } | Event::Compressed { .. })) => {
                (self.messages?, &mut meter.messages, DropReason::MessageRate)
            }
            Ok(Some(Event::Ping(_) | Event::Pong(_))) => {
                (self.controls?, &mut meter.controls, DropReason::ControlRate)
            }
            _ => return None,
        };
        (!rate.take(bucket, now_ns)).then_some(reason)
    }
}
