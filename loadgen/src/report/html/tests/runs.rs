//! Hand-made runs: one row of a result with invented but consistent numbers.
//!
//! Not here: documents made of them. Invariant: percentiles are those of the histograms beside
//! them, and every call makes the same.

use hdrhistogram::Histogram;
use loadgen::recorder::empty_histogram;

use crate::bundle::encode_histogram;
use crate::random::Random;
use crate::result::{
    Confidence, Connections, Histograms, Interval, Latency, Loadgen, Round, Run, Server, Source,
    Tcp, WireShare, detail::Estimate, rounded,
};
use crate::samples;

pub(super) const SECOND_NS: u64 = 1_000_000_000;
const MS: f64 = 1e6;

/// A latency of a sample.
pub(super) fn whole(ns: f64) -> u64 {
    u64::try_from(rounded(ns)).unwrap()
}

/// How one transport behaves.
pub(super) struct Kind {
    pub(super) transport: &'static str,
    pub(super) poll_interval_ns: Option<u64>,
    pub(super) median_ms: f64,
    /// How many times slower the slowest in a thousand are, about.
    pub(super) spread: f64,
    pub(super) cpu_ns: i64,
    /// Payload, protocol, TCP/IP.
    pub(super) wire: [f64; 3],
    pub(super) rss: u64,
}

pub(super) const WS: Kind = Kind {
    transport: "ws",
    poll_interval_ns: None,
    median_ms: 1.92,
    spread: 1.8,
    cpu_ns: 3_120,
    wire: [64.0, 8.0, 126.0],
    rss: 4_813,
};
pub(super) const SSE: Kind =
    Kind { transport: "sse", median_ms: 2.04, cpu_ns: 3_380, wire: [64.0, 39.0, 126.0], ..WS };
pub(super) const LONG_POLL: Kind = Kind {
    transport: "longpoll",
    median_ms: 3.4,
    spread: 3.6,
    cpu_ns: 24_600,
    wire: [64.0, 489.0, 264.0],
    rss: 5_530,
    ..WS
};
pub(super) const POLL: Kind = Kind {
    transport: "poll",
    poll_interval_ns: Some(SECOND_NS),
    median_ms: 500.0,
    spread: 0.0,
    cpu_ns: 23_900,
    wire: [64.0, 501.0, 264.0],
    rss: 4_608,
};

impl Kind {
    /// One latency.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        let mut uniform = || (random.below(1 << 20) as f64 + 1.0) / (1u64 << 20) as f64;
        if self.spread == 0.0 {
            return whole(uniform() * 2.0 * self.median_ms * MS) + 1;
        }
        // Log-normal, with a heavier tail.
        let normal: f64 = (0..6).map(|_| uniform()).sum::<f64>() * 1.4 - 4.2;
        let tail = if uniform() < 0.004 { 1.0 + 3.0 * uniform() } else { 0.0 };
        whole(self.median_ms * MS * (normal * self.spread.sqrt() * 0.45 + tail).exp())
    }
}

/// Everything well: `seconds` of so many messages each.
pub(super) fn run(kind: &Kind, seconds: u64, messages: u64) -> Run {
    let mut random = Random::from_seed(7);
    let (mut all, mut sent) = (empty_histogram(), empty_histogram());
    let mut intervals = Vec::new();
    for second in 0..seconds {
        let mut histogram = empty_histogram();
        for _ in 0..messages {
            let stall = if second == 34 && kind.transport == "sse" { 40 } else { 1 };
            let ns = kind.draw(&mut random) * stall;
            histogram.record(ns).unwrap();
            sent.record(ns * 93 / 100 / if stall > 1 { 3 } else { 1 } + 1).unwrap();
        }
        all.add(&histogram).unwrap();
        intervals.push(Interval {
            start_ns: second * SECOND_NS,
            messages_sent: messages,
            messages_received: messages,
            latency_p50_ns: Some(histogram.value_at_quantile(0.5)),
            latency_p99_ns: Some(histogram.value_at_quantile(0.99)),
            latency_max_ns: Some(histogram.max()),
            connections_open: Some(if second == 0 { 180 } else { 200 }),
            ..Interval::default()
        });
    }
    measured(kind, seconds, &all, &sent, intervals)
}

