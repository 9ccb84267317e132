//! The built program from outside: what it says, and with which code it ends.
//!
//! Not here: what it does with clients. Invariant: no test relies on a port, on the environment of
//! whoever runs it, or on time.

#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// The program, deaf to the settings of the environment it is tested in.
fn ringwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGWIRE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

/// What the program says when it ends with 78: one line.
fn refusal(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!((code, stdout.as_str()), (78, ""), "{stderr}");
    let line = stderr.strip_suffix('\n').expect("a line ends");
    let line = line.strip_prefix("ringwire: ").expect("a line says who speaks");
    assert!(!line.contains('\n'), "{stderr}");
    line.to_owned()
}

/// A file of settings, of the test's own name.
fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&path, text).expect("the directory for temporary files can be written");
    path
}

fn refusal_of_file(name: &str, text: impl AsRef<[u8]>) -> String {
    let path = file(name, text);
    let path = path.to_str().expect("paths of tests are UTF-8");
    let line = refusal(&mut ringwire(&["--config", path]));
    line.replace(path, "FILE")
}

/// A server that was started and is killed at the end of its test.
struct Started {
    child: Child,
    address: SocketAddr,
    /// The first line on stderr.
    first: String,
    /// Kept open: what the program still says must have somewhere to go.
    _stderr: BufReader<ChildStderr>,
}

