//! Listening sockets: one per worker on the same port.
//!
//! Not here: accepting. Invariant: all sockets of one [`bind`] have the same address, and the
//! address was free before.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::driver::Errno;
use crate::port_group::{self, PortGroup};
use crate::refusal::Refusal;
use crate::sys;

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Clients the kernel keeps ready per worker. Engines lower it to what their tables can take.
    pub backlog: u32,
    /// The kernel's send buffer per connection; `None`: the kernel's choice.
    pub send_buffer_bytes: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, send_buffer_bytes: None }
    }
}

/// One worker's listening socket.
#[derive(Debug)]
pub struct Listener {
    /// Taken only when dropped.
    fd: Option<OwnedFd>,
    address: SocketAddr,
    backlog: u32,
    number: usize,
    group: Arc<PortGroup>,
    is_open: bool,
}

impl Listener {
    /// The address, with the port that was found for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lowers the queue to `backlog` clients.
    pub(crate) fn limit_backlog(&mut self, backlog: u32) -> Result<(), Errno> {
        if backlog >= self.backlog {
            return Ok(());
        }
        self.backlog = backlog;
        sys::listen(self.as_fd(), backlog)
    }

    /// Joins or leaves those of the port that new clients go to.
    pub(crate) fn set_open(&mut self, is_open: bool) {
        if self.is_open != is_open {
            self.is_open = is_open;
            // If the kernel refuses, it chooses among all listeners: uneven, not wrong.
            let _ = self.group.set_open(self.number, is_open);
        }
    }

    /// From now on only those already under way reach the queue.
    pub(crate) fn ignore_newcomers(&self) -> Result<(), Errno> {
        port_group::ignore_newcomers(self.as_fd())
    }

    /// Clients ready to be accepted.
    pub(crate) fn queue_len(&self) -> u32 {
        sys::accept_queue_len(self.as_fd()).unwrap_or(0)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("open until dropped").as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.group.leave(self.number, fd);
        }
    }
}

/// Listens on `address` with one socket for each of `workers`. Port 0 becomes a free port, the
/// same for all.
///
/// # Errors
/// When the address is taken or not ours; the refusal names the cure.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    options: &ListenOptions,
) -> Result<(SocketAddr, Vec<Listener>), Refusal> {
    const ATTEMPTS: usize = 8;
    let refuse = |errno| Refusal::of_address("cannot listen on", address, errno);
    for attempt in 1.. {
        let found = reserve(address).map_err(refuse)?;
        match bind_group(found, workers, options) {
            // Another program took the port that was found, between the finding and the binding.
            Err(errno)
                if errno.0 == libc::EADDRINUSE && address.port() == 0 && attempt < ATTEMPTS => {}
            result => return result.map(|listeners| (found, listeners)).map_err(refuse),
        }
    }
    unreachable!("the last attempt returns")
}

/// Finds out whether the address is free. Sockets that share a port could not tell: they would
/// join another server of the same user.
fn reserve(address: SocketAddr) -> Result<SocketAddr, Errno> {
    let socket = sys::tcp_socket(address, 0)?;
    sys::turn_on(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    sys::bind(socket.as_fd(), address)?;
    sys::local_address(socket.as_fd())
}

fn bind_group(
    address: SocketAddr,
    workers: usize,
    options: &ListenOptions,
) -> Result<Vec<Listener>, Errno> {
    let group = Arc::new(PortGroup::default());
    let mut listeners = Vec::with_capacity(workers);
    for number in 0..workers {
        let fd = listening_socket(address, workers > 1, options)?;
        group.join(number, fd.as_fd());
        let (backlog, group) = (options.backlog, Arc::clone(&group));
        listeners.push(Listener { fd: Some(fd), address, backlog, number, group, is_open: true });
    }
    Ok(listeners)
}

fn listening_socket(
    address: SocketAddr,
    is_shared: bool,
    options: &ListenOptions,
) -> Result<OwnedFd, Errno> {
    let socket = sys::tcp_socket(address, libc::SOCK_NONBLOCK)?;
    let fd = socket.as_fd();
    sys::turn_on(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if is_shared {
        sys::turn_on(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    // Accepted sockets inherit both options.
    sys::turn_on(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    if let Some(bytes) = options.send_buffer_bytes {
        // The kernel doubles what it is asked for, for its own use.
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes)?;
    }
    sys::bind(fd, address)?;
    sys::listen(fd, options.backlog)?;
    Ok(socket)
}
