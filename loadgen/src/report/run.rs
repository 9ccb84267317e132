//! The summary of `run`: verdict, answer, evidence.

use super::columns::{cells, columns};
use super::number::{INSUFFICIENT, Style};
use super::{
    duration, errors, memory, or_not_measured, percentile, signed_duration, verdict_lines,
};
use crate::result::{Compression, Confidence, Document, Estimate, Latency, Run};
use crate::verdict::State;

/// The summary as text. Quiet is the verdict and the answer only.
pub(crate) fn text(document: &Document, style: Style, is_quiet: bool) -> String {
    let mut text = verdict_lines(document);
    for run in &document.runs {
        // Numbers of an invalid run must not be quoted by mistake.
        let mark = if document.verdict.state == State::Invalid { "~ " } else { "" };
        text.push_str(&format!("{mark}{}\n", answer(run, style)));
        if is_quiet {
            continue;
        }
        text.push_str(&latencies(run, style));
        text.push_str(&columns_of_facts(run, style));
    }
    text
}

fn name_of_message(run: &Run) -> &'static str {
    if run.mode == "fanout" { "deliveries" } else { "replies" }
}

/// The answer in one sentence.
fn answer(run: &Run, style: Style) -> String {
    let connections = style.count(run.connection_counts.open);
    if run.mode == "idle" {
        return format!("{connections} {} connections held open.", run.transport);
    }
    let what = name_of_message(run);
    let rate = or_not_measured(run.achieved_per_s, |rate| format!("{}/s", style.amount(rate)));
    let latency = &run.latency_from_intended_ns;
    let (share, value) = match (latency.p99, latency.p50) {
        (Some(p99), _) => ("99 %", Some(p99)),
        (None, Some(p50)) => ("50 %", Some(p50)),
        (None, None) => ("", None),
    };
    let load = format!("at {rate} on {connections} {} connections", run.transport);
    match value {
        Some(ns) => format!("{share} of {what} within {} {load}.", duration(style, ns)),
        None => format!("{} {what} {load}; too few for percentiles.", run.messages_received),
    }
}

fn latencies(run: &Run, style: Style) -> String {
    let head = ["latency", "p50", "p90", "p99", "p99.9", "p99.99", "max", "samples"];
    let row = |name: &str, latency: &Latency| {
        let mut row = vec![name.to_owned()];
        let values = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99];
        row.extend(values.iter().map(|value| match value {
            None if latency.count == 0 => INSUFFICIENT.to_owned(),
            _ => percentile(style, latency, *value),
        }));
        row.push(percentile(style, latency, latency.max));
        row.push(style.count(latency.count));
        row
    };
    let mut rows = vec![cells(head)];
    let all = [
        ("  from due", &run.latency_from_intended_ns),
        ("  from sent", &run.latency_from_sent_ns),
        ("connect", &run.connect_ns),
        ("  of it TLS", &run.tls_ns.unwrap_or_default()),
        ("send blocked", &run.send_blocked_ns),
        ("schedule lag", &run.loadgen.schedule_lag_ns),
    ];
    rows.extend(all.iter().filter(|(_, latency)| latency.count > 0).map(|(name, l)| row(name, l)));
    columns(&rows)
}

/// What came of offering compression, in one line.
fn compressed(compression: &Compression, style: Style) -> String {
    let Some(agreed) = compression.agreed else { return "offered, and declined".to_owned() };
    let kept = |is_anew: bool| if is_anew { "anew" } else { "kept" };
    let counts =
        [compression.connections, compression.messages_sent, compression.messages_received];
    let [connections, sent, received] = counts.map(|count| style.count(count));
    format!(
        "on {connections} connections, {sent} messages sent and {received} received; windows of \
         {} and {} bits (server, client), contexts {} and {}",
        agreed.server_window_bits,
        agreed.client_window_bits,
        kept(agreed.server_no_context_takeover),
        kept(agreed.client_no_context_takeover),
    )
}

fn columns_of_facts(run: &Run, style: Style) -> String {
    let per_second = |rate: f64| format!("{}/s", style.amount(rate));
    let mut text = String::new();
    let mut fact = |name: &str, value: String| text.push_str(&format!("{name:<12}  {value}\n"));
    if run.mode != "idle" {
        let offered = run.offered_per_s.map_or_else(|| "closed loop".to_owned(), per_second);
        let achieved = or_not_measured(run.achieved_per_s, per_second);
        fact("rate", format!("achieved {achieved}, offered {offered}"));
        let counts = [run.messages_sent, run.messages_received, run.messages_expected];
        let [sent, received, expected] = counts.map(|count| style.count(count));
        fact("messages", format!("sent {sent}, received {received}, expected {expected}"));
        let counts = [run.gaps, run.duplicates, run.reordered, run.corrupted];
        let [gaps, duplicates, reordered, corrupted] = counts.map(|count| style.count(count));
        let losses = format!("{gaps} gaps, {duplicates} duplicates, {reordered} reordered");
        fact("lost", format!("{losses}, {corrupted} corrupted"));
        if let Some(other) = run.messages_other {
            fact("other", format!("{} messages of the server's own", style.count(other)));
        }
    }
    fact("errors", errors(run, style));
    let open = run.connection_counts;
    let counts = [open.open, run.connections, open.refused, open.lost];
    let [open, asked, refused, lost] = counts.map(|count| style.count(count));
    fact("connections", format!("{open} of {asked} open, {refused} refused, {lost} lost"));
    if let Some(resumed) = run.tls_resumed {
        let handshakes = style.count(run.tls_ns.map_or(0, |tls| tls.count));
        fact("TLS", format!("{handshakes} handshakes, {} of them resumed", style.count(resumed)));
    }
    if let Some(compression) = &run.compression {
        fact("compression", compressed(compression, style));
    }
    let wire = |bytes: f64| style.wire(bytes);
    let per_message = or_not_measured(run.wire_bytes_per_message, wire);
    let counts = [run.wire_bytes_sent, run.wire_bytes_received];
    let [sent, received] = counts.map(|bytes| memory(style, bytes));
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let setup = or_not_measured(run.setup_bytes_per_connection, |bytes| wire(bytes as f64));
    fact(
        "wire",
        format!("{per_message} a message; sent {sent}, received {received}; set-up {setup} each"),
    );
    if let Some(confidence) = &run.confidence {
        fact("runs", runs(confidence, style));
    }
    fact("server", server(run, style));
    fact("loadgen", loadgen(run, style));
    text
}

