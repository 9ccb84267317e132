//! The program as its users meet it: exit codes, one line of reason, a result that keeps to its
//! schema, and a measurement of a small echo server that lives in this file.
#![expect(clippy::tests_outside_test_module, reason = "a test target of its own")]

#[path = "schema/validator.rs"]
mod validator;

use ringwire_protocol::http::{HeadLimits, parse_request};
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Kind, Limits, Opcode, Role, encode_frame, encode_switching,
};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn loadgen(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(line.split_whitespace()).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Exit code, stdout, stderr.
fn ended(line: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = loadgen(line).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (status.code(), text(stdout), text(stderr))
}

/// A path of its own for each test's result.
fn result_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.json", std::process::id()))
}

fn result(path: &PathBuf) -> Value {
    let text = std::fs::read_to_string(path).expect("the result was written");
    std::fs::remove_file(path).expect("it can be removed");
    let value: Value = serde_json::from_str(&text).expect("the result is JSON");
    assert_eq!(validator::offences(&value), Vec::<String>::new());
    value
}

/// Accepts for as long as the test runs, and says every message back.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream));
        }
    });
    address
}

/// One connection of the echo server; ends when the client does.
fn echo(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let request = parse_request(&head, &HeadLimits::default()).ok()?;
    let mut out = Vec::new();
    encode_switching(&mut out, request.header("sec-websocket-key")?, None, &[]);
    stream.write_all(&out).ok()?;
    let limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 16 };
    let mut inbound = Inbound::new(Role::Server);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        let mut cursor = Cursor::new(&mut buffer[..count]);
        out.clear();
        while let Some(event) = inbound.next(&mut cursor, &limits).ok()? {
            match event {
                Event::Message { kind: Kind::Text, payload } => {
                    encode_frame(&mut out, Opcode::Text, payload, None);
                }
                Event::Message { kind: Kind::Binary, payload } => {
                    encode_frame(&mut out, Opcode::Binary, payload, None);
                }
                Event::Close(_) => return None,
                Event::Compressed { .. } | Event::Ping(_) | Event::Pong(_) => {}
            }
        }
        stream.write_all(&out).ok()?;
    }
}

/// Answers every request with 404.
fn server_without_channels() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || refuse(stream));
        }
    });
    address
}

fn refuse(mut stream: TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()
}

/// An address where nobody listens.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

#[test]
fn flags_that_cannot_be_read_exit_2() {
    for line in [
        "",
        "run",
        "fly ws://h/",
        "run ws://h/ -c x",
        "run ws://h/ -d 5",
        "run ws://h/ --out yaml=x",
        "run ws://h/ --threshold p(99)<20",
        "run ws://h/ --threshold p99<20ms",
        "run ws://h/ --label x",
        "run ws://h/ --repeat 0",
        "report",
        "diff one",
        "diff one two --equal 3",
        "diff one two --out json=x",
        "compare",
    ] {
        let (code, stdout, stderr) = ended(line);
        assert_eq!(code, Some(2), "{line}: {stderr}");
        assert!(stdout.is_empty() && !stderr.is_empty(), "{line}");
    }
}

#[test]
fn help_and_version_exit_0() {
    for line in ["--help", "run --help", "compare --help", "--version"] {
        let (code, stdout, _) = ended(line);
        assert_eq!(code, Some(0), "{line}");
        assert!(stdout.contains("loadgen") || stdout.contains("Usage"), "{line}");
    }
}

