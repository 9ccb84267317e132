//! System calls behind types: one function per call, errors as [`Errno`].
//!
//! Not here: policy. Invariant: every pointer handed to libc is derived from a reference or a
//! slice that lives across the call.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_int, c_void, socklen_t};

use crate::address::Address;
use crate::driver::{Errno, TcpInfo};

impl Errno {
    /// What the last failed call on this thread left behind.
    pub(crate) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

fn check_len(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

fn own(fd: c_int) -> Result<OwnedFd, Errno> {
    let fd = check(fd)?;
    // SAFETY: a call that makes descriptors just returned this one, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn size_of_u32<T>() -> socklen_t {
    socklen_t::try_from(size_of::<T>()).expect("socket options are small")
}

/// A socket address as the kernel reads it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    unix: libc::sockaddr_un,
}

impl RawAddress {
    /// # Errors
    /// When a path is too long for the kernel, or is none.
    pub(crate) fn new(address: &Address) -> Result<(Self, socklen_t), Errno> {
        match address {
            Address::Tcp(address) => Ok(Self::of_tcp(*address)),
            Address::Unix(path) => Self::of_path(path),
        }
    }

    fn of_path(path: &Path) -> Result<(Self, socklen_t), Errno> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() > Address::PATH_BYTES_MAX {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        // A first byte of zero would name a socket outside the file system.
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(Errno(libc::EINVAL));
        }
        let mut unix = libc::sockaddr_un { sun_family: family(libc::AF_UNIX), sun_path: [0; 108] };
        for (to, from) in unix.sun_path.iter_mut().zip(bytes) {
            *to = from.cast_signed();
        }
        Ok((Self { unix }, size_of_u32::<libc::sockaddr_un>()))
    }

    fn of_tcp(address: SocketAddr) -> (Self, socklen_t) {
        match address {
            SocketAddr::V4(address) => {
                let v4 = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (Self { v4 }, size_of_u32::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                (Self { v6 }, size_of_u32::<libc::sockaddr_in6>())
            }
        }
    }

    pub(crate) fn zeroed() -> Self {
        // SAFETY: all variants are plain integers, for which all-zero is a value.
        unsafe { mem::zeroed() }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const *self).cast()
    }

    /// Room for a peer's address, for the kernel to write to, and its size.
    pub(crate) fn as_place(&mut self) -> (*mut libc::sockaddr, socklen_t) {
        *self = Self::zeroed();
        ((&raw mut *self).cast(), size_of_u32::<Self>())
    }

    /// The address of a peer; one of IPv4 is told as such also where it came by IPv6.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.parse().map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    fn parse(&self) -> Option<SocketAddr> {
        // SAFETY: every variant begins with the family, and the union is initialised throughout.
        let v4 = unsafe { self.v4 };
        if v4.sin_family == family(libc::AF_INET) {
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            return Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))));
        }
        // SAFETY: the union is initialised throughout, and any bytes make a `sockaddr_in6`.
        let v6 = unsafe { self.v6 };
        if v6.sin6_family != family(libc::AF_INET6) {
            return None;
        }
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        let port = u16::from_be(v6.sin6_port);
        Some(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
    }
}

fn family(family: c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("address families are small numbers")
}

/// A stream socket for `address`'s family; `flags` are joined to `SOCK_CLOEXEC`.
pub(crate) fn stream_socket(address: &Address, flags: c_int) -> Result<OwnedFd, Errno> {
    let domain = match address {
        Address::Tcp(SocketAddr::V4(_)) => libc::AF_INET,
        Address::Tcp(SocketAddr::V6(_)) => libc::AF_INET6,
        Address::Unix(_) => libc::AF_UNIX,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: takes no pointers.
    own(unsafe { libc::socket(domain, kind, 0) })
}

pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut fds: [c_int; 2] = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for the two descriptors the call writes.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    Ok((own(fds[0])?, own(fds[1])?))
}

