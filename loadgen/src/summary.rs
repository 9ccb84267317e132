//! From an outcome of the engine to the figures of a result: divisions, rates, percentiles.
//!
//! Pure functions. Costs are divided by what was delivered *in* the window, as they are taken
//! from the window; rates and losses are of the window's own messages.

mod parts;
mod traffic;

use loadgen::outcome::{
    Compressed, Ended as EngineEnded, Interval as EngineInterval, Outcome, ServerCost, ServerSource,
};
use loadgen::scenario::{Mode, Scenario, Transport};

use crate::bundle::encode_histogram;
use crate::result::{
    Agreed, Compression, Confidence, Connections, Ended, Histograms, Interval, Latency, Loadgen,
    Phases, Round, Run, Server, Source, per, rounded,
};
use crate::stats;

/// The figures of one outcome of `scenario`.
pub(crate) fn run(scenario: &Scenario, outcome: &Outcome) -> Run {
    let is_poll = scenario.transport == Transport::Poll;
    let interval_ns = u64::try_from(scenario.poll_interval.as_nanos()).unwrap_or(u64::MAX);
    let delivered = outcome.deliveries_in_window;
    let wire_bytes = outcome.wire_bytes_sent + outcome.wire_bytes_received;
    let connections = u64::from(outcome.connections_open);
    let is_churn = scenario.mode == Mode::Churn;
    let opened = if is_churn { outcome.connect.len() } else { connections };
    let setup_bytes = outcome.setup_bytes_sent + outcome.setup_bytes_received;
    let is_closed_loop = scenario.rate_per_s.is_none() && scenario.mode == Mode::Echo;
    Run {
        transport: scenario.transport.name().to_owned(),
        mode: scenario.mode.name().to_owned(),
        connections: u64::from(scenario.connections),
        in_flight: scenario.in_flight.or_else(|| is_closed_loop.then_some(1)).map(u64::from),
        poll_interval_ns: is_poll.then_some(interval_ns),
        size_bytes: u64::try_from(scenario.size_bytes).unwrap_or(u64::MAX),
        measured_ns: outcome.measured_ns,
        offered_per_s: offered_per_s(scenario),
        achieved_per_s: achieved_per_s(scenario, outcome),
        messages_sent: outcome.messages_sent,
        messages_received: outcome.messages_received,
        messages_expected: outcome.messages_expected,
        gaps: outcome.gaps,
        duplicates: outcome.duplicates,
        reordered: outcome.reordered,
        corrupted: outcome.corrupted,
        connection_counts: Connections {
            open: connections,
            refused: u64::from(outcome.connections_refused),
            lost: u64::from(outcome.connections_lost),
            reopened: outcome.reconnects,
        },
        requests: matches!(scenario.transport, Transport::LongPoll | Transport::Poll)
            .then_some(outcome.requests),
        messages_other: scenario.speech.is_foreign().then_some(outcome.other),
        errors: outcome.errors.clone(),
        latency_from_intended_ns: Latency::of(&outcome.intended),
        latency_from_sent_ns: Latency::of(&outcome.sent),
        connect_ns: Latency::of(&outcome.connect),
        send_blocked_ns: Latency::of(&outcome.send_blocked),
        wire_bytes_sent: outcome.wire_bytes_sent,
        wire_bytes_received: outcome.wire_bytes_received,
        wire_bytes_per_message: per(wire_bytes, delivered),
        setup_bytes_per_connection: per(setup_bytes, opened).map(rounded),
        server: outcome.server.map(|cost| server(&cost, delivered, connections)),
        loadgen: generator(outcome),
        intervals: intervals(outcome),
        tls_ns: outcome.tls.as_ref().map(|tls| Latency::of(&tls.time)),
        tls_resumed: outcome.tls.as_ref().map(|tls| tls.resumed),
        compression: outcome.compression.as_ref().map(compression),
        histograms: Some(histograms(outcome)),
        interval_ns: interval_length_ns(outcome),
        phases: Some(Phases {
            tcp_ns: Latency::of(&outcome.tcp),
            upgrade_ns: Latency::of(&outcome.upgrade),
            first_message_ns: Latency::of(&outcome.first_message),
        }),
        fairness: parts::fairness(outcome),
        tcp: parts::tcp(outcome),
        wire_share: parts::wire_share(outcome),
        error_details: parts::error_details(outcome),
        arrival: traffic::arrival(scenario),
        stages: traffic::stages(scenario),
        storms: traffic::storms(scenario, outcome),
        churn: traffic::churn(scenario, outcome),
        slow: traffic::slow(scenario, outcome),
        ..Run::default()
    }
}