#[test]
fn impossible_plans_exit_104_with_one_line() {
    let table = [
        "run wss://127.0.0.1:1/ --cacert /nowhere/at.pem",
        "run wss://127.0.0.1:1/ --cacert /dev/null",
        "run ws://127.0.0.1:1/ --insecure",
        "compare wss://127.0.0.1:1",
        "run ws://127.0.0.1:1/ --size 19",
        "run http://127.0.0.1:1/ --transport sse --mode echo",
        "run ws://127.0.0.1:1/ --out json=/nowhere/at/all.json",
        "run ws://127.0.0.1:1/ --out csv=/tmp",
        "run ws://127.0.0.1:1/ --out json=/tmp/a --out csv=/tmp/./a",
        "run ws://127.0.0.1:1/ --out json=- --out csv=-",
        "compare http://127.0.0.1:1 -R 51",
        "compare http://127.0.0.1:1 -d 1s",
        "compare ws://127.0.0.1:1",
        "compare --server-command false",
        "run ws://127.0.0.1:1/ --server-command false",
        "report /nowhere/run.json",
        "report /dev/null",
        "diff /nowhere/a.json /nowhere/b.json",
        "diff /dev/null /dev/null --out html=/nowhere/at/all.html",
    ];
    for line in table {
        let (code, stdout, stderr) = ended(line);
        assert_eq!(code, Some(104), "{line}: {stderr}");
        let reasons = stderr.lines().filter(|line| line.starts_with("loadgen: ")).count();
        assert_eq!((reasons, stdout.as_str()), (1, ""), "{line}: {stderr}");
    }
}

#[test]
fn more_connections_than_ports_exit_104_and_show_the_limits() {
    let (code, _, stderr) = ended("run ws://127.0.0.1:1/ -c 70k");
    assert_eq!(code, Some(104), "{stderr}");
    assert!(stderr.contains("cure: sysctl -w net.ipv4.ip_local_port_range"), "{stderr}");
    assert!(stderr.contains("io_uring"), "{stderr}");
}

#[test]
fn a_refused_port_exits_107() {
    let address = closed_port();
    let (code, _, stderr) = ended(&format!("run ws://{address}/echo -c 1 -d 1s --quiet"));
    assert_eq!(code, Some(107), "{stderr}");
    assert!(stderr.starts_with("loadgen: "), "{stderr}");
}

#[test]
fn a_server_without_channels_is_a_reason_and_not_a_crash() {
    let address = server_without_channels();
    let (code, _, stderr) = ended(&format!("compare http://{address} -c 2 -d 4s --no-tui"));
    assert_eq!(code, Some(107), "{stderr}");
    for row in ["ws", "sse", "longpoll", "poll@1s", "poll@100ms"] {
        let failed = stderr.lines().filter(|line| line.contains(&format!("row={row} failed")));
        assert_eq!(failed.count(), 2, "{row}: {stderr}");
    }
}

#[test]
fn the_environment_is_read_and_flags_win() {
    let run = |line: &str| {
        let output = loadgen(line).env("LOADGEN_SIZE", "19").output().expect("it starts");
        output.status.code()
    };
    let address = closed_port();
    assert_eq!(run(&format!("run ws://{address}/ -c 1 -d 1s")), Some(104));
    assert_eq!(run(&format!("run ws://{address}/ -c 1 -d 1s --size 20")), Some(107));
}

#[test]
fn doctor_says_what_the_machine_limits() {
    let (code, stdout, _) = ended("doctor");
    assert_eq!(code, Some(0));
    for name in ["connections", "descriptors", "ports", "io_uring"] {
        assert!(stdout.lines().any(|line| line.contains(name)), "{name}\n{stdout}");
    }
}

#[test]
fn an_echo_run_ends_in_text_and_a_result_that_keeps_to_its_schema() {
    let address = echo_server();
    let path = result_path("echo");
    let out = path.display();
    let line = format!("run ws://{address}/echo -c 2 -d 1s --in-flight 2 --out json={out}");
    let (code, stdout, stderr) = ended(&line);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("replies"), "{stdout}");
    let result = result(&path);
    assert_eq!(result["schema"], "ringwire.result/1");
    assert_eq!(result["ended"], "completed");
    let run = &result["runs"][0];
    assert_eq!((&run["transport"], &run["mode"]), (&"ws".into(), &"echo".into()));
    assert_eq!(run["connection_counts"]["open"], 2);
    assert_eq!(run["in_flight"], 2);
    assert_eq!(run["messages_received"], run["messages_expected"]);
    assert!(run["messages_received"].as_u64() > Some(0));
    assert_eq!((&run["gaps"], &run["server"]), (&0.into(), &Value::Null));
    assert_eq!(run["offered_per_s"], Value::Null);
}

