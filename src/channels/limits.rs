//! How much a home keeps, and what it counted.

/// The bounds of one home: its worker's share of the process's.
#[derive(Clone, Copy, Debug)]
pub struct ChannelLimits {
    /// Publications kept per stream.
    pub history_size: usize,
    /// How long a publication is kept, and a stream without subscribers.
    pub history_ttl_ns: u64,
    /// Publications replayed to one reader at most; further behind counts as position lost.
    pub recovery_publications_max: usize,
    /// Streams.
    pub channels_max: usize,
    /// Bytes of all histories, encodings included. Tested before a publication is added, so that
    /// the encodings of the last one may overshoot it.
    pub history_bytes_max: usize,
    /// The window of compressed encodings, in bits, 9 to 15.
    pub window_bits_max: u8,
    /// Shorter messages are not compressed.
    pub compression_threshold_bytes: usize,
}

/// What one home counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeCounters {
    /// Publications that got a position.
    pub publications: u64,
    /// Encodings made. Each is made once per publication.
    pub encodings: u64,
    /// Publications compressed, once for each window and form that somebody wants.
    pub compressions: u64,
    /// Batches of publications handed to workers.
    pub batches: u64,
    /// Gaps announced to workers.
    pub gaps: u64,
    /// Readers and subscribers whose position was lost.
    pub positions_lost: u64,
    /// Requests refused because the home was full.
    pub refusals: u64,
    /// Streams given up for want of room.
    pub evictions: u64,
    /// Streams that nobody touched for `history_ttl`.
    pub expiries: u64,
}
