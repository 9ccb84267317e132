//! What was measured: plain figures, merged over all threads.
//!
//! Not here: rounding, verdicts, tables. Invariants: times are nanoseconds; histograms are added,
//! never averaged; a figure that was not measured is `None`, never 0.

mod sockets;

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
pub use ringwire_protocol::ws::Deflate;
use serde::{Deserialize, Serialize};

pub use crate::recorder::Sparse;
pub use sockets::Sockets;

/// How error codes begin whose cause is on this machine: ports, descriptors, memory.
pub const LOCAL_ERROR_PREFIX: &str = "local.";

/// Why nothing could be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code: 104 configuration, 107 server not reached, 1 else.
    pub code: u8,
    /// What, why and the cure, in one line.
    pub line: String,
}

impl Failure {
    /// A scenario that makes no sense: exit code 104.
    #[must_use]
    pub fn configuration(line: impl Into<String>) -> Self {
        Self { code: 104, line: line.into() }
    }

    /// A server that was not reached or refused everyone: exit code 107.
    #[must_use]
    pub fn unreachable(line: impl Into<String>) -> Self {
        Self { code: 107, line: line.into() }
    }

    /// Anything else: exit code 1.
    #[must_use]
    pub fn other(line: impl Into<String>) -> Self {
        Self { code: 1, line: line.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Failure {}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The window was measured to its end.
    Completed,
    /// The caller stopped it; what was measured until then is here.
    Interrupted,
    /// Every connection was lost before the window's end.
    Aborted,
}

/// What one interval of the window saw, by the time of receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// From the window's start.
    pub start_ns: u64,
    /// A second, or that doubled as often as keeps the intervals few; the last may be shorter.
    pub length_ns: u64,
    /// Sends that the schedule had in it; `None` in a closed loop.
    pub offered: Option<u64>,
    /// Messages sent (echo) or published (fan-out).
    pub sent: u64,
    /// Replies (echo) or deliveries (fan-out).
    pub received: u64,
    /// Errors.
    pub errors: u64,
    /// Connections (without publishers') open at its end.
    pub connections_open: Option<u32>,
    /// Median latency from intended time; `None` without a sample.
    pub p50_ns: Option<u64>,
    /// 99th percentile of the same.
    pub p99_ns: Option<u64>,
    /// The greatest.
    pub max_ns: Option<u64>,
    /// All of them.
    pub latencies: Sparse,
}

/// What the generator itself used in the window.
#[derive(Clone, Debug, Default)]
pub struct GeneratorCost {
    /// CPU time of the whole process.
    pub cpu_ns: u64,
    /// Resident memory at the window's end.
    pub rss_bytes: Option<u64>,
    /// CPU time of each measuring thread over the window's length, 0 to 1.
    pub thread_busy_share: Vec<f64>,
}

/// Processor time that went to other virtual machines since this one booted, 0 to 1.
#[must_use]
pub fn steal_share_since_boot() -> Option<f64> {
    crate::engine::surroundings::steal_share_since_boot()
}

/// What went on on this machine in the window, beside the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// Processor time that the hypervisor gave to others, 0 to 1.
    pub steal_share: Option<f64>,
    /// How often processors were slowed down for heat.
    pub throttles: Option<u64>,
    /// The highest clock frequency of any processor at the end, over that at the begin.
    pub frequency_ratio: Option<f64>,
    /// Connects that found the queue of a listener on this machine full.
    pub listen_overflows: Option<u64>,
    /// Segments dropped as the receiving socket's queue was full.
    pub backlog_drops: Option<u64>,
    /// TCP segments sent again by anyone on this machine.
    pub retransmits: Option<u64>,
    /// Messages in flight, on average; of request and reply.
    pub in_flight_mean: Option<f64>,
}

/// Who told what the server used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerSource {
    /// The kernel, of its process.
    #[default]
    Process,
    /// The kernel, of its control group: all memory that is charged to it, page cache too.
    Group,
    /// It said so itself.
    Metrics,
}

/// What the server used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCost {
    /// CPU time in the window.
    pub cpu_ns: u64,
    /// Resident memory before the first connection.
    pub rss_before_bytes: u64,
    /// Resident memory once all were connected, before the first message.
    pub rss_connected_bytes: u64,
    /// Resident memory at the end, connections still open.
    pub rss_after_bytes: u64,
    /// Who told.
    pub source: ServerSource,
}

/// One kind of error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// Its stable code.
    pub code: String,
    /// How often, over the whole run.
    pub count: u64,
    /// When first, from the window's start (negative before it); `None` if there was no window.
    pub first_at_ns: Option<i64>,
    /// When last.
    pub last_at_ns: Option<i64>,
    /// What happened.
    pub meaning: &'static str,
    /// What may be done about it.
    pub cure: &'static str,
}

/// The TLS handshakes of a run, those of connections opened again too.
#[derive(Clone, Debug)]
pub struct Handshakes {
    /// From TCP connected to established.
    pub time: Histogram<u64>,
    /// Those that took up an earlier session.
    pub resumed: u64,
}

