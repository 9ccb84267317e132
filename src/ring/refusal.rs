//! Why the kernel will not do what was asked at start, and what to do about it.
//!
//! Not here: errors of a connection. Invariant: `Display` is one line: what, why, the cure.

use std::fmt;
use std::path::Path;

use crate::driver::Errno;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// io_uring exists and is forbidden here (`EPERM`).
    Blocked,
    /// There is no io_uring here (`ENOSYS`, `EOPNOTSUPP`).
    Absent,
    /// The kernel lacks something the engine cannot do without.
    TooOld,
    /// Memory or descriptors ran short.
    Resources,
    /// The address cannot be listened on.
    Address,
    /// Something else.
    Other,
}

/// A refusal of the kernel at start. `Display` says in one line what, why, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: RefusalKind,
    errno: Option<Errno>,
    text: String,
}

impl Refusal {
    /// What stands in the way.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// The kernel's error number, if one was given.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }

    /// A refusal met while doing `what` with io_uring.
    pub(crate) fn of_ring(what: &str, errno: Errno) -> Self {
        let (kind, cure) = match errno.0 {
            libc::EPERM | libc::EACCES => (
                RefusalKind::Blocked,
                "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
                 profile, or run `sysctl -w kernel.io_uring_disabled=0`, or use --engine epoll",
            ),
            libc::ENOSYS | libc::EOPNOTSUPP => (
                RefusalKind::Absent,
                "leave the sandbox or use a kernel built with io_uring (6.1 or newer), or use \
                 --engine epoll",
            ),
            libc::EINVAL => (RefusalKind::TooOld, "use kernel 6.1 or newer, or use --engine epoll"),
            libc::ENOMEM => (
                RefusalKind::Resources,
                "raise the locked-memory limit (`ulimit -l`) or the cgroup's memory limit, or \
                 use --engine epoll",
            ),
            libc::EMFILE | libc::ENFILE => (
                RefusalKind::Resources,
                "raise the descriptor limit (`ulimit -n`) or lower the connection limit",
            ),
            _ => (RefusalKind::Other, "try --engine epoll"),
        };
        Self { kind, errno: Some(errno), text: format!("io_uring: {what}: {errno}; {cure}") }
    }

    /// A kernel too old for the engine.
    pub(crate) fn too_old(release: (u32, u32)) -> Self {
        let (major, minor) = release;
        let text = format!(
            "io_uring: kernel {major}.{minor} is too old; use kernel 6.1 or newer, or use \
             --engine epoll"
        );
        Self { kind: RefusalKind::TooOld, errno: None, text }
    }

    /// Options that no kernel could satisfy.
    pub(crate) fn of_options(text: &str) -> Self {
        Self {
            kind: RefusalKind::Other,
            errno: Some(Errno(libc::EINVAL)),
            text: format!("engine: {text}"),
        }
    }

    /// A refusal met while making the epoll engine.
    pub(crate) fn of_epoll(what: &str, errno: Errno) -> Self {
        let (kind, cure) = match errno.0 {
            libc::EMFILE | libc::ENFILE | libc::ENOMEM => {
                (RefusalKind::Resources, "raise the descriptor limit (`ulimit -n`) or free memory")
            }
            _ => (RefusalKind::Other, "this kernel cannot run ringwire"),
        };
        Self { kind, errno: Some(errno), text: format!("epoll: {what}: {errno}; {cure}") }
    }

    /// A refusal met while listening on `address`.
    pub(crate) fn of_address(what: &str, address: std::net::SocketAddr, errno: Errno) -> Self {
        let (kind, cure) = match errno.0 {
            libc::EADDRINUSE => {
                (RefusalKind::Address, "stop the program that has the port, or choose another")
            }
            libc::EACCES | libc::EPERM => {
                (RefusalKind::Address, "choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE")
            }
            libc::EADDRNOTAVAIL => {
                (RefusalKind::Address, "choose an address of this machine (see `ip address`)")
            }
            libc::EAFNOSUPPORT => (RefusalKind::Address, "choose an IPv4 address, or turn on IPv6"),
            libc::EMFILE | libc::ENFILE => {
                (RefusalKind::Resources, "raise the descriptor limit (`ulimit -n`)")
            }
            _ => (RefusalKind::Address, "choose another address"),
        };
        Self { kind, errno: Some(errno), text: format!("{what} {address}: {errno}; {cure}") }
    }
}

impl Refusal {
    /// A refusal met while listening on the Unix socket at `path`.
    pub(crate) fn of_path(what: &str, path: &Path, errno: Errno) -> Self {
        let cure = match errno.0 {
            libc::EADDRINUSE => "stop the server that listens there, or choose another path",
            libc::ENOTSOCK => "a file that is no socket is not replaced: choose another path",
            libc::EACCES | libc::EPERM | libc::EROFS => {
                "choose a directory that this user may write to"
            }
            libc::ENOENT | libc::ENOTDIR => "make the directory first",
            libc::ENAMETOOLONG => "choose a path of at most 107 bytes",
            libc::EMFILE | libc::ENFILE => "raise the descriptor limit (`ulimit -n`)",
            _ => "choose another path",
        };
        let kind = match errno.0 {
            libc::EMFILE | libc::ENFILE => RefusalKind::Resources,
            _ => RefusalKind::Address,
        };
        let text = format!("{what} unix:{}: {errno}; {cure}", path.display());
        Self { kind, errno: Some(errno), text }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::{Refusal, RefusalKind};
    use crate::driver::Errno;

    #[test]
    fn each_refusal_is_one_line_with_its_cure() {
        let cases = [
            (libc::EPERM, RefusalKind::Blocked, "kernel.io_uring_disabled=0"),
            (libc::ENOSYS, RefusalKind::Absent, "sandbox"),
            (libc::EINVAL, RefusalKind::TooOld, "6.1"),
            (libc::ENOMEM, RefusalKind::Resources, "locked-memory"),
        ];
        for (errno, kind, cure) in cases {
            let refusal = Refusal::of_ring("setting up a ring", Errno(errno));
            let text = refusal.to_string();
            assert_eq!(refusal.kind(), kind, "{text}");
            assert!(text.contains(cure) && text.contains("--engine epoll"), "{text}");
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
    }
}
