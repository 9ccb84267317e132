//! `cargo fuzz run head`: what it does is in `lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire_protocol_fuzz::head(data));
