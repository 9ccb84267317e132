//! `loadgen testee` as its users meet it: exit codes, lines, and the memory of the process while a
//! suite sends without reading, on both engines.
#![expect(clippy::tests_outside_test_module, reason = "a test target of its own")]

#[path = "tls/front.rs"]
mod front;

use front::{Flaw, Front};
use ringwire_protocol::http::{HeadLimits, parse_request};
use ringwire_protocol::ws::{
    Cursor, Deflator, Direction, Effort, Event, Inbound, Limits, Opcode, Role, encode_close,
    encode_compressed_frame, encode_frame, encode_switching,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

const LIMITS: Limits = Limits { message_bytes_max: 8 << 20, empty_fragments_max: 1 };

/// Of each message of the flood, and how many: more than any kernel's socket buffers hold.
const FLOOD_BYTES: usize = 1 << 20;
const FLOOD_MESSAGES: u64 = 96;

/// What the client may have in memory: the program, its receive buffers, and a few messages.
const RSS_BYTES_MAX: u64 = 48 << 20;

fn testee(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("testee").args(line.split_whitespace()).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, stdout, stderr.
fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (status.code(), text(stdout), text(stderr))
}

fn run(line: &str) -> (Option<i32>, String, String) {
    ended(testee(line).spawn().expect("it starts"))
}

/// A fuzzing server of `cases` cases, each carried by `case`. It waits until whoever listens has
/// heard each path, and that of the reports twice: between the two the client still lives.
fn suite(cases: u32, case: fn(Socket) -> Option<()>) -> (SocketAddr, Receiver<String>) {
    suite_that_answers(None, cases, case)
}

/// A [`suite`] whose 101 has a header more.
fn suite_that_answers(
    extra: Option<(&'static str, &'static str)>,
    cases: u32,
    case: fn(Socket) -> Option<()>,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (tell, told) = sync_channel(0);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, extra, cases, case, &tell);
        }
    });
    (address, told)
}

fn serve(
    stream: TcpStream,
    extra: Option<(&str, &str)>,
    cases: u32,
    case: fn(Socket) -> Option<()>,
    tell: &SyncSender<String>,
) -> Option<()> {
    let (mut socket, path) = Socket::accept(stream, extra)?;
    // Whoever does not listen has dropped the receiver.
    let _ = tell.send(path.clone());
    if path.starts_with("/updateReports") {
        let _ = tell.send(path.clone());
    }
    if path.starts_with("/runCase") {
        return case(socket);
    }
    let mut out = Vec::new();
    if path.starts_with("/getCaseCount") {
        encode_frame(&mut out, Opcode::Text, cases.to_string().as_bytes(), None);
    }
    socket.stream.write_all(&out).ok()?;
    socket.close()
}

/// One WebSocket, server's side.
struct Socket {
    stream: TcpStream,
    inbound: Inbound,
}

impl Socket {
    fn accept(mut stream: TcpStream, extra: Option<(&str, &str)>) -> Option<(Self, String)> {
        stream.set_nodelay(true).ok()?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let request = parse_request(&head, &HeadLimits::default()).ok()?;
        let mut out = Vec::new();
        let key = request.header("sec-websocket-key")?;
        encode_switching(&mut out, key, None, extra.as_slice());
        stream.write_all(&out).ok()?;
        let path = format!("{}?{}", request.path, request.query.unwrap_or_default());
        Some((Self { stream, inbound: Inbound::new(Role::Server) }, path))
    }

    /// Says Close, and waits for the answer.
    fn close(mut self) -> Option<()> {
        let mut close = [0; 131];
        let len = encode_close(&mut close, 1000, "", None);
        self.stream.write_all(&close[..len]).ok()?;
        self.read(u64::MAX).map(drop)
    }

