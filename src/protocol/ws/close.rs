//! Close codes and the payload of a Close frame.

use super::frame::{Opcode, encode_header};
use super::{Violation, mask};

/// A control frame's payload is at most this long.
pub const CLOSE_PAYLOAD_BYTES_MAX: usize = 125;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// A frame broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// Never on the wire: a Close without a code.
    pub const NONE: Self = Self(1005);
    /// Never on the wire: the connection ended without a Close.
    pub const ABNORMAL: Self = Self(1006);
    /// A text was not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// A rule of this server was broken.
    pub const POLICY: Self = Self(1008);
    /// A message was too big.
    pub const TOO_BIG: Self = Self(1009);
    /// This side failed.
    pub const INTERNAL: Self = Self(1011);
    /// The reader was too slow.
    pub const SLOW: Self = Self(3008);
    /// The position asked for is gone.
    pub const POSITION_LOST: Self = Self(3010);
    /// No pong came.
    pub const NO_PONG: Self = Self(3012);

    /// Whether a peer may send this code. 1012 to 1014 were registered after the RFC.
    #[must_use]
    pub const fn is_receivable(self) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
        //# 1005 is a reserved value and MUST NOT be set as a status code in a
        //# Close control frame by an endpoint.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
        //# 1006 is a reserved value and MUST NOT be set as a status code in a Close control
        //# frame by an endpoint.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
        //# 1015 is a reserved value and MUST NOT be set as a status code in a Close control
        //# frame by an endpoint.
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether this side may choose this code. An answer may repeat any that was receivable.
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1011 | 3000..=4999)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The payload of a Close frame that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'s> {
    /// Why.
    pub code: CloseCode,
    /// The same for a person; may be empty.
    pub reason: &'s str,
}

impl<'s> CloseFrame<'s> {
    /// Reads an unmasked Close payload; `None` if it is empty.
    pub(super) fn parse(payload: &'s [u8]) -> Result<Option<Self>, Violation> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# If there is a body, the first two bytes of
        //# the body MUST be a 2-byte unsigned integer (in network byte order)
        //# representing a status code with value /code/ defined in Section 7.4.
        let (code, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(Violation::CloseTooShort),
            [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
        };
        if !code.is_receivable() {
            return Err(Violation::CloseCodeInvalid);
        }
        let reason =
            simdutf8::basic::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Writes a whole Close frame and says how many bytes it has, at most 131.
///
/// A code that must not be on the wire, such as [`CloseCode::NONE`], gives an empty Close. A
/// reason longer than 123 bytes is cut between characters.
///
/// # Panics
///
/// If `out` is shorter than the frame: 131 bytes are always enough.
pub fn encode_close(out: &mut [u8], code: u16, reason: &str, key: Option<[u8; 4]>) -> usize {
    let reason = cut_to(reason, CLOSE_PAYLOAD_BYTES_MAX - 2);
    let has_code = CloseCode(code).is_receivable();
    let payload_len = if has_code { 2 + reason.len() } else { 0 };
    let header_len = encode_header(out, Opcode::Close, true, payload_len, key);
    let payload = &mut out[header_len..header_len + payload_len];
    if has_code {
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..].copy_from_slice(reason.as_bytes());
    }
    if let Some(key) = key {
        mask(payload, key, 0);
    }
    header_len + payload_len
}

fn cut_to(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
    //= type=test
    //# 1005 is a reserved value and MUST NOT be set as a status code in a
    //# Close control frame by an endpoint.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
    //= type=test
    //# 1006 is a reserved value and MUST NOT be set as a status code in a Close control frame
    //# by an endpoint.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
    //= type=test
    //# 1015 is a reserved value and MUST NOT be set as a status code in a Close control frame
    //# by an endpoint.
    #[test]
    fn codes_that_may_be_received_and_sent() {
        let received: Vec<u16> = (0..=u16::MAX).filter(|&c| CloseCode(c).is_receivable()).collect();
        let mut expected: Vec<u16> = vec![1000, 1001, 1002, 1003];
        expected.extend(1007..=1014);
        expected.extend(3000..=4999);
        assert_eq!(received, expected);
        let sent: Vec<u16> = (0..=u16::MAX).filter(|&c| CloseCode(c).is_sendable()).collect();
        expected.retain(|code| !(1012..=1014).contains(code));
        assert_eq!(sent, expected);
    }

    #[test]
    fn encodes_with_and_without_a_code() {
        let mut out = [0; 131];
        assert_eq!(encode_close(&mut out, 1000, "bye", None), 7);
        assert_eq!(out[..7], [0x88, 5, 0x03, 0xE8, b'b', b'y', b'e']);
        for never in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(encode_close(&mut out, never, "bye", None), 2, "{never}");
            assert_eq!(out[..2], [0x88, 0]);
        }
        assert_eq!(encode_close(&mut out, 1000, "", Some([1, 2, 3, 4])), 8);
        assert_eq!(out[..8], [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE8 ^ 2]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = [0; 131];
        assert_eq!(encode_close(&mut out, 1000, &"x".repeat(500), Some([9; 4])), 131);
        let reason = format!("{}\u{E9}", "x".repeat(122));
        assert_eq!(encode_close(&mut out, 1000, &reason, None), 2 + 2 + 122);
        let parsed = CloseFrame::parse(&out[2..126]).unwrap().unwrap();
        assert_eq!(parsed.reason, "x".repeat(122));
    }
}
