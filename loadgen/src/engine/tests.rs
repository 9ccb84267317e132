//! Whole runs of the engine against servers made here.

mod deflate;
mod delay;
mod failure_live;
mod foreign;
#[path = "../../tests/tls/front.rs"]
mod front;
mod live;
mod memory;
mod parts;
mod rfc6455;
mod server;
mod sim;
mod tls;
mod traffic;
mod traffic_live;
mod truth;
mod unix;
