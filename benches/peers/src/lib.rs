//! What the peer servers share: their flags, their listeners, one thread per core, and a small
//! WebSocket echo without IO.
//!
//! Not here: ringwire. The framing is written again on purpose, so that a baseline does not
//! inherit our code.

#![forbid(unsafe_code)]

pub mod echo;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

/// Longest queue of connections not yet accepted.
const BACKLOG: i32 = 4096;

/// The flags of every peer.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Threads, each with its own listener on the same port.
    pub workers: usize,
    /// Bytes of one read; `None` leaves the peer's own default.
    pub read_buffer_bytes: Option<usize>,
}

impl Flags {
    /// Reads `--listen ADDR`, `--workers N`, `--read-buffer BYTES`.
    ///
    /// # Errors
    /// A line that says which flag is wrong.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut flags = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workers: thread::available_parallelism().map_or(1, usize::from),
            read_buffer_bytes: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            let wrong = |_| format!("{name} {value}: not understood");
            match name.as_str() {
                "--listen" => flags.listen = value.parse().map_err(|_| wrong(()))?,
                "--workers" => flags.workers = value.parse().map_err(|_| wrong(()))?,
                "--read-buffer" => {
                    flags.read_buffer_bytes = Some(value.parse().map_err(|_| wrong(()))?);
                }
                _ => return Err(format!("unknown flag {name}")),
            }
        }
        if flags.workers == 0 {
            return Err("--workers 0: there must be one".to_owned());
        }
        Ok(flags)
    }
}

/// Binds one listener per worker, says so on stdout, and runs `worker` with each on a thread of
/// its own, pinned where there are cores to pin to.
pub fn run(worker: fn(TcpListener, Flags) -> io::Result<()>) -> ExitCode {
    let outcome = Flags::parse(std::env::args().skip(1)).and_then(|flags| {
        let (address, listeners) = bind(&flags).map_err(|e| format!("{}: {e}", flags.listen))?;
        println!("listening on {address}");
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        thread::scope(|scope| {
            let workers: Vec<_> = listeners
                .into_iter()
                .enumerate()
                .map(|(index, listener)| {
                    let core = cores.get(index % cores.len().max(1)).copied();
                    scope.spawn(move || {
                        core.map(core_affinity::set_for_current);
                        worker(listener, flags).map_err(|e| e.to_string())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err("a worker panicked".to_owned()))
            })
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// One SO_REUSEPORT listener per worker, all on one port.
fn bind(flags: &Flags) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let mut address = flags.listen;
    let mut listeners = Vec::with_capacity(flags.workers);
    for _ in 0..flags.workers {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Inherited by every accepted socket.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok((address, listeners))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_wrong_ones_named() {
        let parse = |line: &str| Flags::parse(line.split_whitespace().map(str::to_owned));
        let flags = parse("--listen 127.0.0.1:0 --workers 3 --read-buffer 4096").expect("good");
        assert_eq!((flags.workers, flags.read_buffer_bytes), (3, Some(4096)));
        for wrong in ["--workers x", "--workers 0", "--listen", "--colour red"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_workers_listen_on_one_port() {
        let flags = Flags {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 3,
            read_buffer_bytes: None,
        };
        let (address, listeners) = bind(&flags).expect("a free port");
        assert_ne!(address.port(), 0);
        assert!(listeners.iter().all(|l| l.local_addr().expect("bound") == address));
    }
}
