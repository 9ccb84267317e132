//! Can this run be trusted, and where it was made: every check, the machine, the command.
//!
//! Not here: the verdict itself, which stands on top. Invariant: what was not measured is listed.

use maud::{Markup, html};

use super::banner::{Tone, sign};
use super::detail::tcp;
use super::sentence::{joined, plural};
use super::{NOT_MEASURED, Page, STYLE, duration, part};
use crate::report::{memory, or_not_measured, signed_duration};
use crate::result::{Check, Source};
use crate::verdict::State;

/// More checks than these, as a comparison has: those that passed are folded away.
const CHECKS_MAX: usize = 24;

/// Every check with what was found and its limit.
pub(super) fn trust(page: &Page<'_>) -> Markup {
    let checks = &page.document.checks;
    let reasons = &page.document.verdict.reasons;
    let generator = generator(page);
    let content = html! {
        @if checks.is_empty() {
            @if reasons.is_empty() {
                p { "No rule found anything against this run." }
            }
            ul { @for reason in reasons { li { (reason) } } }
        } @else {
            @let (bad, good): (Vec<&Check>, Vec<&Check>) =
                checks.iter().partition(|check| check.state != State::Valid);
            @if checks.len() <= CHECKS_MAX {
                (table(&checks.iter().collect::<Vec<_>>()))
            } @else {
                @if !bad.is_empty() { (table(&bad)) }
                details { summary { (good.len()) " checks passed" } (table(&good)) }
            }
        }
        @if !generator.is_empty() {
            p.small { "The generator itself: " (generator.join(", ")) "." }
        }
    };
    part("trust", "Can this run be trusted?", "", &content)
}

/// Each check with what was measured and its limit.
fn table(checks: &[&Check]) -> Markup {
    html! {
            div.scroll { table.checks {
                thead { tr { th { "check" } th { "measured" } th { "limit" } } }
                tbody { @for check in checks {
                    @let (tone, class, word) = match check.state {
                        State::Valid => (Tone::Good, "yes", ""),
                        State::Suspect => (Tone::Suspect, "maybe", "suspect"),
                        State::Invalid => (Tone::Failed, "no", "invalid"),
                    };
                    tr {
                        th scope="row" {
                            span.(class) { (sign(tone)) } (check.name)
                            @if !word.is_empty() { span.tag.(class) { (word) } }
                        }
                        td { (check.measured) } td { (check.limit) }
                    }
                } }
            } }
    }
}

/// What this program used, the worst over the rows.
fn generator(page: &Page<'_>) -> Vec<String> {
    let each = || page.rows.iter().map(|row| &row.run.loadgen);
    let busy = each().filter_map(|one| one.thread_busy_share_max).reduce(f64::max);
    let facts = [
        each()
            .filter_map(|one| one.cpu_ns_per_message)
            .max()
            .map(|ns| format!("{} of CPU per message", signed_duration(STYLE, ns))),
        busy.map(|share| format!("busiest thread {}", STYLE.share(share))),
        each()
            .filter_map(|one| one.schedule_lag_ns.p99)
            .max()
            .map(|ns| format!("schedule lag p99 {}", duration(ns))),
        each()
            .filter_map(|one| one.rss_bytes)
            .max()
            .map(|bytes| format!("{} of memory", memory(STYLE, bytes))),
    ];
    facts.into_iter().flatten().collect()
}

/// Where and how it was made.
pub(super) fn machine(page: &Page<'_>) -> Markup {
    let facts = facts(page);
    let content = html! {
        pre { code { (page.document.command) } }
        dl { @for (name, value) in &facts { dt { (name) } dd { (value) } } }
        (settings(page))
    };
    part("machine", "Machine and command", "", &content)
}

