//! A hand-made outcome and document for tests of everything that is made from them.

use hdrhistogram::Histogram;
use loadgen::outcome::{
    Ended as EngineEnded, GeneratorCost, Interval, Outcome, Phase, ServerCost, ServerNow,
    ServerSource, Snapshot, Surroundings, ThreadNow, Tick,
};
use loadgen::recorder::{Recorder, Sparse};
use std::collections::BTreeMap;

use crate::commands;
use crate::result::{Document, Ended};
use crate::verdict::Verdict;

/// `count` values, evenly spread over 1..=1000 microseconds.
pub(crate) fn histogram(count: u64) -> Histogram<u64> {
    spread(count, 1_000)
}

/// `count` values, evenly spread over 1..=1000 times `unit_ns`.
fn spread(count: u64, unit_ns: u64) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    for index in 0..count {
        histogram.record((index * 1_000 / count + 1) * unit_ns).unwrap();
    }
    histogram
}

/// The latencies of a second of the outcome: as [`histogram`] of 4,000.
fn second() -> Sparse {
    let mut recorder = Recorder::new();
    (0..4_000).for_each(|index| recorder.record((index / 4 + 1) * 1_000));
    recorder.sparse()
}

/// A second of the outcome with other latencies.
pub(crate) fn interval(second: u64, latencies: Sparse) -> Interval {
    Interval {
        start_ns: second * 1_000_000_000,
        length_ns: 1_000_000_000,
        offered: Some(20),
        sent: 20,
        received: 4_000,
        errors: 0,
        connections_open: Some(200),
        p50_ns: latencies.value_at_quantile(0.5),
        p99_ns: latencies.value_at_quantile(0.99),
        max_ns: latencies.max(),
        latencies,
    }
}

/// Four seconds of 20 publications a second to 200 connections, all well.
pub(crate) fn outcome() -> Outcome {
    Outcome {
        intended: histogram(16_000),
        sent: histogram(16_000),
        connect: histogram(200),
        tcp: histogram(200),
        upgrade: histogram(200),
        first_message: histogram(200),
        schedule_lag: spread(80, 50),
        send_blocked: histogram(80),
        messages_sent: 80,
        messages_received: 16_000,
        messages_expected: 16_000,
        gaps: 0,
        duplicates: 0,
        reordered: 0,
        corrupted: 0,
        impossible: 0,
        other: 0,
        errors: BTreeMap::new(),
        error_details: Vec::new(),
        sockets: None,
        is_ipv6: false,
        payload_bytes: 16_000 * 64,
        p99_of_connections: histogram(200),
        jain_index: Some(1.0),
        deliveries_in_window: 16_000,
        wire_bytes_sent: 0,
        wire_bytes_received: 1_056_000,
        publisher_wire_bytes_sent: 12_000,
        publisher_wire_bytes_received: 9_000,
        setup_bytes_sent: 40_000,
        setup_bytes_received: 44_000,
        requests: 0,
        intervals: (0..4).map(|number| interval(number, second())).collect(),
        measured_ns: 4_000_000_000,
        offered_count: 80,
        picked_up_count: 80,
        sent_count: 80,
        has_latencies: true,
        is_even: true,
        surroundings: Surroundings::default(),
        generator: GeneratorCost {
            cpu_ns: 32_000_000,
            rss_bytes: Some(8 << 20),
            thread_busy_share: vec![0.25],
        },
        server: Some(ServerCost {
            cpu_ns: 80_000_000,
            rss_before_bytes: 4 << 20,
            rss_connected_bytes: (4 << 20) + 200 * 2_048,
            rss_after_bytes: 5 << 20,
            source: ServerSource::Process,
        }),
        ended: EngineEnded::Completed,
        connections_open: 200,
        connections_refused: 0,
        connections_lost: 0,
        reconnects: 0,
        compression: None,
        tls: None,
        storms: Vec::new(),
        slow_open: 0,
        slow_closed: 0,
        engine: "uring",
    }
}

/// A document without runs.
pub(crate) fn document() -> Document {
    Document {
        command: "loadgen run ws://h:1/echo".to_owned(),
        commit: None,
        started_at: "2026-11-21T23:20:00Z".to_owned(),
        ..commands::document(1, Ended::Completed, Verdict::valid())
    }
}

/// `second` seconds into a minute of 50,000 echoes a second on 200 connections, all well.
pub(crate) fn snapshot(second: u64) -> Snapshot {
    let empty = || Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    // One stall, and around it latencies as a quiet server has them.
    let latencies = |count: u64| {
        let mut histogram = empty();
        let shares = [(500, 1_900), (900, 3_080), (988, 6_180), (998, 12_600), (1_000, 58_300)];
        let mut below = 0;
        for (share, microseconds) in shares {
            let part = count * share / 1_000 - below;
            histogram.record_n(microseconds * 1_000, part).unwrap();
            below += part;
        }
        histogram
    };
    Snapshot {
        tick: Tick {
            phase: Phase::Measuring,
            left_ns: Some((60 - second) * 1_000_000_000),
            connections_open: 200,
            sent: 50_000 * second,
            received: 50_000 * second,
            errors: 0,
        },
        window_ns: 60_000_000_000,
        elapsed_ns: second * 1_000_000_000,
        connections: 200,
        connecting: 0,
        refused: 0,
        lost: 0,
        offered: Some(50_000),
        sent: 50_000,
        received: 49_998,
        waiting: 0,
        gaps: Some(0),
        duplicates: 0,
        reordered: 0,
        last: latencies(50_000),
        intended: latencies(50_000 * second),
        from_sent: latencies(50_000 * second),
        tcp: histogram(200),
        upgrade: histogram(200),
        first_message: histogram(200),
        threads: vec![
            ThreadNow { lag_p99_ns: 210_000, busy_share: 0.61, open: 100 },
            ThreadNow { lag_p99_ns: 190_000, busy_share: 0.58, open: 100 },
        ],
        errors: BTreeMap::new(),
        server: Some(ServerNow {
            cpu_share: 0.16,
            cpu_ns_per_message: Some(3_120),
            rss_bytes: 22 << 20,
        }),
        rss_bytes: Some(48 << 20),
        lag_p99_ns: 210_000,
    }
}

/// Compares with the text that lies beside the sources; `RINGWIRE_BLESS=1` writes it anew.
pub(crate) fn assert_golden(name: &str, found: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("RINGWIRE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == found, "{name}: wanted\n{wanted}\nfound\n{found}");
}