impl Started {
    fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (mut line, mut first) = (String::new(), String::new());
        let stdout = child.stdout.take().expect("stdout was piped");
        BufReader::new(stdout).read_line(&mut line).expect("stdout can be read");
        let stderr = child.stderr.take().expect("stderr was piped");
        let mut stderr = BufReader::new(stderr);
        stderr.read_line(&mut first).expect("stderr can be read");
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| {
            let mut rest = String::new();
            let _read = stderr.read_to_string(&mut rest);
            panic!("no address in {line:?}; stderr: {first}{rest}")
        });
        let address = address.parse().expect("an address");
        Self { child, address, first, _stderr: stderr }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn request(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn version_and_help_go_to_stdout() {
    let expected = concat!("ringwire ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(run(&mut ringwire(&["--version"])), (0, expected.to_owned(), String::new()));
    let (code, help, stderr) = run(&mut ringwire(&["--help"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for words in [
        "--listen <ADDR>",
        "[default: 127.0.0.1:8080]",
        "--engine <auto|uring|epoll>",
        "--recovery-max-publication-limit <N>",
        "[default: 100k]",
        "Timeouts:",
        "RINGWIRE_MAX_CHANNELS",
        "doctor",
        "Exit codes:",
    ] {
        assert!(help.contains(words), "{words:?} is missing in\n{help}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for (arguments, words) in [
        (vec!["--no-such-flag"], "--no-such-flag"),
        (vec!["--max-message-size", "64kb"], "is not a size"),
        (vec!["--ping-interval", "25"], "is not a time"),
        (vec!["--listen", "8080"], "is not an address"),
        (vec!["--listen", "localhost:8080"], "is not an address"),
        (vec!["--workers", "0"], "out of bounds: 1 to 64"),
        (vec!["--engine", "kqueue"], "auto, uring or epoll"),
        (vec!["--max-connections", "-1"], "-1"),
        (vec!["--receive-buffers", "7x64k"], "power of two"),
        (vec!["nonsense"], "nonsense"),
    ] {
        let (code, stdout, stderr) = run(&mut ringwire(&arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_bad_environment_is_named() {
    let line = refusal(ringwire(&[]).env("RINGWIRE_MAX_MESSAGE_SIZE", "64kb"));
    assert_eq!(line, "RINGWIRE_MAX_MESSAGE_SIZE: \"64kb\" is not a size (such as 512, 64k or 1m)");
    let line = refusal(ringwire(&[]).env("RINGWIRE_ENGINE", "kqueue"));
    assert!(line.starts_with("RINGWIRE_ENGINE: "), "{line}");
}

#[test]
fn an_unreadable_file_is_named_with_the_cure() {
    let line = refusal(&mut ringwire(&["--config", "/nonexistent/ringwire.toml"]));
    assert!(line.contains("/nonexistent/ringwire.toml: No such file"), "{line}");
    assert!(line.contains("give --config a TOML file"), "{line}");
    let line = refusal(ringwire(&[]).env("RINGWIRE_CONFIG", env!("CARGO_TARGET_TMPDIR")));
    assert!(line.contains("Is a directory"), "{line}");
    let line = refusal_of_file("not-text", [b'#', 0xff]);
    assert!(line.contains("FILE: it is not UTF-8"), "{line}");
    let line = refusal_of_file("long", vec![b'#'; (1 << 20) + 1]);
    assert!(line.contains("FILE: it is longer than 1 MiB"), "{line}");
}

#[test]
fn a_mistake_in_the_file_has_line_and_column() {
    let line = refusal_of_file("unknown", "workers = 1\n\n  ping-intervall = \"1s\"\n");
    assert_eq!(line, "FILE:3:3: unknown key \"ping-intervall\"; \"ping-interval\" is one");
    let line = refusal_of_file("foreign", "zzz = 1\n");
    assert!(line.starts_with("FILE:1:1: unknown key \"zzz\"; keys are the flags"), "{line}");
    let line = refusal_of_file("section", "[server]\nworkers = 1\n");
    assert!(line.starts_with("FILE:1:2: unknown key \"server\""), "{line}");
    let line = refusal_of_file("itself", "config = \"other.toml\"\n");
    assert!(line.starts_with("FILE:1:1: unknown key \"config\""), "{line}");
    let line = refusal_of_file("bounds", "# \u{e9}\nhistory-size = 0\n");
    assert_eq!(line, "FILE:2:16: history-size: 0 is out of bounds: 1 to 1000000");
    let line = refusal_of_file("unit", "ping-interval = 25\n");
    assert!(line.starts_with("FILE:1:17: ping-interval: \"25\" is not a time"), "{line}");
    let line = refusal_of_file("kind", "workers = true\n");
    assert!(line.starts_with("FILE:1:11: workers: takes a string or a number"), "{line}");
    let line = refusal_of_file("list", "workers = [1, 2]\n");
    assert!(line.starts_with("FILE:1:11: workers: takes one value"), "{line}");
    let line = refusal_of_file("syntax", "workers = 1\nlisten =\n");
    assert!(line.starts_with("FILE:2:9: "), "{line}");
    let line = refusal_of_file("twice", "workers = 1\nworkers = 2\n");
    assert!(line.starts_with("FILE:2:1: "), "{line}");
}

#[test]
fn the_flag_comes_before_the_environment_and_that_before_the_file() {
    let path = file(
        "order",
        "listen = \"127.0.0.1:0\"\nworkers = 3\nsubprotocol = [\"chat\"]\nengine = \"epoll\"\n",
    );
    let config = path.to_str().expect("paths of tests are UTF-8");
    let told = |command: &mut Command| Started::new(command).first.clone();
    let line = told(&mut ringwire(&["--config", config]));
    assert!(line.starts_with("engine=epoll ") && line.contains(" workers=3 "), "{line}");
    let line = told(ringwire(&["--config", config]).env("RINGWIRE_WORKERS", "2"));
    assert!(line.contains(" workers=2 "), "{line}");
    let mut both = ringwire(&["--workers", "1"]);
    both.env("RINGWIRE_WORKERS", "2").env("RINGWIRE_CONFIG", config);
    let line = told(&mut both);
    assert!(line.starts_with("engine=epoll ") && line.contains(" workers=1 "), "{line}");
}

#[test]
fn a_port_in_use_is_a_configuration_that_cannot() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let line = refusal(&mut ringwire(&["--listen", &address]));
    assert!(line.contains(&address) && line.contains("; "), "{line}");
    let line = refusal(&mut ringwire(&["--listen", "127.0.0.1:0", "--admin-listen", &address]));
    assert!(line.contains("choose another port"), "{line}");
}

#[test]
fn the_admin_listener_is_apart_from_the_public_one() {
    // An address of its own, so that the port stays free between these lines.
    let free = TcpListener::bind("127.77.66.55:0").expect("a free port");
    let admin = free.local_addr().expect("a bound socket has an address");
    drop(free);
    let server = Started::new(&mut ringwire(&[
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--admin-listen",
        &admin.to_string(),
    ]));
    assert!(request(admin, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(request(admin, "/healthz").starts_with("HTTP/1.1 200 "));
    let page = request(admin, "/metrics");
    for words in [
        "\r\nContent-Type: text/plain; version=0.0.4",
        "ringwire_connections_accepted_total{worker=\"1\"} ",
        "ringwire_build_info{version=",
    ] {
        assert!(page.contains(words), "{words:?} is missing in\n{page}");
    }
    assert!(request(server.address, "/metrics").starts_with("HTTP/1.1 404 "));
}

#[test]
fn doctor_says_a_line_for_each_finding() {
    let (code, stdout, stderr) = run(&mut ringwire(&["doctor"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let mut lines: Vec<&str> = stdout.lines().collect();
    let summary = lines.pop().expect("doctor speaks");
    assert!(summary.contains(" ok, ") && summary.ends_with(" warn"), "{summary}");
    for line in &lines {
        let verdict = line.split(' ').next().expect("a line has a word");
        match verdict {
            "ok" => {}
            "limit" | "warn" => assert!(line.contains("; cure: "), "{line}"),
            other => panic!("{other:?} is no verdict in {line:?}"),
        }
    }
    for name in ["kernel=", "io_uring=", "RLIMIT_NOFILE=", "fs.nr_open=", "net.core.somaxconn="] {
        assert!(lines.iter().any(|line| line[7..].starts_with(name)), "{name} in\n{stdout}");
    }
}
