//! Compressed messages of a WebSocket (RFC 7692): the contexts of a connection, and what all
//! connections of a thread share.
//!
//! Not here: negotiation, frames. Invariants: a context is made when it is first needed, and for
//! one connection only where messages may refer to earlier ones; where each stands for itself, a
//! thread has one for all of them.

use ringwire_protocol::ws::{
    Deflate, Deflator, Direction, Effort, Inflator, Kind, Limits, Role, Violation, WINDOW_BITS_MAX,
    WINDOW_BITS_MIN,
};

/// Window sizes that can be agreed on.
const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN) as usize + 1;

/// A buffer that has grown beyond this for one message is given back before the next.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// What one thread's connections share.
#[derive(Debug, Default)]
pub(crate) struct Workshop {
    inflators: [Option<Inflator>; WINDOWS],
    deflators: [Option<Deflator>; WINDOWS],
    plain: Vec<u8>,
    packed: Vec<u8>,
    /// Scratch: what a reply is looked through for.
    pub(crate) expected: Vec<u8>,
}

/// The compression of one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    agreed: Deflate,
    inflator: Option<Inflator>,
    deflator: Option<Deflator>,
}

fn window(direction: Direction) -> usize {
    usize::from(direction.window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX) - WINDOW_BITS_MIN)
}

impl Codec {
    pub(crate) fn new(agreed: Deflate) -> Self {
        Self { agreed, inflator: None, deflator: None }
    }

    /// The message that was compressed to `payload`; text is checked. The buffer is the thread's:
    /// see [`Workshop::keep`].
    pub(crate) fn inflate(
        &mut self,
        payload: &[u8],
        kind: Kind,
        limits: &Limits,
        workshop: &mut Workshop,
    ) -> Result<Vec<u8>, Violation> {
        let direction = self.agreed.incoming(Role::Client);
        let own = match direction.context_takeover {
            true => &mut self.inflator,
            false => &mut workshop.inflators[window(direction)],
        };
        let inflator = own.get_or_insert_with(|| Inflator::new(direction));
        let mut plain = std::mem::take(&mut workshop.plain);
        inflator.inflate(payload, kind, limits, &mut plain)?;
        Ok(plain)
    }

    /// What `payload` is compressed to.
    pub(crate) fn deflate<'w>(&mut self, payload: &[u8], workshop: &'w mut Workshop) -> &'w [u8] {
        let direction = self.agreed.outgoing(Role::Client);
        let own = match direction.context_takeover {
            true => &mut self.deflator,
            false => &mut workshop.deflators[window(direction)],
        };
        let deflator = own.get_or_insert_with(|| Deflator::new(direction, Effort::Quick));
        let packed = &mut workshop.packed;
        packed.clear();
        packed.shrink_to(BUFFER_BYTES_KEPT);
        deflator.deflate(payload, packed);
        packed
    }
}

impl Workshop {
    /// Takes back a buffer of [`Codec::inflate`] to be used again.
    pub(crate) fn keep(&mut self, mut plain: Vec<u8>) {
        plain.clear();
        plain.shrink_to(BUFFER_BYTES_KEPT);
        self.plain = plain;
    }
}

#[cfg(test)]
mod tests {
    use ringwire_protocol::ws::{
        Deflate, Deflator, Effort, Inflator, Kind, Limits, Role, Violation, WINDOW_BITS_MAX,
        WINDOW_BITS_MIN,
    };

    use super::{BUFFER_BYTES_KEPT, Codec, Workshop};
    use crate::tests::Random;

    const LIMITS: Limits = Limits { message_bytes_max: 4 << 20, empty_fragments_max: 0 };

    #[test]
    fn connections_that_share_a_thread_do_not_see_each_others_messages() {
        let mut random = Random::seeded();
        let mut workshop = Workshop::default();
        let mut pairs: Vec<_> = (0..12)
            .map(|_| {
                let mut bits = || {
                    let span = u64::from(WINDOW_BITS_MAX - WINDOW_BITS_MIN) + 1;
                    WINDOW_BITS_MIN + u8::try_from(random.below(span)).unwrap()
                };
                let agreed = Deflate {
                    server_window_bits: bits(),
                    client_window_bits: bits(),
                    server_no_context_takeover: random.below(2) == 0,
                    client_no_context_takeover: random.below(2) == 0,
                };
                let server = (
                    Deflator::new(agreed.outgoing(Role::Server), Effort::Quick),
                    Inflator::new(agreed.incoming(Role::Server)),
                );
                (Codec::new(agreed), server)
            })
            .collect();
        for _ in 0..400 {
            let which = usize::try_from(random.below(12)).unwrap();
            let (codec, (deflator, inflator)) = &mut pairs[which];
            let text = format!("{{\"seat\":{which},\"odds\":{}}}", random.below(10)).repeat(20);
            let packed = codec.deflate(text.as_bytes(), &mut workshop).to_vec();
            assert!(packed.len() < text.len() / 2);
            let mut plain = Vec::new();
            let heard = inflator.inflate(&packed, Kind::Text, &LIMITS, &mut plain).unwrap();
            assert_eq!(heard, text.as_bytes());
            let mut packed = Vec::new();
            deflator.deflate(text.as_bytes(), &mut packed);
            let heard = codec.inflate(&packed, Kind::Text, &LIMITS, &mut workshop).unwrap();
            assert_eq!(heard, text.as_bytes());
            workshop.keep(heard);
        }
    }

    #[test]
    fn a_large_message_does_not_stay_and_a_larger_one_is_refused() {
        let agreed = Deflate {
            server_window_bits: WINDOW_BITS_MAX,
            client_window_bits: WINDOW_BITS_MAX,
            server_no_context_takeover: true,
            client_no_context_takeover: true,
        };
        let (mut codec, mut workshop) = (Codec::new(agreed), Workshop::default());
        let mut deflator = Deflator::new(agreed.outgoing(Role::Server), Effort::Quick);
        let mut packed = Vec::new();
        deflator.deflate(&vec![0; LIMITS.message_bytes_max], &mut packed);
        let heard = codec.inflate(&packed, Kind::Binary, &LIMITS, &mut workshop).unwrap();
        assert_eq!(heard.len(), LIMITS.message_bytes_max);
        workshop.keep(heard);
        assert!(workshop.plain.capacity() <= BUFFER_BYTES_KEPT);
        packed.clear();
        deflator.deflate(&vec![0; 16 * LIMITS.message_bytes_max], &mut packed);
        let refused = codec.inflate(&packed, Kind::Binary, &LIMITS, &mut workshop);
        assert_eq!(refused.unwrap_err(), Violation::MessageTooBig);
    }
}
