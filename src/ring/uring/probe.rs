//! What this kernel's io_uring can do, found out with a real ring before anything depends on it.
//!
//! Not here: choosing the engine. Invariant: a feature is reported only if it was seen to work, or
//! failing that has its place in a kernel version and is harmless if missing.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use super::KERNEL_MIN;
use super::buffers::Buffers;
use super::completion::Done;
use super::receive::capped_receive;
use super::restrict::restrict;
use super::setup::{Ring, Wait};
use super::token::{Kind, Token};
use crate::driver::Errno;
use crate::features::Features;
use crate::machine::kernel_release;
use crate::options::{ReceiveBuffers, Role};
use crate::refusal::Refusal;
use crate::sys;

/// How long one operation of the probe may take.
const LIMIT_NS: u64 = 1_000_000_000;

const SILENT_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Sets a ring up as an engine would, runs an operation on it, and tries what not every kernel
/// does, or does right.
///
/// # Errors
/// When there can be no io_uring engine here; the refusal names the cure.
pub fn probe() -> Result<Features, Refusal> {
    let release = kernel_release();
    if release < KERNEL_MIN {
        return Err(Refusal::too_old(release));
    }
    let mut features = Features {
        deferred_completions: true,
        plain_submissions: release >= (6, 6),
        absolute_timeout: release >= (6, 12),
        capped_receive: release >= (6, 17),
        incremental_buffers: release >= (6, 18),
        silent_sends: true,
        ring_messages: true,
        restrictions: true,
        ..Features::all()
    };
    let ring = Ring::new(&Features { restrictions: false, ..small(features) });
    let mut ring = ring.map_err(|errno| Refusal::of_ring("setting up a ring", errno))?;
    let (near, far) =
        sys::socket_pair().map_err(|errno| Refusal::of_ring("making a socket pair", errno))?;
    ring.submitter()
        .register_files_sparse(2)
        .and_then(|()| ring.submitter().register_files_update(0, &[near.as_raw_fd()]))
        .map_err(|error| Refusal::of_ring("registering descriptors", error.into()))?;
    run(&mut ring, opcode::Nop::new().build())
        .map_err(|errno| Refusal::of_ring("running an operation", errno))?;
    features.absolute_timeout &= ring.enter(Wait::Until(sys::monotonic_ns() + 1)).is_ok();
    features.incremental_buffers &= try_buffers(&ring, true).is_ok();
    let mut pair = Pair { ring, near, far: File::from(far) };
    let sizes = ReceiveBuffers { count: 8, bytes: 4096 };
    let buffers = Buffers::register(&pair.ring, sizes, features.incremental_buffers)
        .map_err(|errno| Refusal::of_ring("registering receive buffers", errno))?;
    features.restrictions &= can_be_restricted(features);
    features.capped_receive &= pair.caps_receives().is_ok_and(|caps| caps);
    buffers.unregister(&pair.ring);
    features.silent_sends = pair.sends_silently().is_ok_and(|silent| silent);
    Ok(features)
}

fn small(features: Features) -> Features {
    Features { submissions: 16, completions: 64, ..features }
}

fn can_be_restricted(features: Features) -> bool {
    Ring::new(&small(features)).is_ok_and(|mut ring| {
        ring.is_disabled() && restrict(&ring, Role::Accepts).is_ok() && ring.enable().is_ok()
    })
}

fn try_buffers(ring: &Ring, is_incremental: bool) -> Result<(), Errno> {
    let sizes = ReceiveBuffers { count: 1, bytes: 4096 };
    let buffers = Buffers::register(ring, sizes, is_incremental)?;
    buffers.unregister(ring);
    Ok(())
}

/// Runs one operation that points at no memory.
fn run(ring: &mut Ring, entry: squeue::Entry) -> Result<Done, Errno> {
    let entry = entry.user_data(Token::plain(Kind::Nothing).bits());
    // SAFETY: the operations passed here point at no memory.
    if !unsafe { ring.push(&entry) } {
        return Err(Errno(libc::EBUSY));
    }
    ring.enter(Wait::Until(sys::monotonic_ns() + LIMIT_NS))?;
    ring.next().ok_or(Errno(libc::ETIME))
}

/// A ring with one end of a socket pair in its table.
struct Pair {
    ring: Ring,
    near: OwnedFd,
    far: File,
}

impl Pair {
    /// Whether a multishot receive stops at its cap and loses nothing.
    fn caps_receives(&mut self) -> Result<bool, Errno> {
        const SENT: usize = 400;
        const CAP: u32 = 100;
        self.far.write_all(&[7; SENT])?;
        let mut done = run(&mut self.ring, capped_receive(0, CAP))?;
        let mut received = done.result?;
        while done.more && (received as usize) < SENT {
            self.ring.enter(Wait::Until(sys::monotonic_ns() + LIMIT_NS))?;
            done = self.ring.next().ok_or(Errno(libc::ETIME))?;
            received += done.result?;
        }
        let mut rest = [0; SENT];
        let mut near = File::from(self.near.try_clone()?);
        let is_capped = !done.more && received <= CAP;
        let left = if is_capped { near.read(&mut rest)? } else { 0 };
        Ok(is_capped && received as usize + left == SENT)
    }

    /// Whether a send that does not wait is silent when it went whole, says how much of it went
    /// when not all did, and says so when nothing did.
    fn sends_silently(&mut self) -> Result<bool, Errno> {
        let small = sys::set_option::<libc::c_int>;
        small(self.near.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, &16_384)?;
        let bytes = vec![7; 4 << 20];
        let whole = self.send(&bytes[..64])?;
        let partial = self.send(&bytes)?;
        let full = self.send(&bytes)?;
        let sent = match (whole, partial, full) {
            (None, Some(Ok(sent)), Some(Err(Errno(libc::EAGAIN))))
                if sent > 0 && (sent as usize) < bytes.len() =>
            {
                sent as usize
            }
            _ => return Ok(false),
        };
        let mut arrived = vec![0; 64 + sent];
        self.far.read_exact(&mut arrived)?;
        Ok(arrived.iter().all(|byte| *byte == 7))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<Option<Result<u32, Errno>>, Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno(libc::EMSGSIZE))?;
        let entry = opcode::Send::new(Fixed(0), bytes.as_ptr(), len)
            .flags(SILENT_FLAGS)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Token::plain(Kind::Nothing).bits());
        // SAFETY: a send that does not wait is over when the call that hands it over returns,
        // and `bytes` outlives that call. A kernel that kept it would be told from this by the
        // socket pair, which is closed before the bytes are freed.
        if !unsafe { self.ring.push(&entry) } {
            return Err(Errno(libc::EBUSY));
        }
        self.ring.enter(Wait::No)?;
        if self.ring.queued() > 0 {
            return Err(Errno(libc::EBUSY));
        }
        Ok(self.ring.next().map(|done| done.result))
    }
}
