//! What the fuzz targets do, as plain functions: any bytes in, a panic is a finding.
//!
//! Not here: where the bytes come from. libFuzzer makes them (`targets/`), and `cargo test` plays
//! those worth keeping again (`../tests/corpus.rs`). Every target holds what its part of the
//! protocol promises: no panic, the same meaning wherever the bytes are cut, bounded memory.

mod cuts;
mod deflate;
mod frame;
mod head;
mod input;
mod message;
mod poll;
mod sse;

pub use deflate::deflate;
pub use frame::frame;
pub use head::head;
pub use message::message;
pub use poll::poll;
pub use sse::sse;

/// Takes any bytes; a panic is a finding.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its part of the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("head", head),
    ("frame", frame),
    ("message", message),
    ("deflate", deflate),
    ("sse", sse),
    ("poll", poll),
];
