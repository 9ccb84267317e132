//! `compare`: the same publish schedule over every transport of one server, one at a time.
//!
//! The parent of the comparison: it runs the plan's blocks in order and keeps all control flow.
//! What a row costs is put together in [`rows`], what it should cost in [`theory`].

pub(crate) mod plan;
pub(crate) mod rows;
pub(crate) mod server;
pub(crate) mod theory;

pub(crate) use self::rows::row_name;

use loadgen::outcome::{Ended, Failure, Outcome};
use loadgen::scenario::{Mode, Scenario, Target, Transport};
use ringwire_ring::Address;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::plan::{Block, Plan, Subject};
use self::rows::Measured;
use self::server::ServerProcess;
use crate::cli::CompareFlags;
use crate::cli::plan as flags_plan;
use crate::cli::units::Fraction;
use crate::cli::url::Url;
use crate::report::number::Style;
use crate::report::progress::{self, Shown, Surface};
use crate::report::title::Title;

/// Everything that the blocks measured, in the order of the plan.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) plan: Plan,
    /// What every block is made from; each has a target of its own.
    pub(crate) base: Scenario,
    pub(crate) measured: Vec<Measured>,
    pub(crate) is_interrupted: bool,
    /// Whether each block had a server of its own, so that memory is the block's.
    pub(crate) is_server_fresh: bool,
}

/// Runs every block. `unique` makes channel names that no earlier comparison has used.
pub(crate) fn run(
    flags: &CompareFlags,
    surface: Surface,
    stop: &AtomicBool,
    unique: &str,
) -> Result<Comparison, Failure> {
    let plan = plan::plan(flags)?;
    let base = crate::commands::fit(base(flags, &plan)?)?;
    for row in &plan.left_out {
        let (row, transport) = (row.name(), row.transport);
        surface.line(&format!("row {row} is left out: no --{transport}-url, and no server's URL"));
    }
    surface.line(&format!(
        "compare: {} blocks, about {}",
        plan.blocks.len(),
        progress::minutes(plan.expected_ns())
    ));
    let url = match (&flags.url, &flags.server_command) {
        (Some(url), _) => url.to_string(),
        (None, Some(command)) => command.clone(),
        (None, None) => flags.routes.first().map(Url::to_string).unwrap_or_default(),
    };
    let style = Style::of_locale(|name| std::env::var(name).ok());
    let title = Title::of_comparison(&base, url, style);
    let comparison = Comparison {
        base,
        measured: Vec::new(),
        is_interrupted: false,
        is_server_fresh: flags.server_command.is_some(),
        plan,
    };
    let blocks = |shown: &Shown| measure(flags, comparison, shown, stop, unique);
    let comparison = surface.show(title, stop, blocks)?;
    if comparison.is_interrupted || !comparison.measured.iter().all(|one| one.result.is_err()) {
        return Ok(comparison);
    }
    // Nothing was measured at all: the first reason is the answer.
    let mut failures = comparison.measured.into_iter().filter_map(|one| one.result.err());
    Err(failures.next().unwrap_or_else(|| Failure::other("nothing was measured")))
}

/// One block after another, until all are measured or somebody wants it to stop.
fn measure(
    flags: &CompareFlags,
    mut comparison: Comparison,
    shown: &Shown,
    stop: &AtomicBool,
    unique: &str,
) -> Result<Comparison, Failure> {
    for index in 0..comparison.plan.blocks.len() {
        if stop.load(Ordering::Relaxed) {
            comparison.is_interrupted = true;
            break;
        }
        let block = comparison.plan.blocks[index];
        shown.rows(rows_so_far(&comparison, flags.rate));
        shown.begin(begun(&comparison.plan, index));
        let (scenario, server) = scenario(flags, &comparison, index, unique)?;
        let result = loadgen::engine::run(&scenario, shown, stop);
        drop(server);
        shown.line(&finished(&comparison.plan, block, &result));
        let is_stopped = matches!(&result, Ok(outcome) if outcome.ended == Ended::Interrupted);
        comparison.is_interrupted |= is_stopped;
        comparison.measured.push(Measured { block, target: scenario.target, result });
    }
    Ok(comparison)
}

