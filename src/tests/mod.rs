//! Whole workers on *sim*: what a server promises, under every fault, replayable by seed.

mod allocations;
mod application;
mod bounds;
mod channels;
mod compression;
mod corpus;
mod cuts;
mod drain;
mod echo;
mod faults;
mod input;
mod later;
mod origins;
mod publishing;
mod puppet;
mod requests;
mod rfc6455;
mod secure;
mod secure_peer;
mod size;
mod speaker;
pub(crate) mod targets;
mod timers;
mod whole;
mod wire;
pub(crate) mod world;
