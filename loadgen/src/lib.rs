//! `loadgen`: measures real-time servers over WebSocket, Server-Sent Events, long polling and
//! polling.
//!
//! A [`scenario::Scenario`] is measured into an [`outcome::Outcome`]; everything people and
//! scripts see is made from that outcome. Nothing here knows any particular server.

pub mod outcome;
pub mod scenario;
