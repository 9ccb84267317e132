//! A whole server in memory: several workers on *sim*, and scripted clients.
//!
//! Not here: any test. Invariant: one seed decides everything that happens in a world.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ringwire_ring::Driver;
use ringwire_ring::sim::{DriverOptions, Faults, RawPeer, Sim, SimDriver, SimOptions};
use ringwire_transport::mesh;

use crate::app::{Application, Remote, Surface};
use crate::cli::config_of;
use crate::limits::Limits;
use crate::log::Logger;
use crate::metrics::{DropReason, State, Transport, WorkerMetrics};
use crate::visitors::Visitors;
use crate::worker::{Crew, Parts, Worker};

/// Steps after which a world counts as stuck.
pub(crate) const STEPS_MAX: u64 = 4_000_000;

/// What a world is like.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) faults: Faults,
    /// Letters that fit between two workers.
    pub(crate) mesh_capacity: usize,
    pub(crate) slots_max: u32,
    /// Bytes that the kernel holds per direction of a connection.
    pub(crate) socket_bytes: usize,
    /// TLS for the second of its two listeners.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Flags of the `ringwire` binary.
    pub(crate) flags: Vec<&'static str>,
}

impl Plan {
    /// One worker, no faults.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            workers: 1,
            faults: Faults::none(),
            mesh_capacity: 64,
            slots_max: 256,
            socket_bytes: 64 * 1024,
            tls: None,
            flags: Vec::new(),
        }
    }
}

/// The workers of one server, and the network they are in.
pub(crate) struct World<A: Application = Surface> {
    pub(crate) sim: Sim,
    pub(crate) address: SocketAddr,
    /// Where clients speak TLS, if the plan has it.
    pub(crate) secure_address: SocketAddr,
    pub(crate) crew: Arc<Crew>,
    pub(crate) metrics: Vec<Arc<WorkerMetrics>>,
    visitors: Arc<Visitors>,
    workers: Vec<Rc<RefCell<Worker<SimDriver, A>>>>,
    bells: Vec<ringwire_ring::Doorbell>,
}

impl World<Surface> {
    /// A server as the binary runs it.
    pub(crate) fn new(plan: &Plan) -> Self {
        let config = config_of(plan.flags.iter().copied()).expect("flags of the test");
        Self::of(plan, |_| Surface::of(&config))
    }
}

impl<A: Application> World<A> {
    /// A server of another application.
    pub(crate) fn of(plan: &Plan, application: impl Fn(usize) -> A) -> Self {
        let options = SimOptions {
            faults: plan.faults.clone(),
            socket_bytes: plan.socket_bytes,
            ..SimOptions::default()
        };
        let sim = Sim::new(plan.seed, options);
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let secure_address = SocketAddr::from(([10, 0, 0, 1], 443));
        let mut config = config_of(plan.flags.iter().copied()).expect("flags of the test");
        config.workers = plan.workers;
        let crew = Arc::new(Crew::new(plan.workers));
        let metrics: Vec<_> = (0..plan.workers).map(|_| Arc::new(WorkerMetrics::new())).collect();
        let mut bells = Vec::new();
        let visitors = Arc::new(Visitors::new(config.peers.connections_per_address_max));
        let all = Arc::clone(&visitors);
        let endpoints = mesh(plan.workers, plan.mesh_capacity, 1 << 20);
        let workers = endpoints.into_iter().enumerate().map(|(index, mesh)| {
            let slots_max = plan.slots_max;
            let reports_peer = config.needs_addresses();
            let options =
                DriverOptions { worker: index, slots_max, reports_peer, ..Default::default() };
            let mut driver = sim.driver(options);
            driver.listen(sim.listener(address)).expect("a free address");
            driver.listen(sim.listener(secure_address)).expect("a free address");
            bells.push(driver.doorbell());
            Rc::new(RefCell::new(Worker::new(Parts {
                index,
                app: application(index),
                mesh,
                crew: Arc::clone(&crew),
                remote: Remote::new(driver.doorbell()),
                driver,
                metrics: Arc::clone(&metrics[index]),
                logger: Logger::silent(),
                limits: Limits::new(&config),
                tls_listeners: Box::new([false, true]),
                tls: plan.tls.clone(),
                visitors: Arc::clone(&visitors),
                slots_max: slots_max as usize,
            })))
        });
        let workers = workers.collect();
        Self { sim, address, secure_address, crew, metrics, visitors: all, workers, bells }
    }

