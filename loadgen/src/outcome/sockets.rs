//! What the kernel counted on TCP sockets, and the headers that follow from it.
//!
//! Not here: reading it. Invariant: sums of differences of two readings of one socket.

use ringwire_ring::TcpInfo;

/// What the kernel counted on TCP sockets in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// How many were looked at.
    pub connections: u64,
    /// Payload bytes that left, those sent again too.
    pub bytes_sent: u64,
    /// Payload bytes that arrived.
    pub bytes_received: u64,
    /// Segments that left, bare acknowledgements too.
    pub segments_sent: u64,
    /// Segments that arrived.
    pub segments_received: u64,
    /// Segments sent again.
    pub segments_retransmitted: u64,
    /// Segments, both ways, that carry timestamps.
    pub segments_with_timestamps: u64,
}

impl Sockets {
    /// Adds what one socket did between two readings.
    pub(crate) fn add_socket(&mut self, before: &TcpInfo, after: &TcpInfo) {
        let since = |of: fn(&TcpInfo) -> u64| of(after).saturating_sub(of(before));
        // The kernel counts segments in 32 bits, and lets them wrap.
        let segments = |of: fn(&TcpInfo) -> u32| u64::from(of(after).wrapping_sub(of(before)));
        let (sent, received) =
            (segments(|info| info.segments_sent), segments(|info| info.segments_received));
        self.connections += 1;
        self.bytes_sent += since(|info| info.bytes_sent);
        self.bytes_received += since(|info| info.bytes_received);
        self.segments_sent += sent;
        self.segments_received += received;
        self.segments_retransmitted += segments(|info| info.segments_retransmitted);
        self.segments_with_timestamps += if after.has_timestamps { sent + received } else { 0 };
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.segments_sent += other.segments_sent;
        self.segments_received += other.segments_received;
        self.segments_retransmitted += other.segments_retransmitted;
        self.segments_with_timestamps += other.segments_with_timestamps;
    }

    /// Bytes of the headers: of each segment 20 of TCP, 12 of its timestamps if it has them, and
    /// 20 of IPv4 or 40 of IPv6. Neither Ethernet nor the longer options of SYN are in it, which
    /// come before the window; nor SACK blocks, which come with losses only.
    #[must_use]
    pub fn header_bytes(&self, is_ipv6: bool) -> u64 {
        let network_bytes = if is_ipv6 { 40 } else { 20 };
        let segments = self.segments_sent + self.segments_received;
        segments * (network_bytes + 20) + self.segments_with_timestamps * 12
    }
}
