//! What a ring may be asked to do, told to the kernel before the ring is enabled: a process that
//! was taken over can reach files and networks by a ring that no filter of system calls sees, but
//! not by this one.
//!
//! Not here: the operations themselves. Invariant: whatever an engine queues or registers later is
//! in these lists, and nothing else is.

use io_uring::register::Restriction;
use io_uring::{opcode, squeue};

use super::setup::Ring;
use crate::driver::Errno;
use crate::options::Role;

/// Operations of every ring.
const COMMON: [u8; 7] = [
    opcode::PollAdd::CODE,
    opcode::AsyncCancel2::CODE,
    opcode::MsgRingData::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::Shutdown::CODE,
    opcode::Close::CODE,
];

const ACCEPTING: [u8; 1] = [opcode::Accept::CODE];

const CONNECTING: [u8; 1] = [opcode::Connect::CODE];

const FLAGS: squeue::Flags = squeue::Flags::FIXED_FILE
    .union(squeue::Flags::BUFFER_SELECT)
    .union(squeue::Flags::SKIP_SUCCESS);

/// Calls of `io_uring_register` after the ring is enabled (include/uapi/linux/io_uring.h).
const UNREGISTER_FILES: u8 = 3;
const REGISTER_FILES_UPDATE: u8 = 6;
const UNREGISTER_RING_FDS: u8 = 21;
const UNREGISTER_PBUF_RING: u8 = 23;

const ENDING: [u8; 3] = [UNREGISTER_FILES, UNREGISTER_RING_FDS, UNREGISTER_PBUF_RING];

/// What a ring of this role may be asked to do.
fn restrictions(role: Role) -> Vec<Restriction> {
    let (operations, registers): (&[u8], &[u8]) = match role {
        Role::Accepts => (&ACCEPTING, &[]),
        Role::Connects => (&CONNECTING, &[REGISTER_FILES_UPDATE]),
    };
    let operations = COMMON.iter().chain(operations).map(|&code| Restriction::sqe_op(code));
    let registers = ENDING.iter().chain(registers).map(|&code| Restriction::register_op(code));
    let flags = Restriction::sqe_flags_allowed(FLAGS.bits());
    operations.chain(registers).chain([flags]).collect()
}

/// Lets a ring that was made disabled do what its role takes, and no more.
pub(super) fn restrict(ring: &Ring, role: Role) -> Result<(), Errno> {
    Ok(ring.submitter().register_restrictions(&mut restrictions(role))?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use io_uring::{Probe, opcode, squeue};

    use super::*;
    use crate::features::Features;
    use crate::uring::setup::Wait;

    /// As many as Linux 6.1 has.
    const OPERATIONS: u8 = 49;

    const FORBIDDEN: Errno = Errno(libc::EACCES);

    fn ring(role: Role) -> Ring {
        let features = Features { submissions: 8, completions: 64, ..Features::all() };
        let mut ring = Ring::new(&features).unwrap();
        ring.submitter().register_files_sparse(4).unwrap();
        assert!(ring.is_disabled());
        restrict(&ring, role).unwrap();
        ring.enable().unwrap();
        ring
    }

    /// What the ring answers to an operation that points at no memory.
    fn run(ring: &mut Ring, entry: &squeue::Entry) -> Result<u32, Errno> {
        // SAFETY: the operations of these tests point at no memory.
        assert!(unsafe { ring.push(entry) });
        ring.enter(Wait::Until(u64::MAX / 2)).unwrap();
        ring.next().unwrap().result
    }

    #[test]
    fn whatever_is_not_listed_is_forbidden() {
        for (role, own) in [(Role::Accepts, ACCEPTING), (Role::Connects, CONNECTING)] {
            let mut ring = ring(role);
            let mut forbidden = 0;
            for code in (0..OPERATIONS).filter(|code| !COMMON.contains(code) && !own.contains(code))
            {
                let mut entry = opcode::Nop::new().build();
                let first: *mut u8 = (&raw mut entry).cast();
                // SAFETY: an operation begins with its code, one byte.
                unsafe { *first = code }
                assert_eq!(run(&mut ring, &entry), Err(FORBIDDEN), "operation {code}, {role:?}");
                forbidden += 1;
            }
            assert_eq!(forbidden, usize::from(OPERATIONS) - COMMON.len() - own.len());
            let code = opcode::Close::new(io_uring::types::Fixed(1)).build();
            assert_ne!(run(&mut ring, &code), Err(FORBIDDEN), "an operation in use");
        }
    }

    #[test]
    fn flags_and_registers_that_are_not_listed_are_forbidden() {
        let mut ring = ring(Role::Accepts);
        let close = opcode::Close::new(io_uring::types::Fixed(1)).build();
        for flag in [squeue::Flags::IO_DRAIN, squeue::Flags::IO_LINK, squeue::Flags::ASYNC] {
            assert_eq!(run(&mut ring, &close.clone().flags(flag)), Err(FORBIDDEN), "{flag:?}");
        }
        let submitter = ring.submitter();
        let probed = submitter.register_probe(&mut Probe::new());
        assert_eq!(probed.map_err(Errno::from), Err(FORBIDDEN));
        let stdin = std::io::stdin().as_raw_fd();
        let updated = submitter.register_files_update(0, &[stdin]);
        assert_eq!(updated.map_err(Errno::from), Err(FORBIDDEN), "only who connects does this");
        // Restrictions are for once.
        assert!(restrict(&ring, Role::Connects).is_err());
        assert!(ring.submitter().unregister_files().is_ok());
    }
}
