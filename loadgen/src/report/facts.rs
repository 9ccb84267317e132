//! The evidence of a summary, a line or two for each kind of fact.
//!
//! Each line is made by a rule from the run, and left out where the run does not have it. Where
//! room is short the least important go first.

use super::head::wrapped;
use super::number::{INSUFFICIENT, NOT_MEASURED, Style};
use super::progress::minutes;
use super::{duration, errors, memory, or_not_measured, signed_duration};
use crate::result::{Document, Estimate, Interval, Latency, Run, Source};

/// Errors that are told one by one; where there are more kinds, a table follows.
pub(crate) const ERRORS_TOLD: usize = 2;
/// Where the percentiles of a line end, and the count of samples.
const ENDS: [usize; 6] = [20, 29, 38, 47, 57, 67];
const SAMPLES_END: usize = 80;
/// A longer command is not repeated.
const NEXT_LINES_MAX: usize = 3;
/// A lag this many times below a latency has no part in it.
const LAG_NEGLIGIBLE: u64 = 10;

/// A few lines, and how badly they are wanted: 0 is never left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    rank: u8,
    pub(crate) lines: Vec<String>,
}

pub(crate) fn fact(rank: u8, lines: Vec<String>) -> Fact {
    Fact { rank, lines }
}

/// As many facts as `room` lines hold, in their order.
pub(crate) fn fitting(mut facts: Vec<Fact>, room: usize) -> Vec<String> {
    let count = |facts: &[Fact]| facts.iter().map(|fact| fact.lines.len()).sum::<usize>();
    while count(&facts) > room {
        let ranks = facts.iter().map(|fact| fact.rank);
        let Some(worst) = ranks.max().filter(|rank| *rank > 0) else { break };
        if let Some(index) = facts.iter().rposition(|fact| fact.rank == worst) {
            facts.remove(index);
        }
    }
    facts.into_iter().flat_map(|fact| fact.lines).collect()
}

/// Everything there is to say about a run; of errors only their names where it has to be brief.
pub(crate) fn evidence(run: &Run, style: Style, is_brief: bool) -> Vec<Fact> {
    let kinds = errors::kinds(run);
    let first = kinds.iter().take(ERRORS_TOLD);
    let told: Vec<String> = if is_brief && !kinds.is_empty() {
        let each = first.map(|kind| format!("{} {}", style.count(kind.count), kind.code));
        wrapped("errors", &format!("{}: see below", each.collect::<Vec<_>>().join(", ")))
    } else {
        first.flat_map(|kind| errors::line(kind, style)).collect()
    };
    vec![
        fact(0, latencies(run, style)),
        fact(3, opening(run, style)),
        fact(1, rates(run, style)),
        fact(0, lost(run, style)),
        fact(0, told),
        fact(1, connections(run, style)),
        fact(1, server(run, style)),
        fact(2, generator(run, style)),
        fact(2, wire(run, style)),
        fact(2, worst(run, style)),
        fact(3, fairness(run, style)),
        fact(1, storms(run, style)),
        fact(1, churn(run, style)),
        fact(1, slow(run, style)),
        fact(1, confidence(run, style)),
        fact(4, agents(run, style)),
        fact(5, handshakes(run, style)),
        fact(4, compression(run, style)),
    ]
}

/// A line of percentiles, each ending where its column ends; the first that has too few samples
/// says so instead of all that follow.
fn percentiles(name: &str, latency: &Latency, style: Style) -> String {
    let values = [
        (latency.p50, "p50", 20),
        (latency.p90, "p90", 100),
        (latency.p99, "p99", 1_000),
        (latency.p99_9, "p99.9", 10_000),
        (latency.p99_99, "p99.99", 100_000),
    ];
    let mut line = name.to_owned();
    let until = |line: &mut String, end: usize, text: &str| {
        let room = end.saturating_sub(line.chars().count());
        let gap = room.saturating_sub(text.chars().count()).max(2);
        line.push_str(&" ".repeat(gap));
        line.push_str(text);
    };
    let mut is_told = false;
    for ((value, percentile, needed), end) in values.into_iter().zip(ENDS) {
        if let Some(ns) = value {
            until(&mut line, end, &duration(style, ns));
            continue;
        }
        // The whole reason where it fits beside the maximum.
        is_told = needed <= 1_000;
        if is_told {
            let (needed, has) = (style.count(needed), style.count(latency.count));
            line.push_str(&format!("  {INSUFFICIENT} ({percentile} needs {needed}, has {has})"));
        } else {
            line.push_str(&format!("  {INSUFFICIENT}"));
        }
        break;
    }
    let most = or_not_measured(latency.max, |ns| duration(style, ns));
    until(&mut line, ENDS[5], &most);
    if !is_told {
        until(&mut line, SAMPLES_END, &style.count(latency.count));
    }
    line
}