    /// Runs until `condition` holds; panics with the seed if it never does.
    pub(crate) fn run_until(&self, condition: impl FnMut() -> bool) {
        self.with_steppers(|steppers| self.sim.run_until(condition, steppers, STEPS_MAX));
    }

    /// Lets `seconds` of virtual time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.pass_ms(seconds * 1000);
    }

    /// Lets milliseconds of virtual time pass.
    pub(crate) fn pass_ms(&self, milliseconds: u64) {
        let until = self.sim.now_ns() + milliseconds * 1_000_000;
        self.with_steppers(|steppers| self.sim.run_to(until, steppers, STEPS_MAX));
    }

    fn with_steppers<R>(&self, run: impl FnOnce(&mut [&mut dyn FnMut()]) -> R) -> R {
        let mut steps: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                move || {
                    let mut worker = worker.borrow_mut();
                    if !worker.is_done() {
                        worker.turn().expect("sim does not fail");
                    }
                }
            })
            .collect();
        let mut steppers: Vec<_> = steps.iter_mut().map(|step| step as &mut dyn FnMut()).collect();
        run(&mut steppers)
    }

    pub(crate) fn connect(&self) -> RawPeer {
        self.sim.connect(self.address)
    }

    pub(crate) fn connect_from(&self, source: &str) -> RawPeer {
        let source: IpAddr = source.parse().expect("an address");
        self.sim.connect_from(self.address, SocketAddr::new(source, 0))
    }

    /// Sends a request and waits until the answer's head and body are there.
    pub(crate) fn exchange(&self, peer: &RawPeer, request: &str) -> String {
        peer.send(request.as_bytes());
        self.run_until(|| is_whole(&peer.received()) || peer.is_ended());
        String::from_utf8(peer.take_received()).expect("an answer in ASCII")
    }

    /// A WebSocket that has received its 101, which it keeps.
    pub(crate) fn open(&self, request: &str) -> RawPeer {
        let peer = self.connect();
        peer.send(request.as_bytes());
        self.run_until(|| is_whole(&peer.received()) || peer.is_ended());
        let received = peer.received();
        let text = String::from_utf8_lossy(&received);
        assert!(received.starts_with(b"HTTP/1.1 101 "), "not upgraded: {text}");
        peer
    }

    /// Connections ended for this reason so far.
    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.metrics.iter().map(|metrics| metrics.drops(reason)).sum()
    }

    /// Connections of this kind now.
    pub(crate) fn connections(&self, transport: Transport, state: State) -> u64 {
        self.metrics.iter().map(|metrics| metrics.connections(transport, state)).sum()
    }

    /// Runs until every connection has left its slot; then nothing may be kept of any.
    pub(crate) fn run_empty(&self) {
        self.run_until(|| self.live() == 0 && self.sim.slots_live() == 0);
        assert_eq!(self.held_bytes(), 0, "bytes kept for nobody");
        assert_eq!(self.visitors.total(), 0, "addresses count that have left");
        for metrics in &self.metrics {
            for &transport in Transport::ALL {
                for &state in State::ALL {
                    let left = metrics.connections(transport, state);
                    assert_eq!(left, 0, "a gauge keeps {transport:?} {state:?}");
                }
            }
            assert_eq!(metrics.held_bytes.value(), 0);
            assert_eq!(metrics.subscriptions.value(), 0);
            assert_eq!(metrics.accepted.value(), metrics.closed.value());
        }
    }

    /// Tells the server to drain, as the signal does.
    pub(crate) fn drain(&self) {
        self.crew.drain();
        for bell in &self.bells {
            bell.ring();
        }
    }

    /// Whether every worker has left.
    pub(crate) fn is_done(&self) -> bool {
        self.workers.iter().all(|worker| worker.borrow_mut().is_done())
    }

    /// Whether any worker has left.
    pub(crate) fn is_any_done(&self) -> bool {
        self.workers.iter().any(|worker| worker.borrow_mut().is_done())
    }

    /// Connections that the workers know of.
    pub(crate) fn live(&self) -> usize {
        self.workers.iter().map(|worker| worker.borrow().live()).sum()
    }

    /// Bytes that the workers hold for peers.
    pub(crate) fn held_bytes(&self) -> usize {
        self.workers.iter().map(|worker| worker.borrow().held_bytes()).sum()
    }
}

/// Whether `bytes` are a whole HTTP answer, or the head of a 101.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
        .unwrap_or(0);
    bytes.len() >= end + 4 + length
}
