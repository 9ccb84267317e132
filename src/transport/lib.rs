#![forbid(unsafe_code)]
//! What both programs put around a connection's bytes: the outbox with its limit, TLS, the timer
//! wheel, and the queues between workers.
//!
//! It moves, delays and encrypts bytes and never reads what they mean. It knows no descriptor, no
//! protocol above and no clock: time is an argument.

mod mesh;
mod outbox;
mod tls;
mod wheel;

pub use mesh::{Endpoint, RECEIVE_ITEMS_MAX, WORKERS_MAX, mesh};
pub use outbox::{MERGE_BYTES_MAX, Outbox, SEND_BYTES_MAX};
pub use tls::{Opened, Plain, TLS_RECORD_BYTES_MAX, Tls, TlsFailure, TlsFailureKind};
pub use wheel::{TICK_NS, Wheel};
