#![forbid(unsafe_code)]
//! ringwire: a real-time message server for Linux.
//!
//! One pinned thread per core, one io_uring (or epoll) per thread, and the same channels over
//! WebSocket, Server-Sent Events, long polling and polling. The binary serves [`app::Surface`];
//! a program of its own implements [`Application`] and calls [`main_with`].
//!
//! What is not here: bytes on the wire (`ringwire_protocol`), what surrounds a connection's bytes
//! (`ringwire_transport`), the kernel (`ringwire_ring`).

pub mod admin;
pub mod app;
pub mod certificates;
pub mod channels;
pub mod cli;
pub mod config;
mod connection;
pub mod doctor;
pub mod failure;
mod lane;
mod limits;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod networks;
mod press;
pub mod program;
mod rate;
mod room;
pub mod server;
mod target;
#[cfg(test)]
mod tests;
#[cfg(all(fuzzing, not(test)))]
#[path = "tests/fuzzing.rs"]
mod tests;
pub mod tokens;
mod visitors;
mod worker;

#[cfg(all(fuzzing, not(test)))]
pub mod fuzz {
    //! The fuzz targets, which exist only for the fuzzer: `cargo fuzz` sets `--cfg fuzzing`.

    /// Arguments, environment and file from any bytes.
    pub fn config(data: &[u8]) {
        crate::tests::targets::config(data);
    }

    /// Connections, what is sent on them and what the kernel does, from any bytes.
    pub fn connection(data: &[u8]) {
        crate::tests::targets::connection(data);
    }
}

pub use app::{Access, Application, Context, Decision, Later, Message, UpgradeRequest};
pub use channels::Name;
pub use program::main_with;
pub use ringwire_protocol::Position;
pub use ringwire_protocol::ws::Kind;
