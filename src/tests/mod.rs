//! Whole workers on *sim*: what a server promises, under every fault, replayable by seed.

mod channels;
mod echo;
mod input;
pub(crate) mod world;
