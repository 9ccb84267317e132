//! Several machines as one: agents take parts of a plan from a NATS server, a controller adds up
//! what they measured.
//!
//! ```text
//! controller                     agent
//!   Call (until enough) ------->   Offer
//!   Ping x 32, other clocks ---->  Pong
//!   Plan: scenario, part ------->  opens its connections; Ready: how many on which thread
//!   Start: at this time -------->  measures; Now once a second
//!   Beat once a second              (Stop: ends at once)
//!                               <- Done: its result, accepted and subscribed by channel
//!   Ping x 32, Release --------->  is free
//! ```
//!
//! Not here: load, and adding up (`merge`). Invariant: everything from the NATS server is outside
//! input: bounded, checked, and refused by a line.

mod agent;
mod allowed;
mod clock;
mod controller;
mod desk;
mod member;
mod message;
mod now;
mod post;
mod sum;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;

use loadgen::outcome::{Failure, Progress};
use loadgen::scenario::Scenario;

use self::agent::{Agent, Options};
use self::allowed::Allowed;
use self::controller::{Controller, Wish};
use self::desk::Desk;
use self::message::{agent_subject, call_subject, run_subject};
use self::post::Nats;
use crate::cli::agents::{AgentFlags, AgentsFlags};
use crate::cli::units;
use crate::machine::content;
use crate::result::Document;

const NS_PER_S: u64 = 1_000_000_000;
/// How often both sides say that they are there.
const BEAT_NS: u64 = NS_PER_S;

/// `loadgen agent`: takes its share of plans until it is stopped.
pub(crate) fn serve(flags: &AgentFlags, stop: &AtomicBool) -> Result<u8, Failure> {
    let name = flags.name.clone().unwrap_or_else(|| format!("agent-{}", std::process::id()));
    if !message::is_name(&name) {
        let line = "--name must be 1 to 64 letters, digits, - and _";
        return Err(Failure::configuration(line));
    }
    let cpus = flags.cpus.as_deref().map(units::cpus).transpose();
    let cpus = cpus.map_err(|line| Failure::configuration(format!("--cpus: {line}")))?;
    let options = Options {
        name,
        is_once: flags.once,
        targets: flags
            .allow_target
            .iter()
            .map(|text| Allowed::parse(text))
            .collect::<Result<_, _>>()?,
        threads: flags.threads.map(|threads| usize::try_from(threads).unwrap_or(usize::MAX)),
        cpus: cpus.unwrap_or_default(),
        source_ip: flags.source_ip.clone(),
        is_quiet: flags.quiet,
    };
    let id = unique("a");
    let nats = Nats::connect(&flags.nats, vec![call_subject(), agent_subject(&id)])?;
    if !flags.quiet {
        let (name, server) = (&options.name, post::shown(&flags.nats));
        eprintln!("loadgen: agent {name} takes plans from {server}");
    }
    Agent::new(Desk::new(nats, id), &options, stop).serve()?;
    Ok(0)
}

/// `loadgen run --nats`: has `scenario` carried out by agents.
pub(crate) fn control(
    flags: &AgentsFlags,
    nats: &str,
    scenario: &Scenario,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Document, Failure> {
    if !(1..=allowed::AGENTS_MAX).contains(&flags.agents) {
        return Err(Failure::configuration("--agents must be from 1 to 1000"));
    }
    if !scenario.cpus.is_empty() {
        let line = "--cpus is about this machine, which makes no load with --nats: say it to each \
                    `loadgen agent`";
        return Err(Failure::configuration(line));
    }
    if scenario.traffic.sources.count() > 0 {
        let line = "--source-ip is about this machine, which makes no load with --nats: say it to \
                    each `loadgen agent`";
        return Err(Failure::configuration(line));
    }
    if scenario.server_pid.is_some() {
        let line = "--server-pid is about this machine, which measures nothing with --nats";
        return Err(Failure::configuration(line));
    }
    let run = unique("r");
    let post = Nats::connect(nats, vec![run_subject(&run)])?;
    let server = post::shown(nats);
    let wish = Wish {
        scenario,
        agents: usize::try_from(flags.agents).unwrap_or(usize::MAX),
        timeout_ns: flags.agents_timeout,
        server: &server,
    };
    let result = Controller::new(Desk::new(post, run), wish, progress, stop).conduct()?;
    sum::document(scenario, result.portions, result.ended)
}

/// A name that no other process has, on any machine.
fn unique(prefix: &str) -> String {
    let boot = content("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    let (process, now_ns) = (std::process::id(), ringwire_ring::monotonic_ns());
    format!("{prefix}{boot}-{process}-{now_ns:x}")
}

/// What processes that read one clock have in common: the boot, and the namespace of its time.
/// Empty where that cannot be told.
fn own_clock() -> String {
    let boot = content("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/time").ok();
    match (boot, namespace) {
        (Some(boot), Some(namespace)) => format!("{boot} {}", namespace.display()),
        // A kernel without namespaces of time has one time.
        (Some(boot), None) => boot,
        (None, _) => String::new(),
    }
}
