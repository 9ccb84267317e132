//! One worker: the only place that sees both the driver and the connections.
//!
//! A turn takes what the kernel completed, lets the connections speak, passes letters between
//! workers, fans publications out, and hands everything over at once. Not here: what any of it
//! means on the wire (`protocol`), and who calls [`Worker::turn`] (`server`, the tests).
//! Invariants: a worker never blocks but in [`Driver::turn`]; what one peer does costs the others
//! no more than its share of a turn; at the end of a turn the kernel holds nothing borrowed.

mod answer;
mod deliver;
mod drain;
mod fanout;
mod letters;
mod meters;
mod pace;
mod peers;
mod receive;
mod request;
mod respond;
mod secure;
mod subscribe;
mod timers;
mod upgrade;
mod websocket;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ringwire_protocol::ws::Effort;
use ringwire_ring::{Accepting, Completion, Driver, Errno, Slot};
use ringwire_transport::{Endpoint, TICK_NS, Wheel};
use rustls::ServerConfig;

use crate::app::{Application, Effect, Remote};
use crate::channels::{Home, Local, Request};
use crate::connection::{Role, Table};
use crate::lane::{Egress, Flags};
use crate::limits::Limits;
use crate::log::Logger;
use crate::metrics::{State, Transport, WorkerMetrics};
use crate::press::{Bellows, Press};
use crate::visitors::Visitors;

use meters::Meters;
use pace::Pace;
use peers::Peers;

pub(crate) use drain::Crew;
pub(crate) use letters::Letter;

/// Bytes of one worker's arena that must be free before a completion is handled: below, the batch
/// is handed over first, so that a burst of replies seldom spills into outboxes.
const ARENA_BYTES_MIN: usize = 64 * 1024;

/// What a worker is made of.
pub(crate) struct Parts<D, A: Application> {
    pub(crate) index: usize,
    pub(crate) driver: D,
    pub(crate) app: A,
    pub(crate) mesh: Endpoint<Letter>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) remote: Remote<A::Session>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) logger: Logger,
    pub(crate) limits: Limits,
    /// Of each listener, in the driver's order, whether its clients speak TLS.
    pub(crate) tls_listeners: Box<[bool]>,
    /// For those that do; needed only if one does.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The connections of each address, in all workers.
    pub(crate) visitors: Arc<Visitors>,
    pub(crate) slots_max: usize,
}

