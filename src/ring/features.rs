//! What the kernel's io_uring can do, as a value: tests mask what they want to see missing.
//!
//! Not here: finding out ([`crate::probe`]). Invariant: an engine uses nothing that is not set
//! here, so that clearing a field takes the path of a kernel without it.

/// What a ring may use. [`Features::default`] is the oldest kernel supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Completions run only when the worker asks (6.1): `DEFER_TASKRUN`, `SINGLE_ISSUER`.
    pub deferred_completions: bool,
    /// A ring without the indirection array (6.6): `NO_SQARRAY`.
    pub plain_submissions: bool,
    /// Waiting until a point in time instead of for a span (6.12): `ABS_TIMER`.
    pub absolute_timeout: bool,
    /// Multishot receives that end after so many bytes (6.17), which makes them fair. Without
    /// it every receive is a single one.
    pub capped_receive: bool,
    /// Receive buffers filled piece by piece (used from 6.18): `IOU_PBUF_RING_INC`.
    pub incremental_buffers: bool,
    /// Batched sends that complete silently when they went whole.
    pub silent_sends: bool,
    /// Waking a worker by a message to its ring instead of its eventfd.
    pub ring_messages: bool,
    /// A ring that can do nothing but what the engine does.
    pub restrictions: bool,
    /// Entries of the submission queue.
    pub submissions: u32,
    /// Entries of the completion queue; tests make it tiny to see it overflow.
    pub completions: u32,
}

impl Features {
    /// Everything ringwire knows how to use.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            deferred_completions: true,
            plain_submissions: true,
            absolute_timeout: true,
            capped_receive: true,
            incremental_buffers: true,
            silent_sends: true,
            ring_messages: true,
            restrictions: true,
            ..Self::oldest()
        }
    }

    const fn oldest() -> Self {
        Self {
            deferred_completions: false,
            plain_submissions: false,
            absolute_timeout: false,
            capped_receive: false,
            incremental_buffers: false,
            silent_sends: false,
            ring_messages: false,
            restrictions: false,
            submissions: 4096,
            completions: 32_768,
        }
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::oldest()
    }
}
