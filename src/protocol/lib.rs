#![forbid(unsafe_code)]
//! Bytes to meaning and back: HTTP/1.1 heads, WebSocket, Server-Sent Events, polling.
//!
//! Both roles, server and client, so that whoever measures a server speaks with the same words.
//! What is not here: sockets, clocks, threads, entropy. Bytes are arguments, events are results;
//! the same bytes cut anywhere give the same events. Nothing a peer sends can panic, and what is
//! kept for a peer is bounded by a limit that is checked before it is kept.
//!
//! - [`http`]: request and response heads, refusals, the Origin rule;
//! - [`proxy`]: whom a proxy in front speaks for;
//! - [`ws`]: the upgrade, frames, messages, close codes and the closing handshake;
//! - [`sse`] and [`poll`]: the two ways to read a channel without a WebSocket;
//! - [`Position`], [`Epoch`] and [`channel_name`]: they appear in URLs, headers and JSON.

pub mod http;
mod looks;
pub mod poll;
mod position;
pub mod proxy;
pub mod sse;
pub mod ws;

pub use position::{Epoch, NotAPosition, Position, channel_name};
