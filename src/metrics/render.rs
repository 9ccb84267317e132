//! The metrics page: which families there are, by which labels.
//!
//! Not here: how a sample is spelled ([`super::page`]). Invariant: what is the same for the whole
//! process has no `worker` label, everything else has one.

use std::fmt::Display;
use std::sync::Arc;

use super::page::Page;
use super::{
    Counter, DropReason, Gauge, HandshakeFailure, RequestKind, STATUSES, State, Transport,
    WorkerMetrics,
};
use crate::certificates::CertificateFigures;
use crate::log::LostLines;
use crate::machine;

/// What the page says of the process as a whole.
#[derive(Clone, Debug)]
pub struct Build {
    /// The engine in use, `uring` or `epoll`.
    pub engine: &'static str,
    /// The kernel's release, as `6.18`.
    pub kernel: String,
    /// Connections the process takes at most.
    pub connections_max: u64,
    /// The log lines that were lost.
    pub lost: LostLines,
    /// The certificates of listeners with TLS.
    pub certificates: Option<Arc<CertificateFigures>>,
}

/// The page a scraper reads, in the text format 0.0.4.
pub fn render(workers: &[Arc<WorkerMetrics>], build: &Build) -> String {
    let mut page = Page::default();
    process(&mut page, build);
    connections(&mut page, workers);
    requests(&mut page, workers);
    traffic(&mut page, workers);
    tls(&mut page, workers);
    if let Some(figures) = &build.certificates {
        certificates(&mut page, figures);
    }
    memory(&mut page, workers);
    engine(&mut page, workers);
    page.finish()
}

type Workers<'w> = &'w [Arc<WorkerMetrics>];

fn process(page: &mut Page, build: &Build) {
    page.gauge("ringwire_build_info", "Version, engine and kernel; always 1.");
    page.sample(
        &[
            ("version", &env!("CARGO_PKG_VERSION")),
            ("engine", &build.engine),
            ("kernel", &build.kernel),
        ],
        1,
    );
    // Left out, not 0, where the system does not say.
    if let Some(ns) = machine::process_cpu_ns() {
        page.counter("process_cpu_seconds_total", "User and system CPU time of the process.");
        page.sample(&[], format_args!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000));
    }
    if let Some(bytes) = machine::process_resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Resident memory of the process.");
        page.sample(&[], bytes);
    }
    page.gauge("ringwire_connections_max", "Connections the process takes at most.");
    page.sample(&[], build.connections_max);
    page.counter("ringwire_log_lines_lost_total", "Log lines that were not written.");
    page.sample(&[("reason", &"queue_full")], build.lost.queue_full());
    page.sample(&[("reason", &"repeated")], build.lost.repeated());
}

fn connections(page: &mut Page, workers: Workers<'_>) {
    page.gauge("ringwire_connections", "Connections now, by what they speak and their state.");
    each(workers, |worker, metrics| {
        for &transport in Transport::ALL {
            for &state in State::ALL {
                page.sample(
                    &[
                        ("worker", worker),
                        ("transport", &transport.name()),
                        ("state", &state.name()),
                    ],
                    metrics.connections(transport, state),
                );
            }
        }
    });
    let name = "ringwire_connections_accepted_total";
    counter(page, workers, name, "Connections accepted.", |m| &m.accepted);
    let name = "ringwire_connections_closed_total";
    counter(page, workers, name, "Connections over and given back.", |m| &m.closed);
    let name = "ringwire_accept_pauses_total";
    let help = "Times that accepting paused for the connection rate limit.";
    counter(page, workers, name, help, |m| &m.accept_pauses);
    let help = "Connections the server ended, by reason.";
    page.counter("ringwire_connections_dropped_total", help);
    each(workers, |worker, metrics| {
        for &reason in DropReason::ALL {
            let labels: [(&str, &dyn Display); 2] =
                [("worker", worker), ("reason", &reason.name())];
            page.sample(&labels, metrics.drops(reason));
        }
    });
}

fn requests(page: &mut Page, workers: Workers<'_>) {
    page.counter("ringwire_requests_total", "Requests understood, by what they asked for.");
    each(workers, |worker, metrics| {
        for &kind in RequestKind::ALL {
            page.sample(&[("worker", worker), ("kind", &kind.name())], metrics.requests(kind));
        }
    });
    page.counter("ringwire_requests_refused_total", "Requests refused, by status.");
    each(workers, |worker, metrics| {
        for (index, refused) in metrics.refused.iter().enumerate() {
            let status: &dyn Display = STATUSES.get(index).map_or(&"other", |status| status);
            page.sample(&[("worker", worker), ("status", status)], refused.value());
        }
    });
}

fn traffic(page: &mut Page, workers: Workers<'_>) {
    let name = "ringwire_messages_received_total";
    counter(page, workers, name, "WebSocket messages received.", |m| &m.messages_received);
    let name = "ringwire_messages_sent_total";
    counter(page, workers, name, "WebSocket messages sent.", |m| &m.messages_sent);
    let name = "ringwire_received_bytes_total";
    counter(page, workers, name, "Bytes received from peers.", |m| &m.bytes_received);
    let name = "ringwire_sent_bytes_total";
    counter(page, workers, name, "Bytes sent to peers.", |m| &m.bytes_sent);
    let name = "ringwire_pings_sent_total";
    counter(page, workers, name, "WebSocket pings sent.", |m| &m.pings_sent);
    let name = "ringwire_publications_total";
    let help = "Publications given a position, by the home of their channel.";
    counter(page, workers, name, help, |m| &m.publications);
    let name = "ringwire_publications_compressed_total";
    let help = "Times a publication was compressed: once per window and form, not per subscriber.";
    counter(page, workers, name, help, |m| &m.publications_compressed);
    let name = "ringwire_messages_compressed_total";
    counter(page, workers, name, "Messages compressed for one connection.", |m| {
        &m.messages_compressed
    });
    page.counter("ringwire_deliveries_total", "Publications delivered; polls count as http.");
    each(workers, |worker, metrics| {
        for &transport in Transport::ALL {
            let labels: [(&str, &dyn Display); 2] =
                [("worker", worker), ("transport", &transport.name())];
            page.sample(&labels, metrics.deliveries(transport));
        }
    });
}

