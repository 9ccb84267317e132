//! Whole workers on *sim*: what a server promises, under every fault, replayable by seed.

mod echo;
pub(crate) mod world;