/// What came of offering permessage-deflate, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// Connections whose server accepted.
    pub connections: u64,
    /// What the first of them agreed on.
    pub agreed: Option<Deflate>,
    /// Messages sent compressed.
    pub messages_sent: u64,
    /// Messages received compressed.
    pub messages_received: u64,
}

impl Compressed {
    /// One more server has accepted.
    pub(crate) fn agreed(&mut self, agreed: Deflate) {
        self.connections += 1;
        self.agreed.get_or_insert(agreed);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.agreed = self.agreed.or(other.agreed);
        self.messages_sent += other.messages_sent;
        self.messages_received += other.messages_received;
    }
}

/// What came of one storm: all subscribers dropped at once.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Connections that were dropped.
    pub dropped: u64,
    /// Those that were open again within the window.
    pub reopened: u64,
    /// From the drop to open again.
    pub reopen: Histogram<u64>,
}

/// Everything one run measured.
///
/// "Of the window" means: intended (open loop) or sent (closed loop) within it; such a message
/// counts also when it arrives after the window's end. "In the window" means by the clock.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Latency from the intended time, of the window's messages.
    pub intended: Histogram<u64>,
    /// Latency from the time of sending, of the same messages.
    pub sent: Histogram<u64>,
    /// From the call of connect to the subscription or the upgrade's answer.
    pub connect: Histogram<u64>,
    /// The part of it until TCP was connected.
    pub tcp: Histogram<u64>,
    /// The part of it from the first request to its answer.
    pub upgrade: Histogram<u64>,
    /// From open (or, if later, the start of the load) to a connection's first message.
    pub first_message: Histogram<u64>,
    /// From intended to picked up by the pacer: this generator's own fault. Open loop only.
    pub schedule_lag: Histogram<u64>,
    /// From picked up to handed to the socket: waiting for the peer.
    pub send_blocked: Histogram<u64>,

    /// Messages (echo) or publications (fan-out) of the window that were sent.
    pub messages_sent: u64,
    /// Replies or deliveries of the window, duplicates not counted.
    pub messages_received: u64,
    /// Replies or deliveries that the window's accepted messages should have made.
    pub messages_expected: u64,
    /// Expected and never received.
    pub gaps: u64,
    /// Received again.
    pub duplicates: u64,
    /// Received after a later one of the same publisher.
    pub reordered: u64,
    /// Payloads that are not ours, or damaged.
    pub corrupted: u64,
    /// Payloads with a sequence that was never sent or a time yet to come.
    pub impossible: u64,
    /// Messages of a foreign server that are nobody's reply or delivery.
    pub other: u64,
    /// By stable code, over the whole run. Codes that begin with [`LOCAL_ERROR_PREFIX`] are this
    /// machine's.
    pub errors: BTreeMap<String, u64>,

    /// The same for people, with when they came and what may be done.
    pub error_details: Vec<ErrorDetail>,
    /// What the kernel counted on the subscribers' (echo: all) TCP sockets in the window, on all
    /// or on an even sample; `None` where it was not to be had.
    pub sockets: Option<Sockets>,
    /// Whether those sockets speak IPv6.
    pub is_ipv6: bool,
    /// Payload bytes of messages sent (echo) and received in the window, before compression.
    pub payload_bytes: u64,
    /// The p99 from intended of each connection on its own, or of an even sample of 10,000,
    /// within 19 %.
    pub p99_of_connections: Histogram<u64>,
    /// Jain's index of messages received by the same connections.
    pub jain_index: Option<f64>,

    /// Replies or deliveries in the window, of whatever time sent: what bytes, requests and CPU
    /// of the window are to be divided by.
    pub deliveries_in_window: u64,
    /// Bytes sent in the window on subscribers' (echo: all) TCP streams, without TCP/IP headers.
    pub wire_bytes_sent: u64,
    /// Bytes received in the window on the same streams.
    pub wire_bytes_received: u64,
    /// Bytes sent in the window on the publishers' streams.
    pub publisher_wire_bytes_sent: u64,
    /// Bytes received in the window on the publishers' streams.
    pub publisher_wire_bytes_received: u64,
    /// Bytes sent on subscribers' streams to connect and subscribe.
    pub setup_bytes_sent: u64,
    /// Bytes received on subscribers' streams until subscribed.
    pub setup_bytes_received: u64,
    /// Requests that subscribers sent in the window.
    pub requests: u64,

    /// One per started second of the window, or longer ones: at most 3,600.
    pub intervals: Vec<Interval>,
    /// Length of the window as it was.
    pub measured_ns: u64,
    /// Sends that the schedule has in the window; closed loop: as `sent_count`.
    pub offered_count: u64,
    /// Those of them that the pacer picked up.
    pub picked_up_count: u64,
    /// Those of them that were handed to a socket.
    pub sent_count: u64,

    /// Whether there are latencies to be had: not where nothing is sent.
    pub has_latencies: bool,
    /// Whether load and connections were meant to stay as they were all through the window.
    pub is_even: bool,
    /// What else went on on this machine.
    pub surroundings: Surroundings,
    /// What the generator used.
    pub generator: GeneratorCost,
    /// What the server used, when its process was named.
    pub server: Option<ServerCost>,
    /// How the run ended.
    pub ended: Ended,
    /// Connections (without publishers') that were open when the window began.
    pub connections_open: u32,
    /// Connections that could not be opened.
    pub connections_refused: u32,
    /// Connections lost between the window's begin and the end.
    pub connections_lost: u32,
    /// Connections opened again by polling clients because the server had closed them.
    pub reconnects: u64,
    /// The TLS handshakes; `None` without TLS.
    pub tls: Option<Handshakes>,
    /// What came of offering compression; `None`: it was not offered.
    pub compression: Option<Compressed>,
    /// In the order of the scenario; those that the run did not reach are missing.
    pub storms: Vec<Storm>,
    /// Slow readers that were open; they are in none of the figures above.
    pub slow_open: u64,
    /// Those that the server cut off.
    pub slow_closed: u64,
    /// The engine that carried the client, `"uring"` or `"epoll"`.
    pub engine: &'static str,
}

