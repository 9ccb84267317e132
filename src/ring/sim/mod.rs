//! A seeded kernel in memory: whole workers and their clients in one thread, in virtual time.
//!
//! A [`Sim`] is a network. Any number of [`SimDriver`]s (each a worker of a server, or of a load
//! generator) and of [`RawPeer`]s (scripted clients) live in it. It behaves like TCP and is as
//! unkind as the kernel: see [`Faults`]. One `u64` decides everything, so a failed run is repeated
//! by its seed, which is printed.
//!
//! Not here: real time, real sockets, threads. Invariant: two runs of one seed are the same run;
//! [`Sim::hash`] shows it.
//!
//! ```
//! use std::cell::RefCell;
//! use ringwire_ring::sim::{DriverOptions, Faults, Sim, SimOptions};
//! use ringwire_ring::{Accepting, Completion, Driver};
//!
//! // A worker that answers every piece it receives with the same bytes.
//! let sim = Sim::new(7, SimOptions { faults: Faults::lossless(), ..SimOptions::default() });
//! let mut driver = sim.driver(DriverOptions::default());
//! let listener = sim.listener("10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap());
//! let address = listener.address().clone();
//! driver.listen(listener).unwrap();
//! driver.accept(Accepting::On);
//! let mut answers = std::collections::VecDeque::new();
//! let mut sending = false;
//! let mut worker = || {
//!     let mut completions = Vec::new();
//!     driver.turn(u64::MAX, &mut completions).unwrap();
//!     for completion in completions {
//!         match completion {
//!             Completion::Accepted { slot, .. } => driver.receive(slot, true),
//!             Completion::Received { slot, lease } => {
//!                 answers.push_back((slot, bytes::Bytes::copy_from_slice(&lease)));
//!             }
//!             Completion::Sent { .. } => sending = false,
//!             Completion::Ended { slot, .. } => driver.close(slot),
//!             _ => {}
//!         }
//!     }
//!     if !sending && let Some((slot, bytes)) = answers.pop_front() {
//!         driver.send(slot, bytes);
//!         sending = true;
//!     }
//! };
//! // A scripted client, and the run: the seed chooses who takes a step, time jumps when all wait.
//! let client = sim.connect(address);
//! client.send(b"hello");
//! sim.run_until(|| client.received() == b"hello", &mut [&mut worker], 10_000);
//! client.fin();
//! sim.run_until(|| client.is_ended(), &mut [&mut worker], 10_000);
//! ```
//!
//! Safety and liveness are two questions. With faults on, assert what must never happen; then call
//! [`Sim::heal`], run on, and assert what must happen in the end.

mod driver;
mod faults;
mod kernel;
mod lender;
mod log;
mod peer;
mod random;
mod run;
mod socket;
#[cfg(test)]
mod tests;
mod turn;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::address::Address;

pub use driver::{SimDriver, SimListener};
pub use faults::Faults;
pub use peer::RawPeer;
pub use random::{Random, each_seed};
pub use run::Stuck;

use world::World;

/// What a simulated network is like.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// Bytes that one direction of a connection holds: the kernel buffers of both ends.
    pub socket_bytes: usize,
    /// How long bytes and handshakes usually take.
    pub latency_ns: u64,
    /// Connections a listener queues; beyond it, clients try again a second later.
    pub backlog: usize,
    /// The clock at the start.
    pub start_ns: u64,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            faults: Faults::none(),
            socket_bytes: 64 * 1024,
            latency_ns: 50_000,
            backlog: 128,
            start_ns: 1_000_000_000,
        }
    }
}

/// What one simulated driver is like.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// The number by which [`crate::Driver::wake`] of the same process finds it.
    pub worker: usize,
    /// Workers of different processes do not hear each other.
    pub process: u32,
    /// Connections at a time.
    pub slots_max: u32,
    /// Receive buffers: how many, of how many bytes.
    pub receive_buffers: (u16, u32),
    /// Whether `Accepted` carries the peer's address. A multishot accept does not.
    pub reports_peer: bool,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            worker: 0,
            process: 0,
            slots_max: 1024,
            receive_buffers: (8, 16 * 1024),
            reports_peer: false,
        }
    }
}

/// A simulated network. Clones are the same network.
#[derive(Clone)]
pub struct Sim {
    world: Rc<RefCell<World>>,
    seed: u64,
}

impl Sim {
    /// A network in which `seed` decides everything.
    #[must_use]
    pub fn new(seed: u64, options: SimOptions) -> Self {
        Self { world: Rc::new(RefCell::new(World::new(seed, options))), seed }
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A driver in this network.
    #[must_use]
    pub fn driver(&self, options: DriverOptions) -> SimDriver {
        SimDriver::new(&self.world, options)
    }

    /// A listener on `address`. Several on one address form a group, and the seed picks among
    /// those that accept.
    #[must_use]
    pub fn listener(&self, address: impl Into<Address>) -> SimListener {
        let address = address.into();
        SimListener { id: self.world.borrow_mut().bind(address.clone()), address }
    }

    /// A scripted client that connects to `address`.
    #[must_use]
    pub fn connect(&self, address: impl Into<Address>) -> RawPeer {
        let socket = self.world.borrow_mut().connect(address.into(), None);
        RawPeer::new(&self.world, socket)
    }

    /// A scripted client that connects from `source`, which the server may get to see.
    #[must_use]
    pub fn connect_from(&self, address: impl Into<Address>, source: SocketAddr) -> RawPeer {
        let socket = self.world.borrow_mut().connect(address.into(), Some(source));
        RawPeer::new(&self.world, socket)
    }

    /// The virtual time.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.world.borrow().now_ns
    }

    /// Lets `duration_ns` pass.
    pub fn advance(&self, duration_ns: u64) {
        let world = &mut *self.world.borrow_mut();
        world.now_ns = world.now_ns.saturating_add(duration_ns);
        world.settle();
    }

    /// Lets time pass up to the next moment at which something can happen: bytes arrive, a
    /// driver's deadline comes. Whether there is one.
    #[must_use]
    pub fn advance_to_next(&self) -> bool {
        let world = &mut *self.world.borrow_mut();
        let next = world.next_ns();
        world.now_ns = next.unwrap_or(world.now_ns);
        world.settle();
        next.is_some()
    }

    /// Makes `at_ns` a moment that time does not jump over.
    pub fn alarm(&self, at_ns: u64) {
        self.world.borrow_mut().alarms.insert(at_ns);
    }

    /// Ends all faults, for good. What is broken stays broken; what is delayed arrives in time.
    pub fn heal(&self) {
        self.world.borrow_mut().healed = true;
    }

    /// A number from the seed, for the choices of the test itself.
    ///
    /// # Panics
    /// When `bound` is zero.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.world.borrow_mut().random.below(bound)
    }

    /// A digest of everything that happened so far, bytes and times included.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.world.borrow().log.hash()
    }

    /// Slots in use, of all drivers.
    #[must_use]
    pub fn slots_live(&self) -> usize {
        self.world.borrow().kernels.iter().map(kernel::Kernel::live_count).sum()
    }

    /// The last events in words, as a failed run prints them.
    #[must_use]
    pub fn recent(&self) -> String {
        self.world.borrow().log.to_string()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim(seed {})", self.seed)
    }
}