/// Messages (fan-out: deliveries) a second that the schedule asks for.
fn offered_per_s(scenario: &Scenario) -> Option<f64> {
    let rate = scenario.rate_per_s?.events_per_s();
    Some(match scenario.mode {
        Mode::Fanout => {
            // Slow readers are counted apart.
            let is_slow = |number| scenario.traffic.slow.is_some_and(|slow| slow.includes(number));
            let slow = (0..scenario.connections).map(|number| u32::from(is_slow(number))).sum();
            let quick = scenario.connections.saturating_sub(slow);
            rate * f64::from(quick) / f64::from(scenario.channels)
        }
        Mode::Echo | Mode::Idle | Mode::Churn => rate,
    })
}

fn achieved_per_s(scenario: &Scenario, outcome: &Outcome) -> Option<f64> {
    let is_measured = scenario.mode != Mode::Idle || scenario.rate_per_s.is_some();
    let per_ns = per(outcome.messages_received, outcome.measured_ns);
    per_ns.filter(|_| is_measured).map(|per_ns| per_ns * 1e9)
}

fn server(cost: &ServerCost, delivered: u64, connections: u64) -> Server {
    let cpu_ns_per_message = per(cost.cpu_ns, delivered).map(rounded);
    Server {
        cpu_ns_per_message,
        cpu_ns_per_message_raw: cpu_ns_per_message,
        cpu_ns: Some(cost.cpu_ns),
        rss_bytes: Some(cost.rss_after_bytes),
        rss_bytes_per_connection: rss_bytes_per_connection(cost, connections),
        source: match cost.source {
            ServerSource::Process => Source::Pid,
            ServerSource::Group => Source::Cgroup,
            ServerSource::Metrics => Source::Prometheus,
        },
    }
}

/// What the connections added to a server's memory; `None` if it shows no growth, as after an
/// earlier run, whose memory is used again.
pub(crate) fn rss_bytes_per_connection(cost: &ServerCost, connections: u64) -> Option<u64> {
    let grown = cost.rss_connected_bytes.checked_sub(cost.rss_before_bytes)?;
    (grown > 0 && connections > 0).then(|| grown / connections)
}

fn compression(compressed: &Compressed) -> Compression {
    Compression {
        connections: compressed.connections,
        messages_sent: compressed.messages_sent,
        messages_received: compressed.messages_received,
        agreed: compressed.agreed.map(|deflate| Agreed {
            server_window_bits: deflate.server_window_bits,
            client_window_bits: deflate.client_window_bits,
            server_no_context_takeover: deflate.server_no_context_takeover,
            client_no_context_takeover: deflate.client_no_context_takeover,
        }),
    }
}

fn generator(outcome: &Outcome) -> Loadgen {
    let shares = outcome.generator.thread_busy_share.iter().copied();
    Loadgen {
        cpu_ns_per_message: per(outcome.generator.cpu_ns, outcome.deliveries_in_window)
            .map(rounded),
        rss_bytes: outcome.generator.rss_bytes,
        thread_busy_share_max: shares.reduce(f64::max),
        schedule_lag_ns: Latency::of(&outcome.schedule_lag),
    }
}

fn histograms(outcome: &Outcome) -> Histograms {
    Histograms {
        intended: encode_histogram(&outcome.intended),
        sent: encode_histogram(&outcome.sent),
        connect: encode_histogram(&outcome.connect),
        schedule_lag: encode_histogram(&outcome.schedule_lag),
        send_blocked: encode_histogram(&outcome.send_blocked),
    }
}

fn intervals(outcome: &Outcome) -> Vec<Interval> {
    let of = |interval: &EngineInterval| Interval {
        start_ns: interval.start_ns,
        messages_sent: interval.sent,
        messages_received: interval.received,
        errors: interval.errors,
        latency_p50_ns: interval.p50_ns,
        latency_p99_ns: interval.p99_ns,
        latency_max_ns: interval.max_ns,
        connections_open: interval.connections_open.map(u64::from),
        histogram: Some(encode_histogram(&interval.latencies.histogram())),
    };
    outcome.intervals.iter().map(of).collect()
}

/// How long an interval is: the longest, as the last may be cut short.
fn interval_length_ns(outcome: &Outcome) -> Option<u64> {
    outcome.intervals.iter().map(|interval| interval.length_ns).max()
}

