//! Listening sockets: of a port one per worker, of a file one for all.
//!
//! Not here: accepting. Invariant: all sockets of one [`bind`] have the same address, and the
//! address was free before.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::address::Address;
use crate::driver::Errno;
use crate::port_group::{self, PortGroup};
use crate::refusal::Refusal;
use crate::socket_file::{self, SocketFile};
use crate::sys;

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Clients the kernel keeps ready per worker. Engines lower it to what their tables can take.
    pub backlog: u32,
    /// The kernel's send buffer per connection; `None`: the kernel's choice. Unix sockets have
    /// the kernel's in any case.
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
    address: Address,
    backlog: u32,
    place: Place,
}

/// Whom the worker shares the address with.
#[derive(Debug)]
enum Place {
    /// A port, on which each worker has a socket of its own.
    Port { number: usize, group: Arc<PortGroup>, is_open: bool },
    /// A file, on which all workers have the same socket.
    File(Arc<SocketFile>),
}

impl Listener {
    /// The address, with the port that was found for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The file, where all workers accept from one queue.
    pub(crate) fn shared_file(&self) -> Option<&SocketFile> {
        match &self.place {
            Place::File(file) => Some(file),
            Place::Port { .. } => None,
        }
    }

    /// Whether all workers accept from one queue.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared_file().is_some()
    }

    /// Lowers the queue to `backlog` clients. A queue shared by all workers stays as it is: none
    /// of them takes more than one at a time from it.
    pub(crate) fn limit_backlog(&mut self, backlog: u32) -> Result<(), Errno> {
        if backlog >= self.backlog || self.is_shared() {
            return Ok(());
        }
        self.backlog = backlog;
        sys::listen(self.as_fd(), backlog)
    }

    /// Joins or leaves those of the port that new clients go to.
    pub(crate) fn set_open(&mut self, open: bool) {
        if let Place::Port { number, group, is_open } = &mut self.place
            && *is_open != open
        {
            *is_open = open;
            // If the kernel refuses, it chooses among all listeners: uneven, not wrong.
            let _ = group.set_open(*number, open);
        }
    }

    /// From now on only those already under way reach the queue. A file goes: whoever does not
    /// find it is told so at once.
    pub(crate) fn ignore_newcomers(&self) -> Result<(), Errno> {
        match &self.place {
            Place::Port { .. } => port_group::ignore_newcomers(self.as_fd()),
            Place::File(file) => {
                file.remove();
                Ok(())
            }
        }
    }

    /// Clients ready to be accepted; of a shared queue 1 for any number.
    pub(crate) fn queue_len(&self) -> u32 {
        if self.is_shared() {
            u32::from(sys::is_readable(self.as_fd()))
        } else {
            sys::accept_queue_len(self.as_fd()).unwrap_or(0)
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("open until dropped").as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take()
            && let Place::Port { number, group, .. } = &self.place
        {
            group.leave(*number, fd);
        }
    }
}

/// Listens at `path` with a Unix socket that all of `workers` accept from. A socket that a dead
/// server left there is replaced; the file goes with the last listener.
///
/// # Errors
/// When something else is there, a living server included; the refusal names the cure.
pub fn bind_unix(
    path: &Path,
    workers: usize,
    options: &ListenOptions,
) -> Result<Vec<Listener>, Refusal> {
    let backlog = options.backlog;
    let file = Arc::new(socket_file::listen_at(path, backlog)?);
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let fd = file.share().map_err(|errno| Refusal::of_path("cannot listen on", path, errno))?;
        let (address, place) = (Address::Unix(path.to_owned()), Place::File(Arc::clone(&file)));
        listeners.push(Listener { fd: Some(fd), address, backlog, place });
    }
    Ok(listeners)
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
    let socket = sys::stream_socket(&address.into(), 0)?;
    sys::turn_on(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    sys::bind(socket.as_fd(), &address.into())?;
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
        let place = Place::Port { number, group: Arc::clone(&group), is_open: true };
        let (address, backlog) = (address.into(), options.backlog);
        listeners.push(Listener { fd: Some(fd), address, backlog, place });
    }
    Ok(listeners)
}

fn listening_socket(
    address: SocketAddr,
    is_shared: bool,
    options: &ListenOptions,
) -> Result<OwnedFd, Errno> {
    let socket = sys::stream_socket(&address.into(), libc::SOCK_NONBLOCK)?;
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
    sys::bind(fd, &address.into())?;
    sys::listen(fd, options.backlog)?;
    Ok(socket)
}
