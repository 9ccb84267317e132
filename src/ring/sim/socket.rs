//! One end of a simulated TCP connection.
//!
//! Not here: whose it is, and when time passes. Invariants: bytes arrive in order; FIN arrives
//! after the bytes sent before it; RST arrives after what was sent before it and makes what has
//! not been read by then uncertain, what was still under way lost.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::driver::Errno;

/// Index of a socket in the world. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketId(pub(super) usize);

#[derive(Debug)]
struct Segment {
    at_ns: u64,
    bytes: VecDeque<u8>,
}

/// What reading a socket gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(Vec<u8>),
    Ended(Result<(), Errno>),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Socket {
    /// The other end.
    pub(super) other: SocketId,
    /// The address that the other end has, where this end accepted it.
    pub(super) remote: Option<SocketAddr>,
    /// Bytes under way or unread that this end can hold, kernel buffers of both ends.
    pub(super) capacity_bytes: usize,
    segments: VecDeque<Segment>,
    unread_bytes: usize,
    /// Nothing may arrive before this.
    last_arrival_ns: u64,
    fin_at_ns: Option<u64>,
    reset_at_ns: Option<u64>,
    /// Whether a reset also takes the bytes that arrived unread.
    pub(super) reset_forgets: bool,
    /// Set once a reset was noticed.
    pub(super) failed: Option<Errno>,
    pub(super) write_shut: bool,
    pub(super) read_shut: bool,
    pub(super) closed: bool,
}

impl Socket {
    pub(super) fn new(other: SocketId, remote: Option<SocketAddr>, capacity_bytes: usize) -> Self {
        Self {
            other,
            remote,
            capacity_bytes,
            segments: VecDeque::new(),
            unread_bytes: 0,
            last_arrival_ns: 0,
            fin_at_ns: None,
            reset_at_ns: None,
            reset_forgets: false,
            failed: None,
            write_shut: false,
            read_shut: false,
            closed: false,
        }
    }

    /// How many bytes the other end may send now.
    pub(super) fn room_bytes(&self) -> usize {
        self.capacity_bytes.saturating_sub(self.unread_bytes)
    }

    /// Whether there are bytes that nobody read: closing then resets.
    pub(super) fn has_unread(&self) -> bool {
        self.unread_bytes > 0
    }

    fn arrival(&mut self, at_ns: u64) -> u64 {
        self.last_arrival_ns = self.last_arrival_ns.max(at_ns);
        self.last_arrival_ns
    }

    /// Bytes from the other end, there at `at_ns` or when those before them are.
    pub(super) fn deliver(&mut self, at_ns: u64, bytes: &[u8]) {
        if self.read_shut || self.failed.is_some() || bytes.is_empty() {
            return;
        }
        let at_ns = self.arrival(at_ns);
        self.unread_bytes += bytes.len();
        match self.segments.back_mut() {
            Some(last) if last.at_ns == at_ns => last.bytes.extend(bytes),
            _ => self.segments.push_back(Segment { at_ns, bytes: bytes.iter().copied().collect() }),
        }
    }

    pub(super) fn deliver_fin(&mut self, at_ns: u64) {
        let at_ns = self.arrival(at_ns);
        self.fin_at_ns.get_or_insert(at_ns);
    }

    pub(super) fn deliver_reset(&mut self, at_ns: u64) {
        let at_ns = self.arrival(at_ns);
        self.reset_at_ns.get_or_insert(at_ns);
    }

    /// Stops reading for good, as `shutdown(RD)` does.
    pub(super) fn shut_read(&mut self) {
        self.read_shut = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.segments.clear();
        self.unread_bytes = 0;
    }

    /// Notices a reset that has arrived.
    pub(super) fn settle(&mut self, now_ns: u64) {
        if self.failed.is_none() && self.reset_at_ns.is_some_and(|at_ns| at_ns <= now_ns) {
            self.failed = Some(Errno(libc::ECONNRESET));
            if self.reset_forgets {
                self.forget();
            }
        }
    }

    /// When there is something to read, an end included.
    pub(super) fn readable_at_ns(&self) -> u64 {
        if self.read_shut || self.failed.is_some() {
            return 0;
        }
        let bytes = self.segments.front().map(|segment| segment.at_ns);
        let events = [bytes, self.fin_at_ns, self.reset_at_ns];
        events.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// When a pending send can go on, or fails.
    pub(super) fn failing_at_ns(&self) -> u64 {
        if self.failed.is_some() { 0 } else { self.reset_at_ns.unwrap_or(u64::MAX) }
    }

    /// Bytes that can be read now.
    pub(super) fn readable_bytes(&self, now_ns: u64) -> usize {
        let arrived = self.segments.iter().take_while(|segment| segment.at_ns <= now_ns);
        arrived.map(|segment| segment.bytes.len()).sum()
    }

    /// Reads at most `bytes_max` of what has arrived.
    pub(super) fn read(&mut self, now_ns: u64, bytes_max: usize) -> Read {
        self.settle(now_ns);
        let mut bytes = Vec::new();
        while bytes.len() < bytes_max
            && let Some(segment) = self.segments.front_mut()
            && segment.at_ns <= now_ns
        {
            let count = segment.bytes.len().min(bytes_max - bytes.len());
            bytes.extend(segment.bytes.drain(..count));
            if segment.bytes.is_empty() {
                self.segments.pop_front();
            }
        }
        if !bytes.is_empty() {
            self.unread_bytes -= bytes.len();
            return Read::Bytes(bytes);
        }
        if let Some(errno) = self.failed {
            return Read::Ended(Err(errno));
        }
        let fin = self.segments.is_empty() && self.fin_at_ns.is_some_and(|at_ns| at_ns <= now_ns);
        if fin || self.read_shut { Read::Ended(Ok(())) } else { Read::Nothing }
    }
}
