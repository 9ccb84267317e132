//! The sentences of the page, each a rule from the result to words.
//!
//! Not here: numbers that are not in the result. Invariant: a sentence whose numbers are missing is
//! not said, and what cannot be told apart is called so.

use std::cmp::Ordering;

use super::row::Row;
use super::{Page, STYLE, duration, length, ratio};
use crate::cli::units;
use crate::compare::row_name;
use crate::report::signed_duration;
use crate::result::{Ended, Run, ThresholdResult};
use crate::verdict::State;

/// Other rows that a headline names at most.
const NAMED_MAX: usize = 3;

/// A threshold on a percentile.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limit {
    /// As a share: 0.99.
    pub(super) quantile: f64,
    pub(super) ns: u64,
    pub(super) shown: String,
}

impl Limit {
    /// Reads `p(99)<20ms`; other expressions are not drawn.
    pub(super) fn of(threshold: &ThresholdResult) -> Option<Self> {
        let text: String = threshold.expression.split_whitespace().collect();
        let text = text.strip_prefix("latency.").unwrap_or(&text);
        let (percentile, rest) = text.strip_prefix("p(")?.split_once(')')?;
        let time = rest.strip_prefix('<')?;
        let time = time.strip_prefix('=').unwrap_or(time);
        let quantile = percentile.parse::<f64>().ok()? / 100.0;
        let ns = units::duration_ns(time).ok()?;
        let is_drawn = (0.0..1.0).contains(&quantile) && ns > 0;
        let unit_at = time.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(time.len());
        let (number, unit) = time.split_at(unit_at);
        let shown = format!("p({percentile}) < {number}\u{a0}{unit}");
        is_drawn.then_some(Self { quantile, ns, shown })
    }

    /// The measured percentile that it is about, if the result has it.
    pub(super) fn measured(&self, run: &Run) -> Option<u64> {
        let latency = &run.latency_from_intended_ns;
        let table = [
            (0.5, latency.p50),
            (0.9, latency.p90),
            (0.99, latency.p99),
            (0.999, latency.p99_9),
            (0.9999, latency.p99_99),
        ];
        let found = table.iter().find(|(quantile, _)| (quantile - self.quantile).abs() < 1e-9)?;
        found.1
    }
}

/// What the server used for a message of `run`.
pub(super) fn cpu_ns(run: &Run) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    run.server.and_then(|server| server.cpu_ns_per_message).map(|ns| ns as f64)
}

/// Its 95 % interval, if there is one.
pub(super) fn cpu_interval(run: &Run) -> Option<(f64, f64)> {
    let estimate = run.confidence.as_ref()?.server_cpu_ns_per_message?;
    Some((estimate.low, estimate.high))
}

/// The least and greatest round, where there is no interval.
fn cpu_range(run: &Run) -> Option<(f64, f64)> {
    let costs = run.rounds.iter().filter_map(|round| round.server_cpu_ns_per_message_raw);
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let costs: Vec<f64> = costs.map(|ns| ns as f64).collect();
    let low = costs.iter().copied().reduce(f64::min)?;
    let high = costs.iter().copied().reduce(f64::max)?;
    (costs.len() > 1).then_some((low, high))
}

/// Whether two rows' costs cannot be told apart.
pub(super) fn is_alike(one: &Run, other: &Run) -> bool {
    let both = |range: fn(&Run) -> Option<(f64, f64)>| range(one).zip(range(other));
    let ranges = both(cpu_interval).or_else(|| both(cpu_range));
    ranges.is_some_and(|(one, other)| one.0 <= other.1 && other.0 <= one.1)
}

/// The row that costs the server least.
pub(super) fn cheapest<'p, 'd>(page: &'p Page<'d>) -> Option<(&'p Row<'d>, f64)> {
    let costed = page.rows.iter().filter_map(|row| Some((row, cpu_ns(row.run)?)));
    costed.filter(|(_, ns)| *ns > 0.0).min_by(|one, other| one.1.total_cmp(&other.1))
}

/// A cost with its unit.
pub(super) fn cost(ns: f64) -> String {
    signed_duration(STYLE, crate::result::rounded(ns))
}

