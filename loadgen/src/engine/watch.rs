//! What the conductor takes from the threads once a second: the window's timeline, and what a live
//! view shows.
//!
//! Not here: counting, and drawing. Invariants: nothing is asked of a measuring thread that it
//! does not do anyhow; a lock that is taken is left alone until next time; memory is constant.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::engine::control::Control;
use crate::engine::cost::{Costs, Reading};
use crate::engine::ledger::Books;
use crate::engine::timeline::{Piece, Timeline};
use crate::outcome::{ServerNow, Snapshot, ThreadNow, Tick};
use crate::recorder::{Recorder, Sparse};

const NS_PER_S: u64 = 1_000_000_000;

/// How often the threads' finished seconds are taken.
const TAKE_NS: u64 = 100_000_000;

/// What was taken so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    timeline: Timeline,
    take_at_ns: u64,
    /// The second of the window that is under way.
    second: u64,
    /// Latencies since the last snapshot.
    recent: Sparse,
    /// By thread: the books as they stood when last seen, and at the last snapshot.
    books: Vec<Option<Box<Books>>>,
    lag_before: Vec<Sparse>,
    before: Before,
}

/// Sums at the last snapshot.
#[derive(Debug, Default)]
struct Before {
    at_ns: u64,
    sent: u64,
    received: u64,
    used: Reading,
}

/// What a snapshot needs of the conductor.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) tick: Tick,
    pub(crate) connections: u32,
    /// Warm-up and window.
    pub(crate) window_ns: u64,
    /// When the window begins, once that is known.
    pub(crate) window_start_ns: Option<u64>,
    pub(crate) costs: Option<&'a Costs>,
}

impl Watch {
    /// Takes what the threads have handed over; `window` is its begin and end.
    pub(crate) fn look(&mut self, control: &Control, window: Option<(u64, u64)>, now_ns: u64) {
        if let Some((start_ns, end_ns)) = window
            && now_ns >= start_ns
        {
            let second = (now_ns.min(end_ns) - start_ns) / NS_PER_S;
            if second > self.second {
                let open = control.each(|report| &report.open).iter().sum();
                let piece = Piece { open: Some(open), ..Piece::default() };
                self.timeline.add_second(second - 1, piece);
                self.second = second;
            }
        }
        if now_ns >= self.take_at_ns {
            self.take_at_ns = now_ns.saturating_add(TAKE_NS);
            self.take(control);
        }
    }

    fn take(&mut self, control: &Control) {
        self.books.resize_with(control.reports.len(), || None);
        for (report, books) in control.reports.iter().zip(&mut self.books) {
            let Ok(mut handed) = report.handed.try_lock() else { continue };
            if !handed.timeline.is_empty() {
                self.timeline.add(handed.timeline.take());
            }
            self.recent.add(&std::mem::take(&mut handed.recent));
            if let Some(news) = handed.books.take() {
                *books = Some(news);
            }
        }
    }

    /// All that was seen of the window, once every thread is done.
    pub(crate) fn into_timeline(mut self, control: &Control, rest: Timeline) -> Timeline {
        self.take(control);
        self.timeline.add(rest);
        self.timeline
    }

    /// What there is to see now. `offered`: the sends that the schedule has from one time to
    /// another.
    pub(crate) fn snapshot(
        &mut self,
        control: &Control,
        situation: Situation<'_>,
        now_ns: u64,
        offered: impl Fn(u64, u64) -> Option<u64>,
    ) -> Snapshot {
        self.take(control);
        let Situation { tick, connections, window_ns, window_start_ns, costs } = situation;
        let used = costs.map(|costs| costs.look(control)).unwrap_or_default();
        let span_ns = now_ns.saturating_sub(self.before.at_ns);
        let before = Before { at_ns: now_ns, sent: tick.sent, received: tick.received, used };
        let before = std::mem::replace(&mut self.before, before);
        let received = tick.received.saturating_sub(before.received);
        let books = || self.books.iter().flatten();
        let sum = |of: &dyn Fn(&Books) -> u64| books().map(|books| of(books)).sum::<u64>();
        let small = |of: &dyn Fn(&Books) -> u64| u32::try_from(sum(of)).unwrap_or(u32::MAX);
        let all = |of: fn(&Books) -> &Sparse| {
            let mut all = Recorder::new();
            books().for_each(|books| all.add_sparse(of(books)));
            all.histogram()
        };
        let mut errors = BTreeMap::new();
        for (code, count) in books().flat_map(|books| &books.errors) {
            *errors.entry(code.to_string()).or_default() += count;
        }
        let lag = all(|books| &books.schedule_lag);
        Snapshot {
            tick,
            window_ns,
            elapsed_ns: window_start_ns.map_or(0, |start_ns| now_ns.saturating_sub(start_ns)),
            connections,
            connecting: small(&|books| books.connecting.into()),
            refused: small(&|books| books.refused.into()),
            lost: small(&|books| books.lost.into()),
            offered: offered(before.at_ns, now_ns),
            sent: tick.sent.saturating_sub(before.sent),
            received,
            waiting: sum(&|books| books.waiting),
            gaps: None,
            duplicates: sum(&|books| books.duplicates),
            reordered: sum(&|books| books.reordered),
            last: std::mem::take(&mut self.recent).histogram(),
            intended: all(|books| &books.intended),
            from_sent: all(|books| &books.sent),
            tcp: all(|books| &books.tcp),
            upgrade: all(|books| &books.upgrade),
            first_message: all(|books| &books.first_message),
            errors,
            server: costs.and_then(|costs| {
                server_now(costs, &before.used, &self.before.used, span_ns, received)
            }),
            rss_bytes: Costs::own_rss_bytes(),
            lag_p99_ns: if lag.is_empty() { 0 } else { lag.value_at_quantile(0.99) },
            threads: self.threads(control, &before.used, span_ns),
        }
    }

    fn threads(&mut self, control: &Control, before: &Reading, span_ns: u64) -> Vec<ThreadNow> {
        self.lag_before.resize_with(control.reports.len(), Sparse::default);
        let threads = control.reports.iter().enumerate().map(|(thread, report)| {
            let now = self.books.get(thread).and_then(Option::as_deref);
            let lag = now.map(|books| books.schedule_lag.clone()).unwrap_or_default();
            let last = lag.since(&self.lag_before[thread]);
            self.lag_before[thread] = lag;
            ThreadNow {
                lag_p99_ns: last.value_at_quantile(0.99).unwrap_or(0),
                busy_share: self.before.used.thread_share(before, thread, span_ns),
                open: report.open.load(Ordering::Relaxed),
            }
        });
        threads.collect()
    }
}

/// What the server used between two readings.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn server_now(
    costs: &Costs,
    before: &Reading,
    now: &Reading,
    span_ns: u64,
    received: u64,
) -> Option<ServerNow> {
    let cpu_ns = now.server_ns?.checked_sub(before.server_ns?)?;
    Some(ServerNow {
        cpu_share: cpu_ns as f64 / span_ns.max(1) as f64,
        cpu_ns_per_message: cpu_ns.checked_div(received),
        rss_bytes: costs.server_rss_bytes()?,
    })
}
