//! Hand-made results of every state that the page knows, with invented but consistent numbers.
//!
//! Not here: what must hold for their pages. Invariant: percentiles are those of the histograms
//! beside them, and every call makes the same.

use hdrhistogram::Histogram;
use loadgen::recorder::empty_histogram;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::bundle::encode_histogram;
use crate::random::Random;
use crate::result::{
    Agent, Check, Churn, Document, Ended, ErrorDetail, Fairness, Interval, Latency, Phases, Run,
    Slow, Storm, ThresholdResult, rounded,
};
use crate::samples;
use crate::verdict::{State, Verdict};

use super::runs::{Kind, LONG_POLL, POLL, SECOND_NS, SSE, WS, measured, row, run, whole};

/// What a server says who wants to run script in the reader's browser.
pub(super) const HOSTILE: &str = "</script><svg onload=alert(1)>\"'&";

fn document(command: &str, runs: Vec<Run>) -> Document {
    let checks = [
        ("Schedule lag p99", "0.21 ms", "at most 2 ms"),
        ("Sends picked up in time", "100 %", "at least 99.5 %"),
        ("Busiest generator thread", "61.0 %", "at most 90 %"),
        ("Sequence numbers", "0 impossible", "0"),
        ("Drift between halves, p50", "+0.8 %", "at most 5 %"),
        ("CPU steal", "0.3 %", "at most 2 %"),
        ("Clock frequency", "steady", "steady"),
    ];
    let check = |(name, measured, limit): (&str, &str, &str)| Check {
        name: name.to_owned(),
        measured: measured.to_owned(),
        limit: limit.to_owned(),
        state: State::Valid,
    };
    Document {
        command: command.to_owned(),
        runs,
        checks: checks.map(check).to_vec(),
        ..samples::document()
    }
}

fn threshold(expression: &str, shown: &str, is_met: bool) -> ThresholdResult {
    ThresholdResult {
        expression: expression.to_owned(),
        measured: None,
        shown: shown.to_owned(),
        is_met,
    }
}

fn refused() -> ErrorDetail {
    ErrorDetail {
        code: "connect.refused".to_owned(),
        count: 3,
        first_at_ns: Some(42_000_000_000),
        last_at_ns: Some(42_000_000_000),
        meaning: "The listen queue was full. All three succeeded on the second try.".to_owned(),
        cure: "sysctl -w net.core.somaxconn=4096".to_owned(),
    }
}

/// Four transports, five rounds, one of two thresholds failed.
pub(super) fn comparison() -> Document {
    static ROWS: LazyLock<Vec<Run>> =
        LazyLock::new(|| [WS, SSE, LONG_POLL, POLL].iter().map(|kind| row(kind, 2_000)).collect());
    let mut runs = ROWS.clone();
    runs[2].error_details = vec![refused()];
    runs[2].errors = BTreeMap::from([("connect.refused".to_owned(), 3)]);
    let command = "loadgen compare http://127.0.0.1:8080 -c 200 -R 10 --size 64 -d 12s --repeat 5 \
                   --threshold 'p(99)<50ms' --out html=report.html";
    let thresholds =
        vec![threshold("p(99)<50ms", "990 ms", false), threshold("errors<0.1%", "0 %", true)];
    Document { thresholds, ..document(command, runs) }
}

const RUN: &str = "loadgen run ws://10.0.0.5:8080/echo --mode echo -c 200 -R 2000 -d 60s";

/// One scenario with everything that a scenario can tell.
pub(super) fn single() -> Document {
    static RUN_OF_A_MINUTE: LazyLock<Run> = LazyLock::new(|| run(&WS, 60, 2_000));
    let mut run = Run { mode: "echo".to_owned(), ..RUN_OF_A_MINUTE.clone() };
    let short = Latency::of(&samples::histogram(200));
    let whole = Latency::of(&samples::histogram(1_200));
    run.phases = Some(Phases { tcp_ns: short, upgrade_ns: whole, first_message_ns: whole });
    run.tls_ns = Some(whole);
    run.fairness = Some(Fairness { p99_of_connections_ns: short, jain_index: Some(0.998) });
    run.slow = Some(Slow { connections: 10, bytes_per_s: 0, closed_by_server: 9 });
    run.storms = vec![Storm {
        at_ns: 30 * SECOND_NS,
        dropped: 200,
        reopened: 200,
        reopen_ns: short,
        p99_before_ns: run.latency_from_intended_ns.p99,
        recovered_after_ns: Some(4 * SECOND_NS),
    }];
    let thresholds =
        vec![threshold("p(99)<20ms", "13.1 ms", true), threshold("gaps==0", "0", true)];
    Document { thresholds, ..document(RUN, vec![run]) }
}

/// The result file beside a bundle: no histograms.
pub(super) fn plain() -> Document {
    let mut document = single();
    document.runs[0].histograms = None;
    document
}