/// One block of a comparison.
pub(crate) fn round(number: u32, outcome: &Outcome) -> Round {
    let delivered = outcome.deliveries_in_window;
    let connections = u64::from(outcome.connections_open);
    let server = outcome.server.as_ref();
    let wire_bytes = outcome.wire_bytes_sent + outcome.wire_bytes_received;
    Round {
        round: number,
        measured_ns: outcome.measured_ns,
        messages_sent: outcome.messages_sent,
        messages_received: outcome.messages_received,
        messages_expected: outcome.messages_expected,
        gaps: outcome.gaps,
        latency_from_intended_ns: Latency::of(&outcome.intended),
        wire_bytes_per_message: per(wire_bytes, delivered),
        requests_per_message: per(outcome.requests, delivered),
        server_cpu_ns_per_message_raw: server
            .and_then(|cost| per(cost.cpu_ns, delivered).map(rounded)),
        server_rss_bytes_per_connection: server
            .and_then(|cost| rss_bytes_per_connection(cost, connections)),
        failure: None,
    }
}

/// How far the figures would move, from those of each repetition that came to its end.
#[expect(clippy::cast_precision_loss, reason = "figures of a few digits")]
pub(crate) fn confidence(rounds: &[Round], is_server_restarted: bool) -> Confidence {
    let measured = || rounds.iter().filter(|round| round.failure.is_none());
    let over = |figure: &dyn Fn(&Round) -> Option<f64>| {
        let figures: Option<Vec<f64>> = measured().map(figure).collect();
        stats::median(&figures?)
    };
    let latency = |percentile: fn(&Latency) -> Option<u64>| {
        over(&move |round| percentile(&round.latency_from_intended_ns).map(|ns| ns as f64))
    };
    Confidence {
        runs: u32::try_from(measured().count()).unwrap_or(u32::MAX),
        is_server_restarted,
        p50_ns: latency(|all| all.p50),
        p99_ns: latency(|all| all.p99),
        p99_9_ns: latency(|all| all.p99_9),
        achieved_per_s: over(&|round| {
            per(round.messages_received, round.measured_ns).map(|per_ns| per_ns * 1e9)
        }),
        server_cpu_ns_per_message: over(&|round| {
            round.server_cpu_ns_per_message_raw.map(|ns| ns as f64)
        }),
    }
}

/// How the engine says it ended.
pub(crate) const fn ended(ended: EngineEnded) -> Ended {
    match ended {
        EngineEnded::Completed => Ended::Completed,
        EngineEnded::Interrupted => Ended::Interrupted,
        EngineEnded::Aborted => Ended::Aborted,
    }
}

/// Seconds of a further round begin where those before end.
fn follow(into: &mut Vec<EngineInterval>, other: &[EngineInterval]) {
    let offset_ns = into.iter().map(|interval| interval.length_ns).sum::<u64>();
    into.extend(other.iter().map(|interval| EngineInterval {
        start_ns: offset_ns + interval.start_ns,
        ..interval.clone()
    }));
}

/// Adds the histograms of a further round.
fn merge_histograms(into: &mut Outcome, other: &Outcome) {
    let histograms = [
        (&mut into.intended, &other.intended),
        (&mut into.sent, &other.sent),
        (&mut into.connect, &other.connect),
        (&mut into.tcp, &other.tcp),
        (&mut into.upgrade, &other.upgrade),
        (&mut into.p99_of_connections, &other.p99_of_connections),
        (&mut into.first_message, &other.first_message),
        (&mut into.schedule_lag, &other.schedule_lag),
        (&mut into.send_blocked, &other.send_blocked),
    ];
    for (into, other) in histograms {
        // Adding fails only for values beyond a fixed range, and the engine's all have the same.
        let _ = into.add(other);
    }
}