pub(super) fn measured(
    kind: &Kind,
    seconds: u64,
    all: &Histogram<u64>,
    sent: &Histogram<u64>,
    intervals: Vec<Interval>,
) -> Run {
    let count = all.len();
    let connect = samples::histogram(1_200);
    let wire: f64 = kind.wire.iter().sum();
    Run {
        transport: kind.transport.to_owned(),
        mode: "fanout".to_owned(),
        connections: 200,
        poll_interval_ns: kind.poll_interval_ns,
        size_bytes: 64,
        measured_ns: seconds * SECOND_NS,
        offered_per_s: Some(2_000.0),
        achieved_per_s: Some(count as f64 / seconds as f64),
        messages_sent: count,
        messages_received: count,
        messages_expected: count,
        connection_counts: Connections { open: 200, ..Connections::default() },
        latency_from_intended_ns: Latency::of(all),
        latency_from_sent_ns: Latency::of(sent),
        connect_ns: Latency::of(&connect),
        wire_bytes_sent: 1_000,
        wire_bytes_received: count * 72,
        wire_bytes_per_message: Some(kind.wire[0] + kind.wire[1]),
        setup_bytes_per_connection: Some(420),
        server: Some(Server {
            cpu_ns_per_message: Some(kind.cpu_ns),
            cpu_ns_per_message_raw: Some(kind.cpu_ns),
            cpu_ns: Some(count * kind.cpu_ns.unsigned_abs()),
            rss_bytes: Some(22 << 20),
            rss_bytes_per_connection: Some(kind.rss),
            source: Source::Pid,
        }),
        loadgen: Loadgen {
            cpu_ns_per_message: Some(1_400),
            rss_bytes: Some(48 << 20),
            thread_busy_share_max: Some(0.61),
            schedule_lag_ns: Latency::of(&samples::histogram(2_000)),
        },
        intervals,
        wire_share: Some(WireShare {
            payload_bytes: Some(kind.wire[0]),
            protocol_bytes: Some(kind.wire[1]),
            tcp_ip_bytes: Some(kind.wire[2]),
        }),
        tcp: Some(Tcp {
            connections: 200,
            bytes_sent: 1_000,
            bytes_received: count * 72,
            segments_sent: count,
            segments_received: count,
            segments_retransmitted: 3,
            wire_bytes_per_message: Some(wire),
        }),
        histograms: Some(Histograms {
            intended: encode_histogram(all),
            sent: encode_histogram(sent),
            connect: encode_histogram(&connect),
            ..Histograms::default()
        }),
        ..Run::default()
    }
}

/// One row of five rounds, with an interval around its cost.
pub(super) fn row(kind: &Kind, messages: u64) -> Run {
    let mut run = run(kind, 60, messages);
    let off = [1.0, 0.985, 1.01, 1.04, 0.99];
    run.rounds = (1..=5).zip(off).map(|(round, off)| of_round(&run, round, off)).collect();
    if kind.transport == "sse" {
        let third = &mut run.rounds[2].latency_from_intended_ns;
        third.p99 = third.p99.map(|ns| ns * 3 / 2);
    }
    let value = kind.cpu_ns as f64;
    run.confidence = Some(Confidence {
        runs: 5,
        is_server_restarted: true,
        server_cpu_ns_per_message: Some(Estimate {
            value,
            low: (value * 0.972).round(),
            high: (value * 1.031).round(),
        }),
        ..Confidence::default()
    });
    run.direction = Some("both".to_owned());
    let is_polling = kind.transport.ends_with("poll");
    run.requests_per_message = is_polling.then_some(1.0);
    run
}

fn of_round(run: &Run, round: u32, off: f64) -> Round {
    let cpu = run.server.and_then(|server| server.cpu_ns_per_message);
    let mut latency = run.latency_from_intended_ns;
    latency.p99 = latency.p99.map(|ns| whole(ns as f64 * (2.0 - off)));
    Round {
        round,
        measured_ns: run.measured_ns / 5,
        messages_sent: run.messages_sent / 5,
        messages_received: run.messages_received / 5,
        messages_expected: run.messages_expected / 5,
        latency_from_intended_ns: latency,
        server_cpu_ns_per_message_raw: cpu.map(|ns| rounded(ns as f64 * off)),
        ..Round::default()
    }
}
