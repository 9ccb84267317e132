//! `cargo fuzz run config`: what it does is in `src/tests/targets/config.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire::fuzz::config(data));
