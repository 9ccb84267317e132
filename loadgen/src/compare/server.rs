//! A server that `compare` starts afresh for every block, and stops again.
//!
//! The server is a process group of its own, so that an interrupt typed at the terminal reaches
//! this program alone and the block is still measured to where it was. Only the process started
//! here is ever ended, by its number, before it is waited for: the number cannot be another's.

use loadgen::outcome::Failure;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server says once it accepts.
const READY: &str = "listening on";
const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The process to end if this program must exit at once.
static RUNNING: Mutex<Option<u32>> = Mutex::new(None);

/// A running server.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    /// The last line it wrote to stderr: why it would not start.
    complaint: Arc<Mutex<String>>,
}

/// The command with its port and history filled in.
pub(crate) fn substitute(command: &str, port: u16, history: u64) -> String {
    command.replace("{port}", &port.to_string()).replace("{history}", &history.to_string())
}

impl ServerProcess {
    /// Starts `command` on a free loopback port and waits until it listens.
    pub(crate) fn start(command: &str, history: u64) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::configuration(format!("--server-command: {what}"));
        let address = free_address().map_err(|error| wrong(format!("no free port: {error}")))?;
        let line = substitute(command, address.port(), history);
        // `exec` makes the process we know the server itself, whose cost is to be measured.
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {line}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|error| wrong(format!("cannot start a shell: {error}")))?;
        remember(Some(child.id()));
        let (tell, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                // Ends at the end of the stream; a reader that is gone only makes lines vanish.
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        let complaint = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            let last = Arc::clone(&complaint);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if let Ok(mut last) = last.lock() {
                        *last = line;
                    }
                }
            });
        }
        let mut server = Self { child, address, lines, complaint };
        server.wait_until_ready(&line).map_err(wrong)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, command: &str) -> Result<(), String> {
        loop {
            match self.lines.recv_timeout(START_TIMEOUT) {
                Ok(line) if line.starts_with(READY) => {
                    self.address = told_address(&line).unwrap_or(self.address);
                    return Ok(());
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = START_TIMEOUT.as_secs();
                    return Err(format!(
                        "no line `{READY} ..` on stdout within {seconds} s of `{command}`"
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status =
                        self.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                    let complaint = self.complaint.lock().map(|line| line.clone());
                    let complaint = complaint.unwrap_or_default();
                    let line =
                        format!("`{command}` ended before it listened ({status}) {complaint}");
                    return Err(line.trim_end().to_owned());
                }
            }
        }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    /// Asks it to stop, waits, and insists.
    fn drop(&mut self) {
        // Already waited for if it ended by itself: then its number is not ours any more.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            signal("TERM", self.child.id());
            // The end of its output is the end of the process, or near enough to wait for it.
            while !matches!(
                self.lines.recv_timeout(STOP_TIMEOUT),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)
            ) {}
            if !matches!(self.child.try_wait(), Ok(Some(_))) {
                let _ = self.child.kill();
            }
            let _ = self.child.wait();
        }
        remember(None);
    }
}

/// Ends the running server at once, for a program that does not wait any more.
pub(crate) fn kill_running() {
    let running = RUNNING.lock().ok().and_then(|mut running| running.take());
    if let Some(pid) = running {
        signal("KILL", pid);
    }
}

fn remember(pid: Option<u32>) {
    if let Ok(mut running) = RUNNING.lock() {
        *running = pid;
    }
}

/// Sends a signal through the shell: only the ring may make system calls, and it has no kill.
fn signal(name: &str, pid: u32) {
    let _ = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A port that was free a moment ago.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// The address in `listening on 127.0.0.1:8080`, if it is one.
fn told_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix(READY)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() {
        let filled = substitute("s -l 127.0.0.1:{port} --h {history}", 81, 100);
        assert_eq!(filled, "s -l 127.0.0.1:81 --h 100");
    }

    #[test]
    fn the_ready_line_tells_the_address() {
        let address = told_address("listening on 127.0.0.1:8080").unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:8080");
        assert_eq!(told_address("listening on unix:/x"), None);
    }

    #[test]
    fn a_server_is_started_and_stopped() {
        let server = ServerProcess::start(
            "sh -c 'echo up; echo listening on 127.0.0.1:{port}; exec tail -f /dev/null'",
            5,
        );
        let server = server.unwrap();
        let pid = server.pid();
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(server.address().port() > 0);
        drop(server);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_ends_is_one_line_with_104() {
        let failure = ServerProcess::start("false", 5).unwrap_err();
        assert_eq!(failure.code, 104);
        assert!(failure.line.contains("ended before it listened"), "{}", failure.line);
    }
}
