//! What a message says about itself: twenty printable characters, then padding.
//!
//! ```text
//! offset  characters  field
//!      0           3  publisher (echo: connection)
//!      3           5  sequence of that publisher in that channel, modulo 2^30
//!      8           8  intended time, nanoseconds since the run's start
//!     16           4  delay from intended to sent: 5 bits of exponent, 19 of mantissa
//!     20           -  padding, the same in all messages of a run, made from the seed
//! ```
//!
//! Digits are of base 64, most significant first, from an alphabet in ASCII order that needs no
//! escape in JSON, SSE or a URL. Not here: what is made of the figures. Invariant: whatever decodes
//! was encoded with the same size and padding.

use crate::scenario::{PUBLISHERS_MAX, SIZE_BYTES_MIN};

const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// Marks what is no digit.
const NO_DIGIT: u8 = 255;

const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 64 {
        values[DIGITS[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
}

/// Bits of a sequence on the wire.
pub(crate) const SEQUENCE_BITS: u32 = 30;

/// What of a publisher's number travels.
pub(crate) const PUBLISHER_MASK: u32 = PUBLISHERS_MAX - 1;

const MANTISSA_BITS: u32 = 19;

/// Length of the fields.
pub(crate) const STAMP_BYTES: usize = SIZE_BYTES_MIN;

/// The fields of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Below 2^18.
    pub(crate) publisher: u32,
    /// Counted from 0; 30 bits of it travel.
    pub(crate) sequence: u64,
    /// Below 2^48.
    pub(crate) intended_ns: u64,
    /// Travels with 19 significant bits, rounded down.
    pub(crate) delay_ns: u64,
}

/// Writes the low digits of `value`, as many as there is room for.
pub(crate) fn write_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(value & 63) as usize];
        value >>= 6;
    }
}

fn read(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for &digit in digits {
        let digit = VALUES[usize::from(digit)];
        if digit == NO_DIGIT {
            return None;
        }
        value = value << 6 | u64::from(digit);
    }
    Some(value)
}

fn pack_delay(delay_ns: u64) -> u64 {
    let bits = u64::BITS - delay_ns.leading_zeros();
    let exponent = bits.saturating_sub(MANTISSA_BITS);
    if exponent > 31 {
        return (1 << 24) - 1;
    }
    u64::from(exponent) << MANTISSA_BITS | delay_ns >> exponent
}

fn unpack_delay(packed: u64) -> u64 {
    (packed & ((1 << MANTISSA_BITS) - 1)) << (packed >> MANTISSA_BITS)
}

impl Stamp {
    /// Writes the fields to the first [`STAMP_BYTES`] of `out`.
    pub(crate) fn encode(self, out: &mut [u8]) {
        write_digits(&mut out[..3], u64::from(self.publisher));
        write_digits(&mut out[3..8], self.sequence);
        write_digits(&mut out[8..16], self.intended_ns);
        write_digits(&mut out[16..STAMP_BYTES], pack_delay(self.delay_ns));
    }

    /// What [`STAMP_BYTES`] bytes say; `None` if they are not digits.
    pub(crate) fn decode(stamp: &[u8]) -> Option<Self> {
        if stamp.len() != STAMP_BYTES {
            return None;
        }
        let publisher = u32::try_from(read(&stamp[..3])?).ok()?;
        let sequence = read(&stamp[3..8])?;
        let intended_ns = read(&stamp[8..16])?;
        let delay_ns = unpack_delay(read(&stamp[16..])?);
        Some(Self { publisher, sequence, intended_ns, delay_ns })
    }
}

/// Members as messages have them.
const NAMES: [&str; 8] = ["price", "volume", "symbol", "side", "time", "venue", "user", "status"];

/// Digits made from `seed`.
fn digits(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        // Knuth's MMIX generator; its high bits are good enough to tell runs apart.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x9e37_79b9);
        DIGITS[(state >> 58) as usize]
    }
}

/// The payloads of one run: their size and padding.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    padding: Box<[u8]>,
}

impl Format {
    /// Payloads of `size_bytes`, at least [`STAMP_BYTES`], padded with digits made from `seed`.
    pub(crate) fn new(size_bytes: usize, seed: u64) -> Self {
        let mut digits = digits(seed);
        Self { padding: (STAMP_BYTES..size_bytes).map(|_| digits()).collect() }
    }

    /// As [`Format::new`], but padded with names and figures: as compressible as JSON, without its
    /// quotes, which some transports would have to escape.
    pub(crate) fn of_text(size_bytes: usize, seed: u64) -> Self {
        let mut digits = digits(seed);
        let mut figure = || usize::from(VALUES[usize::from(digits())]);
        let padding_bytes = size_bytes - STAMP_BYTES;
        let mut padding = Vec::with_capacity(padding_bytes + 32);
        while padding.len() < padding_bytes {
            let name = NAMES[figure() % NAMES.len()];
            let value = figure() * 64 + figure();
            padding.extend_from_slice(format!(",{name}:{value}").as_bytes());
        }
        padding.truncate(padding_bytes);
        Self { padding: padding.into() }
    }

