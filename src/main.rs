//! ringwire.
fn main() {}