/// What a live view shows of every row.
fn rows_so_far(comparison: &Comparison, rate: Fraction) -> Vec<progress::Row> {
    let nobody = rows::nobody(comparison);
    let measured = rows::rows(comparison, rate, nobody.as_ref());
    let rows = comparison.plan.rows.iter().map(|row| row.name());
    rows.map(|name| {
        let run = measured.iter().find(|run| row_name(run) == name).cloned().map(Arc::new);
        progress::Row { name, run }
    })
    .collect()
}

/// What all blocks have in common.
fn base(flags: &CompareFlags, plan: &Plan) -> Result<Scenario, Failure> {
    let target = match (&flags.url, flags.routes.first()) {
        (Some(url), _) => {
            if url.scheme.is_websocket() {
                let line = "compare takes the server as http://HOST:PORT or https://";
                return Err(Failure::configuration(line));
            }
            flags_plan::target(url, &flags.load)?
        }
        (None, Some(url)) => flags_plan::target(url, &flags.load)?,
        // Filled in by each block's own server.
        (None, None) => Target {
            address: Address::Tcp(([127, 0, 0, 1], 0).into()),
            host: String::new(),
            path: "/".to_owned(),
        },
    };
    if flags.connections == 0 {
        return Err(Failure::configuration("--connections must be at least 1"));
    }
    if flags.url.is_none() && flags.routes.first().is_some() && flags.speech.publish_url.is_none() {
        let line = "--ws-url, --sse-url, --longpoll-url and --poll-url need --publish-url, or the \
                    server's URL: the same is published for all of them";
        return Err(Failure::configuration(line));
    }
    let url = flags.url.as_ref().or_else(|| flags.routes.first());
    let secure = url.map(|url| flags_plan::secure(url, &flags.tls));
    let scenario = Scenario {
        secure: secure.transpose()?.flatten(),
        speech: flags.speech.speech(&flags.tls, flags_plan::run_number())?,
        transport: Transport::Ws,
        mode: Mode::Fanout,
        connections: flags.connections,
        duration: Duration::from_nanos(plan.duration_ns),
        warmup: Duration::from_nanos(plan.warmup_ns),
        rate_per_s: Some(flags_plan::rate(flags.rate)?),
        server_pid: flags.server_pid,
        ..flags_plan::base(&flags.load, target)?
    };
    let size_bytes = scenario.message_bytes().unwrap_or(scenario.size_bytes);
    let scenario = Scenario { size_bytes, ..scenario };
    flags_plan::check(&fitted(scenario.clone(), Transport::Ws))?;
    // A row's own words are wrong now, or never: not after minutes of measuring the others.
    for row in &plan.rows {
        flags_plan::check(&routed(flags, scenario.clone(), row.transport)?)?;
    }
    Ok(scenario)
}

/// The scenario without what other transports have, and this one has not.
fn fitted(base: Scenario, transport: Transport) -> Scenario {
    let mut scenario = Scenario { transport, ..base };
    let is_ws = transport == Transport::Ws;
    // The other transports have none, and a row is measured as its users find it.
    scenario.compression = scenario.compression.filter(|_| is_ws);
    let is_poll = matches!(transport, Transport::LongPoll | Transport::Poll);
    scenario.speech.poll_style = scenario.speech.poll_style.filter(|_| is_poll);
    if !is_ws {
        scenario.speech.first.clear();
        scenario.speech.ready = None;
    }
    scenario
}

