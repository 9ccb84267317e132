//! The flags about one peer: how much it may send, how often, and who may speak for others.
//!
//! Not here: what a value means ([`crate::config::PeerLimits`]).

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;

use super::values;
use crate::config::{PeerLimits, TrustedProxy};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
const MEBI: u64 = 1 << 20;
const GIBI: u64 = 1 << 30;
const MILLION: u64 = 1_000_000;

/// See the module's head.
#[derive(Debug, Args)]
pub(super) struct PeerFlags {
    /// A request's line and headers together
    #[arg(long, value_name = "BYTES", default_value = "16k")]
    #[arg(value_parser = values::size::<usize, 512, MEBI>, help_heading = "Limits of a peer")]
    pub(super) max_request_header_bytes: usize,

    /// Headers of a request
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = values::count::<usize, 1, 256>, help_heading = "Limits of a peer")]
    pub(super) max_request_headers: usize,

    /// A request's first line
    #[arg(long, value_name = "BYTES", default_value = "8k")]
    #[arg(value_parser = values::size::<usize, 64, MEBI>, help_heading = "Limits of a peer")]
    pub(super) max_request_line: usize,

    /// A request's body, such as a publication [default: --max-message-size]
    #[arg(long, value_name = "BYTES")]
    #[arg(value_parser = values::size::<usize, 1, GIBI>, help_heading = "Limits of a peer")]
    pub(super) max_request_body_size: Option<usize>,

    /// Messages per second of a WebSocket, twice as many at once; 0: any number
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(value_parser = values::count::<u32, 0, MILLION>, help_heading = "Limits of a peer")]
    pub(super) message_rate_limit: u32,

    /// Pings and pongs per second of a WebSocket, 2.5 times as many at once; 0: any number
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(value_parser = values::count::<u32, 0, MILLION>, help_heading = "Limits of a peer")]
    pub(super) control_frame_rate: u32,

    /// From the first byte of a WebSocket message to its last
    #[arg(long, value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Limits of a peer")]
    pub(super) message_timeout: Duration,

    /// Empty fragments of a WebSocket message
    #[arg(long, value_name = "N", default_value = "1024")]
    #[arg(value_parser = values::count::<u32, 1, MILLION>, help_heading = "Limits of a peer")]
    pub(super) max_empty_fragments: u32,

    /// Connections of one address (IPv6: of one /64) in the process; 0: any number
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(value_parser = values::count::<u32, 0, MILLION>, help_heading = "Limits of a peer")]
    pub(super) max_connections_per_ip: u32,

    /// Connections accepted per second in the process; 0: any number
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(value_parser = values::count::<u32, 0, MILLION>, help_heading = "Limits of a peer")]
    pub(super) connection_rate_limit: u32,

    /// Who may say for whom it speaks (PROXY protocol, X-Forwarded-For); unix: who comes by a
    /// Unix socket; repeatable
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = values::proxy)]
    #[arg(help_heading = "Limits of a peer")]
    pub(super) trusted_proxy: Vec<TrustedProxy>,
}

impl PeerFlags {
    pub(super) fn resolve(self, message_bytes_max: usize) -> PeerLimits {
        PeerLimits {
            request_head_bytes_max: self.max_request_header_bytes,
            request_headers_max: self.max_request_headers,
            request_line_bytes_max: self.max_request_line,
            request_body_bytes_max: self.max_request_body_size.unwrap_or(message_bytes_max),
            message_rate: NonZeroU32::new(self.message_rate_limit),
            control_frame_rate: NonZeroU32::new(self.control_frame_rate),
            connections_per_address_max: self.max_connections_per_ip,
            connection_rate: NonZeroU32::new(self.connection_rate_limit),
            message_timeout: self.message_timeout,
            empty_fragments_max: self.max_empty_fragments,
            trusted_proxies: self.trusted_proxy,
        }
    }
}