fn latencies(run: &Run, style: Style) -> Vec<String> {
    let due = &run.latency_from_intended_ns;
    if due.count == 0 {
        return Vec::new();
    }
    let heads = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "samples"];
    let ends = ENDS.into_iter().chain([SAMPLES_END]);
    let mut head = "latency".to_owned();
    for (name, end) in heads.into_iter().zip(ends) {
        let width = end - head.chars().count();
        head.push_str(&format!("{name:>width$}"));
    }
    let sent = percentiles("  from sent", &run.latency_from_sent_ns, style);
    vec![head, percentiles("  from due", due, style), sent]
}

/// Opening a connection, in all and in parts.
fn opening(run: &Run, style: Style) -> Vec<String> {
    let connect = &run.connect_ns;
    if connect.count == 0 {
        return Vec::new();
    }
    let phases = run.phases.unwrap_or_default();
    let parts = [
        ("TCP", phases.tcp_ns.p50),
        ("TLS", run.tls_ns.unwrap_or_default().p50),
        ("upgrade", phases.upgrade_ns.p50),
        ("first message", phases.first_message_ns.p50),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(name, p50)| p50.map(|ns| format!("{name} {}", duration(style, ns))));
    let parts: Vec<String> = parts.collect();
    let mut lines = vec![percentiles("connect", connect, style)];
    if !parts.is_empty() {
        lines.extend(wrapped("  p50 of", &parts.join(", ")));
    }
    lines
}

fn rates(run: &Run, style: Style) -> Vec<String> {
    let Some(achieved) = run.achieved_per_s else { return Vec::new() };
    let per_second = |rate: f64| format!("{}/s", style.amount(rate));
    let offered = run
        .offered_per_s
        .map_or_else(|| "closed loop".to_owned(), |rate| format!("offered {}", per_second(rate)));
    let counts = [run.messages_sent, run.messages_received, run.messages_expected];
    let [sent, received, expected] = counts.map(|count| style.count(count));
    let achieved = per_second(achieved);
    let words = format!("{achieved}, {offered}; sent {sent}, received {received} of {expected}");
    wrapped("rate", &words)
}

fn lost(run: &Run, style: Style) -> Vec<String> {
    if run.mode == "idle" || run.churn.is_some() {
        let none = "none".to_owned();
        return if run.errors.is_empty() { wrapped("errors", &none) } else { Vec::new() };
    }
    let counts = [run.gaps, run.duplicates, run.reordered].map(|count| style.count(count));
    let [gaps, duplicates, reordered] = counts;
    let mut words = format!("{gaps} gaps, {duplicates} duplicates, {reordered} reordered");
    if run.corrupted > 0 {
        words.push_str(&format!(", {} corrupted", style.count(run.corrupted)));
    }
    if let Some(other) = run.messages_other {
        words.push_str(&format!("; {} messages of the server's own", style.count(other)));
    }
    if run.errors.is_empty() {
        words = format!("{words:<43}  errors  none");
    }
    wrapped("lost", &words)
}

fn connections(run: &Run, style: Style) -> Vec<String> {
    let counts = run.connection_counts;
    let all_well = counts.open == run.connections && counts.refused + counts.lost == 0;
    if all_well && counts.reopened == 0 {
        return Vec::new();
    }
    let counts = [counts.open, run.connections, counts.refused, counts.lost, counts.reopened];
    let [open, asked, refused, lost, reopened] = counts.map(|count| style.count(count));
    let words = format!("{open} of {asked}, {refused} refused, {lost} lost, {reopened} reopened");
    wrapped("open", &words)
}

fn server(run: &Run, style: Style) -> Vec<String> {
    let Some(server) = &run.server else {
        let cure = "add --server-pid, --server-cgroup or --server-metrics";
        return wrapped("server", &format!("{NOT_MEASURED}: {cure}"));
    };
    let mut parts = Vec::new();
    match (server.cpu_ns_per_message, server.cpu_ns) {
        (Some(ns), _) => parts.push(format!("{} CPU/message", signed_duration(style, ns))),
        (None, Some(ns)) => parts.push(format!("{} CPU", duration(style, ns))),
        (None, None) => {}
    }
    parts.extend(server.rss_bytes.map(|bytes| format!("{} RSS", memory(style, bytes))));
    let each = server.rss_bytes_per_connection;
    parts.extend(each.map(|bytes| format!("{}/connection", memory(style, bytes))));
    let source = match server.source {
        Source::Pid => "pid",
        Source::Cgroup => "cgroup",
        Source::Prometheus => "metrics",
    };
    wrapped("server", &format!("{} ({source})", parts.join(", ")))
}

