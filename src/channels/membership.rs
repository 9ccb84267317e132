//! One connection in one channel, in sixteen bytes.
//!
//! Not here: the tables ([`super::Local`]). Invariant: a token names a membership only while it
//! waits for the answer to that very request.

use super::encoding::Encoding;

/// Channels that a membership can name.
pub(super) const CHANNELS_MAX: u32 = 1 << CHANNEL_BITS;

const CHANNEL_BITS: u32 = 26;
const ENCODING_BITS: u32 = 4;
const STATE_SHIFT: u32 = CHANNEL_BITS + ENCODING_BITS;

/// Where a membership is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// A request is out.
    Pending,
    /// It has a cursor and may ask for the next slice.
    CatchingUp,
    Live,
}

/// One connection in one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) connection: u32,
    /// Channel (26 bits), encoding (4), state (2).
    packed: u32,
    /// Live: its place in the group. Pending: the ticket of its request.
    pub(super) place: u32,
    /// The connection's next membership, plus 1; 0: none. In the free list likewise.
    pub(super) next: u32,
}

impl Membership {
    /// A membership whose request has `ticket`.
    pub(super) fn new(
        connection: u32,
        channel: u32,
        encoding: Encoding,
        ticket: u32,
        next: u32,
    ) -> Self {
        debug_assert!(channel < CHANNELS_MAX, "the table bounds its indexes");
        let encoding = u32::from(encoding as u8) << CHANNEL_BITS;
        let mut membership = Self { connection, packed: channel | encoding, place: 0, next };
        membership.enter(State::Pending, ticket);
        membership
    }

    pub(super) fn state(self) -> State {
        match self.packed >> STATE_SHIFT {
            0 => State::Free,
            1 => State::Pending,
            2 => State::CatchingUp,
            _ => State::Live,
        }
    }

    pub(super) fn encoding(self) -> Encoding {
        let index = self.packed >> CHANNEL_BITS & ((1 << ENCODING_BITS) - 1);
        Encoding::ALL[index as usize]
    }

    pub(super) fn channel(self) -> u32 {
        self.packed & (CHANNELS_MAX - 1)
    }

    /// Enters a state, with the place or ticket that goes with it.
    pub(super) fn enter(&mut self, state: State, place: u32) {
        let rest = self.packed & ((1 << STATE_SHIFT) - 1);
        self.packed = rest | (state as u32) << STATE_SHIFT;
        self.place = place;
    }
}

/// What a request carries so that its answer finds the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) ticket: u32,
}

impl Token {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.ticket) << 32 | u64::from(self.id)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves are cut out of the word")]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self { id: bits as u32, ticket: (bits >> 32) as u32 }
    }
}

const _: () = assert!(Encoding::COUNT <= 1 << ENCODING_BITS, "encodings have four bits");
const _: () = assert!(size_of::<Membership>() == 16, "a membership is sixteen bytes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_disturb_each_other() {
        for encoding in Encoding::ALL {
            let mut membership = Membership::new(7, CHANNELS_MAX - 1, encoding, 9, 3);
            for (state, place) in [
                (State::Pending, 9),
                (State::CatchingUp, 0),
                (State::Live, u32::MAX),
                (State::Free, 1),
            ] {
                membership.enter(state, place);
                let found = (membership.state(), membership.place, membership.encoding());
                assert_eq!(found, (state, place, encoding));
                assert_eq!((membership.channel(), membership.connection), (CHANNELS_MAX - 1, 7));
            }
        }
    }

    #[test]
    fn a_token_round_trips() {
        let token = Token { id: 5, ticket: u32::MAX };
        assert_eq!(Token::from_bits(token.to_bits()), token);
    }
}
