//! What the live tests share: an engine under test with a record of all it reported, and clients
//! that are ordinary blocking sockets.
//!
//! Invariant: nothing waits longer than [`LIMIT`]; what was seen so far is printed then. No test
//! depends on how long anything takes below that.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwire_ring::epoll::Epoll;
use ringwire_ring::uring::Uring;
use ringwire_ring::{
    Accepting, Batch, Bells, Completion, Driver, EngineOptions, Errno, Features, ListenOptions,
    Listener, Permits, ReceiveBuffers, Role, Slot, bind, probe,
};

/// How long anything may take before the test is over.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How long one turn may wait, so that conditions are looked at again.
const TURN_NS: u64 = 1_000_000;

pub(crate) trait Engine: Driver<Listener = Listener> + Debug + Sized {
    /// Every set of features worth testing.
    fn variants() -> Vec<Features>;
    fn make(options: EngineOptions) -> Self;
}

impl Engine for Uring {
    fn variants() -> Vec<Features> {
        let all = probe().expect("io_uring works here");
        vec![
            all,
            Features { deferred_completions: false, ..all },
            Features { plain_submissions: false, absolute_timeout: false, ..all },
            Features { capped_receive: false, ..all },
            Features { incremental_buffers: false, ..all },
            Features { capped_receive: false, incremental_buffers: false, ..all },
            Features { silent_sends: false, ..all },
            Features { restrictions: false, ..all },
            Features { submissions: 8, completions: 16, ..all },
            Features { submissions: 8, completions: 16, silent_sends: false, ..all },
            Features::default(),
        ]
    }

    fn make(options: EngineOptions) -> Self {
        Self::new(options).expect("io_uring works here")
    }
}

impl Engine for Epoll {
    fn variants() -> Vec<Features> {
        vec![Features::default()]
    }

    fn make(options: EngineOptions) -> Self {
        Self::new(options).expect("epoll works everywhere")
    }
}

/// How a worker under test is made.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) worker: usize,
    pub(crate) bells: Arc<Bells>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) slots_max: u32,
    pub(crate) receive_buffers: Option<ReceiveBuffers>,
    pub(crate) features: Features,
    pub(crate) role: Role,
    pub(crate) peers: bool,
}

impl Options {
    pub(crate) fn new(features: Features) -> Self {
        Self {
            worker: 0,
            bells: Arc::new(Bells::new(2).unwrap()),
            permits: Arc::new(Permits::new(100_000)),
            slots_max: 256,
            receive_buffers: None,
            features,
            role: Role::Accepts,
            peers: false,
        }
    }

    pub(crate) fn connecting(features: Features) -> Self {
        Self { role: Role::Connects, ..Self::new(features) }
    }
}

/// What was reported of one connection.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) received: Vec<u8>,
    pub(crate) ended: Option<Result<(), Errno>>,
    pub(crate) sent: Vec<Result<(), Errno>>,
    pub(crate) connected: Option<Result<(), Errno>>,
    pub(crate) is_closed: bool,
    /// Bytes received in the last turn.
    pub(crate) received_in_turn: usize,
}

/// One engine and the record of what it reported.
pub(crate) struct Worker<E: Engine> {
    pub(crate) driver: E,
    pub(crate) seen: HashMap<Slot, Seen>,
    pub(crate) accepted: Vec<Slot>,
    /// The listener of each that was accepted.
    pub(crate) came_to: Vec<u16>,
    pub(crate) closed: Vec<Slot>,
    pub(crate) peer_of: HashMap<Slot, Option<SocketAddr>>,
    peers: bool,
    pub(crate) woken: usize,
    pub(crate) accept_ended: usize,
    /// Turn receiving on for whoever is accepted or connected.
    pub(crate) receives: bool,
    /// Send back what is received.
    pub(crate) echoes: bool,
    /// Close whoever ends.
    pub(crate) closes: bool,
    pub(crate) batch: Batch,
    started: Instant,
    closing: Vec<Slot>,
    tenants: HashMap<u32, Slot>,
    /// Those that received in the last turn.
    received_last: Vec<Slot>,
}

