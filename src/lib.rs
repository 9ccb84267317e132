#![forbid(unsafe_code)]
//! ringwire.

pub mod channels;
pub mod config;
pub mod failure;
pub mod log;
pub mod machine;
pub mod metrics;
