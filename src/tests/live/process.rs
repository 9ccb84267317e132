//! The built program: started, spoken to, signalled, and its exit code.
//!
//! Invariants: no program outlives its test; it is deaf to the settings of the environment it is
//! tested in.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::client::{Client, get};
use crate::harness::{Engine, LIMIT, eventually, flags};

/// The program with these flags, and nothing from the environment.
pub(crate) fn ringwire(flags: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGWIRE_") {
            command.env_remove(name);
        }
    }
    command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program says when it ends with 78: one line, with the cure behind a semicolon.
pub(crate) fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(78), &b""[..]), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("ringwire: ") && line.contains("; "), "{line}");
    line
}

/// What the program says on one of its pipes, line by line, and the end of it.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let sent = line.is_ok_and(|line| sender.send(line).is_ok());
            if !sent {
                break;
            }
        }
    });
    receiver
}

/// A started server.
pub(crate) struct Process {
    child: Child,
    /// The first address, which is TCP.
    pub(crate) address: SocketAddr,
    /// All of them, as the program says them.
    pub(crate) listening: Vec<String>,
    pub(crate) admin: SocketAddr,
    /// The first line on stderr.
    pub(crate) first: String,
    stderr: Receiver<String>,
    /// What it said on stderr since the start.
    heard: Vec<String>,
}

impl Process {
    pub(crate) fn start(engine: Engine, workers: usize, given: &[&str]) -> Self {
        let given = [&["--admin-listen", "127.0.0.1:0"], given].concat();
        let mut child = ringwire(&flags(engine, workers, &given)).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let addresses = |flags: &[&str]| -> usize {
            let is_public = |flag: &str| matches!(flag, "--listen" | "--tls-listen");
            let listen = flags.windows(2).filter(|pair| is_public(pair[0]));
            1 + listen.map(|pair| pair[1].split(',').count()).sum::<usize>()
        };
        let mut listening = Vec::new();
        while listening.len() < addresses(&given) {
            let Ok(line) = stdout.recv_timeout(LIMIT) else {
                let killed = child.kill();
                panic!("no line on stdout ({killed:?}); stderr: {:?}", stderr.iter().take(5));
            };
            listening.push(line.strip_prefix("listening on ").unwrap().to_owned());
        }
        let address = listening[0].parse().unwrap();
        let first = stderr.recv_timeout(LIMIT).unwrap();
        let admin = loop {
            let line = stderr.recv_timeout(LIMIT).unwrap();
            if let Some(address) = line.strip_prefix("admin on ") {
                break address.parse().unwrap();
            }
        };
        Self { child, address, listening, admin, first, stderr, heard: Vec::new() }
    }

    /// A file of the program's directory under `/proc`.
    pub(crate) fn proc(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{path}", self.child.id()))
    }

    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success(), "{script}: {status}");
    }

    /// Its resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// What it has said on stderr by now.
    pub(crate) fn said(&mut self) -> &[String] {
        self.heard.extend(self.stderr.try_iter());
        &self.heard
    }

    /// Waits until it has said a line on stderr that has these words.
    pub(crate) fn await_line(&mut self, words: &str) {
        let has_words = |lines: &[String]| lines.iter().any(|line| line.contains(words));
        while !has_words(&self.heard) {
            let line = self.stderr.recv_timeout(LIMIT).unwrap();
            self.heard.push(line);
        }
    }

    /// Waits until it has ended, by itself.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let mut ended = None;
        let child = &mut self.child;
        eventually(
            || {
                ended = child.try_wait().unwrap();
                ended.is_some()
            },
            || format!("it runs on; stderr: {:?}", self.stderr.try_iter().collect::<Vec<_>>()),
        );
        ended.unwrap()
    }

    /// Status and body of a page of the admin listener.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let mut client = Client::connect(self.admin);
        let answer = client.ask(get(path, ""));
        (answer.status, answer.text().to_owned())
    }

    /// The sum of the samples on the metrics page that have this name and all of these labels
    /// (`name="value"`), over the workers.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let (_, page) = self.page("/metrics");
        let samples: Vec<u64> = page
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter(|rest| labels.iter().all(|label| rest.contains(label)))
            .map(|rest| rest.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(!samples.is_empty(), "{name} {labels:?} is not in\n{page}");
        samples.iter().sum()
    }

    /// Waits until a metric has this value.
    pub(crate) fn await_metric(&self, name: &str, labels: &[&str], value: u64) {
        eventually(
            || self.metric(name, labels) == value,
            || format!("{name} {labels:?} is {}, not {value}", self.metric(name, labels)),
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
