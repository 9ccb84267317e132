//! WebSocket (RFC 6455), both roles: the upgrade, frames, messages and the closing handshake.
//!
//! [`Inbound`] turns bytes into events, the `encode_*` functions turn messages into bytes, and
//! [`Life`] says what to answer and who ends the connection. Compression is not here: it would
//! allow one reserved bit in the frame header and a stage between message and event.

mod close;
mod cursor;
mod frame;
mod mask;
mod message;
mod partial;
mod state;
mod upgrade;
mod utf8;
mod violation;

pub use close::{CLOSE_PAYLOAD_BYTES_MAX, CloseCode, CloseFrame, encode_close};
pub use cursor::Cursor;
pub use frame::{HEADER_BYTES_MAX, Opcode, encode_frame, encode_header, frame_len};
pub use mask::mask;
pub use message::{Event, Inbound, Kind, Limits};
pub use state::{Answer, End, Life, State};
pub use upgrade::{
    Upgrade, accept_key, check_switching, check_upgrade, choose_subprotocol, client_key,
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