/// One worker. See the module's head.
pub(crate) struct Worker<D, A: Application> {
    index: usize,
    driver: D,
    app: A,
    table: Table<A::Session>,
    egress: Egress,
    wheel: Wheel,
    /// What handlers asked for and is not done yet.
    effects: Vec<Effect>,
    /// Connections to be ended once their last byte is out.
    ending: Vec<Slot>,
    /// Connections whose held input may be handled again.
    ready: Vec<Slot>,
    /// Publishers that wait until the workers have passed on what they sent, and those whose
    /// compressed messages are too much for one turn.
    throttled: Vec<Slot>,
    /// Somebody is throttled until the next turn only.
    is_deferring: bool,
    home: Home,
    local: Local,
    /// Connections that may pull their next slice once the batch is over.
    pulls: Vec<Slot>,
    mesh: Endpoint<Letter>,
    /// Letters of this worker to itself.
    loopback: VecDeque<Letter>,
    /// Letters that neither queue nor overflow took; they go first.
    unposted: VecDeque<(usize, Letter)>,
    crew: Arc<Crew>,
    remote: Remote<A::Session>,
    metrics: Arc<WorkerMetrics>,
    logger: Logger,
    limits: Limits,
    tls_listeners: Box<[bool]>,
    visitors: Arc<Visitors>,
    /// Where clients come from, if that matters.
    peers: Option<Peers>,
    /// How often they speak, if that is limited.
    meters: Option<Meters>,
    /// How fast they are let in, if that is limited.
    pace: Option<Pace>,
    /// Requests the home has handled since its last flush.
    home_requests: usize,
    /// Turns since the first of them.
    gathering_turns: usize,
    /// The mesh has room again for something that it refused.
    made_room: bool,
    /// Compresses what handlers send.
    press: Press,
    /// Inflates what peers send.
    bellows: Bellows,
    /// The latest ping of those whose pong has to wait, by slot number.
    pongs: HashMap<u32, Box<[u8]>>,
    /// The pages whose requests are being answered, by slot number.
    origins: HashMap<u32, Box<str>>,
    secure: secure::Secure,
    /// Bytes kept for peers besides their outboxes.
    held_bytes: usize,
    completions: Vec<Completion>,
    inbox: Vec<(usize, Letter)>,
    departures: Vec<(usize, Request)>,
    members: Vec<u32>,
    expired: Vec<u32>,
    messages_sent: u64,
    start_ns: u64,
    now_ns: u64,
    drain: drain::Drain,
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// A worker that accepts from its first turn on.
    pub(crate) fn new(parts: Parts<D, A>) -> Self {
        let Parts {
            index,
            mut driver,
            app,
            mesh,
            crew,
            remote,
            metrics,
            logger,
            limits,
            tls_listeners,
            tls,
            visitors,
            slots_max,
        } = parts;
        driver.accept(Accepting::On);
        let now_ns = driver.clock_ns();
        let workers = mesh.workers();
        Self {
            index,
            driver,
            app,
            table: Table::new(slots_max),
            egress: Egress::new(limits.backpressure_bytes_max),
            wheel: Wheel::new(slots_max, now_ns),
            effects: Vec::new(),
            ending: Vec::new(),
            ready: Vec::new(),
            throttled: Vec::new(),
            is_deferring: false,
            home: Home::new(workers, limits.channels),
            local: Local::new(workers, slots_max),
            press: Press::new(
                limits.channels.window_bits_max,
                limits.channels.compression_threshold_bytes,
                Effort::Quick,
            ),
            bellows: Bellows::default(),
            pulls: Vec::new(),
            mesh,
            loopback: VecDeque::new(),
            unposted: VecDeque::new(),
            crew,
            remote,
            metrics,
            logger,
            peers: limits.needs_addresses.then(Peers::default),
            meters: Meters::new(limits.message_rate, limits.control_frame_rate, slots_max),
            pace: limits.connection_rate.map(Pace::new),
            limits,
            tls_listeners,
            visitors,
            home_requests: 0,
            gathering_turns: 0,
            made_room: false,
            pongs: HashMap::new(),
            origins: HashMap::new(),
            secure: secure::Secure::new(tls),
            held_bytes: 0,
            completions: Vec::new(),
            inbox: Vec::new(),
            departures: Vec::new(),
            members: Vec::new(),
            expired: Vec::new(),
            messages_sent: 0,
            start_ns: now_ns,
            now_ns,
            drain: drain::Drain::Serving,
        }
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// What leaves the engine unusable.
    pub(crate) fn turn(&mut self) -> Result<(), Errno> {
        let deadline_ns = self.wait_until_ns();
        let mut completions = std::mem::take(&mut self.completions);
        let outcome = self.driver.turn(deadline_ns, &mut completions);
        self.mesh.awake();
        self.now_ns = self.driver.now_ns();
        self.logger.tick(self.now_ns);
        self.bellows.begin_turn();
        self.resume_accepting();
        let quiet = completions.is_empty();
        for completion in completions.drain(..) {
            self.complete(completion);
            self.make_room(ARENA_BYTES_MIN);
        }
        self.completions = completions;
        self.read_letters();
        self.spread(quiet);
        self.expire();
        self.shake_hands();
        self.settle();
        self.show();
        outcome
    }

    /// Runs everything that handlers left behind, until nothing is left, and hands it over.
    fn settle(&mut self) {
        self.post_unposted();
        loop {
            while let Some(slot) = self.ready.pop() {
                self.resume_held(slot);
                self.make_room(ARENA_BYTES_MIN);
            }
            self.flush();
            self.pull();
            self.end_idle();
            if self.ready.is_empty() {
                break;
            }
        }
        let driver = &mut self.driver;
        self.made_room = self.mesh.flush(|worker| driver.wake(worker));
    }

    /// When the next turn must end though nothing completes.
    fn wait_until_ns(&mut self) -> u64 {
        // Whoever waits for room in a queue is woken by the mesh when there is some, or told so by
        // its last flush.
        let waits_for_room =
            self.home.is_waiting() || !self.unposted.is_empty() || !self.throttled.is_empty();
        let is_busy = !self.loopback.is_empty()
            || self.home_requests > 0
            || self.secure.is_busy()
            || self.is_deferring
            || (self.made_room && waits_for_room);
        if is_busy || !self.mesh.prepare_to_sleep() {
            return 0;
        }
        let timers = self.wheel.next_deadline_ns().unwrap_or(u64::MAX);
        let streams = self.home.next_expiry_ns().unwrap_or(u64::MAX);
        timers.min(streams).min(self.drain.deadline_ns()).min(self.accepting_at_ns())
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Received { slot, mut lease } => {
                // Most replies are no longer than what they reply to.
                self.make_room(lease.len());
                self.received(slot, &mut lease);
            }
            Completion::Accepted { slot, listener, peer } => self.accepted(slot, listener, peer),
            Completion::Sent { slot, result } => self.sent(slot, result),
            Completion::Ended { slot, result } => self.ended(slot, result),
            Completion::Closed { .. } => self.metrics.closed.add(1),
            Completion::Woken => self.obey(),
            Completion::AcceptEnded => self.accept_ended(),
            Completion::Connected { .. } => debug_assert!(false, "a server connects to nobody"),
        }
    }