/// Adds the outcome of a further round: counts and histograms add, memory and shares keep the
/// greater, seconds follow one another.
pub(crate) fn merge(into: &mut Outcome, other: &Outcome) {
    merge_histograms(into, other);
    let counts = [
        (&mut into.messages_sent, other.messages_sent),
        (&mut into.messages_received, other.messages_received),
        (&mut into.messages_expected, other.messages_expected),
        (&mut into.gaps, other.gaps),
        (&mut into.duplicates, other.duplicates),
        (&mut into.reordered, other.reordered),
        (&mut into.corrupted, other.corrupted),
        (&mut into.impossible, other.impossible),
        (&mut into.other, other.other),
        (&mut into.deliveries_in_window, other.deliveries_in_window),
        (&mut into.wire_bytes_sent, other.wire_bytes_sent),
        (&mut into.wire_bytes_received, other.wire_bytes_received),
        (&mut into.publisher_wire_bytes_sent, other.publisher_wire_bytes_sent),
        (&mut into.publisher_wire_bytes_received, other.publisher_wire_bytes_received),
        (&mut into.setup_bytes_sent, other.setup_bytes_sent),
        (&mut into.setup_bytes_received, other.setup_bytes_received),
        (&mut into.requests, other.requests),
        (&mut into.measured_ns, other.measured_ns),
        (&mut into.offered_count, other.offered_count),
        (&mut into.picked_up_count, other.picked_up_count),
        (&mut into.sent_count, other.sent_count),
        (&mut into.generator.cpu_ns, other.generator.cpu_ns),
        (&mut into.reconnects, other.reconnects),
    ];
    for (into, other) in counts {
        *into += other;
    }
    into.payload_bytes += other.payload_bytes;
    into.error_details.extend_from_slice(&other.error_details);
    // Which sockets of several rounds the kernel counted is only told where all rounds have it.
    into.sockets = into.sockets.zip(other.sockets).map(|(mut sum, other)| {
        sum.add(&other);
        sum
    });
    into.connections_open += other.connections_open;
    into.connections_refused += other.connections_refused;
    into.connections_lost += other.connections_lost;
    for (code, count) in &other.errors {
        *into.errors.entry(code.clone()).or_default() += count;
    }
    follow(&mut into.intervals, &other.intervals);
    into.generator.rss_bytes = into.generator.rss_bytes.max(other.generator.rss_bytes);
    let shares = into.generator.thread_busy_share.iter_mut();
    for (into, other) in shares.zip(&other.generator.thread_busy_share) {
        *into = into.max(*other);
    }
    if let (Some(into), Some(other)) = (&mut into.tls, &other.tls) {
        // As above: the ranges are the same.
        let _ = into.time.add(&other.time);
        into.resumed += other.resumed;
    }
    if let (Some(into), Some(other)) = (&mut into.compression, &other.compression) {
        into.add(other);
    }
    into.server = merged_server(into.server, other.server);
    if into.ended == EngineEnded::Completed {
        into.ended = other.ended;
    }
}

