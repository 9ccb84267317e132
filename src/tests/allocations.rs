//! A message costs the worker no allocation, and a publication none per subscriber.
//!
//! Not here: what the simulated kernel allocates, which is counted apart and left out, and what a
//! live engine allocates (`ring`'s tests).

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::ws::{Deflator, Direction, Effort, Opcode, encode_compressed_frame};
use ringwire_ring::counting::{CountingAllocator, thread_allocations};
use ringwire_ring::sim::{DriverOptions, RawPeer, Sim, SimDriver, SimListener, SimOptions};
use ringwire_ring::{
    Accepting, Address, Batch, Completion, Doorbell, Driver, Errno, Figures, Shutdown, Slot,
};
use ringwire_transport::mesh;

use super::echo::UPGRADE;
use super::speaker;
use super::wire::{frame, heard, upgrade};
use super::world::is_whole;
use crate::app::{Remote, Surface};
use crate::cli::config_of;
use crate::limits::Limits;
use crate::log::Logger;
use crate::metrics::WorkerMetrics;
use crate::visitors::Visitors;
use crate::worker::{Crew, Parts, Worker};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A driver that counts what is allocated inside of it.
struct Apart {
    inner: SimDriver,
    allocations: Rc<Cell<u64>>,
}

impl Apart {
    fn of<R>(&mut self, act: impl FnOnce(&mut SimDriver) -> R) -> R {
        let before = thread_allocations();
        let result = act(&mut self.inner);
        let more = thread_allocations() - before;
        self.allocations.set(self.allocations.get() + more);
        result
    }
}

impl Driver for Apart {
    type Listener = SimListener;

    fn listen(&mut self, listener: SimListener) -> Result<(), Errno> {
        self.of(|inner| inner.listen(listener))
    }

    fn accept(&mut self, accepting: Accepting) {
        self.of(|inner| inner.accept(accepting));
    }

    fn connect(&mut self, address: &Address, source: Option<IpAddr>) -> Result<Slot, Errno> {
        self.of(|inner| inner.connect(address, source))
    }

    fn receive(&mut self, slot: Slot, on: bool) {
        self.of(|inner| inner.receive(slot, on));
    }

    fn send(&mut self, slot: Slot, bytes: Bytes) {
        self.of(|inner| inner.send(slot, bytes));
    }

    fn batch(&mut self, batch: &mut Batch) {
        self.of(|inner| inner.batch(batch));
    }

    fn shutdown(&mut self, slot: Slot, how: Shutdown) {
        self.of(|inner| inner.shutdown(slot, how));
    }

    fn close(&mut self, slot: Slot) {
        self.of(|inner| inner.close(slot));
    }

    fn wake(&mut self, worker: usize) {
        self.of(|inner| inner.wake(worker));
    }

    fn doorbell(&self) -> Doorbell {
        self.inner.doorbell()
    }

    fn turn(&mut self, deadline_ns: u64, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        self.of(|inner| inner.turn(deadline_ns, completions))
    }

    fn now_ns(&self) -> u64 {
        self.inner.now_ns()
    }

    fn clock_ns(&self) -> u64 {
        self.inner.clock_ns()
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.of(|inner| inner.entropy(bytes));
    }

    fn figures(&self) -> Figures {
        self.inner.figures()
    }
}

/// One worker whose own allocations are counted.
struct Counted {
    sim: Sim,
    address: SocketAddr,
    worker: Worker<Apart, Surface>,
    inside: Rc<Cell<u64>>,
    /// Allocations of the worker's turns, without the driver's.
    own: u64,
}

impl Counted {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(flags: &[&str]) -> Self {
        let sim = Sim::new(1, SimOptions::default());
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let inside = Rc::new(Cell::new(0));
        let inner = sim.driver(DriverOptions::default());
        let mut driver = Apart { inner, allocations: Rc::clone(&inside) };
        driver.listen(sim.listener(address)).expect("a free address");
        let flags = flags.iter().copied().chain(["--ping-interval", "1h"]);
        let config = config_of(flags).expect("flags of the test");
        let worker = Worker::new(Parts {
            index: 0,
            app: Surface::new(Vec::new()),
            mesh: mesh(1, 64, 1 << 20).remove(0),
            crew: Arc::new(Crew::new(1)),
            remote: Remote::new(driver.doorbell()),
            driver,
            metrics: Arc::new(WorkerMetrics::new()),
            logger: Logger::silent(),
            limits: Limits::new(&config),
            visitors: Arc::new(Visitors::new(0)),
            tls_listeners: Box::new([false]),
            tls: None,
            slots_max: 1024,
        });
        Self { sim, address, worker, inside, own: 0 }
    }

