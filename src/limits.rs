//! How much and how long: the configuration in the units of the loop.
//!
//! Not here: how the numbers were given ([`crate::config`]). Invariant: made once at the start and
//! never changed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ringwire_protocol::http::{BodyLimits, HeadLimits};
use ringwire_protocol::ws::{self, DeflateTerms};

use crate::channels::ChannelLimits;
use crate::config::{Compression, Config, TrustedProxy};
use crate::tokens::Tokens;

/// Bytes of further input that are held while a request waits for its answer.
pub(crate) const WAITING_INPUT_BYTES_MAX: usize = 16 * 1024;

/// Bytes that a connection may still send after everything was said.
pub(crate) const LINGER_BYTES_MAX: u32 = 1024 * 1024;

/// A poll answers at most this many bytes of payload, and at least one publication.
pub(crate) const POLL_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Sends handed over at once while a publication is fanned out.
pub(crate) const FANOUT_SLICE: usize = 256;

/// Publications gathered before they are fanned out, though more completions are pending.
pub(crate) const GATHERED_MAX: usize = 256;

/// Turns that a publication waits at most for others to be fanned out with it: on a worker that is
/// never idle, some tenths of a millisecond.
pub(crate) const GATHERING_TURNS: usize = 4;

/// Bytes inflated in one turn before the rest waits for the next: with what compressing as many
/// again costs, some milliseconds. A peer's 64 KiB can be 64 MiB.
pub(crate) const INFLATED_BYTES_MAX: usize = 1024 * 1024;

/// The limits of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) head: HeadLimits,
    pub(crate) body: BodyLimits,
    pub(crate) ws: ws::Limits,
    pub(crate) backpressure_bytes_max: usize,
    pub(crate) header_timeout_ns: u64,
    pub(crate) tls_handshake_timeout_ns: u64,
    pub(crate) ping_interval_ns: u64,
    pub(crate) pong_timeout_ns: u64,
    pub(crate) close_timeout_ns: u64,
    pub(crate) keepalive_timeout_ns: u64,
    pub(crate) drain_timeout_ns: u64,
    pub(crate) message_timeout_ns: u64,
    pub(crate) message_rate: Option<NonZeroU32>,
    pub(crate) control_frame_rate: Option<NonZeroU32>,
    /// The worker's share.
    pub(crate) connection_rate: Option<NonZeroU32>,
    /// Whether clients' addresses are to be remembered.
    pub(crate) needs_addresses: bool,
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) publish_tokens: Option<Arc<Tokens>>,
    /// What is agreed about compression; `None`: nothing.
    pub(crate) deflate: Option<DeflateTerms>,
    pub(crate) channels: ChannelLimits,
}

impl Limits {
    /// The share of one worker in what `config` allows the process.
    pub(crate) fn new(config: &Config) -> Self {
        let share = config.workers.max(1);
        let peers = &config.peers;
        let share_of_rate = |rate: NonZeroU32| {
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            NonZeroU32::new(rate.get().div_ceil(share)).unwrap_or(NonZeroU32::MIN)
        };
        Self {
            head: HeadLimits {
                head_bytes_max: peers.request_head_bytes_max,
                headers_max: peers.request_headers_max,
                request_line_bytes_max: peers.request_line_bytes_max,
            },
            body: BodyLimits {
                data_bytes_max: peers.request_body_bytes_max,
                // What a head may have is enough for what nobody reads.
                extra_bytes_max: peers.request_head_bytes_max,
            },
            ws: ws::Limits {
                message_bytes_max: config.message_bytes_max,
                empty_fragments_max: peers.empty_fragments_max,
            },
            backpressure_bytes_max: config.backpressure_bytes_max,
            header_timeout_ns: nanoseconds(config.header_timeout),
            tls_handshake_timeout_ns: nanoseconds(config.tls_handshake_timeout),
            ping_interval_ns: nanoseconds(config.ping_interval),
            pong_timeout_ns: nanoseconds(config.pong_timeout),
            close_timeout_ns: nanoseconds(config.close_timeout),
            keepalive_timeout_ns: nanoseconds(config.keepalive_timeout),
            drain_timeout_ns: nanoseconds(config.drain_timeout),
            message_timeout_ns: nanoseconds(peers.message_timeout),
            message_rate: peers.message_rate,
            control_frame_rate: peers.control_frame_rate,
            connection_rate: peers.connection_rate.map(share_of_rate),
            needs_addresses: config.needs_addresses(),
            trusted_proxies: peers.trusted_proxies.clone(),
            allowed_origins: config.allowed_origins.clone(),
            publish_tokens: config.publish_tokens.clone(),
            deflate: match config.compression {
                Compression::Off => None,
                mode => Some(DeflateTerms {
                    window_bits_max: config.window_bits_max,
                    context_takeover: mode == Compression::Dedicated,
                }),
            },
            channels: ChannelLimits {
                history_size: config.history_size,
                history_ttl_ns: nanoseconds(config.history_ttl),
                recovery_publications_max: config.recovery_publications_max,
                channels_max: config.channels_max.div_ceil(share),
                history_bytes_max: usize::try_from(config.history_bytes_max)
                    .unwrap_or(usize::MAX)
                    .div_ceil(share),
                window_bits_max: config.window_bits_max,
                compression_threshold_bytes: config.compression_threshold_bytes,
            },
        }
    }
}

/// A duration of the configuration in the loop's unit.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
