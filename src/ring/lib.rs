//! The kernel as ringwire sees it: one [`Driver`] per worker, three engines behind it.
//!
//! Every file descriptor, every line of `unsafe`, the only clock and the only source of entropy of
//! the project live in this crate. It moves bytes and knows no protocol.
//!
//! - [`uring`]: the product; one io_uring per worker.
//! - [`epoll`]: the same completions made from readiness, for places that block io_uring.
//! - [`sim`]: a seeded kernel in memory with virtual time, for tests.

mod address;
mod batch;
mod bells;
pub mod counting;
mod doorbell;
mod driver;
mod entropy;
pub mod epoll;
mod features;
mod gate;
mod listener;
mod machine;
mod options;
mod permits;
mod pool;
mod port_group;
mod privileges;
mod refusal;
mod signals;
pub mod sim;
mod slot;
mod socket_file;
mod sys;
mod table;
pub mod uring;

pub use address::Address;
pub use batch::{BATCH_ARENA_BYTES, BATCH_SENDS_MAX, Batch, Failure, Shared};
pub use bells::Bells;
pub use doorbell::Doorbell;
pub use driver::{Accepting, Completion, Driver, Errno, Figures, Shutdown, TcpInfo};
pub use features::Features;
pub use listener::{ListenOptions, Listener, bind, bind_unix};
pub use machine::{
    ProcessClock, ThreadClock, cpus_allowed, descriptors_max, kernel_release, monotonic_ns, pin,
};
pub use options::{EngineOptions, ReceiveBuffers, Role};
pub use permits::Permits;
pub use pool::Lease;
pub use privileges::drop_privileges;
pub use refusal::{Refusal, RefusalKind};
pub use signals::{Signal, Signals};
pub use slot::Slot;
pub use uring::probe;