/// A day in 3,600 intervals, each with its histogram.
pub(super) fn day() -> Document {
    let mut random = Random::from_seed(24);
    let different: Vec<(Histogram<u64>, String)> = (0..40)
        .map(|_| {
            let mut histogram = empty_histogram();
            for _ in 0..500 {
                histogram.record(WS.draw(&mut random)).unwrap();
            }
            let text = encode_histogram(&histogram);
            (histogram, text)
        })
        .collect();
    let mut all = empty_histogram();
    let mut intervals = Vec::new();
    for index in 0..3_600_u64 {
        let index_of = usize::try_from(random.below(40)).unwrap();
        let (histogram, text) = &different[index_of];
        all.add(histogram).unwrap();
        intervals.push(Interval {
            start_ns: index * 24 * SECOND_NS,
            messages_received: 2_000,
            latency_p50_ns: Some(histogram.value_at_quantile(0.5)),
            latency_p99_ns: Some(histogram.value_at_quantile(0.99)),
            latency_max_ns: Some(histogram.max()),
            connections_open: Some(200),
            histogram: Some(text.clone()),
            ..Interval::default()
        });
    }
    let mut run = measured(&WS, 86_400, &all, &all, intervals);
    run.interval_ns = Some(24 * SECOND_NS);
    run.mode = "echo".to_owned();
    document("loadgen run ws://10.0.0.5:8080/echo --mode echo -c 200 -R 100 -d 24h", vec![run])
}

/// The generator was close to its limits in one row.
pub(super) fn suspect() -> Document {
    let mut document = comparison();
    let reason = "sse: CPU steal 4.1 % is above 2 %; run on a machine of your own";
    document.verdict = Verdict { state: State::Suspect, reasons: vec![reason.to_owned()] };
    document.checks[5].state = State::Suspect;
    document.checks[5].measured = "4.1 %".to_owned();
    document
}

/// The generator was the limit.
pub(super) fn invalid() -> Document {
    let mut document = single();
    let reasons = [
        "generator thread 2 was 99 % busy; use --threads 4 or less --rate",
        "schedule lag p99 31 ms is above 2 ms; lower --rate, add --threads, or free a processor",
    ];
    let reasons = reasons.map(str::to_owned).to_vec();
    document.verdict = Verdict { state: State::Invalid, reasons };
    for (index, measured) in [(0, "31 ms"), (2, "99.0 %")] {
        document.checks[index].state = State::Invalid;
        document.checks[index].measured = measured.to_owned();
    }
    document
}

/// Ctrl-C at 0:38 of 1:00.
pub(super) fn interrupted() -> Document {
    let run = Run { mode: "echo".to_owned(), ..run(&WS, 38, 2_000) };
    Document { ended: Ended::Interrupted, ..document(RUN, vec![run]) }
}

/// Too few messages for most percentiles.
pub(super) fn insufficient() -> Document {
    let mut run = run(&WS, 1, 2_000);
    let few = samples::histogram(60);
    let latency = Latency::of(&few);
    (run.latency_from_intended_ns, run.latency_from_sent_ns) = (latency, latency);
    (run.messages_sent, run.messages_received, run.messages_expected) = (60, 60, 60);
    run.histograms = None;
    run.intervals = (0..4)
        .map(|second| Interval {
            start_ns: second * SECOND_NS,
            messages_received: 15,
            latency_max_ns: latency.max,
            connections_open: Some(200),
            ..Interval::default()
        })
        .collect();
    run.mode = "echo".to_owned();
    let reason = "60 samples are too few for p99: it needs 1 000".to_owned();
    let verdict = Verdict { state: State::Suspect, reasons: vec![reason] };
    let command = format!("{RUN} --quick");
    Document { verdict, ..document(&command, vec![run]) }
}

/// Not one message arrived.
pub(super) fn nothing() -> Document {
    let run = Run {
        transport: "ws".to_owned(),
        mode: "echo".to_owned(),
        connections: 200,
        size_bytes: 64,
        offered_per_s: Some(2_000.0),
        achieved_per_s: Some(0.0),
        measured_ns: 10 * SECOND_NS,
        messages_sent: 20_000,
        messages_expected: 20_000,
        gaps: 20_000,
        errors: BTreeMap::from([("connect.refused".to_owned(), 3)]),
        error_details: vec![refused()],
        ..Run::default()
    };
    Document { ended: Ended::Aborted, ..document(RUN, vec![run]) }
}

/// Nobody said where the server is.
pub(super) fn no_server() -> Document {
    let mut document = comparison();
    for run in &mut document.runs {
        (run.server, run.confidence) = (None, None);
        run.rounds.iter_mut().for_each(|round| round.server_cpu_ns_per_message_raw = None);
    }
    document.thresholds.clear();
    document
}

