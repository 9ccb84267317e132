//! The memory of one idle connection, summed across the packages.
//!
//! Not here: what the kernel keeps of it, and what a running server measures.

use ringwire_ring::{epoll, uring};
use ringwire_transport::Wheel;

use crate::app::SurfaceSession;
use crate::channels::Local;
use crate::connection::Connection;

/// What the architecture allows for an idle `/echo`, and with one subscription.
const ECHO_BYTES_MAX: usize = 128;
const SUBSCRIBED_BYTES_MAX: usize = 144;

#[test]
fn an_idle_connection_is_as_small_as_was_promised() {
    let ours =
        size_of::<Connection<SurfaceSession>>() + Wheel::ENTRY_BYTES + Local::CONNECTION_BYTES;
    for (engine, slot_bytes) in [("uring", uring::SLOT_BYTES), ("epoll", epoll::SLOT_BYTES)] {
        let echo = ours + slot_bytes;
        let subscribed = echo + Local::MEMBERSHIP_BYTES;
        assert!(echo <= ECHO_BYTES_MAX, "{engine}: {echo} bytes, {slot_bytes} of the engine");
        assert!(subscribed <= SUBSCRIBED_BYTES_MAX, "{engine}: {subscribed} bytes subscribed");
    }
}

#[test]
fn a_session_of_a_pointers_size_adds_nothing() {
    assert_eq!(
        size_of::<Connection<SurfaceSession>>(),
        size_of::<Connection<Box<u8>>>(),
        "an application's boxed session costs as much as the binary's"
    );
}
