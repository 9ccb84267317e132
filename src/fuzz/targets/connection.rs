//! `cargo fuzz run connection`: what it does is in `src/tests/targets/connection.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire::fuzz::connection(data));