    /// Bytes of one payload.
    pub(crate) fn size_bytes(&self) -> usize {
        STAMP_BYTES + self.padding.len()
    }

    /// Bytes after the stamp.
    pub(crate) fn padding(&self) -> &[u8] {
        &self.padding
    }

    /// The stamp of a payload, `None` when it is not one of this run or damaged.
    pub(crate) fn decode(&self, payload: &[u8]) -> Option<Stamp> {
        let (stamp, padding) = payload.split_at_checked(STAMP_BYTES)?;
        // Nothing is not compared with nothing: an empty box points nowhere, and looking there, for
        // no bytes even, takes the processor longer than all the rest of the message.
        if padding.len() != self.padding.len() || (!padding.is_empty() && padding != &*self.padding)
        {
            return None;
        }
        Stamp::decode(stamp)
    }
}

/// Bytes of a ping's payload.
pub(crate) const PING_BYTES: usize = 24;

/// What a ping tells its pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    /// Among those of its connection, from 0.
    pub(crate) sequence: u64,
    /// When it was due, from the origin.
    pub(crate) intended_ns: u64,
    /// How much later it was sent.
    pub(crate) delay_ns: u64,
}

impl Ping {
    pub(crate) fn encode(self) -> [u8; PING_BYTES] {
        let mut out = [0; PING_BYTES];
        let fields = [self.sequence, self.intended_ns, self.delay_ns];
        for (place, field) in out.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        out
    }

    /// `None` for a pong that answers no ping of ours.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; PING_BYTES] = payload.try_into().ok()?;
        let field = |at: usize| -> Option<u64> {
            Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?))
        };
        Some(Self { sequence: field(0)?, intended_ns: field(8)?, delay_ns: field(16)? })
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the test's own making")]
mod tests {
    use super::{DIGITS, Format, SEQUENCE_BITS, STAMP_BYTES, Stamp};
    use crate::tests::Random;

    fn payload(format: &Format, stamp: Stamp) -> Vec<u8> {
        let mut payload = vec![0; STAMP_BYTES];
        stamp.encode(&mut payload);
        payload.extend_from_slice(format.padding());
        payload
    }

    #[test]
    fn what_is_encoded_decodes_and_the_delay_is_off_by_at_most_four_millionths() {
        let mut random = Random::seeded();
        for round in 0..20_000 {
            let format = Format::new(STAMP_BYTES + random.below(50) as usize, random.next());
            let stamp = Stamp {
                publisher: random.below(1 << 18) as u32,
                sequence: random.below(1 << SEQUENCE_BITS),
                intended_ns: random.below(1 << 48),
                delay_ns: random.next() >> (14 + round % 50),
            };
            let payload = payload(&format, stamp);
            assert_eq!(payload.len(), format.size_bytes());
            assert!(payload.iter().all(|byte| byte.is_ascii_graphic()));
            let told = format.decode(&payload).unwrap();
            assert!(told.delay_ns <= stamp.delay_ns);
            assert!(stamp.delay_ns - told.delay_ns <= stamp.delay_ns >> 18);
            assert_eq!(told, Stamp { delay_ns: told.delay_ns, ..stamp });
        }
    }

    #[test]
    fn the_largest_fields_fit() {
        let format = Format::new(20, 0);
        let stamp = Stamp {
            publisher: (1 << 18) - 1,
            sequence: (1 << SEQUENCE_BITS) - 1,
            intended_ns: (1 << 48) - 1,
            delay_ns: ((1 << 19) - 1) << 31,
        };
        assert_eq!(format.decode(&payload(&format, stamp)), Some(stamp));
        let beyond = Stamp { delay_ns: u64::MAX, ..stamp };
        assert_eq!(format.decode(&payload(&format, beyond)), Some(stamp));
    }

    #[test]
    fn any_byte_changed_to_what_no_payload_holds_is_noticed() {
        let format = Format::new(64, 7);
        let stamp = Stamp { publisher: 1, sequence: 2, intended_ns: 3, delay_ns: 4 };
        let good = payload(&format, stamp);
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] = b'!';
            assert_eq!(format.decode(&bad), None, "byte {position}");
        }
        assert_eq!(format.decode(&good[..63]), None);
        assert_eq!(format.decode(&[&good[..], b"-"].concat()), None);
        assert_eq!(format.decode(b""), None);
        assert_eq!(Format::new(64, 8).decode(&good), None, "another run's padding");
    }

    #[test]
    fn text_has_the_size_and_only_what_needs_no_escape() {
        for size in [20, 21, 64, 1_000] {
            let format = Format::of_text(size, 3);
            assert_eq!(format.size_bytes(), size);
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b",:".contains(byte);
            assert!(format.padding().iter().all(is_plain));
            let stamp = Stamp { publisher: 1, sequence: 2, intended_ns: 3, delay_ns: 4 };
            assert_eq!(format.decode(&payload(&format, stamp)), Some(stamp));
        }
        assert_ne!(Format::of_text(64, 1).padding(), Format::of_text(64, 2).padding());
    }

    #[test]
    fn digits_are_in_the_order_of_their_bytes() {
        assert!(DIGITS.is_sorted());
    }
}