    /// Reads up to `messages` messages, or the Close; how many it were.
    fn read(&mut self, messages: u64) -> Option<u64> {
        let mut count = 0;
        let mut buffer = vec![0; 1 << 16];
        while count < messages {
            let len = self.stream.read(&mut buffer).ok().filter(|len| *len > 0)?;
            let mut cursor = Cursor::new(&mut buffer[..len]);
            while let Some(event) = self.inbound.next(&mut cursor, &LIMITS).ok()? {
                match event {
                    Event::Message { payload, .. } => {
                        assert!(payload.iter().all(|byte| *byte == b'x'));
                        count += 1;
                    }
                    Event::Close(_) => return Some(count),
                    Event::Compressed { .. } | Event::Ping(_) | Event::Pong(_) => {}
                }
            }
        }
        Some(count)
    }
}

/// Sends until the client takes no more, and only then reads.
fn flood(mut socket: Socket) -> Option<()> {
    let mut frame = Vec::new();
    encode_frame(&mut frame, Opcode::Text, &vec![b'x'; FLOOD_BYTES], None);
    let timeout = Duration::from_millis(500);
    socket.stream.set_write_timeout(Some(timeout)).ok()?;
    let mut rest: &[u8] = &[];
    let mut sent = 0;
    loop {
        if rest.is_empty() {
            assert!(sent < FLOOD_MESSAGES, "it takes whatever it is sent");
            sent += 1;
            rest = &frame;
        }
        match socket.stream.write(rest) {
            Ok(len) => rest = &rest[len..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    // The client reads on once it is read from: the two directions need a thread each.
    let mut writing = socket.stream.try_clone().ok()?;
    writing.set_write_timeout(None).ok()?;
    let rest = rest.to_vec();
    let writer = std::thread::spawn(move || {
        let written = writing.write_all(&rest);
        (sent..FLOOD_MESSAGES)
            .fold(written, |done, _| done.and_then(|()| writing.write_all(&frame)))
    });
    assert_eq!(socket.read(FLOOD_MESSAGES), Some(FLOOD_MESSAGES));
    writer.join().ok()?.ok()?;
    socket.close()
}

/// The most that the process ever had in memory.
fn peak_rss_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn a_suite_that_sends_without_reading_costs_little_memory_and_loses_nothing() {
    for engine in ["uring", "epoll"] {
        let (address, told) = suite(1, flood);
        let mut command = testee(&format!("ws://{address} --agent x --engine {engine}"));
        let child = command.spawn().expect("it starts");
        let path = |expected: &str| {
            let path = told.recv_timeout(Duration::from_secs(100)).expect("it goes on");
            assert!(path.starts_with(expected), "{path}");
        };
        path("/getCaseCount?");
        path("/runCase?case=1&agent=x");
        path("/updateReports?agent=x");
        let peak = peak_rss_bytes(child.id()).expect("it lives until its reports are written");
        path("/updateReports?agent=x");
        let (code, stdout, stderr) = ended(child);
        assert_eq!(code, Some(0), "{engine}: {stderr}");
        assert_eq!(stdout, "1 of 1 cases as x, 0 without an end; reports updated\n");
        assert!(peak < RSS_BYTES_MAX, "{engine}: {peak} bytes");
    }
}

/// Of a message before it is compressed to a thousandth.
const BOMB_BYTES: usize = 64 << 20;

#[test]
fn a_bomb_costs_little_memory_and_1009() {
    fn bomb(mut socket: Socket) -> Option<()> {
        let direction = Direction { window_bits: 15, context_takeover: true };
        let (mut packed, mut frame) = (Vec::new(), Vec::new());
        Deflator::new(direction, Effort::Quick).deflate(&vec![b'x'; BOMB_BYTES], &mut packed);
        assert!(packed.len() < 1 << 20, "{}", packed.len());
        encode_compressed_frame(&mut frame, Opcode::Text, &packed, None);
        socket.stream.write_all(&frame).ok()?;
        assert_eq!(close_code(&mut socket.stream), Some(1009));
        Some(())
    }
    let extension = ("Sec-WebSocket-Extensions", "permessage-deflate");
    for engine in ["uring", "epoll"] {
        let (address, told) = suite_that_answers(Some(extension), 1, bomb);
        let line = format!("ws://{address} --max-message-size 1m --engine {engine}");
        let child = testee(&line).spawn().expect("it starts");
        let mut path = String::new();
        while !path.starts_with("/updateReports") {
            path = told.recv_timeout(Duration::from_secs(100)).expect("it goes on");
        }
        let peak = peak_rss_bytes(child.id()).expect("it lives until its reports are written");
        drop(told);
        let (code, _, stderr) = ended(child);
        assert_eq!(code, Some(0), "{engine}: {stderr}");
        assert!(peak < RSS_BYTES_MAX, "{engine}: {peak} bytes");
    }
}

/// The code of the masked Close that comes next, and is the last.
fn close_code(stream: &mut TcpStream) -> Option<u16> {
    let mut out = Vec::new();
    stream.read_to_end(&mut out).ok()?;
    assert_eq!((out[0], out[1] & 0x80), (0x88, 0x80));
    Some(u16::from_be_bytes([out[6] ^ out[2], out[7] ^ out[3]]))
}

#[test]
fn a_message_above_the_limit_is_answered_with_1009() {
    fn too_long(mut socket: Socket) -> Option<()> {
        let mut frame = Vec::new();
        encode_frame(&mut frame, Opcode::Text, &[b'x'; 1025], None);
        socket.stream.write_all(&frame).ok()?;
        assert_eq!(close_code(&mut socket.stream), Some(1009));
        Some(())
    }
    let (address, _) = suite(60, too_long);
    let line = format!("ws://{address}/ --agent x --max-message-size 1k --cases 1-55");
    let (code, stdout, stderr) = run(&line);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr, "cases=50 of=55\n");
    assert_eq!(stdout, "55 of 60 cases as x, 0 without an end; reports updated\n");
}

#[test]
fn a_suite_behind_tls_is_gone_through_once_its_certificate_is_trusted() {
    let (suite, _) = suite(2, |mut socket| {
        let mut frame = Vec::new();
        encode_frame(&mut frame, Opcode::Text, &vec![b'x'; 300_000], None);
        socket.stream.write_all(&frame).ok()?;
        assert_eq!(socket.read(1), Some(1));
        socket.close()
    });
    let front = Front::start(suite, Flaw::None);
    let address = front.address;
    let pem = front.write_pem(PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let done = "2 of 2 cases as loadgen, 0 without an end; reports updated\n";
    for engine in ["uring", "epoll"] {
        let trusted = format!("wss://{address} --engine {engine} --cacert {}", pem.display());
        assert_eq!(run(&trusted), (Some(0), done.to_owned(), String::new()));
        let (code, stdout, stderr) = run(&format!("wss://{address} --engine {engine} -k"));
        assert_eq!((code, stdout.as_str()), (Some(0), done));
        assert!(stderr.starts_with("loadgen: --insecure: whoever"), "{stderr}");
        let (code, _, stderr) = run(&format!("wss://{suite} --engine {engine} -k"));
        assert_eq!(code, Some(107), "{stderr}");
    }
    let other = Front::start(suite, Flaw::OtherName);
    let line = format!("wss://{} --cacert {}", other.address, pem.display());
    let (code, _, stderr) = run(&line);
    assert_eq!(code, Some(107), "{stderr}");
    assert!(stderr.contains("tls.certificate_unknown"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    std::fs::remove_file(pem).expect("it can be removed");
}

#[test]
fn what_cannot_be_reached_or_makes_no_sense_is_one_line() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let closed = closed.expect("a free port");
    let (address, _) = suite(3, |socket| socket.close());
    let table = [
        (format!("ws://{closed}"), 107, "nothing listens there"),
        (format!("ws://{address} --cases 2-4"), 104, "the suite has 3 cases"),
        (format!("http://{address}"), 104, "ws:// or wss:// URL"),
        (format!("ws://{address} --max-message-size 0"), 104, "--max-message-size"),
    ];
    for (line, expected, words) in table {
        let (code, stdout, stderr) = run(&line);
        assert_eq!(code, Some(expected), "{line}: {stderr}");
        assert!(stdout.is_empty() && stderr.contains(words), "{line}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
    }
    let (code, _, _) = run(&format!("ws://{address} --cases 0"));
    assert_eq!(code, Some(2));
}
