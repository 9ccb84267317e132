//! Server-Sent Events, written (server) and read (client).
//!
//! The stream's syntax is lines; whatever a payload holds, it must not become a line of its own.
//! Text with a CR cannot be carried by `data:` lines at all, so it goes the way of binary.

mod encode;
mod parse;

pub use encode::{encode_comment, encode_event, encode_position, encode_reset, encode_retry};
pub use parse::{Event, EventTooLarge, Parser};

/// The event type of payloads in base64.
pub const BINARY: &str = "binary";

/// The event type that announces a lost position.
pub const RESET: &str = "reset";