/// The answer as one sentence, or why there is none.
pub(super) fn headline(page: &Page<'_>) -> String {
    if page.is_invalid() {
        let reason = page.document.verdict.reasons.first().map_or("see below", String::as_str);
        return format!("This run does not measure the server: {reason}");
    }
    if page.is_about_messages() && !page.is_delivered() {
        return "Nothing was delivered.".to_owned();
    }
    match page.rows.as_slice() {
        [] => "Nothing was measured.".to_owned(),
        [row] if !page.is_comparison => answer(row.run),
        _ => comparison(page),
    }
}

/// The answer of one scenario.
fn answer(run: &Run) -> String {
    let connections = STYLE.count(run.connection_counts.open);
    let on = format!("on {connections} {}", plural(run.connection_counts.open, "connection"));
    if let Some(churn) = &run.churn {
        let cycles = STYLE.count(churn.cycles);
        let within = churn.cycle_ns.p99.map(|ns| format!("; 99 % took at most {}", duration(ns)));
        let rate = churn.cycles_per_s.map(|rate| format!(", {} a second", STYLE.amount(rate)));
        let [rate, within] = [rate, within].map(Option::unwrap_or_default);
        return format!("{cycles} connections were opened and closed{rate}{within}.");
    }
    if run.mode == "idle" {
        return format!(
            "{connections} connections were held open for {}.",
            length(run.measured_ns)
        );
    }
    let what = if run.mode == "fanout" { "deliveries" } else { "replies" };
    let rate = run.achieved_per_s.map(|rate| format!("at {} messages/s ", STYLE.amount(rate)));
    let rate = rate.unwrap_or_default();
    let latency = &run.latency_from_intended_ns;
    let percentiles = [(latency.p99, "99 %"), (latency.p90, "90 %"), (latency.p50, "Half")];
    let found = percentiles.iter().find_map(|(value, share)| Some(((*value)?, share)));
    match found {
        Some((ns, share)) => {
            format!("{share} of {what} came within {} {rate}{on}.", duration(ns))
        }
        None => {
            let count = STYLE.count(run.messages_received);
            format!("{count} {what} came {rate}{on}: too few for percentiles.")
        }
    }
}

/// The cheapest transport, and how much dearer the others are.
fn comparison(page: &Page<'_>) -> String {
    let Some((least, ns)) = cheapest(page) else { return fastest(page) };
    let mut text = format!("{} delivers a message for {} of server CPU.", least.name, cost(ns));
    let others: Vec<&Row<'_>> = page
        .rows
        .iter()
        .filter(|row| !std::ptr::eq(*row, least) && cpu_ns(row.run).is_some())
        .collect();
    let (alike, apart): (Vec<&Row<'_>>, Vec<&Row<'_>>) =
        others.iter().partition(|row| is_alike(row.run, least.run));
    let mut apart = apart;
    apart.sort_by(|a, b| cpu_ns(a.run).partial_cmp(&cpu_ns(b.run)).unwrap_or(Ordering::Equal));
    let ratios = apart.iter().take(NAMED_MAX).enumerate().filter_map(|(index, row)| {
        let ratio = cpu_ns(row.run)? / ns;
        let more = if ratio < 2.0 {
            format!("{:.0} % more", (ratio - 1.0) * 100.0)
        } else {
            format!("{} times", number(ratio))
        };
        let verb = if index == 0 { "costs " } else { "" };
        Some(format!("{} {verb}{more}", row.name))
    });
    let ratios: Vec<String> = ratios.collect();
    if !ratios.is_empty() {
        let last = ratios.last().filter(|last| last.ends_with("times"));
        let end = last.map_or("", |_| " as much");
        text.push_str(&format!(" {}{end}.", joined(&ratios)));
    }
    if !alike.is_empty() {
        let names: Vec<String> = alike.iter().take(NAMED_MAX).map(|row| row.name.clone()).collect();
        let name = &least.name;
        text.push_str(&format!(" {} cannot be told apart from {name}.", joined(&names)));
    }
    text
}

/// Where no cost is known: who was fastest.
fn fastest(page: &Page<'_>) -> String {
    let timed =
        page.rows.iter().filter_map(|row| Some((row, row.run.latency_from_intended_ns.p99?)));
    match timed.min_by_key(|(_, ns)| *ns) {
        Some((row, ns)) => {
            format!("99 % of deliveries over {} came within {}.", row.name, { duration(ns) })
        }
        None => "Too few messages for percentiles.".to_owned(),
    }
}

