//! The client that a conformance suite puts to the test, by Autobahn's protocol: it asks how many
//! cases there are, opens each and says back whatever comes, and asks for the reports.
//!
//! Not here: verdicts; the suite writes them. Invariant: one connection at a time, and memory that
//! does not depend on what the suite sends or refuses to read.

mod client;
mod dialogue;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire_ring::epoll::Epoll;
use ringwire_ring::uring::Uring;
use ringwire_ring::{Bells, Driver, EngineOptions, Features, Permits, Role};

use crate::engine::{Engine, refused};
use crate::outcome::Failure;
use crate::scenario::{EngineChoice, Target};
use crate::secure::Secure;
use client::Client;

/// Entries of the engine's table: one connection, and those that are being closed behind it.
const SLOTS_MAX: u32 = 64;

/// What to be tested with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The suite's server; the path is what its routes begin with.
    pub target: Target,
    /// TLS, for `wss`.
    pub secure: Option<Secure>,
    /// The name that the reports give this client.
    pub agent: String,
    /// Only these of the suite's numbers; all when empty.
    pub cases: Vec<RangeInclusive<u32>>,
    /// The largest message that is said back; a larger one is answered with Close 1009.
    pub message_bytes_max: usize,
    /// Whether permessage-deflate is offered; where it is accepted, every message is compressed.
    pub compression: bool,
    /// What carries the client.
    pub engine: EngineChoice,
}

impl Plan {
    fn has(&self, case: u32) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|range| range.contains(&case))
    }
}

/// What became of a suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that the suite has.
    pub cases: u32,
    /// Cases that this client is to open.
    pub chosen: u32,
    /// Those it has opened and seen the end of.
    pub done: u32,
    /// Those of them in which nothing moved any more, so that this client ended them.
    pub silent: u32,
}

/// Goes through the suite. `progress` is told after every case; `stop` ends it early.
///
/// # Errors
/// When the suite cannot be reached, or ends in the middle; code 1 when `stop` was set.
pub fn run(plan: &Plan, progress: &dyn Fn(&Tally), stop: &AtomicBool) -> Result<Tally, Failure> {
    let engine = Engine::of(plan.engine)?;
    let bells = Bells::new(1)
        .map_err(|error| Failure::other(format!("no descriptors ({error}): raise ulimit -n")))?;
    let options = EngineOptions {
        worker: 0,
        bells: Arc::new(bells),
        slots_max: SLOTS_MAX,
        permits: Arc::new(Permits::new(SLOTS_MAX)),
        receive_buffers: None,
        role: Role::Connects,
        peers: false,
        features: match engine {
            Engine::Uring(features) => features,
            Engine::Epoll => Features::default(),
        },
    };
    match engine {
        Engine::Uring(_) => {
            let driver = Uring::new(options).map_err(|refusal| refused(&refusal))?;
            drive(Client::new(driver, plan.clone()), progress, stop)
        }
        Engine::Epoll => {
            let driver = Epoll::new(options).map_err(|refusal| refused(&refusal))?;
            drive(Client::new(driver, plan.clone()), progress, stop)
        }
    }
}

fn drive<D: Driver>(
    mut client: Client<D>,
    progress: &dyn Fn(&Tally),
    stop: &AtomicBool,
) -> Result<Tally, Failure> {
    let mut told = 0;
    loop {
        let is_over = client.turn()?;
        let tally = client.tally();
        if tally.done > told {
            told = tally.done;
            progress(&tally);
        }
        if is_over {
            return Ok(tally);
        }
        if stop.load(Ordering::Relaxed) {
            let line = format!("interrupted after {} of {} cases", tally.done, tally.chosen);
            return Err(Failure::other(line));
        }
    }
}
