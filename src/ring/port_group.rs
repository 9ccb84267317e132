//! The listeners that share one port: which of them new clients go to.
//!
//! Not here: accepting. Invariant: the list of members is in the kernel's order (the order of
//! `listen`, with the last one moved into a gap), because a program names members by that index.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::driver::Errno;
use crate::sys;

/// All listeners of one `bind`, shared by them.
#[derive(Debug, Default)]
pub(crate) struct PortGroup {
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    order: Vec<Member>,
    is_steered: bool,
}

#[derive(Debug)]
struct Member {
    number: usize,
    fd: RawFd,
    is_open: bool,
}

impl PortGroup {
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a member that has just begun to listen.
    pub(crate) fn join(&self, number: usize, fd: BorrowedFd<'_>) {
        self.lock().order.push(Member { number, fd: fd.as_raw_fd(), is_open: true });
    }

    /// Says whether new clients may go to `number`. When no member is open, all are.
    ///
    /// # Errors
    /// When the kernel refuses the program; it then chooses among all members.
    pub(crate) fn set_open(&self, number: usize, is_open: bool) -> Result<(), Errno> {
        let mut members = self.lock();
        let Some(member) = members.order.iter_mut().find(|member| member.number == number) else {
            return Ok(());
        };
        if member.is_open == is_open {
            return Ok(());
        }
        member.is_open = is_open;
        members.steer()
    }

    /// Takes `number` out and closes its socket.
    pub(crate) fn leave(&self, number: usize, fd: OwnedFd) {
        let mut members = self.lock();
        // Closed under the lock, so that nobody uses the number after it means something else.
        drop(fd);
        if let Some(index) = members.order.iter().position(|member| member.number == number) {
            // As the kernel does: net/core/sock_reuseport.c, __reuseport_detach_sock.
            members.order.swap_remove(index);
            // A refusal leaves the kernel choosing among all members: uneven, not wrong.
            let _ = members.steer();
        }
    }
}

impl Members {
    /// Makes the kernel choose among the open members.
    fn steer(&mut self) -> Result<(), Errno> {
        let Some(any) = self.order.first() else { return Ok(()) };
        // SAFETY: the descriptor is open: its owner takes it out of the list, under the lock that
        // is held now, before it closes it.
        let any = unsafe { BorrowedFd::borrow_raw(any.fd) };
        let open = self.order.iter().enumerate().filter(|(_, member)| member.is_open);
        let open: Vec<u32> = open.filter_map(|(index, _)| u32::try_from(index).ok()).collect();
        if open.is_empty() || open.len() == self.order.len() {
            if self.is_steered {
                sys::turn_on(any.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF)?;
                self.is_steered = false;
            }
            return Ok(());
        }
        attach(any, libc::SO_ATTACH_REUSEPORT_CBPF, &mut choose_among(&open))?;
        self.is_steered = true;
        Ok(())
    }
}

/// A program that returns a random one of `members`.
fn choose_among(members: &[u32]) -> Vec<libc::sock_filter> {
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let ancillary = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    let count = u32::try_from(members.len()).expect("workers are few");
    let mut program = vec![
        instruction(LOAD_WORD, 0, 0, ancillary),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, count),
    ];
    for (turn, member) in (0..count).zip(members) {
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, turn));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, *member));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, members[0]));
    program
}

/// Makes a listening socket ignore requests to connect, and nothing else: what has begun its
/// handshake still arrives in the queue.
pub(crate) fn ignore_newcomers(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const FLAGS_OFFSET: u32 = 13;
    const SYN_ACK_RST: u32 = 0x02 | 0x10 | 0x04;
    const SYN: u32 = 0x02;
    let mut program = [
        instruction(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN_ACK_RST),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    attach(fd, libc::SO_ATTACH_FILTER, &mut program)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("codes are 16 bits"), jt, jf, k }
}

fn attach(
    fd: BorrowedFd<'_>,
    option: libc::c_int,
    program: &mut [libc::sock_filter],
) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno(libc::E2BIG))?;
    // The kernel copies the instructions during the call.
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    sys::set_option(fd, libc::SOL_SOCKET, option, &program)
}
