//! The engines against the running kernel: the same tests for *uring*, with each feature masked
//! off, and for *epoll*.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole directory is a test"
)]

mod accept;
mod batch;
mod close;
mod connect;
mod harness;
mod listeners;
mod receive;
mod send;
mod wake;