fn generator(run: &Run, style: Style) -> Vec<String> {
    let own = &run.loadgen;
    let cpu = own.cpu_ns_per_message.map(|ns| format!("{}/message", signed_duration(style, ns)));
    let busy =
        own.thread_busy_share_max.map(|share| format!("busiest thread {}", style.share(share)));
    let rss = own.rss_bytes.map(|bytes| format!("{} RSS", memory(style, bytes)));
    let lag = own.schedule_lag_ns.p99.map(|ns| format!("lag p99 {}", duration(style, ns)));
    let parts: Vec<String> = [cpu, busy, rss, lag].into_iter().flatten().collect();
    if parts.is_empty() { Vec::new() } else { wrapped("generator", &parts.join(", ")) }
}

fn wire(run: &Run, style: Style) -> Vec<String> {
    let share = run.wire_share.unwrap_or_default();
    let parts = [
        ("payload", share.payload_bytes),
        ("protocol", share.protocol_bytes),
        ("TCP/IP", share.tcp_ip_bytes),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(name, bytes)| bytes.map(|bytes| format!("{} {name}", style.wire(bytes))));
    let parts: Vec<String> = parts.collect();
    if !parts.is_empty() {
        return wrapped("wire", &format!("{} per message", parts.join(", ")));
    }
    match run.wire_bytes_per_message {
        Some(bytes) => {
            wrapped("wire", &format!("{} per message, without TCP/IP", style.wire(bytes)))
        }
        None => Vec::new(),
    }
}

/// The interval with the greatest p99, and who is behind it.
fn worst(run: &Run, style: Style) -> Vec<String> {
    let seen: Vec<&Interval> =
        run.intervals.iter().filter(|one| one.latency_p99_ns.is_some()).collect();
    let worst = seen.iter().max_by_key(|one| one.latency_p99_ns).filter(|_| seen.len() > 1);
    let Some((worst, ns)) = worst.and_then(|one| Some((one, one.latency_p99_ns?))) else {
        return Vec::new();
    };
    let head = format!("{}  p99 {}", minutes(worst.start_ns), duration(style, ns));
    let Some(lag_ns) = run.loadgen.schedule_lag_ns.max else {
        return wrapped("worst", &head);
    };
    let lag = duration(style, lag_ns);
    let side = if lag_ns <= ns / LAG_NEGLIGIBLE {
        format!(", lag never above {lag}: the server or the network, not loadgen")
    } else if lag_ns >= ns / 2 {
        format!(", lag up to {lag}: it may have been loadgen")
    } else {
        format!(", lag up to {lag}: mostly the server or the network")
    };
    wrapped("worst", &format!("{head}{side}"))
}

fn fairness(run: &Run, style: Style) -> Vec<String> {
    let Some(fairness) = &run.fairness else { return Vec::new() };
    let own = &fairness.p99_of_connections_ns;
    let jain = fairness.jain_index.map(|index| format!("Jain {index:.3}"));
    let median = own.p50.map(|ns| format!("p99 of a connection {} median", duration(style, ns)));
    let most = own.max.map(|ns| format!("{} worst", duration(style, ns)));
    let parts: Vec<String> = [jain, median, most].into_iter().flatten().collect();
    if parts.is_empty() { Vec::new() } else { wrapped("fairness", &parts.join(", ")) }
}

fn storms(run: &Run, style: Style) -> Vec<String> {
    let line = |storm: &crate::result::Storm| {
        let at = minutes(storm.at_ns / 1_000_000_000 * 1_000_000_000);
        let counts = [storm.dropped, storm.reopened].map(|count| style.count(count));
        let [dropped, reopened] = counts;
        let last = storm.reopen_ns.max;
        let within = last.map_or_else(String::new, |ns| format!(" within {}", duration(style, ns)));
        let recovered = match storm.recovered_after_ns {
            Some(ns) => format!("p99 as before after {}", duration(style, ns)),
            None => "p99 not as before in this run".to_owned(),
        };
        let words = format!("{at}  {dropped} dropped, {reopened} back{within}; {recovered}");
        wrapped("storm", &words)
    };
    run.storms.iter().take(3).flat_map(line).collect()
}

fn churn(run: &Run, style: Style) -> Vec<String> {
    let Some(churn) = &run.churn else { return Vec::new() };
    let cycles = style.count(churn.cycles);
    vec![percentiles("cycle", &churn.cycle_ns, style)]
        .into_iter()
        .chain(wrapped("cycles", &format!("{cycles} connections opened and closed")))
        .collect()
}