pub(crate) fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> Result<(), Errno> {
    let pointer: *const T = value;
    // SAFETY: pointer and length describe `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, pointer.cast(), size_of_u32::<T>())
    };
    check(result).map(drop)
}

pub(crate) fn turn_on(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> Result<(), Errno> {
    set_option::<c_int>(fd, level, name, &1)
}

/// The socket's pending error, which reading clears.
pub(crate) fn take_socket_error(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut error: c_int = 0;
    let mut len = size_of_u32::<c_int>();
    let value: *mut c_int = &raw mut error;
    // SAFETY: `value` and `len` describe one integer that outlives the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            value.cast(),
            &raw mut len,
        )
    };
    check(result)?;
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

/// Clients that a listening socket has ready to be accepted.
pub(crate) fn accept_queue_len(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: `tcp_info` is plain integers, for which all-zero is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = size_of_u32::<libc::tcp_info>();
    let value: *mut libc::tcp_info = &raw mut info;
    // SAFETY: `value` and `len` describe `info`, of which the kernel writes a prefix.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            value.cast(),
            &raw mut len,
        )
    };
    check(result)?;
    // Of a listening socket this field is the length of its accept queue (net/ipv4/tcp.c).
    Ok(info.tcpi_unacked)
}

/// What the kernel counted of a TCP connection; `None` of another socket, or if it is too old.
pub(crate) fn tcp_info(fd: BorrowedFd<'_>) -> Option<TcpInfo> {
    // As far as `tcpi_bytes_retrans` of `struct tcp_info` in include/uapi/linux/tcp.h, which the
    // C library's own does not reach.
    let mut info = [0_u8; 216];
    let mut len = socklen_t::try_from(info.len()).ok()?;
    // SAFETY: pointer and length describe `info`, of which the kernel writes a prefix.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 || len as usize != info.len() {
        return None;
    }
    let (narrow, _) = info.as_chunks::<4>();
    let (wide, _) = info.as_chunks::<8>();
    Some(TcpInfo {
        bytes_sent: u64::from_ne_bytes(wide[25]),
        bytes_received: u64::from_ne_bytes(wide[16]),
        segments_sent: u32::from_ne_bytes(narrow[34]),
        segments_received: u32::from_ne_bytes(narrow[35]),
        segments_retransmitted: u32::from_ne_bytes(narrow[25]),
        // TCPI_OPT_TIMESTAMPS
        has_timestamps: info[5] & 1 != 0,
    })
}

/// Whether reading or accepting would not wait: something is there, or the end.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: pointer and count describe `entry`, which outlives the call.
    unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
    let (raw, len) = RawAddress::new(address)?;
    // SAFETY: pointer and length describe `raw`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.as_ptr(), len) }).map(drop)
}

/// Binds to `source` with the port left for `connect` to choose.
fn bind_source(fd: BorrowedFd<'_>, source: IpAddr) -> Result<(), Errno> {
    turn_on(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    bind(fd, &SocketAddr::new(source, 0).into())
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// A socket for `address`, as a client wants it: what is small goes out at once, and from
/// `source` if one is given.
pub(crate) fn client_socket(
    address: &Address,
    source: Option<IpAddr>,
    flags: c_int,
) -> Result<OwnedFd, Errno> {
    let socket = stream_socket(address, flags)?;
    let fd = socket.as_fd();
    match (address, source) {
        (Address::Unix(_), None) => {}
        (Address::Unix(_), Some(_)) => return Err(Errno(libc::EAFNOSUPPORT)),
        (Address::Tcp(_), source) => {
            turn_on(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
            if let Some(source) = source {
                bind_source(fd, source)?;
            }
        }
    }
    Ok(socket)
}

pub(crate) fn connect(fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
    let (raw, len) = RawAddress::new(address)?;
    // SAFETY: pointer and length describe `raw`, which outlives the call.
    check(unsafe { libc::connect(fd.as_raw_fd(), raw.as_ptr(), len) }).map(drop)
}

pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    let mut raw = RawAddress::zeroed();
    let mut len = size_of_u32::<RawAddress>();
    let pointer: *mut RawAddress = &raw mut raw;
    // SAFETY: pointer and length describe `raw`, which outlives the call.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), pointer.cast(), &raw mut len) })?;
    raw.parse().ok_or(Errno(libc::EAFNOSUPPORT))
}

/// Accepts one client as a non-blocking socket.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let mut raw = RawAddress::zeroed();
    let mut len = size_of_u32::<RawAddress>();
    let pointer: *mut RawAddress = &raw mut raw;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: pointer and length describe `raw`, which outlives the call.
    let client =
        own(unsafe { libc::accept4(fd.as_raw_fd(), pointer.cast(), &raw mut len, flags) })?;
    Ok((client, raw.peer()))
}

/// Receives into `len` bytes at `memory`.
///
/// # Safety
/// The range is valid for writes and nobody else uses it during the call.
pub(crate) unsafe fn receive(
    fd: BorrowedFd<'_>,
    memory: *mut u8,
    len: usize,
) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for the range.
    check_len(unsafe {
        libc::recv(fd.as_raw_fd(), memory.cast::<c_void>(), len, libc::MSG_DONTWAIT)
    })
}