/// A ratio without its sign.
fn number(value: f64) -> String {
    ratio(value).trim_start_matches('\u{d7}').to_owned()
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `1 round`, `2 rounds`.
pub(super) fn plural(count: u64, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// What was asked of the server.
pub(super) fn workload(page: &Page<'_>) -> String {
    let Some(row) = page.rows.first() else { return String::new() };
    let run = row.run;
    let count = STYLE.count(run.connections);
    let mut parts = Vec::new();
    parts.push(match (page.is_comparison, run.mode.as_str()) {
        (true, _) => format!("{count} subscribers on each transport"),
        (false, "fanout") => format!("Fan-out to {count} subscribers over {}", row.name),
        (false, "echo") => format!("Echo on {count} connections over {}", row.name),
        (false, mode) => format!("{}, {count} connections over {}", capital(mode), row.name),
    });
    if page.is_about_messages() {
        parts.push(format!("{}\u{a0}B payload", STYLE.count(run.size_bytes)));
        parts.push(match (run.offered_per_s, run.in_flight) {
            (Some(rate), _) => format!("{}/s offered, open loop", STYLE.amount(rate)),
            (None, Some(limit)) => format!("closed loop with {limit} in flight each"),
            (None, None) => "closed loop".to_owned(),
        });
    }
    let rounds = page.rows.iter().map(|row| row.run.rounds.len()).max().unwrap_or(0);
    if rounds > 1 {
        let order = if page.is_comparison { " in alternating order" } else { "" };
        parts.push(format!("{rounds} rounds{order}"));
    }
    if let Some(confidence) = &run.confidence {
        let is_fresh = confidence.is_server_restarted;
        let server = if is_fresh { "a fresh server for each" } else { "server not restarted" };
        parts.push(format!("{} runs, {server}", confidence.runs));
    }
    format!("{}.", parts.join(", "))
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What the browser's tab says: verdict and answer.
pub(super) fn title(page: &Page<'_>) -> String {
    let state = match page.document.verdict.state {
        State::Valid => "valid",
        State::Suspect => "suspect",
        State::Invalid => "invalid",
    };
    let latency = page.rows.first().and_then(|row| row.run.latency_from_intended_ns.p99);
    let answer = match (cheapest(page), latency) {
        (Some((row, ns)), _) if page.is_comparison => {
            format!("{} {} per message", row.name, cost(ns))
        }
        (_, Some(ns)) if !page.is_comparison => format!("p99 {}", duration(ns)),
        _ => headline(page).trim_end_matches('.').to_owned(),
    };
    format!("{state} \u{b7} {answer} \u{b7} loadgen {}", page.subcommand())
}

impl Page<'_> {
    /// The command as one would say it.
    pub(super) fn subcommand(&self) -> &'static str {
        if self.is_comparison { "compare" } else { "run" }
    }

    /// All that was measured, over the rows.
    pub(super) fn measured_ns(&self) -> u64 {
        self.rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.run.measured_ns))
    }

    /// What a flag of the command was given: `-d 60s`, `--duration 60s`, `--duration=60s`.
    pub(super) fn flag(&self, short: &str, long: &str) -> Option<&str> {
        let words: Vec<&str> = self.document.command.split(' ').collect();
        let equals = words.iter().find_map(|word| word.strip_prefix(long)?.strip_prefix('='));
        equals.or_else(|| {
            let at = words.iter().position(|word| *word == short || *word == long)?;
            words.get(at + 1).copied()
        })
    }

    /// Whether a switch was given.
    pub(super) fn has_switch(&self, name: &str) -> bool {
        self.document.command.split(' ').any(|word| word == name)
    }

    /// How it ended, if before its time.
    pub(super) fn early_end(&self) -> Option<String> {
        let stopped = super::clock(self.rows.iter().map(|row| row.run.measured_ns).max()?);
        let planned = self.flag("-d", "--duration").and_then(|text| units::duration_ns(text).ok());
        let planned = planned.filter(|_| !self.is_comparison);
        let of = planned.map_or_else(String::new, |ns| format!(" of {}", super::clock(ns)));
        match self.document.ended {
            Ended::Completed => None,
            Ended::Interrupted => Some(format!("stopped at {stopped}{of}")),
            Ended::Aborted => Some(format!("every connection was lost at {stopped}{of}")),
        }
    }
}

