//! The engines against the running kernel: the same tests for *uring*, with each feature masked
//! off, and for *epoll*.

mod accept;
mod batch;
mod close;
mod connect;
mod harness;
mod receive;
mod send;
mod wake;
