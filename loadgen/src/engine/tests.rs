//! Whole runs of the engine against servers made here.

mod live;
mod rfc6455;
mod server;
mod sim;
