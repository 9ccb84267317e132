//! Several results of one plan as one: parts that ran side by side, as agents' do.
//!
//! Pure. Invariants: histograms are added and percentiles taken from the sum, never averaged;
//! counts and rates add; intervals line up by their start; what cannot be added is left out, and
//! so is "not measured". Whether the parts ran at the same time is the caller's to know.

mod series;

use loadgen::outcome::Failure;
use std::collections::BTreeMap;

use self::series::{Sums, intervals};
use crate::result::{
    Agent, Churn, Compression, Connections, Document, Ended, ErrorDetail, Fairness, Latency,
    Loadgen, Phases, PublishToNobody, Run, Server, Slow, Stage, Storm, Tcp, WireShare, rounded,
};
use crate::verdict::Verdict;

/// One result of `parts`, which measured the same scenario at the same time.
///
/// # Errors
/// Code 104 when there is none, when scenarios differ, or when histograms are missing or damaged.
pub(crate) fn merge(parts: Vec<Document>) -> Result<Document, Failure> {
    let Some(first) = parts.first() else {
        return Err(Failure::configuration("there is nothing to merge"));
    };
    if parts.len() == 1 {
        return Ok(first.clone());
    }
    check(&parts)?;
    let mut whole = first.clone();
    (whole.verdict, whole.checks) = (Verdict::valid(), Vec::new());
    whole.findings = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        let name = format!("part {number}");
        whole.verdict.merge(&name, part.verdict.clone());
        for check in &part.checks {
            let mut check = check.clone();
            check.name = format!("{name}: {}", check.name);
            whole.checks.push(check);
        }
        let found = part.findings.iter().map(|finding| format!("{name}: {finding}"));
        whole.findings.extend(found);
        whole.started_at = whole.started_at.min(part.started_at.clone());
        whole.ended = worse(whole.ended, part.ended);
        for (label, value) in &part.labels {
            whole.labels.entry(label.clone()).or_insert_with(|| value.clone());
        }
    }
    whole.publish_to_nobody =
        fold(parts.iter().map(|part| part.publish_to_nobody), publish_to_nobody);
    whole.runs = (0..first.runs.len())
        .map(|index| run(&parts.iter().map(|part| &part.runs[index]).collect::<Vec<_>>()))
        .collect::<Result<_, _>>()?;
    Ok(whole)
}

/// Refuses what does not belong together.
fn check(parts: &[Document]) -> Result<(), Failure> {
    let wrong = |number: usize, what: &str| {
        Err(Failure::configuration(format!("result {number} cannot be added to the first: {what}")))
    };
    let first = &parts[0];
    for (number, part) in (1..).zip(parts) {
        if part.runs.len() != first.runs.len() {
            return wrong(number, "it has another number of rows");
        }
        for (run, of_first) in part.runs.iter().zip(&first.runs) {
            if let Some(what) = difference(run, of_first) {
                return wrong(number, &what);
            }
            if run.histograms.is_none() && run.failure.is_none() {
                let cure = "percentiles cannot be added, so merging needs bundles: measure with \
                            --out bundle=PATH";
                return Err(Failure::configuration(format!(
                    "result {number} has no histograms; {cure}"
                )));
            }
        }
    }
    Ok(())
}

/// What makes two rows answers to different questions, if anything.
fn difference(one: &Run, other: &Run) -> Option<String> {
    let number = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), |ns| ns.to_string());
    let fields = [
        ("transport", one.transport.clone(), other.transport.clone()),
        ("mode", one.mode.clone(), other.mode.clone()),
        ("size_bytes", one.size_bytes.to_string(), other.size_bytes.to_string()),
        ("in_flight", number(one.in_flight), number(other.in_flight)),
        ("poll_interval_ns", number(one.poll_interval_ns), number(other.poll_interval_ns)),
        ("arrival", arrival(one), arrival(other)),
        ("stages", stages(one), stages(other)),
        ("slow.bytes_per_s", number(slow_rate(one)), number(slow_rate(other))),
    ];
    // A part that was stopped has had the first of them only.
    let other_storm = one.storms.iter().zip(&other.storms).find(|(a, b)| a.at_ns != b.at_ns);
    if let Some((own, first)) = other_storm {
        return Some(format!(
            "it has a storm at {} ns, the first at {} ns",
            own.at_ns, first.at_ns
        ));
    }
    let differing = fields.into_iter().find(|(_, one, other)| one != other);
    differing.map(|(name, one, other)| format!("its {name} is {one}, the first's {other}"))
}

fn arrival(run: &Run) -> String {
    run.arrival.clone().unwrap_or_else(|| "constant".to_owned())
}

