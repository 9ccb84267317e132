//! The end of service: everybody is told, then everybody goes, and the workers leave together.
//!
//! Not here: the signal (`server`). Invariant: no worker leaves while another still has
//! connections, because it may be the home of their channels; the deadline ends that too.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringwire_protocol::http::Refusal;
use ringwire_protocol::sse;
use ringwire_ring::{Accepting, Driver, Slot};

use super::websocket::GOING_AWAY;
use super::{ARENA_BYTES_MIN, Worker};
use crate::app::Application;
use crate::connection::{Pending, Role};
use crate::lane::Flags;
use crate::metrics::DropReason;

/// Milliseconds after which an event stream's client may come back, to another server.
const RETRY_MS: u64 = 1000;

/// What the workers of one server know of each other.
#[derive(Debug)]
pub(crate) struct Crew {
    draining: AtomicBool,
    /// Workers that have nobody left to serve.
    empty: AtomicUsize,
    workers: usize,
}

impl Crew {
    pub(crate) fn new(workers: usize) -> Self {
        Self { draining: AtomicBool::new(false), empty: AtomicUsize::new(0), workers }
    }

    /// Tells every worker to drain, once its bell has been rung.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// A worker is gone, whatever it still had: nobody is to wait for it.
    pub(crate) fn lose_worker(&self) {
        self.empty.fetch_add(1, Ordering::SeqCst);
    }

    fn all_empty(&self) -> bool {
        self.empty.load(Ordering::SeqCst) >= self.workers
    }
}

/// How far a worker is with its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drain {
    Serving,
    Draining { deadline_ns: u64, accept_ended: bool, empty: bool },
}

impl Drain {
    pub(super) fn deadline_ns(self) -> u64 {
        match self {
            Self::Serving => u64::MAX,
            Self::Draining { deadline_ns, .. } => deadline_ns,
        }
    }
}

impl<D: Driver, A: Application> Worker<D, A> {
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.drain, Drain::Draining { .. })
    }

    /// Whether this worker may leave: all are empty, or the time is up.
    pub(crate) fn is_done(&mut self) -> bool {
        let Drain::Draining { deadline_ns, accept_ended, empty } = self.drain else { return false };
        if !empty && accept_ended && self.table.live() == 0 {
            self.drain = Drain::Draining { deadline_ns, accept_ended, empty: true };
            self.crew.empty.fetch_add(1, Ordering::SeqCst);
            if self.crew.all_empty() {
                for worker in (0..self.crew.workers).filter(|&worker| worker != self.index) {
                    self.driver.wake(worker);
                }
            }
        }
        self.crew.all_empty() || self.now_ns >= deadline_ns
    }

    /// A bell rang: looks at everything that other threads may want.
    pub(super) fn obey(&mut self) {
        self.decide_later();
        if self.crew.draining.load(Ordering::SeqCst) && !self.is_draining() {
            self.begin_drain();
        }
    }

    pub(super) fn accept_ended(&mut self) {
        if let Drain::Draining { accept_ended, .. } = &mut self.drain {
            *accept_ended = true;
        }
    }

    fn begin_drain(&mut self) {
        let deadline_ns = self.now_ns.saturating_add(self.limits.drain_timeout_ns);
        self.drain = Drain::Draining { deadline_ns, accept_ended: false, empty: false };
        self.driver.accept(Accepting::Ended);
        self.logger.info(format_args!("draining {} connections", self.table.live()));
        for index in 0..self.table.len() {
            if let Some(slot) = self.table.slot_at(index) {
                self.dismiss(slot);
                self.make_room(ARENA_BYTES_MIN);
            }
        }
    }

    /// Tells one connection that the server goes.
    pub(super) fn dismiss(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        match &connection.role {
            Role::WebSocket { .. } => {
                self.metrics.dropped(DropReason::Drain);
                self.close(slot, GOING_AWAY, "the server is going away");
            }
            Role::Stream => {
                self.metrics.dropped(DropReason::Drain);
                let mut out = Vec::new();
                sse::encode_retry(&mut out, RETRY_MS);
                self.say(slot, out);
                self.begin_end(slot);
            }
            Role::Waiting(waiting) => {
                let has_position =
                    matches!(waiting.pending, Pending::LongPoll { position: Some(_) });
                connection.lane.flags.set(Flags::LAST_REQUEST);
                if has_position {
                    self.answer_long_poll_empty(slot);
                }
            }
            Role::Request if connection.lane.is_handshaking() => self.tear_down(slot),
            Role::Request if connection.held.is_some() => {}
            Role::Request if connection.lane.flags.has(Flags::SERVED) => self.begin_end(slot),
            Role::Request => self.refuse_for_drain(slot),
            Role::Lingering { .. } | Role::Free => {}
        }
    }

    /// Whoever comes now is told to come back.
    pub(super) fn refuse_for_drain(&mut self, slot: Slot) {
        let reason = "the server is going away: try again";
        self.refuse(slot, &Refusal { status: 503, reason }, &[("Retry-After", "1")]);
    }
}