fn facts(page: &Page<'_>) -> Vec<(String, String)> {
    let document = page.document;
    let machine = &document.machine;
    let text = |value: &Option<String>| or_not_measured(value.clone(), |value| value);
    let cores = machine.cpus.map(|count| format!("{count} {}", plural(count, "core")));
    let memory_of = machine.memory_bytes.map(|bytes| memory(STYLE, bytes));
    let cpu = [machine.cpu_model.clone(), cores, memory_of].into_iter().flatten();
    let governor = machine.governor.as_ref().map(|governor| format!("governor {governor}"));
    let congestion = machine.sysctls.get("net.ipv4.tcp_congestion_control").cloned().flatten();
    let kernel = [Some(format!("{} {}", text(&machine.kernel), machine.architecture)), congestion];
    let kernel = kernel.into_iter().chain([governor]).flatten();
    let commit = document.commit.as_ref().map(|commit| format!("commit {commit}"));
    let loadgen = [
        Some(env!("CARGO_PKG_VERSION").to_owned()),
        commit,
        Some(format!("seed {}", document.seed)),
        Some(format!("schema {}", document.schema)),
    ];
    let mut facts = vec![
        ("CPU".to_owned(), cpu.collect::<Vec<_>>().join(", ")),
        ("Kernel".to_owned(), kernel.collect::<Vec<_>>().join(", ")),
        ("Server".to_owned(), server(page)),
        ("loadgen".to_owned(), loadgen.into_iter().flatten().collect::<Vec<_>>().join(", ")),
    ];
    facts.extend(tcp(page).map(|text| ("TCP".to_owned(), text)));
    let labels = document.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    facts.extend(labels);
    facts.push(("Not measured".to_owned(), not_measured(page)));
    facts
}

/// Where the server's cost comes from.
fn server(page: &Page<'_>) -> String {
    let sources = page.rows.iter().filter_map(|row| row.run.server).map(|server| server.source);
    let mut words: Vec<String> = sources
        .map(|source| match source {
            Source::Pid => "cost of its process".to_owned(),
            Source::Cgroup => "cost of its cgroup".to_owned(),
            Source::Prometheus => "cost as its own metrics tell".to_owned(),
        })
        .collect();
    words.dedup();
    if words.is_empty() { format!("cost {NOT_MEASURED}") } else { words.join(", ") }
}

/// What a reader may expect here and will not find.
fn not_measured(page: &Page<'_>) -> String {
    let none = |is_there: fn(&super::Row<'_>) -> bool| !page.rows.iter().any(is_there);
    let missing = [
        (none(|row| row.run.server.is_some()), "server cost"),
        (none(|row| row.run.tls_ns.is_some()), "TLS"),
        (none(|row| row.run.compression.is_some()), "compression"),
        (none(|row| row.run.tcp.is_some()), "TCP/IP bytes"),
        (none(|row| !row.run.agents.is_empty()), "more than one machine"),
        (none(|row| row.run.confidence.is_some()), "confidence over repeated runs"),
    ];
    let missing = missing.iter().filter(|(is_missing, _)| *is_missing);
    let missing: Vec<String> = missing.map(|(_, name)| (*name).to_owned()).collect();
    if missing.is_empty() {
        "nothing that this page has a place for".to_owned()
    } else {
        joined(&missing)
    }
}

/// Kernel settings and limits, folded away.
fn settings(page: &Page<'_>) -> Markup {
    let machine = &page.document.machine;
    let limits = machine.limits;
    let shown = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |n| STYLE.count(n));
    html! {
        details {
            summary { "Kernel settings and limits" }
            div.scroll { table.settings { tbody {
                @for (name, value) in &machine.sysctls {
                    tr { th { code { (name) } } td { (or_not_measured(value.clone(), |v| v)) } }
                }
                tr {
                    th { "open files, soft and hard" }
                    td { (shown(limits.nofile_soft)) ", " (shown(limits.nofile_hard)) }
                }
                @for (name, value) in &machine.mitigations {
                    tr { th { code { (name) } } td { (value) } }
                }
            } } }
        }
    }
}