/// The scenario of a row, at the row's own URL if it has one.
fn routed(flags: &CompareFlags, base: Scenario, transport: Transport) -> Result<Scenario, Failure> {
    let mut scenario = fitted(base, transport);
    let is_ws = transport == Transport::Ws;
    let Some(url) = flags.routes.of(transport) else { return Ok(scenario) };
    if url.scheme.is_websocket() != is_ws {
        let scheme = if is_ws { "ws:// or wss://" } else { "http:// or https://" };
        let line = format!("--{transport}-url must begin with {scheme}");
        return Err(Failure::configuration(line));
    }
    scenario.target = flags_plan::target(url, &flags.load)?;
    scenario.secure = flags_plan::secure(url, &flags.tls)?;
    Ok(scenario)
}

/// The scenario of one block, and its server if it has one of its own.
fn scenario(
    flags: &CompareFlags,
    comparison: &Comparison,
    index: usize,
    unique: &str,
) -> Result<(Scenario, Option<ServerProcess>), Failure> {
    let block = comparison.plan.blocks[index];
    let mut scenario = comparison.base.clone();
    let path = flags.url.as_ref().map_or("/", |url: &Url| url.path.as_str());
    scenario.target.path = channel_path(path, unique, index);
    // Messages of one block are nobody's in the next.
    scenario.speech.run = scenario.speech.run.wrapping_add(index as u64 + 1);
    match block.subject {
        Subject::Nobody => {
            scenario = Scenario { connections: 0, ..fitted(scenario, Transport::Ws) };
        }
        Subject::Row(row) => {
            let row = comparison.plan.rows[row];
            scenario = routed(flags, scenario, row.transport)?;
            scenario.warmup = Duration::from_nanos(comparison.plan.warmup_ns(row));
            if let Some(ns) = row.poll_interval_ns {
                scenario.poll_interval = Duration::from_nanos(ns);
            }
        }
    }
    let Some(command) = &flags.server_command else { return Ok((scenario, None)) };
    let server = ServerProcess::start(command, comparison.plan.history)?;
    scenario.target.address = server.address().into();
    scenario.target.host = server.address().to_string();
    scenario.server_pid = Some(server.pid());
    Ok((scenario, Some(server)))
}

/// A channel of its own for every block, so that offsets begin anew and nothing is left over. The
/// names are of one length, as polls carry them.
fn channel_path(path: &str, unique: &str, index: usize) -> String {
    match path {
        "/" => format!("/channels/compare-{unique}-{index:02}"),
        own => format!("{}-{unique}-{index:02}", own.trim_end_matches('/')),
    }
}

/// Where the comparison is when a block begins.
fn begun(plan: &Plan, index: usize) -> progress::Block {
    let block = plan.blocks[index];
    progress::Block {
        round: block.round,
        rounds: plan.rounds,
        number: index + 1,
        blocks: plan.blocks.len(),
        row: rows::subject_name(plan, block.subject),
        index: match block.subject {
            Subject::Nobody => None,
            Subject::Row(row) => Some(row),
        },
        expected_ns: plan.expected_ns(),
        after_ns: plan.blocks[index + 1..].iter().map(|block| block.expected_ns).sum(),
    }
}

/// The line that stays when a block is over.
fn finished(plan: &Plan, block: Block, result: &Result<Outcome, Failure>) -> String {
    let head = format!("round={} row={}", block.round, rows::subject_name(plan, block.subject));
    match result {
        Ok(outcome) => format!(
            "{head} sent={} received={} expected={} gaps={} p50_us={} errors={}",
            outcome.messages_sent,
            outcome.messages_received,
            outcome.messages_expected,
            outcome.gaps,
            outcome.intended.value_at_quantile(0.5) / 1_000,
            outcome.errors.values().sum::<u64>(),
        ),
        Err(failure) => format!("{head} failed: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::channel_path;

    #[test]
    fn every_block_has_a_channel_of_its_own() {
        assert_eq!(channel_path("/", "7-1", 0), "/channels/compare-7-1-00");
        assert_eq!(channel_path("/rooms/a/", "7-1", 3), "/rooms/a-7-1-03");
    }
}
