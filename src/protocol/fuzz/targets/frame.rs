//! `cargo fuzz run frame`: what it does is in `lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire_protocol_fuzz::frame(data));