impl<E: Engine> Worker<E> {
    pub(crate) fn new(options: Options) -> Self {
        let Options { worker, bells, permits, slots_max, receive_buffers, features, .. } = options;
        let Options { role, peers, .. } = options;
        let driver = E::make(EngineOptions {
            worker,
            bells,
            slots_max,
            permits,
            receive_buffers,
            features,
            role,
            peers,
        });
        Self {
            driver,
            seen: HashMap::new(),
            accepted: Vec::new(),
            came_to: Vec::new(),
            closed: Vec::new(),
            peer_of: HashMap::new(),
            peers,
            woken: 0,
            accept_ended: 0,
            receives: true,
            echoes: false,
            closes: false,
            batch: Batch::new(),
            started: Instant::now(),
            closing: Vec::new(),
            tenants: HashMap::new(),
            received_last: Vec::new(),
        }
    }

    /// An engine that listens and accepts.
    pub(crate) fn listening(options: Options) -> (Self, SocketAddr) {
        let (address, mut listeners) = listeners(1);
        let mut worker = Self::new(options);
        worker.driver.listen(listeners.remove(0)).unwrap();
        worker.driver.accept(Accepting::On);
        (worker, address)
    }

    /// An engine with one accepted client.
    pub(crate) fn with_client(options: Options) -> (Self, TcpStream, Slot) {
        Self::with_quiet_client(options, true)
    }

    pub(crate) fn with_quiet_client(options: Options, receives: bool) -> (Self, TcpStream, Slot) {
        let (mut worker, address) = Self::listening(options);
        worker.receives = receives;
        let peer = client(address);
        worker.until("a client", |worker| worker.accepted.len() == 1);
        let slot = worker.accepted[0];
        (worker, peer, slot)
    }

    /// Takes one turn and checks what may not happen in any.
    pub(crate) fn turn(&mut self) {
        for slot in self.received_last.drain(..) {
            self.seen.get_mut(&slot).unwrap().received_in_turn = 0;
        }
        let mut completions = Vec::new();
        let deadline_ns = self.driver.clock_ns() + TURN_NS;
        self.driver.turn(deadline_ns, &mut completions).unwrap();
        let woken = completions.iter().filter(|c| matches!(c, Completion::Woken)).count();
        assert!(woken <= 1, "woken {woken} times in a turn");
        for completion in completions {
            self.record(completion);
        }
        self.send_batch();
        self.assert_in_time("more turns");
    }

