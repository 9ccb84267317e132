//! The machine: its processors, kernel and limits, and what a process or thread has used of it.
//!
//! Not here: /proc; whoever needs that reads it as files.

use std::io;
use std::mem;

use crate::driver::Errno;
use crate::sys;

/// The largest process number Linux gives out (include/linux/threads.h).
const PID_MAX: libc::pid_t = 1 << 22;

/// Pins the calling thread to processor `cpu`; says whether that worked.
#[must_use]
pub fn pin(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

/// The processors this process may run on, in rising order.
#[must_use]
pub fn cpus_allowed() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// The kernel's major and minor version; zeroes if it cannot be told.
#[must_use]
pub fn kernel_release() -> (u32, u32) {
    // SAFETY: `utsname` is plain bytes, for which all-zero is a value.
    let mut names: libc::utsname = unsafe { mem::zeroed() };
    // SAFETY: `names` outlives the call.
    if unsafe { libc::uname(&raw mut names) } != 0 {
        return (0, 0);
    }
    let release: Vec<u8> =
        names.release.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    parse_release(&String::from_utf8_lossy(&release))
}

fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    (numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0))
}

/// How many descriptors this process may have open, after raising the soft limit to the hard one.
#[must_use]
pub fn descriptors_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: `raised` outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
        raised.rlim_cur
    } else {
        limit.rlim_cur
    }
}

/// The monotonic clock in nanoseconds, the one that every driver reads. It counts from the boot of
/// the machine: two processes of one machine agree on it.
#[must_use]
pub fn monotonic_ns() -> u64 {
    sys::monotonic_ns()
}

/// The processor time a process has used, in nanoseconds, as its CPU clock counts it.
#[derive(Clone, Copy, Debug)]
pub struct ProcessClock {
    clock: libc::clockid_t,
}

impl ProcessClock {
    /// The clock of process `pid`; 0 is this one.
    ///
    /// # Errors
    /// When there is no such process, or it may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        // A clock's number has 29 bits for a process; a larger one would name another.
        let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid <= PID_MAX);
        let pid = pid.ok_or(Errno(libc::ESRCH))?;
        let mut clock = 0;
        // SAFETY: `clock` outlives the call.
        let result = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        if result != 0 {
            return Err(Errno(result).into());
        }
        let process = Self { clock };
        process.cpu_ns()?;
        Ok(process)
    }

    /// Processor time used so far, user and kernel together.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        Ok(sys::clock_ns(self.clock)?)
    }
}

/// The processor time one thread has used, in nanoseconds. May be read from another thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock {
    clock: libc::clockid_t,
}

impl ThreadClock {
    /// The calling thread's clock.
    #[must_use]
    pub fn current() -> Self {
        let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: takes no pointers.
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: the thread is the calling one, so it exists; `clock` outlives the call. On
        // failure `clock` keeps meaning "whoever reads it".
        let _ = unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
        Self { clock }
    }

    /// Processor time used so far, user and kernel together.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        Ok(sys::clock_ns(self.clock)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{ProcessClock, ThreadClock, cpus_allowed, descriptors_max, parse_release, pin};

    #[test]
    fn a_release_is_read_up_to_its_minor_version() {
        assert_eq!(parse_release("6.18.44-fc"), (6, 18));
        assert_eq!(parse_release("7.0-rc1"), (7, 0));
        assert_eq!(parse_release("odd"), (0, 0));
    }

    #[test]
    fn clocks_rise_with_work_and_refuse_the_absent() {
        let (process, thread) = (ProcessClock::of(0).unwrap(), ThreadClock::current());
        let (process_ns, thread_ns) = (process.cpu_ns().unwrap(), thread.cpu_ns().unwrap());
        let mut sum = 0_u64;
        while thread.cpu_ns().unwrap() == thread_ns {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process.cpu_ns().unwrap() > process_ns);
        assert!(ProcessClock::of(u32::MAX).is_err());
        assert!(ProcessClock::of(i32::MAX.cast_unsigned()).is_err());
    }

    #[test]
    fn a_thread_can_be_pinned_where_the_process_may_run() {
        let cpus = cpus_allowed();
        assert!(!cpus.is_empty());
        let last = cpus[cpus.len() - 1];
        assert!(std::thread::spawn(move || pin(last)).join().unwrap());
        assert!(descriptors_max() >= 64);
    }
}
