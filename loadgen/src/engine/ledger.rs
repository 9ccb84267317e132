//! What one thread counts, and how the threads' books become one outcome.
//!
//! Not here: what happened on the wire. Invariants: one writer; recording allocates nothing
//! except a few kilobytes once a second; merging adds, and never averages.

use std::collections::BTreeMap;

use crate::engine::error::ErrorCode;
use crate::engine::fairness::Spread;
use crate::engine::sequence::Arrival;
use crate::engine::timeline::{Piece, Timeline};
use crate::outcome::{Compressed, ErrorDetail, Sockets, Storm};
use crate::recorder::{Recorder, Sparse};

const NS_PER_S: u64 = 1_000_000_000;

/// Where a time lies with respect to the measured window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
}

impl Window {
    /// Before anything is known of it.
    pub(crate) const UNKNOWN: Self = Self { start_ns: u64::MAX, end_ns: u64::MAX };

    /// What seconds are counted from.
    fn origin_ns(self) -> u64 {
        if self == Self::UNKNOWN { 0 } else { self.start_ns }
    }

    /// The second that `at_ns` lies in, counted from the window's start; negative before it.
    fn second(self, at_ns: u64) -> i64 {
        let since_ns = at_ns.wrapping_sub(self.origin_ns()).cast_signed();
        since_ns.div_euclid(NS_PER_S.cast_signed())
    }

    pub(crate) fn contains(self, at_ns: u64) -> bool {
        self.start_ns <= at_ns && at_ns < self.end_ns
    }
}

/// The second under way: of the window, or before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Second {
    /// By the clock, aligned to the window's start once that is known.
    number: i64,
    is_of_window: bool,
}

/// What a thread hands over once a second.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// Seconds of the window that are over.
    pub(crate) timeline: Timeline,
    /// For who looks on: latencies since the last time, warm-up included.
    pub(crate) recent: Sparse,
    /// For who looks on: the books as they stand.
    pub(crate) books: Option<Box<Books>>,
}

/// A thread's books so far, for who looks on.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) intended: Sparse,
    pub(crate) sent: Sparse,
    pub(crate) schedule_lag: Sparse,
    pub(crate) tcp: Sparse,
    pub(crate) upgrade: Sparse,
    pub(crate) first_message: Sparse,
    pub(crate) errors: BTreeMap<ErrorCode, u64>,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) refused: u32,
    pub(crate) lost: u32,
    pub(crate) waiting: u64,
    pub(crate) connecting: u32,
}

/// How often something went wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    first_ns: u64,
    last_ns: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

/// Bytes of one kind of stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What came of one storm.
#[derive(Debug, Default)]
pub(crate) struct StormBook {
    pub(crate) dropped: u64,
    pub(crate) reopened: u64,
    /// From the drop to open again.
    pub(crate) reopen: Recorder,
}

impl StormBook {
    pub(crate) fn told(&self) -> Storm {
        let Self { dropped, reopened, reopen } = self;
        Storm { dropped: *dropped, reopened: *reopened, reopen: reopen.histogram() }
    }
}

/// The books of one thread.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) intended: Recorder,
    pub(crate) sent: Recorder,
    pub(crate) connect: Recorder,
    /// The parts of it, and what comes after.
    pub(crate) tcp: Recorder,
    pub(crate) upgrade: Recorder,
    pub(crate) first_message: Recorder,
    pub(crate) tls: Recorder,
    pub(crate) tls_resumed: u64,
    pub(crate) schedule_lag: Recorder,
    pub(crate) send_blocked: Recorder,
    pub(crate) errors: BTreeMap<ErrorCode, Tally>,
    /// Messages of the window.
    pub(crate) sent_of_window: u64,
    pub(crate) picked_up_of_window: u64,
    /// Picked up and not sent, now.
    pub(crate) waiting: u64,
    pub(crate) received_of_window: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    pub(crate) impossible: u64,
    /// Messages that are nobody's reply or delivery: acknowledgements, heartbeats.
    pub(crate) other: u64,
    /// Over the whole run.
    pub(crate) sent_total: u64,
    pub(crate) received_total: u64,
    pub(crate) errors_total: u64,
    pub(crate) deliveries_in_window: u64,
    pub(crate) requests: u64,
    pub(crate) wire: Bytes,
    pub(crate) publisher_wire: Bytes,
    pub(crate) setup: Bytes,
    pub(crate) refused: u32,
    pub(crate) lost: u32,
    pub(crate) reconnects: u64,
    pub(crate) compressed: Compressed,
    /// Of messages in the window.
    pub(crate) payload_bytes: u64,
    pub(crate) sockets: Sockets,
    pub(crate) spread: Spread,
    pub(crate) storms: Vec<StormBook>,
    /// Slow connections that were opened, and cut off by the server.
    pub(crate) slow_open: u64,
    pub(crate) slow_closed: u64,
    window: Window,
    now_ns: u64,
    /// Whether this turn's time is in the window.
    in_window: bool,
    /// Somebody looks on: the warm-up's latencies are told too.
    is_live: bool,
    /// The second under way, its counts and its latencies.
    second: Second,
    current: Piece,
    latencies: Recorder,
    /// What is over and not handed over.
    timeline: Timeline,
    recent: Sparse,
}