    fn record(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { slot, listener, peer } => {
                assert!(peer.is_none() || self.peers, "{peer:?} was not asked for");
                self.peer_of.insert(slot, peer);
                self.accepted.push(slot);
                self.came_to.push(listener);
                self.begin(slot);
            }
            Completion::Connected { slot, result } => {
                self.reportable(slot).connected = Some(result);
                if result.is_ok() && self.receives {
                    self.driver.receive(slot, true);
                }
            }
            Completion::Received { slot, lease } => {
                assert!(!lease.is_empty(), "an empty piece of {slot:?}");
                if self.echoes {
                    self.echo(slot, &lease);
                }
                let seen = self.reportable(slot);
                assert_eq!(seen.ended, None, "{slot:?} received after its end");
                seen.received_in_turn += lease.len();
                seen.received.extend_from_slice(&lease);
                self.received_last.push(slot);
            }
            Completion::Ended { slot, result } => {
                let seen = self.reportable(slot);
                assert_eq!(seen.ended.replace(result), None, "{slot:?} ended twice");
                if self.closes {
                    self.close(slot);
                }
            }
            Completion::Sent { slot, result } => self.reportable(slot).sent.push(result),
            Completion::Closed { slot } => {
                assert!(self.closing.contains(&slot), "{slot:?} closed by itself");
                self.closing.retain(|other| *other != slot);
                self.seen.get_mut(&slot).unwrap().is_closed = true;
                self.closed.push(slot);
            }
            Completion::Woken => self.woken += 1,
            Completion::AcceptEnded => self.accept_ended += 1,
        }
    }

    fn begin(&mut self, slot: Slot) {
        let before = self.tenants.insert(slot.number(), slot);
        let is_free = before.is_none_or(|before| self.seen[&before].is_closed);
        assert!(is_free, "{slot:?} has the index of {before:?}, which is open");
        assert!(self.seen.insert(slot, Seen::default()).is_none(), "{slot:?} came twice");
        if self.receives {
            self.driver.receive(slot, true);
        }
    }

    /// The record of `slot`, about which something was reported just now.
    fn reportable(&mut self, slot: Slot) -> &mut Seen {
        // The caller may close in the middle of a turn's list; what the list still says counts
        // as reported before. So look at what earlier turns closed.
        let seen = self.seen.get_mut(&slot).unwrap_or_else(|| panic!("{slot:?} is unknown"));
        assert!(!seen.is_closed, "{slot:?} was reported closed before");
        seen
    }

    fn echo(&mut self, slot: Slot, bytes: &[u8]) {
        if self.batch.is_full() || self.batch.arena().len() < bytes.len() {
            self.send_batch();
        }
        self.batch.arena()[..bytes.len()].copy_from_slice(bytes);
        self.batch.push(slot, bytes.len());
    }

    /// Sends the batch; what does not go whole is a failure unless the connection failed.
    pub(crate) fn send_batch(&mut self) {
        self.driver.batch(&mut self.batch);
        for failure in self.batch.take_failures() {
            assert!(failure.error.is_some(), "{failure:?}");
        }
        self.batch.clear();
    }

    pub(crate) fn close(&mut self, slot: Slot) {
        self.driver.close(slot);
        self.closing.push(slot);
    }

    /// Closes and waits until that is reported; nothing else may be reported of the slot.
    pub(crate) fn close_and_wait(&mut self, slot: Slot) {
        self.close(slot);
        let before = format!("{:?}", self.seen[&slot]);
        self.until("the close", |worker| worker.seen[&slot].is_closed);
        let seen = self.seen.get_mut(&slot).unwrap();
        seen.is_closed = false;
        let received_in_turn = std::mem::take(&mut seen.received_in_turn);
        let after = format!("{seen:?}");
        seen.is_closed = true;
        seen.received_in_turn = received_in_turn;
        let is_same = forget_turn(&before) == forget_turn(&after);
        assert!(is_same, "reported after close: {before} then {after}");
    }

    /// Takes turns until `is_reached`.
    pub(crate) fn until(&mut self, what: &str, mut is_reached: impl FnMut(&mut Self) -> bool) {
        while !is_reached(self) {
            self.turn();
            self.assert_in_time(what);
        }
    }

    /// Takes turns while `work` runs on another thread, and returns what it did.
    pub(crate) fn serve<T: Send>(&mut self, what: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            self.until(what, |_| work.is_finished());
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn received(&self, slot: Slot) -> &[u8] {
        &self.seen[&slot].received
    }

    fn assert_in_time(&self, what: &str) {
        if self.started.elapsed() > LIMIT {
            let lens: Vec<_> = self
                .seen
                .iter()
                .map(|(slot, seen)| (slot, seen.received.len(), seen.ended, seen.is_closed))
                .collect();
            panic!(
                "no {what} within {LIMIT:?}: {:?}, {:?}, accepted {}, closed {}, woken {}, \
                 {lens:?}",
                self.driver,
                self.driver.figures(),
                self.accepted.len(),
                self.closed.len(),
                self.woken,
            );
        }
    }
}

fn forget_turn(seen: &str) -> &str {
    seen.split(", received_in_turn").next().unwrap_or(seen)
}

/// One listener for each of `workers` on a free port of the loopback.
pub(crate) fn listeners(workers: usize) -> (SocketAddr, Vec<Listener>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    bind(any, workers, &ListenOptions::default()).unwrap()
}

/// A blocking client with time limits.
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// `len` bytes that differ from place to place and from `seed` to `seed`.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The same eight times, as unoptimised tests make megabytes of it.
        bytes.extend_from_slice(&state.to_ne_bytes().repeat(8));
    }
    bytes.truncate(len);
    bytes
}

/// Whether the client sees the end of the stream, and nothing before it.
pub(crate) fn reads_end(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0))
}

/// Sends `bytes` and reads as many back.
pub(crate) fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == bytes, "another answer than what was sent");
}

/// Runs each named test on every variant of both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test]
            fn $name() {
                use $crate::harness::Engine;
                for features in ringwire_ring::uring::Uring::variants() {
                    println!("with {features:?}");
                    super::$name::<ringwire_ring::uring::Uring>(features);
                }
            })*
        }
        mod epoll {
            $(#[test]
            fn $name() {
                use $crate::harness::Engine;
                for features in ringwire_ring::epoll::Epoll::variants() {
                    super::$name::<ringwire_ring::epoll::Epoll>(features);
                }
            })*
        }
    };
}