fn slow(run: &Run, style: Style) -> Vec<String> {
    let Some(slow) = &run.slow else { return Vec::new() };
    let count = style.count(slow.connections);
    let how = match slow.bytes_per_s {
        0 => "read nothing".to_owned(),
        bytes => format!("read {}/s", memory(style, bytes)),
    };
    let closed = style.count(slow.closed_by_server);
    wrapped("slow", &format!("{count} connections {how}; the server cut off {closed} of them"))
}

/// `3.12 [3.04-3.21]`, from an estimate in nanoseconds.
pub(crate) fn interval(
    name: &str,
    estimate: Option<Estimate>,
    show: impl Fn(f64) -> String,
) -> Option<String> {
    let Estimate { value, low, high } = estimate?;
    Some(format!("{name} {} [{}-{}]", show(value), show(low), show(high)))
}

fn confidence(run: &Run, style: Style) -> Vec<String> {
    let Some(confidence) = &run.confidence else { return Vec::new() };
    let time = |ns: f64| style.duration(ns);
    let parts = [
        interval("p50", confidence.p50_ns, time),
        interval("p99", confidence.p99_ns, time),
        interval("p99.9", confidence.p99_9_ns, time),
        interval("rate", confidence.achieved_per_s, |rate| style.amount(rate)),
        interval("server CPU/message", confidence.server_cpu_ns_per_message, time),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let restarted = if confidence.is_server_restarted { "" } else { "; server not restarted" };
    let runs = confidence.runs;
    wrapped("95 %", &format!("{} ({runs} runs{restarted})", parts.join(", ")))
}

fn agents(run: &Run, style: Style) -> Vec<String> {
    let line = |agent: &crate::result::Agent| {
        let name = &agent.name;
        if let Some(failure) = &agent.failure {
            return wrapped("agent", &format!("{name}: {failure}"));
        }
        let p99 = agent.latency_from_intended_ns.p99;
        let p99 = p99.map_or_else(|| INSUFFICIENT.to_owned(), |ns| duration(style, ns));
        let clock = agent
            .clock_bound_ns
            .map_or_else(String::new, |ns| format!(", clock within {}", duration(style, ns)));
        let received = style.count(agent.messages_received);
        wrapped("agent", &format!("{name}: {received} messages, p99 {p99}{clock}"))
    };
    run.agents.iter().flat_map(line).collect()
}

fn handshakes(run: &Run, style: Style) -> Vec<String> {
    let Some(resumed) = run.tls_resumed else { return Vec::new() };
    let all = style.count(run.tls_ns.map_or(0, |tls| tls.count));
    wrapped("TLS", &format!("{all} handshakes, {} of them resumed", style.count(resumed)))
}

/// What came of offering compression.
fn compression(run: &Run, style: Style) -> Vec<String> {
    let Some(compression) = &run.compression else { return Vec::new() };
    let Some(agreed) = compression.agreed else {
        return wrapped("compressed", "nothing: offered, and declined");
    };
    let kept = |is_anew: bool| if is_anew { "anew" } else { "kept" };
    let counts = [compression.messages_sent, compression.messages_received];
    let [sent, received] = counts.map(|count| style.count(count));
    let words = format!(
        "{sent} sent, {received} received; windows {}/{} bits (server/client), contexts {}/{}",
        agreed.server_window_bits,
        agreed.client_window_bits,
        kept(agreed.server_no_context_takeover),
        kept(agreed.client_no_context_takeover),
    );
    wrapped("compressed", &words)
}

/// A command ready to paste: what cures this machine, or what shows more of the result.
pub(crate) fn next(document: &Document) -> Vec<String> {
    let is_local = |code: &String| code.starts_with(loadgen::outcome::LOCAL_ERROR_PREFIX);
    if document.runs.iter().any(|run| run.errors.keys().any(is_local)) {
        return wrapped("next", "loadgen doctor");
    }
    let words = document.command.split(' ');
    let written: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    let of = |kind: &str| {
        let named = written.iter().find(|(name, path)| *name == kind && *path != "-");
        named.map(|(_, path)| *path)
    };
    let stored = of("bundle").or_else(|| of("json"));
    match (stored, of("html")) {
        (Some(path), None) => {
            let page = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
            wrapped("next", &format!("loadgen report {path} --out html={page}.html"))
        }
        (Some(path), Some(_)) => wrapped("next", &format!("loadgen diff {path} OTHER")),
        (None, Some(_)) | (None, None) => {
            let words = wrapped("next", &format!("{} --out bundle=run.bundle", document.command));
            if words.len() <= NEXT_LINES_MAX {
                words
            } else {
                wrapped("next", "the same command with --out bundle=run.bundle")
            }
        }
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