fn stages(run: &Run) -> String {
    let told = |stage: &Stage| format!("{} ns to {}/s", stage.lasts_ns, stage.rate_per_s);
    match run.stages.as_slice() {
        [] => "none".to_owned(),
        stages => stages.iter().map(told).collect::<Vec<_>>().join(", "),
    }
}

fn slow_rate(run: &Run) -> Option<u64> {
    run.slow.map(|slow| slow.bytes_per_s)
}

/// One row out of every part's.
fn run(parts: &[&Run]) -> Result<Run, Failure> {
    let mut whole = parts[0].clone();
    for part in &parts[1..] {
        add_counts(&mut whole, part);
    }
    let sums = Sums::of(parts)?;
    whole.histograms = Some(sums.encoded());
    whole.latency_from_intended_ns = Latency::of(&sums.intended);
    whole.latency_from_sent_ns = Latency::of(&sums.sent);
    whole.connect_ns = Latency::of(&sums.connect);
    whole.send_blocked_ns = Latency::of(&sums.send_blocked);
    (whole.intervals, whole.interval_ns) = intervals(parts)?;
    let deliveries: Vec<u64> = parts.iter().map(|part| deliveries(part)).collect();
    let weighted = |figure: &dyn Fn(&Run) -> Option<f64>| {
        weighted_mean(parts.iter().map(|part| figure(part)).zip(&deliveries))
    };
    whole.wire_bytes_per_message = weighted(&|run| run.wire_bytes_per_message);
    whole.requests_per_message = weighted(&|run| run.requests_per_message);
    let open = parts.iter().map(|part| part.connection_counts.open).collect::<Vec<_>>();
    #[expect(clippy::cast_precision_loss, reason = "bytes of one connection's set-up")]
    let setup = parts.iter().map(|part| part.setup_bytes_per_connection.map(|bytes| bytes as f64));
    whole.setup_bytes_per_connection = weighted_mean(setup.zip(&open)).map(rounded);
    whole.server = server(parts, deliveries.iter().sum());
    whole.loadgen = Loadgen {
        cpu_ns_per_message: weighted(&|run| run.loadgen.cpu_ns_per_message.map(to_f64))
            .map(rounded),
        rss_bytes: all(parts.iter().map(|part| part.loadgen.rss_bytes), u64::saturating_add),
        thread_busy_share_max: fold(
            parts.iter().map(|part| part.loadgen.thread_busy_share_max),
            f64::max,
        ),
        schedule_lag_ns: Latency::of(&sums.schedule_lag),
    };
    whole.tcp = fold(parts.iter().map(|part| part.tcp), tcp).map(|tcp| Tcp {
        wire_bytes_per_message: weighted(&|run| run.tcp?.wire_bytes_per_message),
        ..tcp
    });
    let share = |figure: fn(&WireShare) -> Option<f64>| {
        weighted(&move |run: &Run| figure(run.wire_share.as_ref()?))
    };
    whole.wire_share = whole.wire_share.map(|_| WireShare {
        payload_bytes: share(|share| share.payload_bytes),
        protocol_bytes: share(|share| share.protocol_bytes),
        tcp_ip_bytes: share(|share| share.tcp_ip_bytes),
    });
    whole.fairness = fairness(parts);
    whole.agents = agents(parts);
    // These rest on one machine's rounds, or on a theory of one.
    (whole.rounds, whole.confidence, whole.theory, whole.residual) = (Vec::new(), None, None, None);
    Ok(whole)
}