/// Sends what the socket takes at once.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length describe `bytes`, which the kernel only reads.
    check_len(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: c_int) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

pub(crate) fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers.
    own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

pub(crate) fn duplicate(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers; a number that is no descriptor is answered by an error.
    own(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
}

pub(crate) fn epoll_create() -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers.
    own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

pub(crate) fn epoll_add(
    epoll: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    events: u32,
    data: u64,
) -> Result<(), Errno> {
    let mut event = libc::epoll_event { events, u64: data };
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: `event` outlives the call.
    check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
}

/// Waits for events; `None` waits for ever.
pub(crate) fn epoll_wait(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
    timeout_ns: Option<u64>,
) -> Result<usize, Errno> {
    let timeout = timeout_ns.map(timespec);
    let timeout: *const libc::timespec = timeout.as_ref().map_or(std::ptr::null(), |t| t);
    let count = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: `events` has room for `count` entries; a null timeout and a null mask are allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            count,
            timeout,
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    match usize::try_from(result) {
        Ok(count) => Ok(count),
        Err(_) if Errno::last().0 == libc::ENOSYS => epoll_wait_ms(epoll, events, timeout_ns),
        Err(_) => Err(Errno::last()),
    }
}

/// The same for kernels before 5.11, rounded up to milliseconds.
fn epoll_wait_ms(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
    timeout_ns: Option<u64>,
) -> Result<usize, Errno> {
    let timeout =
        timeout_ns.map_or(-1, |ns| c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX));
    let count = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    let events = events.as_mut_ptr();
    // SAFETY: `events` has room for `count` entries.
    let result = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events, count, timeout) };
    check(result).map(|count| usize::try_from(count).expect("checked not negative"))
}

fn timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).expect("fits after the division"),
        tv_nsec: i64::try_from(ns % 1_000_000_000).expect("below a second"),
    }
}

/// Reads a clock in nanoseconds.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> Result<u64, Errno> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// The monotonic clock in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).expect("every Linux has the monotonic clock")
}

/// Fills `bytes` from the kernel's generator.
pub(crate) fn entropy(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        // SAFETY: pointer and length describe `bytes`.
        let result = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match usize::try_from(result) {
            Ok(filled) => bytes = &mut bytes[filled..],
            Err(_) if Errno::last().0 == libc::EINTR => {}
            Err(_) => panic!("the kernel gives no entropy: {}", Errno::last()),
        }
    }
}

/// Resets an eventfd; an unrung one is left as it is.
pub(crate) fn clear_eventfd(fd: RawFd) {
    let mut counter = 0_u64;
    let value: *mut u64 = &raw mut counter;
    // SAFETY: the kernel writes the eight bytes of `counter`, which outlives the call.
    let _ = unsafe { libc::read(fd, value.cast(), size_of::<u64>()) };
}
