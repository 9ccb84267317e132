//! The fuzz targets and what they run on: what `tests` is while the fuzzer is built.
//!
//! Not here: any test.

pub(crate) mod targets;
#[expect(dead_code, reason = "the fuzzer needs no more of it than this")]
pub(crate) mod world;
