//! The admin listener: `/metrics`, `/healthz`, `/readyz`, on an address of its own.
//!
//! Not here: anything of the public port, and keep-alive. Invariant: it cannot hurt who serves
//! clients: four threads that block, one connection each, five seconds and 8 KiB a connection; it
//! takes no lock, and reads what workers count without their help.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::metrics::{Build, WorkerMetrics, render};

mod exchange;

/// Connections served at once; the others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4;
/// After an accept that failed, for want of descriptors say, before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the process takes clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not every worker accepts yet.
    Starting,
    /// Every worker accepts.
    Ready,
    /// Going: no new clients.
    Draining,
}

/// What the listener shows; shared with who serves.
#[derive(Debug)]
pub struct AdminState {
    readiness: AtomicU8,
    workers: Vec<Arc<WorkerMetrics>>,
    build: Build,
}

impl AdminState {
    /// Starting, with the metrics of each worker in order.
    pub fn new(workers: Vec<Arc<WorkerMetrics>>, build: Build) -> Arc<Self> {
        Arc::new(Self { readiness: AtomicU8::new(Readiness::Starting as u8), workers, build })
    }

    /// Every worker accepts now.
    pub fn set_ready(&self) {
        self.readiness.store(Readiness::Ready as u8, Ordering::Release);
    }

    /// No new clients from now on.
    pub fn set_draining(&self) {
        self.readiness.store(Readiness::Draining as u8, Ordering::Release);
    }

    /// Whether the process takes clients.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Acquire) {
            value if value == Readiness::Ready as u8 => Readiness::Ready,
            value if value == Readiness::Draining as u8 => Readiness::Draining,
            _ => Readiness::Starting,
        }
    }

    /// The metrics page.
    pub fn metrics_page(&self) -> String {
        render(&self.workers, &self.build)
    }
}

/// An admin listener. Once it serves, its threads live as long as the process.
#[derive(Debug)]
pub struct Admin {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

impl Admin {
    /// Listens on `address`, and answers nobody yet.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let refuse = |error: &io::Error| Failure::configuration(refusal(address, error));
        let listener = TcpListener::bind(address).map_err(|error| refuse(&error))?;
        let address = listener.local_addr().map_err(|error| refuse(&error))?;
        Ok(Self { listener: Arc::new(listener), address })
    }

    /// Answers on threads of its own.
    ///
    /// # Errors
    /// When the threads cannot be had.
    pub fn serve(&self, state: &Arc<AdminState>) -> Result<(), Failure> {
        for _ in 0..CONNECTIONS_MAX {
            let (listener, state) = (Arc::clone(&self.listener), Arc::clone(state));
            thread::Builder::new()
                .name("admin".to_owned())
                .stack_size(256 << 10)
                .spawn(move || serve(&listener, &state))
                .map_err(|error| {
                    Failure::other(format!("no thread for the admin listener: {error}"))
                })?;
        }
        Ok(())
    }

    /// Where it listens, with the port it got.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn refusal(address: SocketAddr, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => "stop who uses it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "choose another address",
    };
    format!("--admin-listen {address}: {error}; {cure}")
}

fn serve(listener: &TcpListener, state: &AdminState) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => handle(stream, state),
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

fn handle(stream: TcpStream, state: &AdminState) {
    // Whoever is on the other side, an error here is theirs and ends only this connection.
    let _ended = exchange::run(stream, |path| answer(path, state));
}

/// An answer to a GET.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: u16, line: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, body: format!("{line}\n") }
    }
}

fn answer(path: &str, state: &AdminState) -> Answer {
    match path {
        "/metrics" => Answer {
            status: 200,
            content_type: crate::metrics::CONTENT_TYPE,
            body: state.metrics_page(),
        },
        "/healthz" => Answer::plain(200, "ok"),
        "/readyz" => match state.readiness() {
            Readiness::Ready => Answer::plain(200, "ready"),
            Readiness::Starting => Answer::plain(503, "starting: not every worker accepts yet"),
            Readiness::Draining => Answer::plain(503, "draining: no new clients"),
        },
        _ => Answer::plain(404, "no such page; there are /metrics, /healthz and /readyz"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::log::{Format, Level, channel};

    fn started() -> (Admin, Arc<AdminState>) {
        let (logger, _) = channel(Level::Info, Format::Text);
        let build = Build {
            engine: "uring",
            kernel: "6.18".to_owned(),
            connections_max: 1000,
            lost: logger.lost(),
            certificates: None,
        };
        let state = AdminState::new(vec![Arc::default(), Arc::default()], build);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let admin = Admin::bind(address).unwrap();
        admin.serve(&state).unwrap();
        (admin, state)
    }

    fn ask(admin: &Admin, request: &str) -> String {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(admin: &Admin, path: &str) -> String {
        ask(admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    #[test]
    fn readiness_follows_the_state_with_its_reason() {
        let (admin, state) = started();
        let starting = get(&admin, "/readyz");
        assert!(starting.starts_with("HTTP/1.1 503 ") && starting.contains("starting"));
        state.set_ready();
        assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));
        state.set_draining();
        let draining = get(&admin, "/readyz");
        assert!(draining.starts_with("HTTP/1.1 503 ") && draining.contains("draining"));
        assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn metrics_and_what_is_not_there() {
        let (admin, _state) = started();
        let page = get(&admin, "/metrics");
        assert!(page.contains("Content-Type: text/plain; version=0.0.4"));
        assert!(page.contains("ringwire_connections_accepted_total{worker=\"1\"} 0\n"));
        assert!(get(&admin, "/").starts_with("HTTP/1.1 404 "));
        assert!(ask(&admin, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask(&admin, "\u{16}\u{3}nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(10_000));
        assert!(ask(&admin, &long).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn more_connections_than_threads_are_all_answered() {
        let (admin, _state) = started();
        let mut streams: Vec<TcpStream> = (0..4 * CONNECTIONS_MAX)
            .map(|_| TcpStream::connect(admin.address()).unwrap())
            .collect();
        for stream in &mut streams {
            stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        }
        for mut stream in streams {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("ok\n"));
        }
    }

    #[test]
    fn an_address_in_use_is_one_line_with_the_cure() {
        let (admin, _state) = started();
        let failure = Admin::bind(admin.address()).unwrap_err();
        assert_eq!(failure.code, 78);
        assert!(failure.line.contains("choose another port"), "{}", failure.line);
    }
}
