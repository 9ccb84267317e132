//! What one thread counts, and how the threads' books become one outcome.
//!
//! Not here: what happened on the wire. Invariants: one writer; recording allocates nothing
//! except a few kilobytes once a second; merging adds, and never averages.

use std::collections::BTreeMap;

use crate::engine::error::ErrorCode;
use crate::engine::sequence::Arrival;
use crate::outcome::{Compressed, Interval};
use crate::recorder::Recorder;

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

    pub(crate) fn contains(self, at_ns: u64) -> bool {
        self.start_ns <= at_ns && at_ns < self.end_ns
    }
}

/// One second of one thread.
#[derive(Clone, Debug, Default)]
struct Second {
    sent: u64,
    received: u64,
    errors: u64,
    latencies: Vec<(u32, u64)>,
}

/// Bytes of one kind of stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// The books of one thread.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) intended: Recorder,
    pub(crate) sent: Recorder,
    pub(crate) connect: Recorder,
    pub(crate) tls: Recorder,
    pub(crate) tls_resumed: u64,
    pub(crate) schedule_lag: Recorder,
    pub(crate) send_blocked: Recorder,
    pub(crate) errors: BTreeMap<ErrorCode, u64>,
    /// Messages of the window.
    pub(crate) sent_of_window: u64,
    pub(crate) picked_up_of_window: u64,
    pub(crate) received_of_window: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    pub(crate) impossible: u64,
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
    window: Window,
    /// Whether this turn's time is in the window.
    in_window: bool,
    /// The second under way: number, counts, latencies.
    second: u64,
    current: Second,
    latencies: Recorder,
    seconds: Vec<Second>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            intended: Recorder::new(),
            sent: Recorder::new(),
            connect: Recorder::new(),
            tls: Recorder::new(),
            tls_resumed: 0,
            schedule_lag: Recorder::new(),
            send_blocked: Recorder::new(),
            errors: BTreeMap::new(),
            sent_of_window: 0,
            picked_up_of_window: 0,
            received_of_window: 0,
            duplicates: 0,
            reordered: 0,
            corrupted: 0,
            impossible: 0,
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
            window: Window::UNKNOWN,
            in_window: false,
            second: 0,
            current: Second::default(),
            latencies: Recorder::new(),
            seconds: Vec::new(),
        }
    }

    /// Begins a turn at `now_ns`.
    pub(crate) fn turn(&mut self, window: Window, now_ns: u64) {
        self.window = window;
        self.in_window = window.contains(now_ns);
        if self.in_window {
            let second = (now_ns - window.start_ns) / NS_PER_S;
            while self.second < second {
                self.close_second();
            }
        }
    }

    fn close_second(&mut self) {
        self.current.latencies = self.latencies.take_sparse();
        self.seconds.push(std::mem::take(&mut self.current));
        self.second += 1;
    }

    pub(crate) fn is_in_window(&self) -> bool {
        self.in_window
    }

    /// Whether a message intended at `intended_ns` is one of the window's.
    pub(crate) fn is_of_window(&self, intended_ns: u64) -> bool {
        self.window.contains(intended_ns)
    }

    pub(crate) fn error(&mut self, code: ErrorCode) {
        *self.errors.entry(code).or_default() += 1;
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
        self.tls.add(&other.tls);
        self.tls_resumed += other.tls_resumed;
        self.schedule_lag.add(&other.schedule_lag);
        self.send_blocked.add(&other.send_blocked);
        for (code, count) in std::mem::take(&mut other.errors) {
            *self.errors.entry(code).or_default() += count;
        }
        self.sent_of_window += other.sent_of_window;
        self.picked_up_of_window += other.picked_up_of_window;
        self.received_of_window += other.received_of_window;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.impossible += other.impossible;
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
        self.add_seconds(other);
    }

    fn add_seconds(&mut self, mut other: Self) {
        other.close_second();
        while self.seconds.len() < other.seconds.len() {
            self.seconds.push(Second::default());
        }
        for (mine, theirs) in self.seconds.iter_mut().zip(other.seconds) {
            mine.sent += theirs.sent;
            mine.received += theirs.received;
            mine.errors += theirs.errors;
            mine.latencies.extend(theirs.latencies);
        }
    }

    /// One entry per started second of a window of `measured_ns`.
    pub(crate) fn intervals(&self, measured_ns: u64) -> Vec<Interval> {
        let count = usize::try_from(measured_ns.div_ceil(NS_PER_S)).unwrap_or(usize::MAX);
        let mut recorder = Recorder::new();
        let mut interval = |second: &Second| {
            recorder.add_sparse(&second.latencies);
            let histogram = recorder.histogram();
            let at =
                |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
            Interval {
                sent: second.sent,
                received: second.received,
                errors: second.errors,
                p50_ns: at(0.5),
                p99_ns: at(0.99),
                latencies: recorder.take_sparse(),
            }
        };
        let mut intervals: Vec<_> = self.seconds.iter().take(count).map(&mut interval).collect();
        intervals.resize(count, Interval::default());
        intervals
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Window};
    use crate::engine::error::ErrorCode;
    use crate::engine::sequence::Arrival;

    const S: u64 = 1_000_000_000;
    const WINDOW: Window = Window { start_ns: 10 * S, end_ns: 13 * S };

    #[test]
    fn a_message_of_the_window_counts_when_it_arrives_late_and_one_of_the_warm_up_never() {
        let mut ledger = Ledger::new();
        ledger.turn(WINDOW, 10 * S);
        ledger.received(Arrival::New, 10 * S - 1, 0, 10 * S);
        assert_eq!((ledger.received_of_window, ledger.deliveries_in_window), (0, 1));
        ledger.turn(WINDOW, 14 * S);
        ledger.received(Arrival::New, 13 * S - 1, 1, 14 * S);
        ledger.received(Arrival::New, 13 * S, 0, 14 * S);
        ledger.received(Arrival::Duplicate, 13 * S - 1, 1, 14 * S);
        ledger.received(Arrival::Reordered, 12 * S, 5, 14 * S);
        assert_eq!((ledger.received_of_window, ledger.deliveries_in_window), (2, 1));
        assert_eq!((ledger.duplicates, ledger.reordered, ledger.received_total), (1, 1, 4));
        assert_eq!((ledger.intended.histogram().len(), ledger.sent.histogram().len()), (2, 2));
    }

    #[test]
    fn seconds_of_threads_that_were_busy_at_different_times_line_up() {
        let (mut early, mut late, mut all) = (Ledger::new(), Ledger::new(), Ledger::new());
        early.turn(WINDOW, 10 * S);
        early.received(Arrival::New, 10 * S, 0, 10 * S + 1_000);
        late.turn(WINDOW, 12 * S + 1);
        late.received(Arrival::New, 12 * S, 0, 12 * S + 1);
        late.sent(12 * S, 12 * S, 12 * S);
        late.error(ErrorCode::Reset);
        late.turn(WINDOW, 13 * S);
        late.error(ErrorCode::Reset);
        all.add(early);
        all.add(late);
        let intervals = all.intervals(3 * S);
        let counts: Vec<_> = intervals.iter().map(|i| (i.sent, i.received, i.errors)).collect();
        assert_eq!(counts, [(0, 1, 0), (0, 0, 0), (1, 1, 1)]);
        assert_eq!(intervals[0].p99_ns, Some(1_000));
        assert_eq!((intervals[1].p50_ns, intervals[2].p50_ns), (None, Some(1)));
        assert_eq!(all.errors[&ErrorCode::Reset], 2);
        assert_eq!(all.intervals(2 * S + 1).len(), 3);
        assert_eq!(all.intervals(9 * S).len(), 9);
    }
}