impl Ledger {
    pub(crate) fn new(is_live: bool) -> Self {
        Self {
            intended: Recorder::new(),
            sent: Recorder::new(),
            connect: Recorder::new(),
            tcp: Recorder::new(),
            upgrade: Recorder::new(),
            first_message: Recorder::new(),
            tls: Recorder::new(),
            tls_resumed: 0,
            schedule_lag: Recorder::new(),
            send_blocked: Recorder::new(),
            errors: BTreeMap::new(),
            sent_of_window: 0,
            picked_up_of_window: 0,
            waiting: 0,
            received_of_window: 0,
            duplicates: 0,
            reordered: 0,
            corrupted: 0,
            impossible: 0,
            other: 0,
            sent_total: 0,
            received_total: 0,
            errors_total: 0,
            deliveries_in_window: 0,
            requests: 0,
            wire: Bytes::default(),
            publisher_wire: Bytes::default(),
            setup: Bytes::default(),
            refused: 0,
            lost: 0,
            reconnects: 0,
            compressed: Compressed::default(),
            payload_bytes: 0,
            sockets: Sockets::default(),
            spread: Spread::default(),
            storms: Vec::new(),
            slow_open: 0,
            slow_closed: 0,
            window: Window::UNKNOWN,
            now_ns: 0,
            in_window: false,
            is_live,
            second: Second { number: i64::MIN, is_of_window: false },
            current: Piece::default(),
            latencies: Recorder::new(),
            timeline: Timeline::default(),
            recent: Sparse::default(),
        }
    }

    /// Begins a turn at `now_ns`; says whether a second is over, and with it something to hand
    /// over.
    pub(crate) fn turn(&mut self, window: Window, now_ns: u64) -> bool {
        self.window = window;
        self.now_ns = now_ns;
        self.in_window = window.contains(now_ns);
        let second = Second { number: window.second(now_ns), is_of_window: self.in_window };
        let is_over = second != self.second;
        if is_over {
            self.close_second();
            self.second = second;
        }
        is_over
    }

    /// When the second under way is over.
    pub(crate) fn second_end_ns(&self, now_ns: u64) -> u64 {
        let into_ns = now_ns.wrapping_sub(self.window.origin_ns()).cast_signed();
        let left_ns = NS_PER_S - into_ns.rem_euclid(NS_PER_S.cast_signed()).cast_unsigned();
        now_ns.saturating_add(left_ns)
    }

    fn close_second(&mut self) {
        let Second { number, is_of_window } = self.second;
        let latencies = self.latencies.take_sparse();
        if self.is_live {
            self.recent.add(&latencies);
        }
        let piece = Piece { latencies, ..std::mem::take(&mut self.current) };
        if is_of_window && let Ok(number) = u64::try_from(number) {
            self.timeline.add_second(number, piece);
        }
    }

    /// Adds to `handed` what is over. The books, if somebody looks on, say `connecting` too.
    pub(crate) fn hand_over(&mut self, handed: &mut Handed, connecting: usize) {
        if !self.timeline.is_empty() {
            handed.timeline.add(self.timeline.take());
        }
        if self.is_live {
            handed.recent.add(&std::mem::take(&mut self.recent));
            handed.books = Some(Box::new(self.books(connecting)));
        }
    }

    fn books(&self, connecting: usize) -> Books {
        Books {
            intended: self.intended.sparse(),
            sent: self.sent.sparse(),
            schedule_lag: self.schedule_lag.sparse(),
            tcp: self.tcp.sparse(),
            upgrade: self.upgrade.sparse(),
            first_message: self.first_message.sparse(),
            errors: self.errors.iter().map(|(code, tally)| (*code, tally.count)).collect(),
            duplicates: self.duplicates,
            reordered: self.reordered,
            refused: self.refused,
            lost: self.lost,
            waiting: self.waiting,
            connecting: u32::try_from(connecting).unwrap_or(u32::MAX),
        }
    }

    /// The book of one storm.
    pub(crate) fn storm(&mut self, number: usize) -> &mut StormBook {
        while self.storms.len() <= number {
            self.storms.push(StormBook::default());
        }
        &mut self.storms[number]
    }

    pub(crate) fn is_in_window(&self) -> bool {
        self.in_window
    }

    /// Whether a message intended at `intended_ns` is one of the window's.
    pub(crate) fn is_of_window(&self, intended_ns: u64) -> bool {
        self.window.contains(intended_ns)
    }

    pub(crate) fn error(&mut self, code: ErrorCode) {
        let tally = Tally { count: 1, first_ns: self.now_ns, last_ns: self.now_ns };
        self.errors.entry(code).and_modify(|all| all.add(tally)).or_insert(tally);
        self.errors_total += 1;
        self.current.errors += u64::from(self.in_window);
    }

