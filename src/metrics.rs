//! What each worker counts, and how a scraper reads it.
//!
//! Not here: the listener ([`crate::admin`]). Invariants: a [`WorkerMetrics`] has one writer, its
//! worker, so that counting is a load and a store and never a locked instruction; anyone may read.
//! The set of labels is fixed when the program is compiled: no peer can make a new series.

use std::sync::atomic::{AtomicU64, Ordering};

use ringwire_ring::Figures;
use ringwire_transport::TlsFailureKind;

mod page;
mod render;

pub(crate) use page::CONTENT_TYPE;
pub use render::{Build, render};

/// A number that only grows. One writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `more`. Only the worker that owns the metrics may call this.
    pub fn add(&self, more: u64) {
        // One writer, so nothing is lost between load and store; `fetch_add` would lock the line.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A number that goes up and down, never below zero. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `more`. Only the worker that owns the metrics may call this, and the two below.
    pub fn add(&self, more: u64) {
        self.set(self.value().wrapping_add(more));
    }

    /// Takes `less` away.
    pub fn sub(&self, less: u64) {
        let value = self.value();
        debug_assert!(less <= value, "a gauge of {value} cannot lose {less}");
        self.set(value.saturating_sub(less));
    }

    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An enum whose variants are the values of one label.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            const COUNT: usize = Self::ALL.len();

            /// The label's value.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

labels! {
    /// What a connection speaks.
    Transport {
        /// HTTP requests answered at once, polls among them; every connection begins here.
        Http = "http",
        /// WebSocket.
        WebSocket = "websocket",
        /// Server-Sent Events.
        Sse = "sse",
        /// A long poll that waits.
        LongPoll = "longpoll",
    }
}

labels! {
    /// Where a connection is in its life.
    State {
        /// No complete request yet.
        Connecting = "connecting",
        /// In use.
        Open = "open",
        /// Told to go, or going.
        Closing = "closing",
    }
}

labels! {
    /// What a request asked for.
    RequestKind {
        /// `/`.
        Index = "index",
        /// `/echo` as WebSocket.
        Echo = "echo",
        /// A channel as WebSocket.
        WebSocket = "websocket",
        /// A channel as Server-Sent Events.
        Sse = "sse",
        /// A channel as long poll.
        LongPoll = "longpoll",
        /// A channel as poll.
        Poll = "poll",
        /// A publication by POST.
        Publish = "publish",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// Why the server ended a connection that its peer would have kept.
    DropReason {
        /// The outbox was full: 3008.
        SlowConsumer = "slow_consumer",
        /// The position was lost: 3010.
        PositionLost = "position_lost",
        /// A ping was not answered: 3012.
        NoPong = "no_pong",
        /// Broke the WebSocket protocol: 1002.
        Protocol = "protocol",
        /// Text that is not UTF-8: 1007.
        Utf8 = "utf8",
        /// Broke a rule of this server: 1008.
        Policy = "policy",
        /// A message too long: 1009.
        MessageSize = "message_size",
        /// Messages came faster than `--message-rate-limit`: 1008.
        MessageRate = "message_rate",
        /// Pings or pongs came faster than `--control-frame-rate`: 1008.
        ControlRate = "control_rate",
        /// A message was not whole within `--message-timeout`: 1008.
        MessageTimeout = "message_timeout",
        /// Its address had too many connections: 429, or nothing.
        PerAddress = "connections_per_ip",
        /// The request's head took too long: 408.
        HeaderTimeout = "header_timeout",
        /// No further request came.
        KeepaliveTimeout = "keepalive_timeout",
        /// The closing took too long.
        CloseTimeout = "close_timeout",
        /// The server is going: 1001.
        Drain = "drain",
        /// The TLS handshake took too long.
        HandshakeTimeout = "handshake_timeout",
        /// TLS failed: the alert is the last word.
        Tls = "tls",
        /// The worker's memory for peers was used up.
        Memory = "memory",
        /// The peer's side failed: a reset, a timeout of the kernel.
        Reset = "reset",
        /// The application wanted it.
        Application = "application",
    }
}

labels! {
    /// Why a TLS handshake came to nothing.
    HandshakeFailure {
        /// What came is not TLS.
        NotTls = "not_tls",
        /// No version, cipher suite or group in common.
        Incompatible = "incompatible",
        /// No application protocol in common.
        ApplicationProtocol = "application_protocol",
        /// A certificate was not accepted.
        Certificate = "certificate",
        /// The peer gave up with an alert.
        PeerAlert = "peer_alert",
        /// The peer broke the protocol, or somebody between did.
        Protocol = "protocol",
        /// The peer went away.
        Abandoned = "abandoned",
        /// It took too long.
        Timeout = "timeout",
        /// A fault on this side.
        Internal = "internal",
    }
}

impl From<TlsFailureKind> for HandshakeFailure {
    fn from(kind: TlsFailureKind) -> Self {
        match kind {
            TlsFailureKind::NotTls => Self::NotTls,
            TlsFailureKind::Incompatible => Self::Incompatible,
            TlsFailureKind::ApplicationProtocol => Self::ApplicationProtocol,
            TlsFailureKind::Certificate
            | TlsFailureKind::CertificateIssuer
            | TlsFailureKind::CertificateName
            | TlsFailureKind::CertificateDates => Self::Certificate,
            TlsFailureKind::PeerAlert => Self::PeerAlert,
            TlsFailureKind::Decrypt | TlsFailureKind::Protocol => Self::Protocol,
            TlsFailureKind::Internal => Self::Internal,
        }
    }
}

/// The statuses that refusals are counted by; others count as `other`.
const STATUSES: [u16; 18] =
    [400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 417, 426, 429, 431, 501, 503, 505];

/// What one worker counts. Aligned so that two workers never share a cache line or its neighbour.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    connections: [[Gauge; State::COUNT]; Transport::COUNT],
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections whose slot was given back.
    pub closed: Counter,
    /// Times that accepting paused for `--connection-rate-limit`.
    pub accept_pauses: Counter,
    refused: [Counter; STATUSES.len() + 1],
    requests: [Counter; RequestKind::COUNT],
    drops: [Counter; DropReason::COUNT],
    /// WebSocket messages received, whole.
    pub messages_received: Counter,
    /// WebSocket messages handed to the kernel or an outbox.
    pub messages_sent: Counter,
    /// Bytes received from peers, as they came.
    pub bytes_received: Counter,
    /// Bytes handed to the kernel or an outbox.
    pub bytes_sent: Counter,
    /// Publications this worker gave a position to, as the home of their channel.
    pub publications: Counter,
    /// Publications this worker compressed, as the home of their channel: once for each window and
    /// form, however many subscribers there are.
    pub publications_compressed: Counter,
    /// Messages this worker compressed for one connection each.
    pub messages_compressed: Counter,
    deliveries: [Counter; Transport::COUNT],
    /// Pings sent.
    pub pings_sent: Counter,
    /// TLS handshakes done: in full, and by taking up a session.
    handshakes: [Counter; 2],
    handshake_failures: [Counter; HandshakeFailure::COUNT],
    /// Handshakes that wait for their turn.
    pub tls_waiting: Gauge,
    /// TLS connections whose peer ended them without saying so within TLS.
    pub tls_truncated: Counter,
    /// Bytes held for peers, in either direction.
    pub held_bytes: Gauge,
    /// Channels at home here.
    pub channels: Gauge,
    /// Bytes of history held here.
    pub history_bytes: Gauge,
    /// Memberships of this worker's connections in channels.
    pub subscriptions: Gauge,
    figures: EngineFigures,
}

/// [`Figures`], readable by other threads.
#[derive(Debug, Default)]
struct EngineFigures {
    turns: Counter,
    completions: Counter,
    enters: Counter,
    buffers_exhausted: Counter,
    queue_overflows: Counter,
    rearms: Counter,
    batch_sends: Counter,
    batch_failures: Counter,
    accept_backoffs: Counter,
}

impl WorkerMetrics {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// A connection came (`from` is `None`), went (`to` is `None`) or became something else.
    pub fn connection_moved(
        &self,
        from: Option<(Transport, State)>,
        to: Option<(Transport, State)>,
    ) {
        if let Some((transport, state)) = from {
            self.connections[transport as usize][state as usize].sub(1);
        }
        if let Some((transport, state)) = to {
            self.connections[transport as usize][state as usize].add(1);
        }
    }

    /// Connections of this kind now.
    pub fn connections(&self, transport: Transport, state: State) -> u64 {
        self.connections[transport as usize][state as usize].value()
    }

    /// A request was refused with `status`.
    pub fn refused(&self, status: u16) {
        let index = STATUSES.iter().position(|&known| known == status);
        self.refused[index.unwrap_or(STATUSES.len())].add(1);
    }

    /// Requests refused so far, with whatever status.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().map(Counter::value).sum()
    }

    /// A request was understood.
    pub fn request(&self, kind: RequestKind) {
        self.requests[kind as usize].add(1);
    }

    /// Requests of this kind so far.
    pub fn requests(&self, kind: RequestKind) -> u64 {
        self.requests[kind as usize].value()
    }

    /// The server ended a connection.
    pub fn dropped(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    /// Connections ended for this reason so far.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].value()
    }

    /// A TLS handshake was done.
    pub fn handshake_done(&self, is_resumed: bool) {
        self.handshakes[usize::from(is_resumed)].add(1);
    }

    /// TLS handshakes done so far, in full or by taking up a session.
    pub fn handshakes(&self, resumed: bool) -> u64 {
        self.handshakes[usize::from(resumed)].value()
    }

    /// A TLS handshake came to nothing.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        self.handshake_failures[why as usize].add(1);
    }

    /// Handshakes that came to nothing for this reason so far.
    pub fn handshake_failures(&self, why: HandshakeFailure) -> u64 {
        self.handshake_failures[why as usize].value()
    }

    /// `more` publications went to one subscriber, or into one answer.
    pub fn delivered(&self, transport: Transport, more: u64) {
        self.deliveries[transport as usize].add(more);
    }

    /// Deliveries over this transport so far; polls count as [`Transport::Http`].
    pub fn deliveries(&self, transport: Transport) -> u64 {
        self.deliveries[transport as usize].value()
    }

    /// Turns that the worker has taken.
    #[cfg(test)]
    pub(crate) fn turns(&self) -> u64 {
        self.figures.turns.value()
    }

    /// Shows the engine's figures. Once a turn, or less often.
    pub fn show_figures(&self, figures: &Figures) {
        let shown = &self.figures;
        shown.turns.set(figures.turns);
        shown.completions.set(figures.completions);
        shown.enters.set(figures.enters);
        shown.buffers_exhausted.set(figures.buffers_exhausted);
        shown.queue_overflows.set(figures.queue_overflows);
        shown.rearms.set(figures.rearms);
        shown.batch_sends.set(figures.batch_sends);
        shown.batch_failures.set(figures.batch_failures);
        shown.accept_backoffs.set(figures.accept_backoffs);
    }
}
