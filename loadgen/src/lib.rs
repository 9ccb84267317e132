#![forbid(unsafe_code)]
//! `loadgen`: measures real-time servers over WebSocket, Server-Sent Events, long polling and
//! polling.
//!
//! [`engine::run`] turns a [`scenario::Scenario`] into an [`outcome::Outcome`]; everything people
//! and scripts see is made from that outcome. [`testee::run`] is the client of a conformance suite.
//! Nothing here knows any particular server.

pub mod engine;
pub mod outcome;
pub mod part;
pub mod recorder;
pub mod scenario;
pub mod secure;
pub mod speech;
pub mod testee;
#[cfg(test)]
mod tests;

/// Counts, for tests that state how much memory something takes.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: ringwire_ring::counting::CountingAllocator =
    ringwire_ring::counting::CountingAllocator;
