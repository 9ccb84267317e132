//! Where a reader is in a channel, and what a channel may be called.
//!
//! An epoch is the identity of one life of a stream, an offset a place in it. Both go over the
//! wire as `E:O`: sixteen lower-case hexadecimal digits, a colon, a decimal number. There is one
//! spelling of each position, so that positions can be compared as text too.

use std::fmt;
use std::str::FromStr;

use crate::http::Refusal;

/// The identity of one life of a channel: an offset means nothing in another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A place in a channel, written `epoch:offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the channel in which `offset` counts.
    pub epoch: Epoch,
    /// The offset of the last publication seen; 0 is before the first.
    pub offset: u64,
}

/// The text is not an epoch or a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPosition;

const EPOCH_DIGITS: usize = 16;
const OFFSET_DIGITS_MAX: usize = 20;
const CHANNEL_NAME_BYTES_MAX: usize = 255;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != EPOCH_DIGITS || !text.bytes().all(is_digit) {
            return Err(NotAPosition);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAPosition)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (epoch, offset) = text.split_once(':').ok_or(NotAPosition)?;
        // `u64::from_str` takes a plus sign and leading zeros; a position has one spelling.
        let is_canonical = offset == "0" || !offset.starts_with('0');
        let is_number = offset.len() <= OFFSET_DIGITS_MAX
            && !offset.is_empty()
            && offset.bytes().all(|byte| byte.is_ascii_digit());
        if !is_canonical || !is_number {
            return Err(NotAPosition);
        }
        let offset = offset.parse().map_err(|_| NotAPosition)?;
        Ok(Self { epoch: epoch.parse()?, offset })
    }
}

impl fmt::Display for NotAPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is 16 lower-case hexadecimal digits, a colon and a number")
    }
}

impl std::error::Error for NotAPosition {}

/// Checks a channel name that has been percent-decoded: 1 to 255 bytes of 0x21 to 0x7E.
pub fn channel_name(raw: &[u8]) -> Result<&str, Refusal> {
    const BAD: Refusal =
        Refusal::new(400, "bad channel name: use 1 to 255 bytes of printable ASCII without space");
    let is_printable = |byte: &u8| (0x21..=0x7E).contains(byte);
    if raw.is_empty() || raw.len() > CHANNEL_NAME_BYTES_MAX || !raw.iter().all(is_printable) {
        return Err(BAD);
    }
    std::str::from_utf8(raw).map_err(|_| BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_has_one_spelling() {
        let position = Position { epoch: Epoch(0xAB), offset: 12 };
        assert_eq!(position.to_string(), "00000000000000ab:12");
        assert_eq!("00000000000000ab:12".parse(), Ok(position));
        let largest = Position { epoch: Epoch(u64::MAX), offset: u64::MAX };
        assert_eq!(largest.to_string().parse(), Ok(largest));
        for bad in [
            "",
            ":",
            "00000000000000ab",
            "00000000000000ab:",
            "00000000000000AB:12",
            "0000000000000ab:12",
            "000000000000000ab:12",
            "+0000000000000ab:12",
            "00000000000000ab:+12",
            "00000000000000ab:-1",
            "00000000000000ab:012",
            "00000000000000ab: 12",
            "00000000000000ab:12 ",
            "00000000000000ab:1:2",
            "00000000000000ab:18446744073709551616",
            "00000000000000ab:100000000000000000000",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(NotAPosition), "{bad:?}");
        }
    }

    #[test]
    fn channel_names_are_printable_ascii_without_space() {
        assert_eq!(channel_name(b"a"), Ok("a"));
        assert_eq!(channel_name(b"!room/7:~"), Ok("!room/7:~"));
        assert!(channel_name(&[b'x'; 255]).is_ok());
        for bad in [&b""[..], &[b'x'; 256], b"a b", b"a\n", b"a\x7F", b"a\0", "\u{E9}".as_bytes()] {
            assert_eq!(channel_name(bad).expect_err("refused").status, 400, "{bad:?}");
        }
    }
}