/// What adds up without a second look.
fn add_counts(whole: &mut Run, part: &Run) {
    for (whole, part) in [
        (&mut whole.connections, part.connections),
        (&mut whole.messages_sent, part.messages_sent),
        (&mut whole.messages_received, part.messages_received),
        (&mut whole.messages_expected, part.messages_expected),
        (&mut whole.gaps, part.gaps),
        (&mut whole.duplicates, part.duplicates),
        (&mut whole.reordered, part.reordered),
        (&mut whole.corrupted, part.corrupted),
        (&mut whole.wire_bytes_sent, part.wire_bytes_sent),
        (&mut whole.wire_bytes_received, part.wire_bytes_received),
    ] {
        *whole = whole.saturating_add(part);
    }
    for (whole, part) in
        [(&mut whole.messages_other, part.messages_other), (&mut whole.requests, part.requests)]
    {
        *whole = [*whole, part].into_iter().flatten().reduce(u64::saturating_add);
    }
    whole.measured_ns = whole.measured_ns.max(part.measured_ns);
    whole.offered_per_s = both(whole.offered_per_s, part.offered_per_s, |one, two| one + two);
    whole.achieved_per_s = both(whole.achieved_per_s, part.achieved_per_s, |one, two| one + two);
    let (one, two) = (whole.connection_counts, part.connection_counts);
    whole.connection_counts = Connections {
        open: one.open.saturating_add(two.open),
        refused: one.refused.saturating_add(two.refused),
        lost: one.lost.saturating_add(two.lost),
        reopened: one.reopened.saturating_add(two.reopened),
    };
    add_errors(&mut whole.errors, &part.errors);
    add_details(&mut whole.error_details, &part.error_details);
    whole.tls_ns = either(whole.tls_ns, part.tls_ns, latency);
    whole.tls_resumed = either(whole.tls_resumed, part.tls_resumed, u64::saturating_add);
    whole.compression = either(whole.compression, part.compression, compression);
    whole.phases = either(whole.phases, part.phases, |one, two| Phases {
        tcp_ns: latency(one.tcp_ns, two.tcp_ns),
        upgrade_ns: latency(one.upgrade_ns, two.upgrade_ns),
        first_message_ns: latency(one.first_message_ns, two.first_message_ns),
    });
    add_storms(&mut whole.storms, &part.storms);
    whole.churn = either(whole.churn, part.churn, |one, two| Churn {
        cycles: one.cycles.saturating_add(two.cycles),
        cycles_per_s: both(one.cycles_per_s, two.cycles_per_s, |one, two| one + two),
        cycle_ns: latency(one.cycle_ns, two.cycle_ns),
    });
    whole.slow = either(whole.slow, part.slow, |one, two| Slow {
        connections: one.connections.saturating_add(two.connections),
        bytes_per_s: one.bytes_per_s,
        closed_by_server: one.closed_by_server.saturating_add(two.closed_by_server),
    });
    whole.failure = whole.failure.take().or_else(|| part.failure.clone());
}