    /// The pacer took up an event.
    pub(crate) fn picked_up(&mut self, intended_ns: u64, now_ns: u64) {
        if self.is_of_window(intended_ns) {
            self.picked_up_of_window += 1;
            self.schedule_lag.record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// A message was handed over for sending.
    pub(crate) fn sent(&mut self, intended_ns: u64, picked_up_ns: u64, sent_ns: u64) {
        self.sent_total += 1;
        self.current.sent += u64::from(self.in_window);
        if self.is_of_window(intended_ns) {
            self.sent_of_window += 1;
            self.send_blocked.record(sent_ns.saturating_sub(picked_up_ns));
        }
    }

    /// The payload of a message sent or received.
    pub(crate) fn count_payload(&mut self, bytes: usize) {
        self.payload_bytes += if self.in_window { bytes as u64 } else { 0 };
    }

    /// A reply or delivery came.
    pub(crate) fn received(
        &mut self,
        arrival: Arrival,
        intended_ns: u64,
        delay_ns: u64,
        now_ns: u64,
    ) {
        let is_of_window = self.is_of_window(intended_ns);
        if arrival == Arrival::Duplicate {
            self.duplicates += u64::from(is_of_window);
            return;
        }
        self.received_total += 1;
        let latency_ns = now_ns.saturating_sub(intended_ns);
        if self.in_window {
            self.deliveries_in_window += 1;
            self.current.received += 1;
        }
        if self.in_window || self.is_live {
            self.latencies.record(latency_ns);
        }
        if is_of_window {
            self.received_of_window += 1;
            self.reordered += u64::from(arrival == Arrival::Reordered);
            self.intended.record(latency_ns);
            self.sent.record(latency_ns.saturating_sub(delay_ns));
        }
    }

    /// Adds the books of another thread.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.intended.add(&other.intended);
        self.sent.add(&other.sent);
        self.connect.add(&other.connect);
        self.tcp.add(&other.tcp);
        self.upgrade.add(&other.upgrade);
        self.first_message.add(&other.first_message);
        self.tls.add(&other.tls);
        self.tls_resumed += other.tls_resumed;
        self.schedule_lag.add(&other.schedule_lag);
        self.send_blocked.add(&other.send_blocked);
        for (code, count) in std::mem::take(&mut other.errors) {
            self.errors.entry(code).and_modify(|tally| tally.add(count)).or_insert(count);
        }
        self.sent_of_window += other.sent_of_window;
        self.picked_up_of_window += other.picked_up_of_window;
        self.received_of_window += other.received_of_window;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.impossible += other.impossible;
        self.other += other.other;
        self.sent_total += other.sent_total;
        self.received_total += other.received_total;
        self.errors_total += other.errors_total;
        self.deliveries_in_window += other.deliveries_in_window;
        self.requests += other.requests;
        for (mine, theirs) in [
            (&mut self.wire, other.wire),
            (&mut self.publisher_wire, other.publisher_wire),
            (&mut self.setup, other.setup),
        ] {
            mine.sent += theirs.sent;
            mine.received += theirs.received;
        }
        self.refused += other.refused;
        self.lost += other.lost;
        self.reconnects += other.reconnects;
        self.compressed.add(&other.compressed);
        self.payload_bytes += other.payload_bytes;
        self.sockets.add(&other.sockets);
        self.spread.add(&other.spread);
        self.slow_open += other.slow_open;
        self.slow_closed += other.slow_closed;
        for (storm, book) in other.storms.iter().enumerate() {
            let mine = self.storm(storm);
            mine.dropped += book.dropped;
            mine.reopened += book.reopened;
            mine.reopen.add(&book.reopen);
        }
        other.close_second();
        self.timeline.add(other.timeline);
    }

    /// Errors by their codes.
    pub(crate) fn error_counts(&self) -> BTreeMap<String, u64> {
        let codes = self.errors.iter().map(|(code, tally)| (code.to_string(), tally.count));
        let clamped = Some(self.intended.clamped()).filter(|&count| count > 0);
        codes.chain(clamped.map(|count| ("app.latency_clamped".to_owned(), count))).collect()
    }

    /// Every kind of error, for people.
    pub(crate) fn error_details(&self, window_start_ns: Option<u64>) -> Vec<ErrorDetail> {
        let at = |ns: u64| window_start_ns.map(|start_ns| ns.wrapping_sub(start_ns).cast_signed());
        let detail = |(code, tally): (&ErrorCode, &Tally)| ErrorDetail {
            code: code.to_string(),
            count: tally.count,
            first_at_ns: at(tally.first_ns),
            last_at_ns: at(tally.last_ns),
            meaning: code.meaning(),
            cure: code.cure(),
        };
        self.errors.iter().map(detail).collect()
    }

    /// What was not handed over.
    pub(crate) fn take_timeline(&mut self) -> Timeline {
        self.timeline.take()
    }
}

#[cfg(test)]
mod tests;
