//! What an engine is made from.
//!
//! Not here: defaults of the program; those are its configuration.

use std::sync::Arc;

use crate::bells::Bells;
use crate::features::Features;
use crate::permits::Permits;

/// One worker's engine: its place among the workers, its limits, and what the kernel can do.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The worker's number, below [`Bells::workers`].
    pub worker: usize,
    /// The bells of all workers.
    pub bells: Arc<Bells>,
    /// Connections of this engine at most; its tables have this many entries.
    pub slots_max: u32,
    /// The process-wide limit on accepted connections.
    pub permits: Arc<Permits>,
    /// The receive buffers; `None`: what suits the kernel.
    pub receive_buffers: Option<ReceiveBuffers>,
    /// What [`crate::probe`] found, or less of it.
    pub features: Features,
    /// What the engine's connections are.
    pub role: Role,
    /// Whether clients' addresses are told ([`crate::Completion::Accepted`]), which costs.
    pub peers: bool,
}

/// Where an engine's connections come from. It does one or the other, so that its ring need not
/// be allowed both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It listens.
    Accepts,
    /// It connects.
    Connects,
}

/// The receive memory of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffers {
    /// How many buffers.
    pub count: u16,
    /// Bytes in each.
    pub bytes: u32,
}

impl ReceiveBuffers {
    /// Few and large, filled piece by piece: where the kernel can do that, and for *epoll*.
    pub const INCREMENTAL: Self = Self { count: 8, bytes: 256 * 1024 };

    /// More and smaller, each consumed by one receive.
    pub const WHOLE: Self = Self { count: 64, bytes: 64 * 1024 };

    /// All of it together.
    #[must_use]
    pub const fn total_bytes(self) -> usize {
        self.count as usize * self.bytes as usize
    }

    /// What one connection may fill between two looks at the others: a quarter.
    pub(crate) fn share_bytes(self) -> u32 {
        u32::try_from(self.total_bytes() / 4).unwrap_or(u32::MAX).max(1)
    }

    pub(crate) fn is_possible(self) -> bool {
        (1..=32_768).contains(&self.count) && (1..=1 << 30).contains(&self.bytes)
    }
}
