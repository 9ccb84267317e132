//! The forms in which publications leave.
//!
//! Not here: what the forms look like (`ringwire_protocol`). Invariant: an encoding depends on the
//! publication alone, never on who gets it, so that it can be shared. A compressed form is the
//! plain one where compressing is not worth it.

use bytes::Bytes;
use ringwire_protocol::{Position, poll, sse, ws};

use crate::press::{Press, Window};

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
    /// [`Encoding::Ws`], compressed with the server's largest window.
    WsWide,
    /// [`Encoding::Ws`], compressed with the smallest window.
    WsNarrow,
    /// [`Encoding::Json`], compressed with the server's largest window.
    JsonWide,
    /// [`Encoding::Json`], compressed with the smallest window.
    JsonNarrow,
}

impl Encoding {
    /// The number of encodings.
    pub const COUNT: usize = 8;

    /// The number of encodings that are not compressed; they come first.
    pub(super) const PLAIN_COUNT: usize = 4;

    /// Every encoding, in the order of [`Encoding::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Ws,
        Self::Json,
        Self::Sse,
        Self::Poll,
        Self::WsWide,
        Self::WsNarrow,
        Self::JsonWide,
        Self::JsonNarrow,
    ];

    /// The encoding of a WebSocket, with positions or without, that takes compressed frames of
    /// this window.
    pub(crate) const fn websocket(positions: bool, window: Option<Window>) -> Self {
        match (positions, window) {
            (false, None) => Self::Ws,
            (true, None) => Self::Json,
            (false, Some(Window::Wide)) => Self::WsWide,
            (false, Some(Window::Narrow)) => Self::WsNarrow,
            (true, Some(Window::Wide)) => Self::JsonWide,
            (true, Some(Window::Narrow)) => Self::JsonNarrow,
        }
    }

    /// The same, not compressed.
    #[must_use]
    pub const fn plain(self) -> Self {
        match self {
            Self::Ws | Self::WsWide | Self::WsNarrow => Self::Ws,
            Self::Json | Self::JsonWide | Self::JsonNarrow => Self::Json,
            Self::Sse => Self::Sse,
            Self::Poll => Self::Poll,
        }
    }

    /// The window it is compressed with.
    pub(crate) const fn window(self) -> Option<Window> {
        match self {
            Self::WsWide | Self::JsonWide => Some(Window::Wide),
            Self::WsNarrow | Self::JsonNarrow => Some(Window::Narrow),
            Self::Ws | Self::Json | Self::Sse | Self::Poll => None,
        }
    }

    /// The place of this encoding in tables by encoding.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What stands between two publications that are joined.
    pub(super) const fn separator(self) -> &'static [u8] {
        match self {
            Self::Poll => b",",
            _ => b"",
        }
    }

    /// Writes a publication, not compressed.
    pub(super) fn encode(self, position: Position, text: bool, payload: &[u8]) -> Bytes {
        let mut out = Vec::new();
        match self.plain() {
            Self::Sse => sse::encode_event(&mut out, position, payload, text),
            Self::Poll => poll::encode_item(&mut out, position.offset, payload, text),
            Self::Json => {
                let mut item = Vec::new();
                poll::encode_item(&mut item, position.offset, payload, text);
                out.reserve_exact(ws::frame_len(item.len(), false));
                ws::encode_frame(&mut out, ws::Opcode::Text, &item, None);
            }
            _ => {
                let opcode = if text { ws::Opcode::Text } else { ws::Opcode::Binary };
                out.reserve_exact(ws::frame_len(payload.len(), false));
                ws::encode_frame(&mut out, opcode, payload, None);
            }
        }
        // What is kept for minutes is not kept with a growing vector's slack.
        out.shrink_to_fit();
        Bytes::from(out)
    }

    /// Writes a publication compressed; `None`: it goes better, or only, as it is.
    pub(super) fn compress(
        self,
        position: Position,
        text: bool,
        payload: &[u8],
        press: &mut Press,
    ) -> Option<Bytes> {
        let window = self.window()?;
        let mut item = Vec::new();
        let (opcode, payload) = if self.plain() == Self::Json {
            poll::encode_item(&mut item, position.offset, payload, text);
            (ws::Opcode::Text, &item[..])
        } else {
            (if text { ws::Opcode::Text } else { ws::Opcode::Binary }, payload)
        };
        let compressed = press.compress(window, payload)?;
        let mut out = Vec::with_capacity(ws::frame_len(compressed.len(), false));
        ws::encode_compressed_frame(&mut out, opcode, compressed, None);
        Some(Bytes::from(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_encoding_have_a_place_for_each() {
        for (index, encoding) in Encoding::ALL.into_iter().enumerate() {
            assert_eq!(encoding.index(), index);
            assert_eq!(encoding.window().is_none(), index < Encoding::PLAIN_COUNT);
            assert_eq!(encoding.plain() == encoding, index < Encoding::PLAIN_COUNT);
        }
    }
}
