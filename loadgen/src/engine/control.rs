//! What the threads of a run share: when it begins and ends, and how far each of them is.
//!
//! Not here: who decides; that is the conductor. Invariants: each figure has one writer; times
//! are of the one monotonic clock; nothing here is waited for by a measuring thread.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ringwire_ring::{Doorbell, ThreadClock};

use crate::engine::error::ErrorCode;
use crate::engine::ledger::Handed;

/// The run's schedule, known once all connections are open or refused.
#[derive(Debug)]
pub(crate) struct Begin {
    /// When the schedule's first message is due: the origin of the payloads' times.
    pub(crate) origin_ns: u64,
    /// When recording begins.
    pub(crate) window_start_ns: u64,
    /// Open connections of each thread, over all parts of the run.
    pub(crate) subscribers: Vec<u32>,
    /// Open publishers of each thread, over all parts.
    pub(crate) publishers: Vec<u32>,
    /// Where in these this part's threads begin.
    pub(crate) first_thread: usize,
    /// The number of the open loop's first message that is not sent, if a count ends it.
    pub(crate) number_end: u64,
}

/// How far one thread is. Written by it alone, once a turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Report {
    /// Every connection is open or refused; `subscribers` and `publishers` are final.
    pub(crate) is_settled: AtomicBool,
    pub(crate) subscribers: AtomicU32,
    pub(crate) publishers: AtomicU32,
    /// Connections (not publishers') open right now.
    pub(crate) open: AtomicU32,
    /// Those that are not, and will be: after a storm, or because they come and go.
    pub(crate) returning: AtomicU32,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// Replies or deliveries of the window, without duplicates.
    pub(crate) received_of_window: AtomicU64,
    /// Messages picked up or sent whose reply is not there.
    pub(crate) pending: AtomicU64,
    /// Messages of a closed loop that a count is to end.
    pub(crate) claimed: AtomicU64,
    /// The turn in which this was written began after the window's end.
    pub(crate) is_past_window: AtomicBool,
    /// The thread failed; nothing more will come of it.
    pub(crate) has_failed: AtomicBool,
    /// The thread's CPU time.
    pub(crate) clock: OnceLock<ThreadClock>,
    /// Seconds that are over, until the conductor takes them. Neither side waits for the lock.
    pub(crate) handed: Mutex<Handed>,
}

/// The first connection that was refused, for people.
#[derive(Clone, Debug)]
pub(crate) struct FirstRefusal {
    pub(crate) code: ErrorCode,
    /// Status and first line of the answer, if there was one.
    pub(crate) detail: String,
}

/// What the threads of a run share.
#[derive(Debug)]
pub(crate) struct Control {
    begin: OnceLock<Begin>,
    window_end_ns: AtomicU64,
    is_connecting_over: AtomicBool,
    is_finished: AtomicBool,
    /// By channel: publications of the window that the server accepted.
    pub(crate) accepted: Box<[AtomicU64]>,
    /// By channel: subscribers when the run began.
    pub(crate) subscribed: Box<[AtomicU32]>,
    pub(crate) reports: Box<[Report]>,
    first_refusal: Mutex<Option<FirstRefusal>>,
    /// What is left of the messages that a closed loop may send in the window.
    budget: Option<AtomicU64>,
    /// Somebody looks on: the threads hand over their books once a second.
    pub(crate) is_live: bool,
    /// Wakes the conductor; none in a simulation, where it is stepped.
    conductor: Option<Doorbell>,
}

impl Control {
    pub(crate) fn new(threads: usize, channels: usize, conductor: Option<Doorbell>) -> Self {
        Self {
            begin: OnceLock::new(),
            window_end_ns: AtomicU64::new(u64::MAX),
            is_connecting_over: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
            accepted: (0..channels).map(|_| AtomicU64::new(0)).collect(),
            subscribed: (0..channels).map(|_| AtomicU32::new(0)).collect(),
            reports: (0..threads).map(|_| Report::default()).collect(),
            first_refusal: Mutex::new(None),
            budget: None,
            is_live: false,
            conductor,
        }
    }

