#![forbid(unsafe_code)]
//! ringwire.
