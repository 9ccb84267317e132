//! Compressing and inflating: the scratch state of a worker, and the contexts of one connection.
//!
//! Not here: the streams themselves (`protocol::ws`), and whom the frames go to. Invariants: what
//! a [`Press`] makes refers to nothing but itself, so that any connection with a window at least
//! as wide can take it; a connection's own compressor is told before its next message when the
//! connection got such a frame, because the peer's window has moved on without it.

use ringwire_protocol::ws::{
    Deflate, Deflator, Direction, Effort, Inflator, Kind, Limits, Role, Violation, WINDOW_BITS_MAX,
    WINDOW_BITS_MIN,
};

use crate::limits::INFLATED_BYTES_MAX;

/// Bytes that a scratch buffer keeps between two uses.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;

/// The windows that shared frames are compressed with: two, so that a publication is compressed at
/// most twice, whatever its subscribers agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Window {
    /// The server's largest.
    Wide,
    /// The smallest there is, for every connection that agreed on less than the server's largest.
    Narrow,
}

impl Window {
    /// The window of a connection whose peer takes `agreed_bits`, on a server whose largest is
    /// `wide_bits`.
    pub(crate) const fn of(agreed_bits: u8, wide_bits: u8) -> Self {
        if agreed_bits < wide_bits { Self::Narrow } else { Self::Wide }
    }
}

/// Compresses messages that stand for themselves.
#[derive(Debug)]
pub(crate) struct Press {
    wide_bits: u8,
    threshold_bytes: usize,
    effort: Effort,
    wide: Option<Deflator>,
    narrow: Option<Deflator>,
    compressed: Vec<u8>,
    calls: u64,
}

impl Press {
    /// A press that owns no memory before its first use. Shorter messages than `threshold_bytes`
    /// are left alone.
    pub(crate) const fn new(wide_bits: u8, threshold_bytes: usize, effort: Effort) -> Self {
        Self {
            wide_bits,
            threshold_bytes,
            effort,
            wide: None,
            narrow: None,
            compressed: Vec::new(),
            calls: 0,
        }
    }

    /// Whether a message of this length is worth trying.
    #[inline]
    pub(crate) const fn takes(&self, len: usize) -> bool {
        len >= self.threshold_bytes
    }

    /// The payload compressed; `None` if it goes better as it is.
    pub(crate) fn compress(&mut self, window: Window, payload: &[u8]) -> Option<&[u8]> {
        if !self.takes(payload.len()) {
            return None;
        }
        let compressed = self.compress_anyhow(window, payload);
        (compressed.len() < payload.len()).then_some(compressed)
    }

    /// The payload compressed, though it may become longer.
    pub(crate) fn compress_anyhow(&mut self, window: Window, payload: &[u8]) -> &[u8] {
        let (place, window_bits) = match window {
            Window::Wide => (&mut self.wide, self.wide_bits),
            Window::Narrow => (&mut self.narrow, WINDOW_BITS_MIN),
        };
        let direction = Direction { window_bits, context_takeover: false };
        let deflator = place.get_or_insert_with(|| Deflator::new(direction, self.effort));
        self.calls += 1;
        squeeze(deflator, payload, &mut self.compressed);
        &self.compressed
    }

    /// The payload compressed in a connection's own context, which it now is part of, so that this
    /// is how it has to go.
    fn compress_in(&mut self, deflator: &mut Deflator, payload: &[u8]) -> &[u8] {
        self.calls += 1;
        squeeze(deflator, payload, &mut self.compressed);
        &self.compressed
    }

    /// Messages compressed so far, whether they were sent so or not.
    pub(crate) const fn calls(&self) -> u64 {
        self.calls
    }
}

fn squeeze(deflator: &mut Deflator, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.shrink_to(SCRATCH_BYTES_MAX);
    deflator.deflate(payload, out);
}

/// What inflates messages that stand for themselves, and the buffer for all others too.
#[derive(Debug, Default)]
pub(crate) struct Bellows {
    inflator: Option<Inflator>,
    inflated: Vec<u8>,
    /// Bytes inflated in this turn.
    turn_bytes: usize,
}

impl Bellows {
    /// Inflates a message, in the connection's own context if it has one for what it sends.
    pub(crate) fn inflate(
        &mut self,
        contexts: Option<&mut Contexts>,
        kind: Kind,
        payload: &[u8],
        limits: &Limits,
    ) -> Result<&mut [u8], Violation> {
        // Of any window: it inflates them all.
        let direction = Direction { window_bits: WINDOW_BITS_MAX, context_takeover: false };
        let scratch = &mut self.inflator;
        let inflator = contexts
            .and_then(Contexts::inflator)
            .unwrap_or_else(|| scratch.get_or_insert_with(|| Inflator::new(direction)));
        let inflated = inflator.inflate(payload, kind, limits, &mut self.inflated)?;
        self.turn_bytes += inflated.len();
        Ok(inflated)
    }

    /// A new turn, with a new share.
    pub(crate) fn begin_turn(&mut self) {
        self.turn_bytes = 0;
    }

    /// Whether this turn has had its share.
    pub(crate) fn is_spent(&self) -> bool {
        self.turn_bytes > INFLATED_BYTES_MAX
    }

