//! What the live tests share: a server on its own threads, and waiting for a condition.
//!
//! Not here: clients (`client`, `peers`) and the built program (`process`). Invariant: when a
//! [`Running`] goes, its clients have gone before it, and then no connection, no byte held for
//! one, and no worker is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringwire::app::Surface;
use ringwire::cli::config_of;
use ringwire::config::Listen;
use ringwire::log::Logger;
use ringwire::metrics::{State, Transport, WorkerMetrics};
use ringwire::server::Server;

/// How long anything may take before the test is over.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(1);

/// Timeouts that no test reaches unless it asks for its own: a slow machine must not look like a
/// slow peer, and nothing may end by a timeout that should end by itself.
const UNHURRIED: [&str; 6] = [
    "--header-timeout",
    "--keepalive-timeout",
    "--ping-interval",
    "--pong-timeout",
    "--close-timeout",
    "--drain-timeout",
];

/// Which engine a test runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Uring,
    Epoll,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Looks until `condition` holds; past the limit the test fails with `state`.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool, state: impl FnOnce() -> String) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {}", state());
        thread::park_timeout(PAUSE);
    }
}

/// The flags of a server under test: `given`, and whatever it needs besides.
pub(crate) fn flags(engine: Engine, workers: usize, given: &[&str]) -> Vec<String> {
    let mut flags: Vec<String> = ["--listen", "127.0.0.1:0", "--engine", engine.name()]
        .into_iter()
        .chain(given.iter().copied())
        .map(str::to_owned)
        .collect();
    flags.extend(["--workers".to_owned(), workers.to_string()]);
    for name in UNHURRIED.into_iter().filter(|name| !given.contains(name)) {
        flags.extend([name.to_owned(), "10m".to_owned()]);
    }
    flags
}

/// A server on its own threads.
pub(crate) struct Running {
    server: Option<Server>,
    /// The first of them, which is TCP.
    pub(crate) address: SocketAddr,
    pub(crate) listeners: Vec<Listen>,
    metrics: Vec<Arc<WorkerMetrics>>,
}

impl Running {
    /// Starts one that serves what the `ringwire` program serves.
    pub(crate) fn start(engine: Engine, workers: usize, given: &[&str]) -> Self {
        let flags = flags(engine, workers, given);
        let config = config_of(flags.iter().map(String::as_str)).unwrap();
        let surface = {
            let config = config.clone();
            move |_| Surface::of(&config)
        };
        let server = Server::start(&config, &Logger::silent(), surface).unwrap();
        let address = server.listeners()[0].address.tcp().unwrap();
        let (listeners, metrics) = (server.listeners().to_vec(), server.metrics().to_vec());
        Self { server: Some(server), address, listeners, metrics }
    }

    /// The sum over the workers.
    pub(crate) fn sum(&self, value: impl Fn(&WorkerMetrics) -> u64) -> u64 {
        self.metrics.iter().map(|metrics| value(metrics)).sum()
    }

    /// The value of each worker.
    pub(crate) fn each(&self, value: impl Fn(&WorkerMetrics) -> u64) -> Vec<u64> {
        self.metrics.iter().map(|metrics| value(metrics)).collect()
    }

    /// Connections now.
    pub(crate) fn live(&self) -> u64 {
        self.sum(|metrics| {
            let states = |&transport: &Transport| {
                State::ALL.iter().map(move |&state| metrics.connections(transport, state))
            };
            Transport::ALL.iter().flat_map(states).sum()
        })
    }

    /// Connections of this kind now.
    pub(crate) fn connections(&self, transport: Transport, state: State) -> u64 {
        self.sum(|metrics| metrics.connections(transport, state))
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.sum(|metrics| metrics.held_bytes.value())
    }

    /// Waits until no connection is left, and nothing that was held for one.
    pub(crate) fn await_empty(&self) {
        let left = || (self.live(), self.held_bytes(), self.sum(|m| m.subscriptions.value()));
        eventually(
            || left() == (0, 0, 0),
            || format!("connections, bytes held, subscriptions left: {:?}", left()),
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        if thread::panicking() {
            // The test failed already; its clients may still be there.
            return server.stopper().drain();
        }
        self.await_empty();
        server.stopper().drain();
        eventually(|| server.is_finished(), || "the workers do not leave".to_owned());
        server.join().unwrap();
    }
}
