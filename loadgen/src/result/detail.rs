//! What a result tells beside its table: phases, fairness, TCP's own bytes, storms, confidence.
//!
//! Shapes only; each part is filled where it is measured. Invariant: a part that was not measured
//! is absent, a figure within it that was not is `null`, and neither is ever 0.

use serde::{Deserialize, Serialize};

use super::Latency;
use crate::verdict::State;

/// The parts of opening a connection, each from the end of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phases {
    /// From the call of connect to TCP connected.
    pub(crate) tcp_ns: Latency,
    /// From the request to the upgrade's, or the subscription's, answer.
    pub(crate) upgrade_ns: Latency,
    /// From open (or, if later, the start of the load) to the first message.
    pub(crate) first_message_ns: Latency,
}

/// How alike the connections were served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fairness {
    /// The distribution, over connections, of each connection's own p99 from intended.
    pub(crate) p99_of_connections_ns: Latency,
    /// Jain's index of messages received per connection: 1 is even, 1/n is one for all.
    pub(crate) jain_index: Option<f64>,
}

/// What the kernel counted on the connections' sockets in the window (`TCP_INFO`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tcp {
    /// Connections looked at: all, or a sample spread evenly over them.
    pub(crate) connections: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) segments_sent: u64,
    pub(crate) segments_received: u64,
    pub(crate) segments_retransmitted: u64,
    /// With TCP and IP headers, both directions.
    pub(crate) wire_bytes_per_message: Option<f64>,
}

/// Where the bytes of one message go, both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireShare {
    pub(crate) payload_bytes: Option<f64>,
    /// WebSocket, SSE and HTTP framing, and TLS.
    pub(crate) protocol_bytes: Option<f64>,
    pub(crate) tcp_ip_bytes: Option<f64>,
}

/// One kind of error, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorDetail {
    pub(crate) code: String,
    pub(crate) count: u64,
    /// From the window's start; negative before it.
    pub(crate) first_at_ns: Option<i64>,
    pub(crate) last_at_ns: Option<i64>,
    pub(crate) meaning: String,
    pub(crate) cure: String,
}

/// A part of a schedule whose rate goes from that before to its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) lasts_ns: u64,
    /// At its end, of all connections together.
    pub(crate) rate_per_s: f64,
}

/// All connections dropped at once, and how long until all was well again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Storm {
    /// When, from the window's start.
    pub(crate) at_ns: u64,
    pub(crate) dropped: u64,
    pub(crate) reopened: u64,
    /// From the drop to each connection's being open again.
    pub(crate) reopen_ns: Latency,
    pub(crate) p99_before_ns: Option<u64>,
    /// Until the p99 of an interval was back at what it was before; `null`: not within the window.
    pub(crate) recovered_after_ns: Option<u64>,
}

/// Connections opened and closed as the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Churn {
    pub(crate) cycles: u64,
    pub(crate) cycles_per_s: Option<f64>,
    /// From the intended time to closed.
    pub(crate) cycle_ns: Latency,
}

/// Connections that read slowly or not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slow {
    pub(crate) connections: u64,
    /// 0: they read nothing.
    pub(crate) bytes_per_s: u64,
    /// How many of them the server cut off.
    pub(crate) closed_by_server: u64,
}

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How far the figures would move if everything were done again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Confidence {
    /// Repetitions that the intervals rest on.
    pub(crate) runs: u32,
    pub(crate) is_server_restarted: bool,
    pub(crate) p50_ns: Option<Estimate>,
    pub(crate) p99_ns: Option<Estimate>,
    pub(crate) p99_9_ns: Option<Estimate>,
    pub(crate) achieved_per_s: Option<Estimate>,
    pub(crate) server_cpu_ns_per_message: Option<Estimate>,
}

/// One `--threshold`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ThresholdResult {
    pub(crate) expression: String,
    /// In the unit of the expression: nanoseconds, a count, a share or a rate.
    pub(crate) measured: Option<f64>,
    /// The same for people: `6.18 ms`, `insufficient`.
    pub(crate) shown: String,
    pub(crate) is_met: bool,
}

/// One rule that decides whether the run can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// What is looked at, for people: `Schedule lag p99`.
    pub(crate) name: String,
    pub(crate) measured: String,
    pub(crate) limit: String,
    pub(crate) state: State,
}

/// One agent's part of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) connections: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) latency_from_intended_ns: Latency,
    pub(crate) schedule_lag_ns: Latency,
    pub(crate) cpu_ns_per_message: Option<i64>,
    /// Its clock minus the controller's, and how far off that may be.
    pub(crate) clock_offset_ns: Option<i64>,
    pub(crate) clock_bound_ns: Option<u64>,
    /// Why its part is missing.
    pub(crate) failure: Option<String>,
}

/// Whole histograms, in the HdrHistogram V2 format, deflated, in base64: of bundles only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histograms {
    pub(crate) intended: String,
    pub(crate) sent: String,
    pub(crate) connect: String,
    pub(crate) schedule_lag: String,
    pub(crate) send_blocked: String,
}