    fn run_until(&mut self, condition: impl FnMut() -> bool) {
        let Self { sim, worker, inside, own, .. } = self;
        let mut step = || {
            let before = thread_allocations();
            let inside_before = inside.get();
            worker.turn().expect("sim does not fail");
            *own += thread_allocations() - before - (inside.get() - inside_before);
        };
        sim.run_until(condition, &mut [&mut step], 1_000_000);
    }

    fn open(&mut self, request: &str) -> RawPeer {
        let peer = self.sim.connect(self.address);
        peer.send(request.as_bytes());
        self.run_until(|| is_whole(&peer.received()));
        let _ = peer.take_received();
        peer
    }

    /// What the worker allocates while `asked` is answered `rounds` times on each of `peers`.
    fn rounds(&mut self, peers: &[RawPeer], rounds: usize, asked: &[u8], len: usize) -> u64 {
        let before = self.own;
        for _ in 0..rounds {
            for peer in peers {
                peer.send(asked);
                self.run_until(|| peer.received().len() == len);
                assert_eq!(peer.take_received().len(), len);
            }
        }
        self.own - before
    }
}

#[test]
fn an_echo_allocates_nothing() {
    let mut world = Counted::new();
    let peers: Vec<_> = (0..3).map(|_| world.open(UPGRADE)).collect();
    assert!(world.own > 0, "an upgrade allocates, or nothing is counted");
    for (payload, head) in [(vec![b'x'; 20], 2), (vec![b'y'; 1000], 4), (Vec::new(), 2)] {
        let asked = frame(Opcode::Text, &payload);
        let len = head + payload.len();
        world.rounds(&peers, 3, &asked, len);
        assert_eq!(world.rounds(&peers, 100, &asked, len), 0, "{} bytes", payload.len());
        // Several in one receive.
        let several: Vec<u8> = asked.repeat(8);
        world.rounds(&peers, 3, &several, 8 * len);
        assert_eq!(world.rounds(&peers, 100, &several, 8 * len), 0, "8 x {}", payload.len());
    }
}

#[test]
fn a_compressed_echo_allocates_nothing() {
    for mode in ["shared", "dedicated"] {
        let mut world = Counted::with(&["--compression", mode]);
        let request = speaker::request("/echo", "permessage-deflate", "");
        let mut peers: Vec<_> = (0..3).map(|_| world.open(&request)).collect();
        let payload = b"words that come again, ".repeat(40);
        let direction = Direction { window_bits: 15, context_takeover: false };
        let mut compressed = Vec::new();
        Deflator::new(direction, Effort::Quick).deflate(&payload, &mut compressed);
        let mut asked = Vec::new();
        encode_compressed_frame(&mut asked, Opcode::Text, &compressed, Some([1, 2, 3, 4]));
        // The first answers of a context differ in length from those that repeat them.
        for peer in &mut peers {
            for _ in 0..3 {
                peer.send(&asked);
                world.run_until(|| !peer.received().is_empty());
                assert_eq!(peer.take_received()[0], 0xC1);
            }
        }
        peers[0].send(&asked);
        world.run_until(|| !peers[0].received().is_empty());
        let len = peers[0].take_received().len();
        assert_eq!(world.rounds(&peers, 100, &asked, len), 0, "{mode}");
    }
}

#[test]
fn a_ping_allocates_nothing() {
    let mut world = Counted::new();
    let peers = [world.open(UPGRADE)];
    let asked = frame(Opcode::Ping, b"payload");
    world.rounds(&peers, 3, &asked, 9);
    assert_eq!(world.rounds(&peers, 100, &asked, 9), 0);
}

/// Allocations of 50 publications to `subscribers`, once everything has its size.
fn fan_out(subscribers: usize) -> u64 {
    let mut world = Counted::new();
    let peers: Vec<_> = (0..subscribers).map(|_| world.open(&upgrade("a", ""))).collect();
    let asked = frame(Opcode::Text, b"to everybody");
    let mut measured = 0;
    for round in 0..250 {
        let before = world.own;
        peers[0].send(&asked);
        world.run_until(|| peers.iter().all(|peer| !peer.received().is_empty()));
        for peer in &peers {
            assert_eq!(heard(&[b"\r\n\r\n", &peer.take_received()[..]].concat()).len(), 1);
        }
        if round >= 200 {
            measured += world.own - before;
        }
    }
    measured
}

#[test]
fn a_publication_allocates_as_much_for_many_subscribers_as_for_few() {
    let (few, many) = (fan_out(2), fan_out(40));
    assert!(few > 0, "a publication allocates, or nothing is counted");
    assert_eq!(few, many);
}
