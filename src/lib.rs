#![forbid(unsafe_code)]
//! ringwire.

pub mod channels;
