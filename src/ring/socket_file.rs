//! Unix sockets in the file system: made, told from what another server left behind, removed.
//!
//! Not here: accepting. Invariants: a file is replaced only if it is a socket that nobody listens
//! on; it is removed once, and only if it is still the one made here.

use std::fs::{self, File, Metadata};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::driver::Errno;
use crate::refusal::Refusal;
use crate::sys;

/// How often, and after what pause, a socket that answers is looked at again: that of a process
/// just killed answers until the kernel has taken its ring apart.
const LOOKS_MAX: u32 = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The file of a listening socket that several workers share.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Open as long as this, so that the inode's number cannot come to mean another file.
    socket: OwnedFd,
    /// Device and inode of the file made.
    identity: Option<(u64, u64)>,
    is_removed: AtomicBool,
    /// How often a worker left clients to the others; see [`SocketFile::stir`].
    stirs: AtomicU32,
}

impl SocketFile {
    /// Another descriptor of the socket.
    pub(crate) fn share(&self) -> Result<OwnedFd, Errno> {
        sys::duplicate(self.socket.as_raw_fd())
    }

    /// Removes the file: nobody finds the socket any more, and another server may take its place.
    pub(crate) fn remove(&self) {
        if self.is_removed.swap(true, Ordering::SeqCst) {
            return;
        }
        let found = fs::symlink_metadata(&self.path).ok();
        if self.identity.is_some() && found.map(identity) == self.identity {
            // What stays behind is replaced by the next server.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Tells those who wait on this socket to look at its queue again. The kernel wakes one of
    /// them for each client, and the one it woke may have stopped accepting in that moment.
    pub(crate) fn stir(&self) {
        self.stirs.fetch_add(1, Ordering::SeqCst);
    }

    /// How often they were told.
    pub(crate) fn stirs(&self) -> u32 {
        self.stirs.load(Ordering::SeqCst)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn identity(metadata: Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A listening socket at `path`, and its file. The file's mode is 0777 less the process's umask;
/// connecting takes the permission to write.
pub(crate) fn listen_at(path: &Path, backlog: u32) -> Result<SocketFile, Refusal> {
    // Between the look at an old socket and the new one's first moment no other server may look.
    let _guard = lock_directory(path);
    remove_stale(path)?;
    let refuse = |errno| Refusal::of_path("cannot listen on", path, errno);
    let address = Address::Unix(path.to_owned());
    let socket = sys::stream_socket(&address, libc::SOCK_NONBLOCK).map_err(refuse)?;
    sys::bind(socket.as_fd(), &address).map_err(refuse)?;
    let identity = fs::symlink_metadata(path).ok().map(identity);
    let (is_removed, stirs) = (AtomicBool::new(false), AtomicU32::new(0));
    let file = SocketFile { path: path.to_owned(), socket, identity, is_removed, stirs };
    sys::listen(file.socket.as_fd(), backlog).map_err(refuse)?;
    Ok(file)
}

/// A lock that ends with its file; none where the directory cannot be opened.
fn lock_directory(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or_else(|| Path::new("."))).ok()?;
    directory.lock().ok()?;
    Some(directory)
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> Result<(), Refusal> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(Refusal::of_path("cannot listen on", path, Errno(libc::ENOTSOCK)));
    }
    let address = Address::Unix(path.to_owned());
    let connect = || {
        let socket = sys::stream_socket(&address, libc::SOCK_NONBLOCK)?;
        sys::connect(socket.as_fd(), &address)
    };
    let mut connected = connect();
    for _ in 0..LOOKS_MAX {
        if !matches!(connected, Ok(()) | Err(Errno(libc::EAGAIN))) {
            break;
        }
        thread::sleep(LOOK_PAUSE);
        connected = connect();
    }
    match connected {
        Err(Errno(libc::ECONNREFUSED)) => {
            // If it cannot be removed, binding says why.
            let _ = fs::remove_file(path);
            Ok(())
        }
        // It went by itself.
        Err(Errno(libc::ENOENT)) => Ok(()),
        // A full queue (EAGAIN) is somebody's queue.
        Ok(()) | Err(Errno(libc::EAGAIN)) => {
            Err(Refusal::of_path("cannot listen on", path, Errno(libc::EADDRINUSE)))
        }
        Err(errno) => Err(Refusal::of_path("cannot look at", path, errno)),
    }
}
