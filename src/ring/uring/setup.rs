//! One ring: made, entered, and its two queues.
//!
//! Not here: what is queued. Invariants: `io_uring_enter` is called by the thread that made the
//! ring; the head of the completion queue is published before each call, so that the kernel sees
//! all the room there is.

use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, squeue};

use super::completion::Done;
use crate::driver::Errno;
use crate::features::Features;
use crate::sys;

/// How long a call may wait for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not at all, and completions that wait to be run stay so.
    SubmitOnly,
    /// Not at all, but run what waits.
    No,
    /// Until the monotonic clock reads so much.
    Until(u64),
    /// For as long as it takes.
    Ever,
}

/// A ring with its queues. The borrows inside point into `memory`, which is freed last.
pub(super) struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    waits_absolutely: bool,
    is_disabled: bool,
    enters: u64,
    memory: Memory,
}

/// Owns the ring on the heap, where it does not move while it is borrowed.
struct Memory(NonNull<IoUring>);

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `Ring::new` and freed only here; the borrows of it
        // are the fields declared before this one, which have been dropped already.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Ring {
    /// A ring for this thread, by the best flags of `features` that the kernel takes. One that
    /// can be restricted is disabled until [`Ring::enable`].
    pub(super) fn new(features: &Features) -> Result<Self, Errno> {
        let mut wanted = *features;
        let ring = loop {
            match build(&wanted) {
                Ok(ring) => break ring,
                Err(errno) if errno.0 != libc::EINVAL => return Err(errno),
                Err(_) if wanted.restrictions => wanted.restrictions = false,
                Err(_) if wanted.plain_submissions => wanted.plain_submissions = false,
                Err(_) if wanted.deferred_completions => wanted.deferred_completions = false,
                Err(errno) => return Err(errno),
            }
        };
        let memory = Memory(NonNull::from(Box::leak(Box::new(ring))));
        let mut pointer = memory.0;
        // SAFETY: the ring stays where it is until `memory` is dropped, after all borrows; nobody
        // else uses the pointer meanwhile except to read the descriptor's number.
        let ring: &'static mut IoUring = unsafe { pointer.as_mut() };
        let (mut submitter, submissions, completions) = ring.split();
        // Saves looking the descriptor up at each call; without it everything works the same.
        let _ = submitter.register_ring_fd();
        Ok(Self {
            submitter,
            submissions,
            completions,
            waits_absolutely: features.absolute_timeout,
            is_disabled: wanted.restrictions,
            enters: 0,
            memory,
        })
    }

    /// Whether the ring takes nothing but registrations yet.
    pub(super) fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    /// Lets the ring, whatever its restrictions, begin. It belongs to the calling thread.
    pub(super) fn enable(&mut self) -> Result<(), Errno> {
        if std::mem::replace(&mut self.is_disabled, false) {
            self.submitter.register_enable_rings()?;
        }
        Ok(())
    }

    pub(super) fn descriptor(&self) -> RawFd {
        // SAFETY: the ring lives as long as `self`, and its descriptor never changes.
        unsafe { self.memory.0.as_ref() }.as_raw_fd()
    }

    /// For registering things.
    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Calls made so far.
    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    /// Queues an operation; says whether there was room.
    ///
    /// # Safety
    /// The memory the operation points at stays valid until it is over.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller vouches for the operation's memory.
        unsafe { self.submissions.push(entry) }.is_ok()
    }

    /// Operations queued that the kernel has not taken.
    pub(super) fn queued(&self) -> usize {
        self.submissions.len()
    }

    /// Operations that can be queued before the next call.
    pub(super) fn submission_room(&self) -> usize {
        self.submissions.capacity() - self.submissions.len()
    }

    /// Completions that fit before the queue overflows.
    pub(super) fn completion_room(&self) -> usize {
        self.completions.capacity() - self.completions.len()
    }

    /// The size of the completion queue.
    pub(super) fn completions_max(&self) -> usize {
        self.completions.capacity()
    }

    /// Whether the kernel keeps completions that did not fit. The completion queue's own counter
    /// does not show this.
    pub(super) fn is_overflowing(&self) -> bool {
        self.submissions.cq_overflow()
    }

    /// The next completion.
    pub(super) fn next(&mut self) -> Option<Done> {
        self.completions.next().map(Done::from)
    }

    /// Hands over what is queued and waits as told. That nothing came in time, or a signal did,
    /// is no error; nor is a queue so full that the kernel wants it emptied first.
    pub(super) fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        self.submissions.sync();
        self.completions.sync();
        let queued = u32::try_from(self.submissions.len()).expect("queues have 32-bit lengths");
        let result = self.call(queued, wait);
        self.enters += 1;
        self.submissions.sync();
        self.completions.sync();
        match result {
            Err(errno) if !matches!(errno.0, libc::ETIME | libc::EINTR | libc::EBUSY) => Err(errno),
            _ => Ok(()),
        }
    }

    /// Runs what waits, without handing anything over.
    pub(super) fn enter_without_submitting(&mut self, wait: Wait) {
        self.completions.sync();
        // The errors that can come say that there was nothing, or not in time.
        let _ = self.call(0, wait);
        self.completions.sync();
    }

    fn call(&self, queued: u32, wait: Wait) -> Result<(), Errno> {
        let mut flags = EnterFlags::GETEVENTS;
        let mut want = 0;
        let mut limit_ns = None;
        match wait {
            Wait::SubmitOnly => flags = EnterFlags::empty(),
            Wait::No => {}
            Wait::Ever => want = 1,
            Wait::Until(time_ns) => {
                want = 1;
                limit_ns = Some(if self.waits_absolutely {
                    flags |= EnterFlags::ABS_TIMER;
                    time_ns
                } else {
                    time_ns.saturating_sub(sys::monotonic_ns())
                });
            }
        }
        let timeout = limit_ns.map(timespec);
        let arguments = timeout.as_ref().map(|timeout| SubmitArgs::new().timespec(timeout));
        if arguments.is_some() {
            flags |= EnterFlags::EXT_ARG;
        }
        // SAFETY: `EXT_ARG` is set exactly when `arguments` is there, which is that structure and
        // outlives the call; the operations handed over were vouched for when pushed.
        unsafe { self.submitter.enter(queued, want, flags.bits(), arguments.as_ref()) }?;
        Ok(())
    }
}

fn timespec(ns: u64) -> Timespec {
    let below_a_second = u32::try_from(ns % 1_000_000_000).expect("below a second");
    Timespec::new().sec(ns / 1_000_000_000).nsec(below_a_second)
}

fn build(features: &Features) -> Result<IoUring, Errno> {
    let mut builder = IoUring::builder();
    builder.setup_submit_all().setup_cqsize(features.completions).setup_clamp();
    if features.deferred_completions {
        builder.setup_single_issuer().setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    if features.plain_submissions {
        builder.setup_no_sqarray();
    }
    if features.restrictions {
        builder.setup_r_disabled();
    }
    Ok(builder.build(features.submissions)?)
}
