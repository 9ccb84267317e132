//! The frame header, read and written: two to fourteen bytes.
//!
//! Reading takes a prefix of any length and says no as soon as a byte in it is wrong, in the
//! order of the bytes, so that a header cut anywhere gives the same answer. Payloads and what a
//! sequence of frames means are the business of `message.rs`.

use super::{Role, Violation, mask};

/// No header is longer: two bytes, an eight-byte length, a four-byte key.
pub const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
/// RSV1, the one reserved bit that can have a meaning: the message is compressed (RFC 7692).
const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
const CONTROL_PAYLOAD_BYTES_MAX: u8 = 125;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that is open.
    Continuation = 0,
    /// The start of a text message.
    Text = 1,
    /// The start of a binary message.
    Binary = 2,
    /// The end of the conversation.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    const fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(super) const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// The message is compressed; only its first frame says so.
    pub(super) compressed: bool,
    /// At most 2^63 - 1; not yet compared with any limit.
    pub(super) payload_len: u64,
    /// Zero if the frame is not masked, so that unmasking changes nothing.
    pub(super) key: [u8; 4],
    /// Bytes of the header itself.
    pub(super) len: usize,
}

impl Header {
    /// Carries nothing and ends nothing.
    pub(super) const fn is_empty_fragment(&self) -> bool {
        self.payload_len == 0 && !self.fin
    }

    /// Reads the header that `bytes` start with; `None` if it is longer than `bytes`.
    pub(super) fn parse(
        bytes: &[u8],
        role: Role,
        deflate: bool,
        message_is_open: bool,
    ) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = check_first(first, deflate, message_is_open)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let short_len = second & !MASKED;
        check_second(second, short_len, opcode, role)?;
        let (payload_len, key_at) = match short_len {
            LENGTH_16 => {
                let Some(&long) = bytes[2..].first_chunk::<2>() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(long)), 4)
            }
            LENGTH_64 => {
                let Some(&long) = bytes[2..].first_chunk::<8>() else { return Ok(None) };
                (u64::from_be_bytes(long), 10)
            }
            short => (u64::from(short), 2),
        };
        check_length(short_len, payload_len)?;
        let (key, len) = match role {
            Role::Client => ([0; 4], key_at),
            Role::Server => {
                let Some(&key) = bytes[key_at..].first_chunk::<4>() else { return Ok(None) };
                (key, key_at + 4)
            }
        };
        let compressed = first & COMPRESSED != 0;
        Ok(Some(Self { opcode, fin: first & FIN != 0, compressed, payload_len, key, len }))
    }
}

#[inline]
fn check_first(first: u8, deflate: bool, message_is_open: bool) -> Result<Opcode, Violation> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# If a nonzero value is received and none of
    //# the negotiated extensions defines the meaning of such a nonzero
    //# value, the receiving endpoint MUST _Fail the WebSocket
    //# Connection_.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.8
    //# The endpoints of a connection MUST negotiate the use of any extensions during the
    //# opening handshake.
    //= https://www.rfc-editor.org/rfc/rfc7692#section-6.1
    //# An endpoint MUST NOT set the "Per-Message Compressed" bit of control
    //# frames and non-first fragments of a data message.
    let may_be_compressed = deflate && matches!(first & 0x0F, 1 | 2);
    let meaningful = if may_be_compressed { COMPRESSED } else { 0 };
    //= https://www.rfc-editor.org/rfc/rfc7692#section-6.1
    //# An endpoint receiving such a frame MUST _Fail the WebSocket Connection_.
    if first & RESERVED_BITS & !meaningful != 0 {
        return Err(Violation::ReservedBits);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# If an unknown
    //# opcode is received, the receiving endpoint MUST _Fail the
    //# WebSocket Connection_.
    let opcode = Opcode::of(first & 0x0F).ok_or(Violation::ReservedOpcode)?;
    match opcode {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
        //# the type for all fragments in a message MUST be either text, binary, or one of the
        //# reserved opcodes.
        Opcode::Continuation if !message_is_open => Err(Violation::ContinuationWithoutStart),
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
        //# The fragments of one message MUST NOT be interleaved between the fragments of
        //# another message unless an extension has been negotiated that can interpret the
        //# interleaving.
        Opcode::Text | Opcode::Binary if message_is_open => Err(Violation::MessageInsideMessage),
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5
        //# All control frames MUST have a payload length of 125 bytes or less
        //# and MUST NOT be fragmented.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.4
        //# Control frames themselves MUST NOT be fragmented.
        control if control.is_control() && first & FIN == 0 => Err(Violation::ControlFragmented),
        opcode => Ok(opcode),
    }
}

