//! Whole workers on *sim*: what a server promises, under every fault, replayable by seed.

mod application;
mod channels;
mod cuts;
mod drain;
mod echo;
mod input;
mod timers;
mod wire;
pub(crate) mod world;