fn tls(page: &mut Page, workers: Workers<'_>) {
    page.counter("ringwire_tls_handshakes_total", "TLS handshakes done, by kind.");
    each(workers, |worker, metrics| {
        for (kind, resumed) in [("full", false), ("resumed", true)] {
            page.sample(&[("worker", worker), ("kind", &kind)], metrics.handshakes(resumed));
        }
    });
    let help = "TLS handshakes that came to nothing, by reason.";
    page.counter("ringwire_tls_handshake_failures_total", help);
    each(workers, |worker, metrics| {
        for &why in HandshakeFailure::ALL {
            let labels: [(&str, &dyn Display); 2] = [("worker", worker), ("reason", &why.name())];
            page.sample(&labels, metrics.handshake_failures(why));
        }
    });
    let name = "ringwire_tls_handshakes_waiting";
    gauge(page, workers, name, "TLS handshakes that wait for their turn.", |m| &m.tls_waiting);
    let name = "ringwire_tls_truncated_total";
    counter(page, workers, name, "TLS connections ended without close_notify.", |m| {
        &m.tls_truncated
    });
}

fn certificates(page: &mut Page, figures: &CertificateFigures) {
    let help = "Last second in which the certificate in use is valid, Unix time.";
    page.gauge("ringwire_tls_certificate_not_after_seconds", help);
    for (certificate, at) in figures.not_after() {
        page.sample(&[("certificate", &certificate)], at);
    }
    let (replaced, refused) = figures.reloads();
    page.counter("ringwire_tls_certificate_reloads_total", "Pairs read again, by outcome.");
    page.sample(&[("outcome", &"replaced")], replaced);
    page.sample(&[("outcome", &"refused")], refused);
}

fn memory(page: &mut Page, workers: Workers<'_>) {
    let name = "ringwire_held_bytes";
    gauge(page, workers, name, "Bytes held for peers, both directions.", |m| &m.held_bytes);
    let name = "ringwire_channels";
    gauge(page, workers, name, "Channels at home at this worker.", |m| &m.channels);
    let name = "ringwire_history_bytes";
    gauge(page, workers, name, "Bytes of history of these channels.", |m| &m.history_bytes);
    let name = "ringwire_subscriptions";
    gauge(page, workers, name, "Memberships of connections in channels.", |m| &m.subscriptions);
}

fn engine(page: &mut Page, workers: Workers<'_>) {
    type Row = (&'static str, &'static str, fn(&WorkerMetrics) -> &Counter);
    let rows: [Row; 9] = [
        ("ringwire_engine_turns_total", "Turns of the worker's loop.", |m| &m.figures.turns),
        ("ringwire_engine_completions_total", "Completions; by turns: how full a turn is.", |m| {
            &m.figures.completions
        }),
        ("ringwire_engine_enters_total", "System calls made to submit or wait.", |m| {
            &m.figures.enters
        }),
        (
            "ringwire_engine_buffers_exhausted_total",
            "Receives paused because no buffer was free (ENOBUFS).",
            |m| &m.figures.buffers_exhausted,
        ),
        (
            "ringwire_engine_queue_overflows_total",
            "Times the completion queue was seen overflowing.",
            |m| &m.figures.queue_overflows,
        ),
        ("ringwire_engine_rearms_total", "Multishot operations armed again.", |m| {
            &m.figures.rearms
        }),
        ("ringwire_engine_batch_sends_total", "Sends handed over in batches.", |m| {
            &m.figures.batch_sends
        }),
        (
            "ringwire_engine_batch_failures_total",
            "Sends of batches that came back with bytes left.",
            |m| &m.figures.batch_failures,
        ),
        (
            "ringwire_engine_accept_backoffs_total",
            "Accepts put off because descriptors or memory ran short.",
            |m| &m.figures.accept_backoffs,
        ),
    ];
    for (name, help, value) in rows {
        counter(page, workers, name, help, value);
    }
}

fn counter(
    page: &mut Page,
    workers: Workers<'_>,
    name: &'static str,
    help: &str,
    value: fn(&WorkerMetrics) -> &Counter,
) {
    page.counter(name, help);
    each(workers, |worker, metrics| {
        page.sample(&[("worker", worker)], value(metrics).value());
    });
}

fn gauge(
    page: &mut Page,
    workers: Workers<'_>,
    name: &'static str,
    help: &str,
    value: fn(&WorkerMetrics) -> &Gauge,
) {
    page.gauge(name, help);
    each(workers, |worker, metrics| {
        page.sample(&[("worker", worker)], value(metrics).value());
    });
}

fn each(workers: Workers<'_>, mut sample: impl FnMut(&dyn Display, &WorkerMetrics)) {
    for (worker, metrics) in workers.iter().enumerate() {
        sample(&worker, metrics);
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
