//! What the server and this program used in the window.
//!
//! Not here: when to look, and where that is read. Invariant: a process that cannot be looked at
//! gives no figure, not 0.

use ringwire_ring::{ProcessClock, ThreadClock};

use crate::engine::control::Control;
use crate::engine::gauge::{Gauge, rss_bytes};
use crate::engine::surroundings::Sight;
use crate::outcome::{Failure, GeneratorCost, ServerCost, Surroundings};
use crate::scenario::Scenario;

/// CPU time used so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) server_ns: Option<u64>,
    own_ns: Option<u64>,
    thread_ns: Vec<Option<u64>>,
}

impl Reading {
    /// How busy a thread was in the `span_ns` since `before`.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub(crate) fn thread_share(&self, before: &Self, thread: usize, span_ns: u64) -> f64 {
        let of = |reading: &Self| reading.thread_ns.get(thread).copied().flatten();
        let busy_ns = of(self).zip(of(before)).map_or(0, |(now, then)| now.saturating_sub(then));
        busy_ns as f64 / span_ns.max(1) as f64
    }
}

/// Costs over one run.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    server: Option<Gauge>,
    own: Option<ProcessClock>,
    rss_before_bytes: Option<u64>,
    rss_connected_bytes: Option<u64>,
    rss_after_bytes: Option<u64>,
    own_rss_bytes: Option<u64>,
    start: Reading,
    end: Reading,
    /// The machine at both ends of the window.
    around: (Sight, Sight),
}

impl Costs {
    /// Looks at the server before the first connection.
    pub(crate) fn before_connecting(scenario: &Scenario) -> Result<Self, Failure> {
        let server = Gauge::of(scenario)?;
        let mut costs = Self { server, own: ProcessClock::of(0).ok(), ..Self::default() };
        costs.rss_before_bytes = costs.server_rss_bytes();
        Ok(costs)
    }

    /// All connections are open, nothing was said yet.
    pub(crate) fn connected(&mut self) {
        self.rss_connected_bytes = self.server_rss_bytes();
    }

    pub(crate) fn window_starts(&mut self, control: &Control) {
        self.start = self.read(control);
        self.around.0 = Sight::take();
    }

    pub(crate) fn window_ends(&mut self, control: &Control) {
        self.end = self.read(control);
        self.around.1 = Sight::take();
        self.rss_after_bytes = self.server_rss_bytes();
        self.own_rss_bytes = Self::own_rss_bytes();
    }

    /// What else went on on this machine in the window.
    pub(crate) fn surroundings(&self) -> Surroundings {
        self.around.1.since(&self.around.0)
    }

    /// CPU time used until now; the server's too where that is quickly read.
    pub(crate) fn look(&self, control: &Control) -> Reading {
        self.reading(control, self.server.as_ref().filter(|gauge| gauge.is_cheap()))
    }

    fn read(&self, control: &Control) -> Reading {
        self.reading(control, self.server.as_ref())
    }

    fn reading(&self, control: &Control, server: Option<&Gauge>) -> Reading {
        let cpu_ns = |clock: ProcessClock| clock.cpu_ns().ok();
        let of_thread = |clock: &ThreadClock| clock.cpu_ns().ok();
        let threads = control.reports.iter();
        Reading {
            server_ns: server.and_then(|gauge| gauge.read().ok()).map(|usage| usage.cpu_ns),
            own_ns: self.own.and_then(cpu_ns),
            thread_ns: threads.map(|report| report.clock.get().and_then(of_thread)).collect(),
        }
    }

    /// Memory of the server now.
    pub(crate) fn server_rss_bytes(&self) -> Option<u64> {
        Some(self.server.as_ref()?.read().ok()?.memory_bytes)
    }

    /// Resident memory of this program now.
    pub(crate) fn own_rss_bytes() -> Option<u64> {
        rss_bytes(std::process::id())
    }

    /// What the server used in the window.
    pub(crate) fn server(&self) -> Option<ServerCost> {
        Some(ServerCost {
            cpu_ns: self.end.server_ns?.checked_sub(self.start.server_ns?)?,
            rss_before_bytes: self.rss_before_bytes?,
            rss_connected_bytes: self.rss_connected_bytes?,
            rss_after_bytes: self.rss_after_bytes?,
            source: self.server.as_ref()?.source(),
        })
    }

    /// What this program used in the window of `measured_ns`.
    #[expect(clippy::cast_precision_loss, reason = "a share for people and a threshold")]
    pub(crate) fn generator(&self, measured_ns: u64) -> GeneratorCost {
        let used = |start: Option<u64>, end: Option<u64>| end?.checked_sub(start?);
        let threads = self.start.thread_ns.iter().zip(&self.end.thread_ns);
        GeneratorCost {
            cpu_ns: used(self.start.own_ns, self.end.own_ns).unwrap_or(0),
            rss_bytes: self.own_rss_bytes,
            thread_busy_share: threads
                .filter_map(|(&start, &end)| used(start, end))
                .map(|busy_ns| busy_ns as f64 / measured_ns.max(1) as f64)
                .collect(),
        }
    }
}
