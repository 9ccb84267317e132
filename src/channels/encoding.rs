//! The forms in which publications leave.
//!
//! Not here: what the forms look like (`ringwire_protocol`). Invariant: an encoding depends on the
//! publication alone, never on who gets it, so that it can be shared.

use bytes::Bytes;
use ringwire_protocol::{Position, poll, sse, ws};

/// How publications are written for a group of subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// A WebSocket frame with the bare payload.
    Ws,
    /// A WebSocket text frame of subprotocol `ringwire.json.1`.
    Json,
    /// A Server-Sent Event.
    Sse,
    /// An item of a poll's answer.
    Poll,
}

impl Encoding {
    /// The number of encodings.
    pub const COUNT: usize = 4;

    /// Every encoding, in the order of [`Encoding::index`].
    pub const ALL: [Self; Self::COUNT] = [Self::Ws, Self::Json, Self::Sse, Self::Poll];

    /// The place of this encoding in tables by encoding.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What stands between two publications that are joined.
    pub(super) const fn separator(self) -> &'static [u8] {
        match self {
            Self::Ws | Self::Json | Self::Sse => b"",
            Self::Poll => b",",
        }
    }

    /// Writes a publication.
    pub(super) fn encode(self, position: Position, text: bool, payload: &[u8]) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Ws => {
                let opcode = if text { ws::Opcode::Text } else { ws::Opcode::Binary };
                out.reserve_exact(ws::frame_len(payload.len(), false));
                ws::encode_frame(&mut out, opcode, payload, None);
            }
            Self::Json => {
                let mut item = Vec::new();
                poll::encode_item(&mut item, position.offset, payload, text);
                out.reserve_exact(ws::frame_len(item.len(), false));
                ws::encode_frame(&mut out, ws::Opcode::Text, &item, None);
            }
            Self::Sse => sse::encode_event(&mut out, position, payload, text),
            Self::Poll => poll::encode_item(&mut out, position.offset, payload, text),
        }
        // What is kept for minutes is not kept with a growing vector's slack.
        out.shrink_to_fit();
        Bytes::from(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_encoding_have_a_place_for_each() {
        for (index, encoding) in Encoding::ALL.into_iter().enumerate() {
            assert_eq!(encoding.index(), index);
        }
    }
}