    /// Of a run that somebody looks at.
    pub(crate) fn live(self, is_live: bool) -> Self {
        Self { is_live, ..self }
    }

    /// Of a run that this many messages of the window end.
    pub(crate) fn with_budget(self, budget: Option<u64>) -> Self {
        Self { budget: budget.map(AtomicU64::new), ..self }
    }

    /// Takes one message off the budget, if there is one; `None`: it is spent.
    pub(crate) fn claim(&self) -> Option<()> {
        let Some(budget) = &self.budget else { return Some(()) };
        let less = |left: u64| left.checked_sub(1);
        budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(drop)
    }

    /// Whether the budget is spent.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.load(Ordering::Relaxed) == 0)
    }

    /// Tells the conductor that there is news.
    pub(crate) fn ring_conductor(&self) {
        if let Some(bell) = &self.conductor {
            bell.ring();
        }
    }

    /// The schedule, once the conductor has set it.
    pub(crate) fn begin(&self) -> Option<&Begin> {
        self.begin.get()
    }

    /// Sets the schedule. Only once.
    pub(crate) fn set_begin(&self, begin: Begin, window_end_ns: u64) {
        self.window_end_ns.store(window_end_ns, Ordering::SeqCst);
        let first = self.begin.set(begin).is_ok();
        debug_assert!(first, "a schedule is never re-based");
    }

    /// When the window ends: far away until the run begins, and earlier if it is interrupted.
    pub(crate) fn window_end_ns(&self) -> u64 {
        self.window_end_ns.load(Ordering::Acquire)
    }

    /// Ends the window early.
    pub(crate) fn end_window(&self, at_ns: u64) {
        self.window_end_ns.fetch_min(at_ns, Ordering::SeqCst);
    }

    /// No further connection is to be opened.
    pub(crate) fn end_connecting(&self) {
        self.is_connecting_over.store(true, Ordering::Release);
    }

    pub(crate) fn is_connecting_over(&self) -> bool {
        self.is_connecting_over.load(Ordering::Acquire)
    }

    /// Tells the threads to close and return.
    pub(crate) fn finish(&self) {
        self.is_finished.store(true, Ordering::Release);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }

    /// A publication of the window was accepted.
    pub(crate) fn accept(&self, channel: usize) {
        self.accepted[channel].fetch_add(1, Ordering::Relaxed);
    }

    /// Deliveries that the accepted publications of the window should make.
    pub(crate) fn deliveries_expected(&self) -> u64 {
        let pairs = self.accepted.iter().zip(&self.subscribed);
        pairs
            .map(|(accepted, subscribed)| {
                let subscribers = u64::from(subscribed.load(Ordering::Relaxed));
                accepted.load(Ordering::Relaxed) * subscribers
            })
            .sum()
    }

    /// Keeps the first refusal.
    pub(crate) fn refuse(&self, code: ErrorCode, detail: impl FnOnce() -> String) {
        let mut first = self.first_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(FirstRefusal { code, detail: detail() });
        }
    }

    pub(crate) fn first_refusal(&self) -> Option<FirstRefusal> {
        self.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A figure summed over all threads.
    pub(crate) fn sum(&self, figure: impl Fn(&Report) -> &AtomicU64) -> u64 {
        self.reports.iter().map(|report| figure(report).load(Ordering::Relaxed)).sum()
    }

    /// A small figure of each thread.
    pub(crate) fn each(&self, figure: impl Fn(&Report) -> &AtomicU32) -> Vec<u32> {
        self.reports.iter().map(|report| figure(report).load(Ordering::Acquire)).collect()
    }

    /// Whether a mark is set for every thread.
    pub(crate) fn all(&self, mark: impl Fn(&Report) -> &AtomicBool) -> bool {
        self.reports.iter().all(|report| mark(report).load(Ordering::Acquire))
    }
}
