//! The kernel as ringwire sees it: one [`Driver`] per worker, three engines behind it.
//!
//! Every file descriptor, every line of `unsafe`, the only clock and the only source of entropy of
//! the project live in this crate. It moves bytes and knows no protocol.
//!
//! - [`uring`]: the product; one io_uring per worker.
//! - [`epoll`]: the same completions made from readiness, for places that block io_uring.
//! - [`sim`]: a seeded kernel in memory with virtual time, for tests.

mod batch;
mod doorbell;
mod driver;
mod pool;
mod slot;

pub use batch::{BATCH_ARENA_BYTES, BATCH_SENDS_MAX, Batch, Failure, Shared};
pub use doorbell::Doorbell;
pub use driver::{Accepting, Completion, Driver, Errno, Figures, Shutdown};
pub use pool::Lease;
pub use slot::Slot;