/// How far the figures would move if all were done again.
fn runs(confidence: &Confidence, style: Style) -> String {
    let restarted = if confidence.is_server_restarted { "" } else { "not " };
    let time = |estimate: &Estimate| {
        let [value, low, high] =
            [estimate.value, estimate.low, estimate.high].map(|ns| style.duration(ns));
        format!("{value} [{low}-{high}]")
    };
    let shown = |estimate: &Option<Estimate>| {
        estimate.as_ref().map_or_else(|| INSUFFICIENT.to_owned(), time)
    };
    let (p50, p99) = (shown(&confidence.p50_ns), shown(&confidence.p99_ns));
    format!("{}, server {restarted}restarted; p50 {p50}, p99 {p99}", confidence.runs)
}

fn server(run: &Run, style: Style) -> String {
    let Some(server) = &run.server else {
        return "not measured: add --server-pid".to_owned();
    };
    let cpu = server_cpu(run, style);
    let rss = or_not_measured(server.rss_bytes, |bytes| memory(style, bytes));
    let each = or_not_measured(server.rss_bytes_per_connection, |bytes| memory(style, bytes));
    format!("{cpu}; {rss} resident, {each} a connection")
}

/// What the server used for each message, or in all where there are none.
fn server_cpu(run: &Run, style: Style) -> String {
    let server = run.server.as_ref();
    let each = server.and_then(|server| server.cpu_ns_per_message);
    let all = server.and_then(|server| server.cpu_ns);
    match (each, all) {
        (Some(ns), _) => format!("{} CPU a message", signed_duration(style, ns)),
        (None, all) => format!("{} CPU", or_not_measured(all, |ns| duration(style, ns))),
    }
}

fn loadgen(run: &Run, style: Style) -> String {
    let cpu = or_not_measured(run.loadgen.cpu_ns_per_message, |ns| signed_duration(style, ns));
    let busy = or_not_measured(run.loadgen.thread_busy_share_max, |share| style.share(share));
    let rss = or_not_measured(run.loadgen.rss_bytes, |bytes| memory(style, bytes));
    format!("{cpu} CPU a message; busiest thread {busy}; {rss} resident")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::scenario;
    use crate::samples;
    use crate::summary;
    use crate::verdict::{Verdict, judge};
    use loadgen::outcome::Outcome;
    use loadgen::scenario::{Mode, Rate, Scenario};

    const STYLE: Style = Style { is_utf8: false };

    fn shown(outcome: &Outcome, verdict: Verdict, is_quiet: bool) -> String {
        let scenario = Scenario {
            mode: Mode::Echo,
            connections: 200,
            rate_per_s: Rate::per_second(4_000),
            ..scenario()
        };
        let runs = vec![summary::run(&scenario, outcome)];
        text(&Document { runs, verdict, ..samples::document() }, STYLE, is_quiet)
    }

    #[test]
    fn verdict_answer_evidence() {
        let text = shown(&samples::outcome(), Verdict::valid(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "VALID     nothing found against this run");
        assert_eq!(lines[1], "99 % of replies within 990 us at 4 000/s on 200 ws connections.");
        assert!(lines[2].starts_with("latency"), "{text}");
        assert!(lines[2].ends_with("samples"), "{text}");
        assert!(lines[3].starts_with("  from due"), "{text}");
        assert!(lines[3].contains("insufficient") && lines[3].ends_with("16 000"), "{text}");
        for part in [
            "rate          achieved 4 000/s, offered 4 000/s\n",
            "lost          0 gaps, 0 duplicates, 0 reordered, 0 corrupted\n",
            "errors        none\n",
            "connections   200 of 200 open, 0 refused, 0 lost\n",
            "wire          66 B a message; sent 0 B, received 1.01 MiB; set-up 420 B each\n",
            "server        5.00 us CPU a message; 5.00 MiB resident, 2.00 KiB a connection\n",
            "loadgen       2.00 us CPU a message; busiest thread 25.0 %; 8.00 MiB resident\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(lines.len() <= 24);
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn quiet_is_two_lines() {
        assert_eq!(shown(&samples::outcome(), Verdict::valid(), true).lines().count(), 2);
    }

    #[test]
    fn what_is_missing_is_said_and_invalid_is_marked() {
        let outcome = Outcome {
            server: None,
            impossible: 3,
            deliveries_in_window: 0,
            intended: samples::histogram(5),
            ..samples::outcome()
        };
        let text = shown(&outcome, judge(&crate::verdict::Evidence::of(false, &outcome)), false);
        assert!(text.starts_with("INVALID   3 messages carried"), "{text}");
        assert!(text.contains("\n~ "), "{text}");
        assert!(text.contains("server        not measured: add --server-pid"), "{text}");
        assert!(text.contains("wire          not measured a message"), "{text}");
        assert!(text.contains("insufficient"), "{text}");
    }
}
