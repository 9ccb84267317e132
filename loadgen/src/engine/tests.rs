//! Whole runs of the engine against servers made here.

mod deflate;
mod live;
mod rfc6455;
mod server;
mod sim;