/// What phase a run is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Opening connections.
    Connecting,
    /// Under load, not recorded.
    Warmup,
    /// The measured window.
    Measuring,
    /// Waiting for the last replies.
    Draining,
}

/// How a run is doing, told once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The phase.
    pub phase: Phase,
    /// Time left until the window's end; `None` while connecting.
    pub left_ns: Option<u64>,
    /// Connections open now.
    pub connections_open: u32,
    /// Sent so far, warm-up included.
    pub sent: u64,
    /// Received so far, warm-up included.
    pub received: u64,
    /// Errors so far.
    pub errors: u64,
}

/// Who is told how a run is doing.
pub trait Progress: Sync {
    /// Called about once a second, from the thread that called `run`.
    fn tick(&self, tick: &Tick);

    /// Called with all there is to see, once a second too, where [`Progress::is_live`] says so.
    fn snapshot(&self, _: Snapshot) {}

    /// Whose each line of [`Snapshot::threads`] is from now on, where they are of other processes.
    fn named(&self, _: &[String]) {}

    /// Whether somebody looks at snapshots.
    fn is_live(&self) -> bool {
        false
    }
}

/// Nobody.
impl Progress for () {
    fn tick(&self, _: &Tick) {}
}

/// What a live view shows: everything until now, and the second that just ended.
///
/// Made once a second out of what the measuring threads hand over, so that looking at it costs
/// them nothing.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Phase, time left and sums.
    pub tick: Tick,
    /// Warm-up and window, or 0 where a count ends the run.
    pub window_ns: u64,
    /// Time since the window's start; 0 before.
    pub elapsed_ns: u64,
    /// Connections asked for, under way and refused.
    pub connections: u32,
    /// Connecting now.
    pub connecting: u32,
    /// Refused so far.
    pub refused: u32,
    /// Lost or closed by the peer so far.
    pub lost: u32,
    /// Sends that the schedule had in the last second; `None` in a closed loop.
    pub offered: Option<u64>,
    /// Sent in the last second.
    pub sent: u64,
    /// Received in the last second.
    pub received: u64,
    /// Picked up and not sent, now.
    pub waiting: u64,
    /// Skipped by those that came, so far, and not come since; `None`: not known before the end.
    pub gaps: Option<u64>,
    /// Received again, so far.
    pub duplicates: u64,
    /// Received late, so far.
    pub reordered: u64,
    /// Latencies from intended of the last second.
    pub last: Histogram<u64>,
    /// All latencies of the window from intended.
    pub intended: Histogram<u64>,
    /// The same from sent.
    pub from_sent: Histogram<u64>,
    /// Connecting TCP.
    pub tcp: Histogram<u64>,
    /// The upgrade, or the subscription.
    pub upgrade: Histogram<u64>,
    /// The first message of each connection.
    pub first_message: Histogram<u64>,
    /// Of each measuring thread: lag p99, CPU share, open connections.
    pub threads: Vec<ThreadNow>,
    /// Errors so far, by code.
    pub errors: BTreeMap<String, u64>,
    /// CPU share of one processor and memory of the server, if it is measured.
    pub server: Option<ServerNow>,
    /// Resident memory of this program.
    pub rss_bytes: Option<u64>,
    /// Lag p99 of all threads in the window.
    pub lag_p99_ns: u64,
}

/// One measuring thread in the last second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ThreadNow {
    /// From intended to picked up, p99 of the last second.
    pub lag_p99_ns: u64,
    /// CPU time over real time, 0 to 1.
    pub busy_share: f64,
    /// Connections open.
    pub open: u32,
}

/// The server in the last second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ServerNow {
    /// CPU time over real time; above 1 with several threads.
    pub cpu_share: f64,
    /// CPU time per message received.
    pub cpu_ns_per_message: Option<u64>,
    /// Resident memory.
    pub rss_bytes: u64,
}
