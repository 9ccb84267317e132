//! `cargo fuzz run message`: what it does is in `lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire_protocol_fuzz::message(data));