    /// Gives back what a long message needed.
    pub(crate) fn release(&mut self) {
        if self.inflated.capacity() > SCRATCH_BYTES_MAX {
            self.inflated = Vec::new();
        }
    }
}

/// The contexts that a connection has to itself, because it agreed on takeover in at least one
/// direction. Each is made when it is first needed: one that only listens to channels has none.
#[derive(Debug)]
pub(crate) struct Contexts {
    agreed: Deflate,
    deflator: Option<Deflator>,
    inflator: Option<Inflator>,
}

impl Contexts {
    /// What `agreed` needs; `None`: the worker's scratch state serves it.
    pub(crate) fn new(agreed: Deflate) -> Option<Box<Self>> {
        let is_shared = agreed.server_no_context_takeover && agreed.client_no_context_takeover;
        (!is_shared).then(|| Box::new(Self { agreed, deflator: None, inflator: None }))
    }

    /// Compresses a message to this connection in its own context. `is_stale`: it got a shared
    /// frame since its last own message. Only if it [`Contexts::compresses`].
    pub(crate) fn compress<'p>(
        &mut self,
        payload: &[u8],
        is_stale: bool,
        press: &'p mut Press,
    ) -> &'p [u8] {
        let direction = self.agreed.outgoing(Role::Server);
        debug_assert!(direction.context_takeover, "messages stand for themselves");
        let new = || Deflator::new(direction, Effort::Quick);
        let deflator = self.deflator.get_or_insert_with(new);
        if is_stale {
            deflator.reset();
        }
        press.compress_in(deflator, payload)
    }

    /// Whether it has a context for what it is sent.
    pub(crate) fn compresses(&self) -> bool {
        self.agreed.outgoing(Role::Server).context_takeover
    }

    /// What inflates this connection's messages; `None`: each stands for itself.
    pub(crate) fn inflator(&mut self) -> Option<&mut Inflator> {
        let direction = self.agreed.incoming(Role::Server);
        let new = || Inflator::new(direction);
        direction.context_takeover.then(|| self.inflator.get_or_insert_with(new))
    }

    /// Heap bytes, this box included.
    pub(crate) fn held_bytes(&self) -> usize {
        let deflator = match &self.deflator {
            Some(_) => Deflator::state_bytes(self.agreed.server_window_bits),
            None => 0,
        };
        let inflator = if self.inflator.is_some() { Inflator::STATE_BYTES } else { 0 };
        size_of::<Self>() + deflator + inflator
    }
}

#[cfg(test)]
mod tests {
    use ringwire_ring::counting::thread_bytes_allocated;

    use super::*;

    fn agreed(server_takeover: bool, client_takeover: bool, bits: u8) -> Deflate {
        Deflate {
            server_window_bits: bits,
            client_window_bits: 15,
            server_no_context_takeover: !server_takeover,
            client_no_context_takeover: !client_takeover,
        }
    }

    #[test]
    fn held_bytes_are_what_is_allocated() {
        for bits in [9, 12, 15] {
            let mut press = Press::new(15, 0, Effort::Quick);
            let _ = press.compress(Window::Wide, &[b'x'; 1000]);
            let before = thread_bytes_allocated();
            let mut contexts = Contexts::new(agreed(true, true, bits)).expect("takeover");
            assert_eq!(contexts.held_bytes(), size_of::<Contexts>());
            let _ = contexts.compress(&[b'x'; 1000], false, &mut press);
            let _ = contexts.inflator();
            let allocated = thread_bytes_allocated() - before;
            let held = contexts.held_bytes() as u64;
            assert!(held >= allocated && held <= allocated + 4096, "{held} for {allocated}");
        }
    }

    #[test]
    fn without_takeover_there_is_nothing_to_keep() {
        assert!(Contexts::new(agreed(false, false, 15)).is_none());
        let mut listens = Contexts::new(agreed(false, true, 15)).expect("one direction");
        assert!(!listens.compresses());
        assert!(listens.inflator().is_some());
        let mut speaks = Contexts::new(agreed(true, false, 15)).expect("one direction");
        assert!(speaks.inflator().is_none());
        assert!(speaks.compresses());
    }

    #[test]
    fn a_press_leaves_alone_what_does_not_shrink() {
        let mut press = Press::new(15, 100, Effort::Quick);
        assert!(press.compress(Window::Wide, &[b'x'; 99]).is_none());
        assert_eq!(press.calls(), 0, "below the threshold nothing is tried");
        assert!(press.compress(Window::Wide, &[b'x'; 100]).is_some());
        let noise: Vec<u8> = (0..200_u32).map(|n| ((n * n * 31) >> 3).to_le_bytes()[0]).collect();
        assert!(press.compress(Window::Narrow, &noise).is_none());
        assert_eq!(press.calls(), 2);
    }

    #[test]
    fn the_window_is_narrow_below_the_servers() {
        assert_eq!(Window::of(15, 15), Window::Wide);
        assert_eq!(Window::of(14, 15), Window::Narrow);
        assert_eq!(Window::of(9, 9), Window::Wide);
    }
}