/// The sentences beside the costs: at most three.
pub(super) fn cost_notes(page: &Page<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let polls = page.rows.iter().filter_map(|row| Some((row, row.run.requests_per_message?)));
    let dearest = polls.filter(|(_, count)| *count > 0.0).max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((row, count)) = dearest {
        notes.push(format!(
            "{} makes {} HTTP {} for each message delivered; open streams make none.",
            row.name,
            STYLE.amount(count),
            if count == 1.0 { "request" } else { "requests" },
        ));
    }
    let nobody = page.document.publish_to_nobody.as_ref();
    if let Some(ns) = nobody.and_then(|nobody| nobody.server_cpu_ns_per_publication) {
        notes.push(format!(
            "Publishing to nobody costs {} a publication; it is taken off each row, which leaves \
             the cost of delivering.",
            signed_duration(STYLE, ns)
        ));
    }
    if page.is_loopback() {
        notes.push(
            "Measured on loopback: neither the CPU time nor the bytes include a network card."
                .to_owned(),
        );
    } else if page.rows.iter().any(|row| row.run.wire_share.is_none()) {
        notes.push("Wire bytes are those of the TCP streams, without TCP/IP headers.".to_owned());
    }
    notes.truncate(3);
    notes
}

impl Page<'_> {
    /// Whether the command names only this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let urls = self.document.command.split(' ').filter_map(|word| word.split_once("://"));
        let mut hosts = urls.map(|(_, rest)| rest).peekable();
        let is_local =
            |rest: &str| ["127.", "localhost", "[::1]"].iter().any(|host| rest.starts_with(host));
        hosts.peek().is_some() && hosts.all(is_local)
    }
}

/// What a chart of latency over time says, for one row.
pub(super) fn time_finding(row: &Row<'_>) -> String {
    let latency = &row.run.latency_from_intended_ns;
    let values = [("p50", latency.p50), ("p99", latency.p99)];
    let said = values.iter().filter_map(|(name, ns)| Some(format!("{name} {}", duration((*ns)?))));
    let mut parts: Vec<String> = said.collect();
    parts.push(match row.timeline.worst() {
        Some((point, max)) => {
            format!("one stall of {} at {}", duration(max), super::clock(point.start_ns))
        }
        None => "no interval stands out".to_owned(),
    });
    format!("{}: {}.", row.name, parts.join(", "))
}

/// What cannot be seen of the server: `(row name as in tables, why)`.
pub(super) fn failures(page: &Page<'_>) -> Vec<(String, String)> {
    let failed = page.rows.iter().filter_map(|row| {
        let why = row.run.failure.as_ref()?;
        Some((format!("{} ({})", row.name, row_name(row.run)), why.clone()))
    });
    failed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(expression: &str) -> Option<(f64, u64, String)> {
        let threshold =
            ThresholdResult { expression: expression.to_owned(), ..ThresholdResult::default() };
        Limit::of(&threshold).map(|limit| (limit.quantile, limit.ns, limit.shown))
    }

    #[test]
    fn limits_on_percentiles_from_intended_are_drawn_and_no_others() {
        let expected = Some((0.99, 20_000_000, "p(99) < 20\u{a0}ms".to_owned()));
        assert_eq!(limit("p(99)<20ms"), expected);
        assert_eq!(limit("latency.p(99) <= 20ms"), expected);
        for other in ["sent.p(99)<20ms", "p(99)>20ms", "gaps==0", "p(100)<1s", "p(x)<1s", "p(", ""]
        {
            assert_eq!(limit(other), None, "{other}");
        }
    }

    #[test]
    fn lists_are_joined_as_in_speech() {
        let parts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(joined(&parts), "a, b and c");
        assert_eq!(joined(&parts[..2]), "a and b");
        assert_eq!(joined(&[]), "");
        assert_eq!([plural(1, "core"), plural(2, "core")], ["core", "cores"]);
        assert_eq!(capital("echo"), "Echo");
    }

    #[test]
    fn costs_whose_intervals_touch_are_alike() {
        let run = |costs: &[i64]| Run {
            rounds: costs
                .iter()
                .map(|ns| crate::result::Round {
                    server_cpu_ns_per_message_raw: Some(*ns),
                    ..crate::result::Round::default()
                })
                .collect(),
            ..Run::default()
        };
        assert!(is_alike(&run(&[10, 20]), &run(&[20, 30])));
        assert!(!is_alike(&run(&[10, 20]), &run(&[21, 30])));
        // One round has no range: nothing says that they are alike.
        assert!(!is_alike(&run(&[10]), &run(&[10])));
    }
}