fn add_errors(whole: &mut BTreeMap<String, u64>, part: &BTreeMap<String, u64>) {
    for (code, count) in part {
        let sum = whole.entry(code.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

fn add_details(whole: &mut Vec<ErrorDetail>, part: &[ErrorDetail]) {
    for detail in part {
        let Some(same) = whole.iter_mut().find(|one| one.code == detail.code) else {
            whole.push(detail.clone());
            continue;
        };
        same.count = same.count.saturating_add(detail.count);
        same.first_at_ns = either(same.first_at_ns, detail.first_at_ns, i64::min);
        same.last_at_ns = either(same.last_at_ns, detail.last_at_ns, i64::max);
    }
    whole.sort_by(|one, two| two.count.cmp(&one.count).then_with(|| one.code.cmp(&two.code)));
}

fn add_storms(whole: &mut Vec<Storm>, part: &[Storm]) {
    for storm in part {
        let Some(same) = whole.iter_mut().find(|one| one.at_ns == storm.at_ns) else {
            whole.push(*storm);
            continue;
        };
        same.dropped = same.dropped.saturating_add(storm.dropped);
        same.reopened = same.reopened.saturating_add(storm.reopened);
        same.reopen_ns = latency(same.reopen_ns, storm.reopen_ns);
        // A percentile of both is not known; all is well again when it is for the last.
        same.p99_before_ns = None;
        same.recovered_after_ns = both(same.recovered_after_ns, storm.recovered_after_ns, u64::max);
    }
}

/// What is known of two distributions whose histograms are not: count and extremes.
fn latency(one: Latency, two: Latency) -> Latency {
    match (one.count, two.count) {
        (_, 0) => one,
        (0, _) => two,
        _ => Latency {
            count: one.count.saturating_add(two.count),
            min: both(one.min, two.min, u64::min),
            max: both(one.max, two.max, u64::max),
            ..Latency::default()
        },
    }
}

fn compression(one: Compression, two: Compression) -> Compression {
    Compression {
        connections: one.connections.saturating_add(two.connections),
        messages_sent: one.messages_sent.saturating_add(two.messages_sent),
        messages_received: one.messages_received.saturating_add(two.messages_received),
        agreed: one.agreed.or(two.agreed),
    }
}

fn tcp(one: Tcp, two: Tcp) -> Tcp {
    Tcp {
        connections: one.connections.saturating_add(two.connections),
        bytes_sent: one.bytes_sent.saturating_add(two.bytes_sent),
        bytes_received: one.bytes_received.saturating_add(two.bytes_received),
        segments_sent: one.segments_sent.saturating_add(two.segments_sent),
        segments_received: one.segments_received.saturating_add(two.segments_received),
        segments_retransmitted: one
            .segments_retransmitted
            .saturating_add(two.segments_retransmitted),
        wire_bytes_per_message: None,
    }
}

fn publish_to_nobody(one: PublishToNobody, two: PublishToNobody) -> PublishToNobody {
    PublishToNobody {
        publications: one.publications.saturating_add(two.publications),
        measured_ns: one.measured_ns.max(two.measured_ns),
        // Whose server's it was is not known here; see `server`.
        server_cpu_ns: None,
        server_cpu_ns_per_publication: None,
    }
}

/// The server's cost, if exactly one part looked: several may have seen one server, or one each.
fn server(parts: &[&Run], deliveries: u64) -> Option<Server> {
    let mut seen = parts.iter().filter_map(|part| part.server);
    let (Some(server), None) = (seen.next(), seen.next()) else { return None };
    #[expect(clippy::cast_precision_loss, reason = "a mean of three digits")]
    let per_message = server
        .cpu_ns
        .filter(|_| deliveries > 0)
        .map(|cpu_ns| rounded(cpu_ns as f64 / deliveries as f64));
    Some(Server {
        cpu_ns_per_message: per_message,
        cpu_ns_per_message_raw: per_message,
        // It grew with every part's connections, and its own says nothing of them.
        rss_bytes_per_connection: None,
        ..server
    })
}

/// Jain's index of all connections, out of each part's index, count and sum. The distribution of
/// each connection's p99 is left at what counts and extremes say.
#[expect(clippy::cast_precision_loss, reason = "an index of three digits")]
fn fairness(parts: &[&Run]) -> Option<Fairness> {
    let of_all = fold(parts.iter().map(|part| part.fairness), |one, two| Fairness {
        p99_of_connections_ns: latency(one.p99_of_connections_ns, two.p99_of_connections_ns),
        jain_index: None,
    })?;
    // J = sum^2 / (n * squares), so squares = sum^2 / (n * J).
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for part in parts {
        let Some(index) = part.fairness.and_then(|fairness| fairness.jain_index) else {
            return Some(of_all);
        };
        let (received, open) = (part.messages_received as f64, part.connection_counts.open as f64);
        sum += received;
        squares += if received > 0.0 { received * received / (open * index) } else { 0.0 };
        count += open;
    }
    let jain_index = Some(sum * sum / (count * squares)).filter(|index| index.is_finite());
    Some(Fairness { jain_index, ..of_all })
}

/// Every part as its own row beside the sum.
fn agents(parts: &[&Run]) -> Vec<Agent> {
    let mut agents = Vec::new();
    for (number, part) in (1..).zip(parts) {
        if part.agents.is_empty() {
            agents.push(agent(format!("part {number}"), part));
        } else {
            agents.extend(part.agents.iter().cloned());
        }
    }
    agents
}

/// One part of a run as it stands beside the sum.
pub(crate) fn agent(name: String, run: &Run) -> Agent {
    Agent {
        name,
        connections: run.connections,
        messages_sent: run.messages_sent,
        messages_received: run.messages_received,
        latency_from_intended_ns: run.latency_from_intended_ns,
        schedule_lag_ns: run.loadgen.schedule_lag_ns,
        cpu_ns_per_message: run.loadgen.cpu_ns_per_message,
        clock_offset_ns: None,
        clock_bound_ns: None,
        failure: run.failure.clone(),
    }
}

/// Messages received in the window: what costs are divided by.
fn deliveries(run: &Run) -> u64 {
    run.intervals.iter().fold(0, |sum: u64, one| sum.saturating_add(one.messages_received))
}

/// The mean of figures per message, each weighing as many messages as it stands for; `None` if one
/// of those is not measured.
#[expect(clippy::cast_precision_loss, reason = "a mean; 53 bits are plenty")]
fn weighted_mean<'w>(figures: impl Iterator<Item = (Option<f64>, &'w u64)>) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (figure, weight) in figures.filter(|(_, weight)| **weight > 0) {
        sum += figure? * *weight as f64;
        weights += *weight as f64;
    }
    (weights > 0.0).then(|| sum / weights)
}

#[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
const fn to_f64(value: i64) -> f64 {
    value as f64
}

/// Interrupted before aborted before completed.
const fn worse(one: Ended, other: Ended) -> Ended {
    match (one, other) {
        (Ended::Interrupted, _) | (_, Ended::Interrupted) => Ended::Interrupted,
        (Ended::Aborted, _) | (_, Ended::Aborted) => Ended::Aborted,
        (Ended::Completed, Ended::Completed) => Ended::Completed,
    }
}

/// Both together, if both are known.
fn both<T>(one: Option<T>, two: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    Some(add(one?, two?))
}

/// Both together, or the one that is known.
fn either<T: Copy>(one: Option<T>, two: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    both(one, two, add).or(one).or(two)
}

/// All together, if all are known.
fn all<T>(values: impl Iterator<Item = Option<T>>, add: impl Fn(T, T) -> T) -> Option<T> {
    let known: Option<Vec<T>> = values.collect();
    known?.into_iter().reduce(add)
}

/// All that are known together.
fn fold<T>(values: impl Iterator<Item = Option<T>>, add: impl Fn(T, T) -> T) -> Option<T> {
    values.flatten().reduce(add)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