/// Twenty rows: polling at seventeen intervals.
pub(super) fn twenty() -> Document {
    let mut runs: Vec<Run> = [WS, SSE, LONG_POLL].iter().map(|kind| row(kind, 200)).collect();
    for index in 1..=17_u64 {
        let poll = Kind {
            poll_interval_ns: Some(index * 100_000_000),
            median_ms: index as f64 * 50.0,
            cpu_ns: 23_900 / i64::try_from(index).unwrap(),
            ..POLL
        };
        runs.push(row(&poll, 200));
    }
    document("loadgen compare http://127.0.0.1:8080 --poll-interval 100ms", runs)
}

/// Twelve agents, one of them lost.
pub(super) fn agents() -> Document {
    let mut document = single();
    let run = &mut document.runs[0];
    let off = [1.0, 1.02, 0.97, 1.01, 0.99, 1.03, 1.31, 1.0, 0.98, 1.02, 0.88, 1.0];
    run.agents = (1..)
        .zip(off)
        .map(|(number, off)| {
            let mut latency = run.latency_from_intended_ns;
            latency.p99 = latency.p99.map(|ns| whole(ns as f64 * off));
            Agent {
                name: format!("load-{number}"),
                connections: 17,
                messages_sent: 10_000,
                messages_received: 10_000,
                latency_from_intended_ns: latency,
                schedule_lag_ns: Latency::of(&samples::histogram(2_000)),
                cpu_ns_per_message: Some(rounded(1_400.0 / off)),
                clock_offset_ns: Some(number * 12_000 - 80_000),
                clock_bound_ns: Some(90_000),
                failure: None,
            }
        })
        .collect();
    run.agents[11].failure = Some("not heard of since 0:41".to_owned());
    document
}

/// Every text that comes from outside is an attack.
pub(super) fn hostile() -> Document {
    let mut document = single();
    let text = HOSTILE.to_owned();
    document.command = format!("loadgen run ws://h/{HOSTILE}");
    document.commit = Some(text.clone());
    document.verdict = Verdict { state: State::Suspect, reasons: vec![text.clone()] };
    document.labels = BTreeMap::from([(text.clone(), text.clone())]);
    document.thresholds = vec![threshold(HOSTILE, HOSTILE, false)];
    document.checks[0].name = text.clone();
    document.checks[0].measured = text.clone();
    document.machine.cpu_model = Some(text.clone());
    let run = &mut document.runs[0];
    run.transport = text.clone();
    run.mode = text.clone();
    run.failure = Some(text.clone());
    run.errors = BTreeMap::from([(text.clone(), 9)]);
    run.error_details = vec![ErrorDetail {
        code: format!("connect.{HOSTILE}"),
        meaning: text.clone(),
        cure: text.clone(),
        ..refused()
    }];
    run.agents = vec![
        Agent { name: text.clone(), ..Agent::default() },
        Agent { name: text.clone(), failure: Some(text), ..Agent::default() },
    ];
    document
}

/// Connections only: opened and closed as fast as asked.
pub(super) fn churn() -> Document {
    let mut run = Run { mode: "churn".to_owned(), ..run(&WS, 20, 100) };
    (run.latency_from_intended_ns, run.histograms) = (Latency::default(), None);
    run.latency_from_sent_ns = Latency::default();
    for interval in &mut run.intervals {
        (interval.latency_p50_ns, interval.latency_p99_ns) = (None, None);
        interval.latency_max_ns = None;
    }
    run.churn = Some(Churn {
        cycles: 12_000,
        cycles_per_s: Some(600.0),
        cycle_ns: Latency::of(&samples::histogram(12_000)),
    });
    document("loadgen run ws://10.0.0.5:8080/echo --mode churn -R 600 -d 20s", vec![run])
}

/// Connections held open.
pub(super) fn idle() -> Document {
    let mut document = churn();
    let run = &mut document.runs[0];
    (run.mode, run.churn) = ("idle".to_owned(), None);
    (run.wire_share, run.tcp, run.wire_bytes_per_message) = (None, None, None);
    (run.offered_per_s, run.achieved_per_s) = (None, None);
    (run.messages_received, run.messages_expected) = (0, 0);
    if let Some(server) = &mut run.server {
        (server.cpu_ns_per_message, server.cpu_ns_per_message_raw) = (None, None);
    }
    document.command = "loadgen run ws://10.0.0.5:8080/echo --mode idle -d 20s".to_owned();
    document
}

/// All of them, by name.
pub(super) fn all() -> Vec<(&'static str, Document)> {
    vec![
        ("comparison", comparison()),
        ("single", single()),
        ("plain", plain()),
        ("day", day()),
        ("suspect", suspect()),
        ("invalid", invalid()),
        ("interrupted", interrupted()),
        ("insufficient", insufficient()),
        ("nothing", nothing()),
        ("no-server", no_server()),
        ("twenty", twenty()),
        ("agents", agents()),
        ("hostile", hostile()),
        ("churn", churn()),
        ("idle", idle()),
    ]
}
