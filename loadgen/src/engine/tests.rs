//! Whole runs of the engine against servers made here.

mod live;
mod server;
mod sim;