#[test]
fn a_result_that_cannot_be_written_is_told_and_exits_1() {
    let address = echo_server();
    let link = result_path("full");
    std::os::unix::fs::symlink("/dev/full", &link).expect("a link can be made");
    let out = link.display();
    let line = format!("run ws://{address}/echo -c 1 -d 1s --quiet --out json={out}");
    let (code, stdout, stderr) = ended(&line);
    std::fs::remove_file(&link).expect("the link can be removed");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains("replies"), "{stdout}");
    assert!(stderr.contains("was not written: No space left"), "{stderr}");
}

#[test]
fn every_kind_of_output_and_the_thresholds_come_of_one_run() {
    let address = echo_server();
    let folder = result_path("kinds").with_extension("");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let kinds = ["json", "bundle", "csv", "hgrm", "hlog", "prom", "junit"];
    let mut line = format!("run ws://{address}/echo -c 2 -d 1s --label host=a");
    for kind in kinds {
        line.push_str(&format!(" --out {kind}={}", folder.join(kind).display()));
    }
    line.push_str(" --threshold gaps==0 --threshold p(50)<1us");
    let (code, stdout, stderr) = ended(&line);
    assert_eq!(code, Some(99), "{stdout}{stderr}");
    assert!(stdout.contains("FAILED    1 of 2 thresholds: p(50)<1us, measured "), "{stdout}");
    for kind in kinds {
        assert!(std::fs::metadata(folder.join(kind)).expect("it was written").len() > 0, "{kind}");
    }
    let result = result(&folder.join("json"));
    assert_eq!(result["labels"]["host"], "a");
    assert_eq!(
        (&result["thresholds"][0]["is_met"], &result["thresholds"][1]["is_met"]),
        (&true.into(), &false.into())
    );
    assert_eq!(std::fs::read_dir(&folder).expect("it is there").count(), kinds.len() - 1);
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn a_bundle_is_shown_again_added_and_compared() {
    let address = echo_server();
    let (bundle, plain) = (result_path("one.bundle"), result_path("plain"));
    let (bundle_name, plain_name) = (bundle.display(), plain.display());
    let out = format!("--out bundle={bundle_name} --out json={plain_name}");
    let (code, measured, stderr) = ended(&format!("run ws://{address}/echo -c 1 -d 1s {out}"));
    assert_eq!(code, Some(0), "{stderr}");
    let (code, again, stderr) = ended(&format!("report {bundle_name} --threshold gaps==0"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(again.contains("MET       the threshold gaps==0"), "{again}");
    assert_eq!(measured.lines().last(), again.lines().last());
    // Two parts have twice as many messages.
    let (code, sum, stderr) = ended(&format!("report {bundle_name} {bundle_name} -o json=-"));
    assert_eq!(code, Some(0), "{stderr}");
    let sum: Value = serde_json::from_str(&sum).expect("stdout is the result");
    assert_eq!(validator::offences(&sum), Vec::<String>::new());
    let one = std::fs::read_to_string(&plain).expect("it was written");
    let one: Value = serde_json::from_str(&one).expect("it is JSON");
    let received = |value: &Value| value["runs"][0]["messages_received"].as_u64();
    assert_eq!(received(&sum), received(&one).map(|count| 2 * count));
    let (code, text, stderr) = ended(&format!("diff {bundle_name} {plain_name}"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(text.contains("cannot tell: 5 more runs"), "{text}");
    let page = result_path("diff.html");
    let out = format!("--out html={} -o html=-", page.display());
    let (code, stdout, stderr) = ended(&format!("diff {bundle_name} {bundle_name} {out}"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("A ratio below x1 is better."), "{stderr}");
    assert_eq!(std::fs::read_to_string(&page).expect("it was written"), stdout);
    assert!(stdout.starts_with("<!DOCTYPE html>") && stdout.contains("loadgen diff"), "{stdout}");
    std::fs::remove_file(&page).expect("it can be removed");
    for refused in
        [format!("report {plain_name} {plain_name}"), format!("report {plain_name} --out hgrm=-")]
    {
        let (code, stdout, stderr) = ended(&refused);
        assert_eq!((code, stdout.as_str()), (Some(104), ""), "{stderr}");
        assert!(stderr.contains("--out bundle=PATH"), "{stderr}");
    }
    let other = std::fs::read_to_string(&plain).expect("it is there");
    std::fs::write(&plain, other.replace("ringwire.result/1", "ringwire.result/9")).expect("fits");
    let (code, _, stderr) = ended(&format!("report {plain_name}"));
    assert_eq!(code, Some(104));
    assert!(stderr.contains("its schema is \"ringwire.result/9\""), "{stderr}");
    std::fs::remove_file(&bundle).expect("it can be removed");
    std::fs::remove_file(&plain).expect("it can be removed");
}

#[test]
fn repetitions_are_rounds_and_say_whether_the_server_was_restarted() {
    let address = echo_server();
    let line = format!("run ws://{address}/echo -c 1 -d 300ms --repeat 5 --no-tui -o json=-");
    let (code, stdout, stderr) = ended(&line);
    assert_eq!(code, Some(0), "{stderr}");
    let value: Value = serde_json::from_str(&stdout).expect("stdout is the result");
    assert_eq!(validator::offences(&value), Vec::<String>::new());
    let run = &value["runs"][0];
    let rounds = run["rounds"].as_array().expect("there are rounds");
    let received = |value: &Value| value["messages_received"].as_u64().unwrap_or(0);
    assert_eq!(rounds.len(), 5);
    assert_eq!(rounds.iter().map(received).sum::<u64>(), received(run));
    assert_eq!(run["confidence"]["runs"], 5);
    assert_eq!(run["connection_counts"]["open"], 1);
    assert_eq!(run["confidence"]["is_server_restarted"], false);
    assert!(run["confidence"]["p50_ns"]["low"].is_number());
    assert!(stderr.contains("(5 runs; server not restarted)"), "{stderr}");
}

#[test]
fn a_result_on_stdout_is_alone_there() {
    let address = echo_server();
    let (code, stdout, stderr) = ended(&format!("run ws://{address}/echo -c 1 -d 1s -o json=-"));
    assert_eq!(code, Some(0), "{stderr}");
    let value: Value = serde_json::from_str(&stdout).expect("stdout is the result alone");
    assert_eq!(validator::offences(&value), Vec::<String>::new());
    assert!(stderr.contains("replies"), "{stderr}");
}

#[test]
fn a_missed_threshold_ends_the_run_at_once_where_asked_for() {
    let address = echo_server();
    let line = format!(
        "run ws://{address}/echo -c 1 -d 10m --no-tui --abort-on-threshold --threshold p(50)<1ns"
    );
    let (code, stdout, stderr) = ended(&line);
    assert_eq!(code, Some(99), "{stdout}{stderr}");
    assert!(stdout.contains("ABORTED, as a threshold was missed"), "{stdout}");
}

#[test]
fn an_interrupt_prints_what_was_measured_and_exits_105() {
    let address = echo_server();
    let path = result_path("interrupted");
    let out = path.display();
    let line = format!("run ws://{address}/echo -c 1 -d 10m --no-tui --out json={out}");
    let mut command = loadgen(&line);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let stderr = child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("phase=measuring ")));
    let pid = child.id();
    let killed = Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status();
    assert!(killed.expect("the shell starts").success());
    let reader = std::thread::spawn(move || lines.count());
    let output = child.wait_with_output().expect("it ends");
    reader.join().expect("the reader ends with the stream");
    assert_eq!(output.status.code(), Some(105));
    assert!(String::from_utf8_lossy(&output.stdout).contains("INTERRUPTED"));
    assert_eq!(result(&path)["ended"], "interrupted");
}