    fn accepted(&mut self, slot: Slot, listener: u16, peer: Option<SocketAddr>) {
        self.metrics.accepted.add(1);
        let tick = self.tick();
        let connection = self.table.insert(slot, tick);
        connection.lane.flags.set(Flags::REQUEST_BEGUN);
        self.metrics.connection_moved(None, Some((Transport::Http, State::Connecting)));
        self.driver.receive(slot, true);
        self.pace_accepting();
        if let Some(meters) = &mut self.meters {
            meters.begin(slot);
        }
        let is_secure = self.tls_listeners[usize::from(listener)];
        if !self.meet(slot, peer, is_secure) {
            return;
        }
        if is_secure {
            self.begin_tls(slot);
        } else if self.is_draining() {
            self.refuse_for_drain(slot);
        } else {
            self.set_deadline(slot, self.limits.header_timeout_ns);
        }
    }

    /// Hands the batch over early when what comes next, `bytes` long, might not fit.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        let Egress { batch, cork, .. } = &mut self.egress;
        let is_full = batch.len() >= crate::limits::FANOUT_SLICE
            || batch.arena().len() < bytes
            || !cork.takes(bytes);
        if is_full {
            self.flush();
        }
    }

    /// Ticks since the worker's start: the resolution of signs of life.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "wraps after eight years of 64 ms ticks")]
    fn tick(&self) -> u32 {
        ((self.now_ns - self.start_ns) / TICK_NS) as u32
    }

    /// Nanoseconds since the peer last showed life, to a tick.
    fn idle_ns(&self, touched_tick: u32) -> u64 {
        u64::from(self.tick().wrapping_sub(touched_tick)) * TICK_NS
    }

    fn set_deadline(&mut self, slot: Slot, delay_ns: u64) {
        self.wheel.set(slot.number(), self.now_ns.saturating_add(delay_ns));
    }

    /// Gives a connection another role; hands back the one it had.
    fn assign(&mut self, slot: Slot, role: Role<A::Session>) -> Option<Role<A::Session>> {
        let connection = self.table.find(slot)?;
        let old = std::mem::replace(&mut connection.role, role);
        self.recount(slot);
        Some(old)
    }

    /// Keeps the gauges right after a connection became something else.
    fn recount(&mut self, slot: Slot) {
        let Some(connection) = self.table.find(slot) else { return };
        let (before, after) = (connection.counted, connection.station());
        if before != after {
            connection.counted = after;
            self.metrics.connection_moved(Some(before), Some(after));
        }
    }

    fn show(&mut self) {
        let metrics = &self.metrics;
        if self.messages_sent > 0 {
            metrics.messages_sent.add(self.messages_sent);
            self.messages_sent = 0;
        }
        if self.egress.written_bytes > 0 {
            metrics.bytes_sent.add(std::mem::take(&mut self.egress.written_bytes));
        }
        let counters = self.home.counters();
        metrics.publications.add(counters.publications - metrics.publications.value());
        let shared = &metrics.publications_compressed;
        shared.add(counters.compressions - shared.value());
        let own = &metrics.messages_compressed;
        own.add(self.press.calls() - own.value());
        metrics.channels.set(self.home.channels() as u64);
        metrics.history_bytes.set(self.home.history_bytes() as u64);
        metrics.subscriptions.set(self.local.live() as u64);
        metrics.held_bytes.set((self.held_bytes + self.egress.queued_bytes) as u64);
        metrics.show_figures(&self.driver.figures());
    }

    /// Connections this worker has.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn live(&self) -> usize {
        self.table.live()
    }

    /// Bytes kept for peers, in either direction.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes + self.egress.queued_bytes
    }
}

impl<D, A: Application> fmt::Debug for Worker<D, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}
