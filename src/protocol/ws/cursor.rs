//! Received bytes in the caller's buffer, and the messages that lie whole in it.

use std::mem;

use super::{Kind, Limits, Role, mask};

/// Received bytes, consumed from the front.
#[derive(Debug)]
pub struct Cursor<'b> {
    pub(super) bytes: &'b mut [u8],
}

impl<'b> Cursor<'b> {
    /// All of these bytes.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes have not been consumed.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Consumes the first `len` bytes, or all if there are fewer.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> &'b mut [u8] {
        let bytes = mem::take(&mut self.bytes);
        let (taken, rest) = bytes.split_at_mut(len.min(bytes.len()));
        self.bytes = rest;
        taken
    }
}

/// The common case: a whole unfragmented message of less than 64 KiB at the front of the bytes.
/// Whatever else is there, a violation too, gives `None` and is looked at step by step.
#[inline]
pub(super) fn take_whole<'b>(
    cursor: &mut Cursor<'b>,
    role: Role,
    limits: &Limits,
) -> Option<(Kind, &'b mut [u8])> {
    let [first, second, rest @ ..] = &*cursor.bytes else { return None };
    let kind = match *first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        _ => return None,
    };
    let (mask_bit, key_len) = match role {
        Role::Server => (0x80, 4),
        Role::Client => (0, 0),
    };
    // The wrong mask bit makes this 128 or more, which is no length.
    let (payload_len, key_at) = match second ^ mask_bit {
        short @ 0..126 => (usize::from(short), 2),
        126 => match u16::from_be_bytes(*rest.first_chunk::<2>()?) {
            0..126 => return None,
            long => (usize::from(long), 4),
        },
        _ => return None,
    };
    let frame_len = key_at + key_len + payload_len;
    if cursor.bytes.len() < frame_len || payload_len > limits.message_bytes_max {
        return None;
    }
    let (header, payload) = cursor.take(frame_len).split_at_mut(key_at + key_len);
    if let (Role::Server, Some(&key)) = (role, header.last_chunk::<4>()) {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-6.2
        //# A server MUST remove masking for data frames received from a client as described in
        //# Section 5.3.
        mask(payload, key, 0);
    }
    Some((kind, payload))
}
