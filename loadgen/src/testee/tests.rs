//! The suite's client: on a simulated kernel, and byte by byte.

mod dialogue;
mod sim;
