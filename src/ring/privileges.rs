//! Privileges that a server needs to start and not to serve: given up, for good.
//!
//! Not here: users and groups, which whoever starts the server chooses. Invariant: after
//! [`drop_privileges`] neither the calling thread nor what it starts can get a privilege back.

use crate::driver::Errno;

/// The version of the sets with 64 bits (include/uapi/linux/capability.h).
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up every capability of the calling thread, and the way to new ones: no program it
/// executes gains any (`no_new_privs`). Threads have privileges of their own: each has to call
/// this, or be started by one that has.
///
/// # Errors
/// When the kernel, or a filter before it, refuses; some privileges may be left then.
pub fn drop_privileges() -> Result<(), Errno> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // Older kernels, and who may not change it, keep a bounding set that nothing can use any more.
    let _ = control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned().into());
    for capability in 0..64 {
        if control(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [Sets::default(); 2];
    // SAFETY: version 3 reads a header and two sets, which outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

fn control(option: libc::c_int, value: libc::c_ulong) -> Result<(), Errno> {
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: the options passed here take numbers and no pointers.
    match unsafe { libc::prctl(option, value, NOTHING, NOTHING, NOTHING) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

#[cfg(test)]
mod tests {
    use super::drop_privileges;

    #[test]
    fn a_thread_and_what_it_starts_have_none_left() {
        let status = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let before = status();
        std::thread::spawn(move || {
            drop_privileges().unwrap();
            let child = std::thread::spawn(status).join().unwrap();
            for status in [status(), child] {
                for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"] {
                    assert!(status.contains(line), "{status}");
                }
                assert!(status.contains("NoNewPrivs:\t1"), "{status}");
            }
        })
        .join()
        .unwrap();
        assert_eq!(status().contains("NoNewPrivs:\t1"), before.contains("NoNewPrivs:\t1"));
    }
}