/// Processor time adds; so does memory, as the connections of the rounds are added too.
fn merged_server(one: Option<ServerCost>, other: Option<ServerCost>) -> Option<ServerCost> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(ServerCost {
        cpu_ns: one.cpu_ns + other.cpu_ns,
        rss_before_bytes: one.rss_before_bytes + other.rss_before_bytes,
        rss_connected_bytes: one.rss_connected_bytes + other.rss_connected_bytes,
        rss_after_bytes: one.rss_after_bytes.max(other.rss_after_bytes),
        source: one.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::scenario;
    use crate::samples;
    use loadgen::outcome::{Deflate, Handshakes};
    use loadgen::scenario::{Rate, SlowReaders, Transport};

    fn fanout() -> Scenario {
        let rate_per_s = Rate::per_second(20);
        Scenario { transport: Transport::Sse, connections: 200, rate_per_s, ..scenario() }
    }

    #[test]
    fn costs_are_per_delivery_and_rates_per_second() {
        let run = run(&fanout(), &samples::outcome());
        assert_eq!(run.offered_per_s, Some(4_000.0));
        assert_eq!(run.achieved_per_s, Some(4_000.0));
        let mut some_slow = fanout();
        let (share_ppm, bytes_per_s) = (100_000, 0);
        some_slow.traffic.slow = Some(SlowReaders { share_ppm, bytes_per_s });
        assert_eq!(offered_per_s(&some_slow), Some(3_600.0), "they are counted apart");
        assert_eq!(run.wire_bytes_per_message, Some(66.0));
        assert_eq!(run.setup_bytes_per_connection, Some(420));
        let server = run.server.unwrap();
        assert_eq!(server.cpu_ns_per_message, Some(5_000));
        assert_eq!(server.cpu_ns_per_message_raw, Some(5_000));
        assert_eq!(server.rss_bytes_per_connection, Some(2_048));
        assert_eq!(run.loadgen.cpu_ns_per_message, Some(2_000));
        assert_eq!(run.poll_interval_ns, None);
        assert_eq!(run.in_flight, None);
        assert_eq!(run.intervals[3].start_ns, 3_000_000_000);
        assert_eq!(run.latency_from_intended_ns.p99_99, None);
        assert!(run.latency_from_intended_ns.p99_9.is_some());
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let outcome = Outcome { server: None, deliveries_in_window: 0, ..samples::outcome() };
        let run = run(&fanout(), &outcome);
        assert_eq!(run.server, None);
        assert_eq!(run.wire_bytes_per_message, None);
        assert_eq!(run.loadgen.cpu_ns_per_message, None);
    }

    #[test]
    fn what_was_agreed_on_is_told_and_rounds_add_up() {
        let compressed =
            Compressed { connections: 3, agreed: None, messages_sent: 1, messages_received: 2 };
        let tls = Some(Handshakes { time: samples::histogram(50), resumed: 3 });
        let mut one =
            Outcome { compression: Some(compressed), tls: tls.clone(), ..samples::outcome() };
        assert_eq!(run(&fanout(), &one).compression.unwrap().agreed, None);
        let agreed = Deflate {
            server_window_bits: 15,
            client_window_bits: 9,
            server_no_context_takeover: true,
            client_no_context_takeover: false,
        };
        let compressed = Compressed { agreed: Some(agreed), ..compressed };
        merge(&mut one, &Outcome { compression: Some(compressed), tls, ..samples::outcome() });
        let tls_ns = run(&fanout(), &one).tls_ns.unwrap();
        assert_eq!((tls_ns.count, run(&fanout(), &one).tls_resumed), (100, Some(6)));
        let told = run(&fanout(), &one).compression.unwrap();
        let counts = (told.connections, told.messages_sent, told.messages_received);
        assert_eq!(counts, (6, 2, 4));
        assert_eq!(told.agreed.unwrap().client_window_bits, 9);
        assert_eq!(run(&fanout(), &samples::outcome()).compression, None);
    }

    #[test]
    fn five_rounds_have_an_interval_and_four_have_none() {
        let rounds: Vec<Round> = (1..=5)
            .map(|number| Round {
                server_cpu_ns_per_message_raw: Some(i64::from(number) * 1_000),
                ..round(number, &samples::outcome())
            })
            .collect();
        let all = confidence(&rounds, true);
        assert_eq!((all.runs, all.is_server_restarted), (5, true));
        let cpu = all.server_cpu_ns_per_message.unwrap();
        assert_eq!((cpu.low, cpu.value, cpu.high), (1_000.0, 3_000.0, 5_000.0));
        assert_eq!(all.achieved_per_s.unwrap().value, 4_000.0);
        // Of 16,000 samples there is a p99.9.
        assert!(all.p99_9_ns.is_some());
        let mut one_failed = rounds;
        one_failed[2] = Round::failed(3, "lost");
        let fewer = confidence(&one_failed, true);
        assert_eq!((fewer.runs, fewer.p50_ns), (4, None));
    }

    #[test]
    fn memory_that_did_not_grow_says_nothing() {
        let cost = samples::outcome().server.unwrap();
        assert_eq!(rss_bytes_per_connection(&cost, 0), None);
        let shrunk = ServerCost { rss_before_bytes: cost.rss_connected_bytes + 1, ..cost };
        assert_eq!(rss_bytes_per_connection(&shrunk, 200), None);
    }

    #[test]
    fn a_closed_echo_has_one_in_flight_unless_told() {
        let echo = Scenario { mode: Mode::Echo, rate_per_s: None, ..fanout() };
        assert_eq!(run(&echo, &samples::outcome()).in_flight, Some(1));
        let told = Scenario { in_flight: Some(4), ..echo };
        assert_eq!(run(&told, &samples::outcome()).in_flight, Some(4));
    }

    #[test]
    fn merging_adds_histograms_and_counts() {
        let mut sum = samples::outcome();
        let mut second = samples::outcome();
        second.ended = EngineEnded::Interrupted;
        second.errors.insert("close.1006".to_owned(), 2);
        second.generator.thread_busy_share = vec![0.5];
        merge(&mut sum, &second);
        assert_eq!(sum.intended.len(), 32_000);
        assert_eq!((sum.messages_sent, sum.messages_received), (160, 32_000));
        assert_eq!(sum.measured_ns, 8_000_000_000);
        assert_eq!(sum.generator.thread_busy_share, [0.5]);
        assert_eq!(sum.errors["close.1006"], 2);
        assert_eq!(sum.intervals.len(), 8);
        assert_eq!(sum.ended, EngineEnded::Interrupted);
        let merged = run(&fanout(), &sum);
        let single = run(&fanout(), &samples::outcome());
        assert_eq!(merged.achieved_per_s, single.achieved_per_s);
        assert_eq!(merged.server.unwrap().cpu_ns_per_message, Some(5_000));
        assert_eq!(merged.server.unwrap().rss_bytes_per_connection, Some(2_048));
    }
}
