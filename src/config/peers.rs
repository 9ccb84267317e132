//! The limits that concern one peer, and who may speak for others.
//!
//! Not here: how they are given (`cli`), how they are kept (`worker`).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::networks::{Network, NotANetwork};

/// How much one peer may send, how often, and how many connections it may have. Sizes are bytes,
/// 1 to 1 Gi where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// A request's head with the empty line that ends it, 512 to 1 Mi.
    pub request_head_bytes_max: usize,
    /// Header lines of a request, 1 to 256.
    pub request_headers_max: usize,
    /// A request's first line, 64 to 1 Mi.
    pub request_line_bytes_max: usize,
    /// A request's body, its chunks together.
    pub request_body_bytes_max: usize,
    /// WebSocket messages per second, of one connection; `None`: any number.
    pub message_rate: Option<NonZeroU32>,
    /// Pings and pongs per second, of one connection; `None`: any number.
    pub control_frame_rate: Option<NonZeroU32>,
    /// Connections of one address, in the whole process; 0: any number.
    pub connections_per_address_max: u32,
    /// Connections accepted per second, in the whole process; `None`: any number.
    pub connection_rate: Option<NonZeroU32>,
    /// From the first byte of a WebSocket message to its last, 1 ms to 24 h.
    pub message_timeout: Duration,
    /// Empty fragments of one message, 1 to 1 M.
    pub empty_fragments_max: u32,
    /// Who may speak for others: by PROXY protocol or by X-Forwarded-For.
    pub trusted_proxies: Vec<TrustedProxy>,
}

impl PeerLimits {
    /// Whether any of them needs to know where connections come from.
    #[must_use]
    pub fn need_addresses(&self) -> bool {
        self.connections_per_address_max > 0 || !self.trusted_proxies.is_empty()
    }
}

/// Proxies that are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Those of a network.
    Network(Network),
    /// Whoever comes by a Unix socket.
    Unix,
}

impl TrustedProxy {
    /// Whether a connection from `address` is such a proxy's; who has none came by a Unix socket.
    #[must_use]
    pub fn is_at(self, address: Option<SocketAddr>) -> bool {
        match (self, address) {
            (Self::Network(network), Some(address)) => network.contains(address.ip()),
            (Self::Unix, None) => true,
            _ => false,
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        if text == "unix" { Ok(Self::Unix) } else { text.parse().map(Self::Network) }
    }
}
