//! WebSocket (RFC 6455), both roles: the upgrade, frames, messages and the closing handshake.
//!
//! [`Inbound`] turns bytes into events, the `encode_*` functions turn messages into bytes, and
//! [`Life`] says what to answer and who ends the connection. Compression (RFC 7692) is a stage
//! beside: [`negotiate_deflate`] agrees on it, [`Inbound`] hands compressed messages out as they
//! came, [`Inflator`] and [`Deflator`] do the work for whoever keeps the contexts.

mod close;
mod cursor;
mod deflate;
mod extension;
mod frame;
mod mask;
mod message;
mod negotiation;
mod partial;
mod state;
mod upgrade;
mod utf8;
mod violation;

pub use close::{CLOSE_PAYLOAD_BYTES_MAX, CloseCode, CloseFrame, encode_close};
pub use cursor::Cursor;
pub use deflate::{Deflator, Effort, Inflator, encode_compressed_frame};
pub use frame::{
    HEADER_BYTES_MAX, Opcode, encode_frame, encode_header, frame_len, is_compressed, set_compressed,
};
pub use mask::mask;
pub use message::{Event, Inbound, Kind, Limits};
pub use negotiation::{
    Deflate, DeflateOffer, DeflateTerms, Direction, Negotiated, WINDOW_BITS_MAX, WINDOW_BITS_MIN,
    encode_deflate_offer, negotiate_deflate,
};
pub use state::{Answer, End, Life, State};
pub use upgrade::{
    Switched, Upgrade, accept_key, check_switching, check_upgrade, choose_subprotocol, client_key,
    encode_switching, encode_upgrade_request,
};
pub use utf8::{InvalidUtf8, Utf8Stream};
pub use violation::Violation;

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives masked frames, sends unmasked ones, and ends the TCP connection first.
    Server,
    /// Receives unmasked frames, sends masked ones, and waits for the server to end.
    Client,
}
