//! How a run is doing, once a second, from each agent to the controller, and the sum of it.
//!
//! Not here: the final figures. Invariants: sums saturate, as what is added comes from outside;
//! the controller keeps the latest of each agent and nothing else, so that its memory is constant.

use hdrhistogram::Histogram;
use loadgen::outcome::{Phase, ServerNow, Snapshot, ThreadNow, Tick};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::bundle::{decode_histogram, encode_histogram};

/// The most error codes that one agent may tell of.
const ERROR_CODES_MAX: usize = 1_000;
/// The most threads that one agent may tell of.
const THREADS_MAX: usize = 1_024;

/// What one agent sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Now {
    pub(super) tick: Tick,
    /// All there is to see; absent before the first second is over.
    sight: Option<Box<Sight>>,
}

/// A snapshot, with its histograms as text.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sight {
    window_ns: u64,
    elapsed_ns: u64,
    connections: u32,
    connecting: u32,
    refused: u32,
    lost: u32,
    offered: Option<u64>,
    sent: u64,
    received: u64,
    waiting: u64,
    gaps: Option<u64>,
    duplicates: u64,
    reordered: u64,
    threads: Vec<ThreadNow>,
    errors: BTreeMap<String, u64>,
    server: Option<ServerNow>,
    rss_bytes: Option<u64>,
    lag_p99_ns: u64,
    /// In the order of [`histograms`].
    histograms: [String; 6],
}

fn histograms(snapshot: &Snapshot) -> [&Histogram<u64>; 6] {
    let Snapshot { last, intended, from_sent, tcp, upgrade, first_message, .. } = snapshot;
    [last, intended, from_sent, tcp, upgrade, first_message]
}

impl Now {
    /// What an agent saw last.
    pub(super) fn of(tick: Tick, snapshot: Option<&Snapshot>) -> Self {
        let sight = snapshot.map(|seen| {
            Box::new(Sight {
                window_ns: seen.window_ns,
                elapsed_ns: seen.elapsed_ns,
                connections: seen.connections,
                connecting: seen.connecting,
                refused: seen.refused,
                lost: seen.lost,
                offered: seen.offered,
                sent: seen.sent,
                received: seen.received,
                waiting: seen.waiting,
                gaps: seen.gaps,
                duplicates: seen.duplicates,
                reordered: seen.reordered,
                threads: seen.threads.clone(),
                errors: seen.errors.clone(),
                server: seen.server,
                rss_bytes: seen.rss_bytes,
                lag_p99_ns: seen.lag_p99_ns,
                histograms: histograms(seen).map(encode_histogram),
            })
        });
        Self { tick, sight }
    }

    /// The snapshot that it carries, if it makes sense.
    pub(super) fn snapshot(self) -> Option<Snapshot> {
        let sight = *self.sight?;
        if sight.errors.len() > ERROR_CODES_MAX || sight.threads.len() > THREADS_MAX {
            return None;
        }
        let decode = |index: usize| decode_histogram(&sight.histograms[index]).ok();
        Some(Snapshot {
            tick: self.tick,
            window_ns: sight.window_ns,
            elapsed_ns: sight.elapsed_ns,
            connections: sight.connections,
            connecting: sight.connecting,
            refused: sight.refused,
            lost: sight.lost,
            offered: sight.offered,
            sent: sight.sent,
            received: sight.received,
            waiting: sight.waiting,
            gaps: sight.gaps,
            duplicates: sight.duplicates,
            reordered: sight.reordered,
            last: decode(0)?,
            intended: decode(1)?,
            from_sent: decode(2)?,
            tcp: decode(3)?,
            upgrade: decode(4)?,
            first_message: decode(5)?,
            threads: sight.threads,
            errors: sight.errors,
            server: sight.server,
            rss_bytes: sight.rss_bytes,
            lag_p99_ns: sight.lag_p99_ns,
        })
    }
}

/// How far a phase is.
const fn order(phase: Phase) -> u8 {
    match phase {
        Phase::Connecting => 0,
        Phase::Warmup => 1,
        Phase::Measuring => 2,
        Phase::Draining => 3,
    }
}

/// All agents' ticks as one: the phase is that of the last.
pub(super) fn sum_ticks(ticks: impl Iterator<Item = Tick>) -> Tick {
    let nothing = Tick {
        phase: Phase::Connecting,
        left_ns: None,
        connections_open: 0,
        sent: 0,
        received: 0,
        errors: 0,
    };
    let add = |sum: Tick, tick: Tick| Tick {
        phase: if order(tick.phase) < order(sum.phase) { tick.phase } else { sum.phase },
        left_ns: sum.left_ns.zip(tick.left_ns).map(|(one, other)| one.max(other)),
        connections_open: sum.connections_open.saturating_add(tick.connections_open),
        sent: sum.sent.saturating_add(tick.sent),
        received: sum.received.saturating_add(tick.received),
        errors: sum.errors.saturating_add(tick.errors),
    };
    ticks.reduce(add).unwrap_or(nothing)
}

/// All agents' snapshots as one; `None` without any.
pub(super) fn sum<'s>(mut all: impl Iterator<Item = &'s Snapshot>) -> Option<Snapshot> {
    let mut sum = all.next()?.clone();
    for snapshot in all {
        add(&mut sum, snapshot);
    }
    Some(sum)
}

fn add(sum: &mut Snapshot, other: &Snapshot) {
    sum.tick = sum_ticks([sum.tick, other.tick].into_iter());
    sum.window_ns = sum.window_ns.max(other.window_ns);
    sum.elapsed_ns = sum.elapsed_ns.max(other.elapsed_ns);
    for (sum, other) in [
        (&mut sum.connections, other.connections),
        (&mut sum.connecting, other.connecting),
        (&mut sum.refused, other.refused),
        (&mut sum.lost, other.lost),
    ] {
        *sum = sum.saturating_add(other);
    }
    for (sum, other) in [
        (&mut sum.sent, other.sent),
        (&mut sum.received, other.received),
        (&mut sum.waiting, other.waiting),
        (&mut sum.duplicates, other.duplicates),
        (&mut sum.reordered, other.reordered),
    ] {
        *sum = sum.saturating_add(other);
    }
    for (sum, other) in [(&mut sum.offered, other.offered), (&mut sum.gaps, other.gaps)] {
        *sum = sum.zip(other).map(|(one, other)| one.saturating_add(other));
    }
    for (sum, other) in [
        (&mut sum.last, &other.last),
        (&mut sum.intended, &other.intended),
        (&mut sum.from_sent, &other.from_sent),
        (&mut sum.tcp, &other.tcp),
        (&mut sum.upgrade, &other.upgrade),
        (&mut sum.first_message, &other.first_message),
    ] {
        // All have the recorder's layout; were one of another, it would be left out.
        let _ = sum.add(other);
    }
    sum.threads.extend_from_slice(&other.threads);
    for (code, count) in &other.errors {
        let sum = sum.errors.entry(code.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
    // One server is looked at by one agent.
    sum.server = sum.server.or(other.server);
    let both = sum.rss_bytes.zip(other.rss_bytes);
    sum.rss_bytes = both.map(|(one, other)| one.saturating_add(other));
    sum.lag_p99_ns = sum.lag_p99_ns.max(other.lag_p99_ns);
}