#[inline]
fn check_second(second: u8, short_len: u8, opcode: Opcode, role: Role) -> Result<(), Violation> {
    match (role, second & MASKED != 0) {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# The server MUST close the connection upon receiving a
        //# frame that is not masked.
        (Role::Server, false) => return Err(Violation::Unmasked),
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# A client MUST close a connection if it detects a masked
        //# frame.
        (Role::Client, true) => return Err(Violation::Masked),
        _ => {}
    }
    if opcode.is_control() && short_len > CONTROL_PAYLOAD_BYTES_MAX {
        return Err(Violation::ControlTooLong);
    }
    Ok(())
}

#[inline]
fn check_length(short_len: u8, payload_len: u64) -> Result<(), Violation> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# Note that in all cases, the minimal number of bytes MUST be used to encode
    //# the length, for example, the length of a 124-byte-long string
    //# can't be encoded as the sequence 126, 0, 124.
    let least = match short_len {
        LENGTH_16 => 126,
        LENGTH_64 => 65_536,
        _ => 0,
    };
    if payload_len < least {
        return Err(Violation::LengthNotMinimal);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# the following 8 bytes interpreted as a 64-bit unsigned integer (the
    //# most significant bit MUST be 0) are the payload length.
    if payload_len > i64::MAX.cast_unsigned() {
        return Err(Violation::LengthTopBit);
    }
    Ok(())
}

/// How many bytes a frame with this payload has.
#[must_use]
pub const fn frame_len(payload_len: usize, masked: bool) -> usize {
    header_len(payload_len, masked) + payload_len
}

const fn header_len(payload_len: usize, masked: bool) -> usize {
    let key_len = if masked { 4 } else { 0 };
    match payload_len {
        0..126 => 2 + key_len,
        126..65_536 => 4 + key_len,
        _ => 10 + key_len,
    }
}

/// Writes a frame header into the start of `out` and says how many bytes it has.
///
/// With a key the payload must be masked by it: [`mask`] does that, or [`encode_frame`] both.
///
/// # Panics
///
/// If `out` is shorter than the header: [`HEADER_BYTES_MAX`] is always enough.
#[inline]
pub fn encode_header(
    out: &mut [u8],
    opcode: Opcode,
    fin: bool,
    payload_len: usize,
    key: Option<[u8; 4]>,
) -> usize {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# MUST be 0 unless an extension is negotiated that defines meanings for non-zero values.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
    //# An endpoint MUST encapsulate the /data/ in a WebSocket frame as defined in Section 5.2.
    out[0] = opcode as u8 | if fin { FIN } else { 0 };
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //# A masked frame MUST have the field frame-masked set to 1, as defined in Section 5.2.
    let masked = if key.is_some() { MASKED } else { 0 };
    let key_at = if let Ok(short @ 0..=CONTROL_PAYLOAD_BYTES_MAX) = u8::try_from(payload_len) {
        out[1] = masked | short;
        2
    } else if let Ok(long) = u16::try_from(payload_len) {
        out[1] = masked | LENGTH_16;
        out[2..4].copy_from_slice(&long.to_be_bytes());
        4
    } else {
        out[1] = masked | LENGTH_64;
        out[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    };
    match key {
        None => key_at,
        Some(key) => {
            out[key_at..key_at + 4].copy_from_slice(&key);
            key_at + 4
        }
    }
}

/// Marks the frame that `header` starts as the first of a compressed message.
///
/// # Panics
///
/// If there is no header.
#[inline]
pub const fn set_compressed(header: &mut [u8]) {
    header[0] |= COMPRESSED;
}

/// Whether the first of these frames says that its message is compressed.
#[inline]
#[must_use]
pub fn is_compressed(frames: &[u8]) -> bool {
    frames.first().is_some_and(|first| first & COMPRESSED != 0)
}

/// Appends a whole unfragmented frame, masked if there is a key.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
//# The masking does not affect the length of the "Payload data".
#[inline]
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    let mut header = [0; HEADER_BYTES_MAX];
    //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
    //# The FIN bit (frame-fin) of the last frame containing the data MUST be set to 1 as
    //# defined in Section 5.2.
    let header_len = encode_header(&mut header, opcode, true, payload.len(), key);
    out.reserve(header_len + payload.len());
    out.extend_from_slice(&header[..header_len]);
    let payload_at = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[payload_at..], key, 0);
    }
}
