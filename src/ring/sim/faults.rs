//! What the simulated kernel does to its users, and how often.
//!
//! Not here: the doing. Every field is a probability at each occasion, from 0 to 1. None of them
//! breaks a promise of the driver: they are what a kernel may do on a bad day.

/// The probabilities of faults. See [`Faults::none`] and [`Faults::all`].
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// A receive brings fewer bytes than are there, down to one.
    pub short_receives: f64,
    /// A send takes fewer bytes than there is room for.
    pub short_sends: f64,
    /// A socket with room says that it is full (`EAGAIN`).
    pub full_sends: f64,
    /// A receive finds no buffer (`ENOBUFS`) and pauses.
    pub buffers_exhausted: f64,
    /// An accept finds the system's table full (`ENFILE`) and backs off.
    pub accept_refusals: f64,
    /// A multishot operation ends by itself (no `F_MORE`) and is armed again later.
    pub rearms: f64,
    /// The completion queue overflows: what completed comes later, a little at a time.
    pub queue_overflows: f64,
    /// At a send: the connection is reset, after any number of its bytes.
    pub resets: f64,
    /// Bytes, handshakes and closes take long, up to [`Faults::delay_ns_max`].
    pub delays: f64,
    /// A doorbell is heard late.
    pub bell_delays: f64,
    /// A turn's completions come in any order across connections.
    pub reorders: f64,
    /// A worker is woken for nothing.
    pub spurious_wakes: f64,
    /// After receiving was turned off, one more completion is on its way.
    pub stragglers: f64,
    /// A new connection has buffers of a few bytes.
    pub small_buffers: f64,
    /// A step of [`crate::sim::Sim::run_until`] passes a worker over.
    pub slow_workers: f64,
    /// The longest of the delays above.
    pub delay_ns_max: u64,
}

impl Faults {
    /// A kernel on its best day.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            short_receives: 0.0,
            short_sends: 0.0,
            full_sends: 0.0,
            buffers_exhausted: 0.0,
            accept_refusals: 0.0,
            rearms: 0.0,
            queue_overflows: 0.0,
            resets: 0.0,
            delays: 0.0,
            bell_delays: 0.0,
            reorders: 0.0,
            spurious_wakes: 0.0,
            stragglers: 0.0,
            small_buffers: 0.0,
            slow_workers: 0.0,
            delay_ns_max: 50_000_000,
        }
    }

    /// Everything at once, often.
    #[must_use]
    pub const fn all() -> Self {
        Self { resets: 0.005, ..Self::lossless() }
    }

    /// Everything but resets: every byte arrives.
    #[must_use]
    pub const fn lossless() -> Self {
        Self {
            short_receives: 0.3,
            short_sends: 0.2,
            full_sends: 0.1,
            buffers_exhausted: 0.1,
            accept_refusals: 0.1,
            rearms: 0.2,
            queue_overflows: 0.1,
            resets: 0.0,
            delays: 0.1,
            bell_delays: 0.2,
            reorders: 0.8,
            spurious_wakes: 0.1,
            stragglers: 0.5,
            small_buffers: 0.2,
            slow_workers: 0.2,
            delay_ns_max: 50_000_000,
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}
